"""Tier A: what RL-ZVP's two halves do in expectation, enumerated; and Eq. 5 against its definition (C1, C9).

Each entry point takes a job with one seed and returns a record with one row. Axes: D policies, N prefixes,
V tokens, Q sequences, L positions; logits are ``[D, N, V]``.
"""

from __future__ import annotations

from math import comb
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from common.rl.losses import clipped_surrogate
from common.study.jobs import Job, Record
from common.tabular.enumeration import Enumeration
from common.tabular.tree import PrefixTree
from papers.rl_zvp.method import rl_zvp_advantages

RATES = (0.002, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.98, 0.995, 0.998)
"""Success rates at which facts are looked at."""
GROUP_SIZES = (8, 16)
"""Groups whose frequencies weight them."""
NEWTON_STEPS = 400
LARGEST_STEP = 0.2  # of the logit of p in one step: the path follows the gradient of p
OLD_NOISE = 0.3  # standard deviation of the log-ratios in `advantage_rules`


def identities(job: Job, _workspace: Path) -> Record:
    """Fact 1 and the identity behind fact 2, on policies and correct sets as they are drawn.

    Config: `policies`, `vocabulary`, `length`.

    Emits per policy: `zero_mean`, the largest component of E[Σ_t H_t ∇log π_t]; `drift`, the largest
    component of -B- + ∇E[max H] - E[1{R=1} Σ_t (max H - H_t) ∇log π_t], with H held constant and B- as in
    `halves`.
    """
    tree = PrefixTree(job.config["vocabulary"], job.config["length"])
    policy, correct = draw(tree, job.config["policies"], np.random.default_rng(job.seeds[0]))
    right, gaps = correct[..., None].astype(float), _gaps(policy)
    negative = -policy.expected_update((1.0 - right) * gaps)
    series = {
        "zero_mean": _largest(policy.expected_update(policy.entropies)),
        "drift": _largest(negative - _drift(policy) - policy.expected_update(right * gaps)),
    }
    return Record.of_one_seed({"policies": len(correct)}, series)


def halves(job: Job, _workspace: Path) -> Record:
    """Facts 2 and 3: the expected update of each half, alone and weighted by how often its groups occur.

    With α = 1 and p the success rate, one prompt contributes p^(G-1) B+ - (1-p)^(G-1) B-, where B+ = E[1{R=1}
    Σ_t H_t ∇log π_t] and B- = E[1{R=0} Σ_t (max H - H_t) ∇log π_t].

    Config: `policies`, `vocabulary`, `length`.

    Emits, in the order of `RATES` and for each of the policies:
        p, policy: The rate and the number of the policy.
        drift_norm: Norm of the drift -∇E[max H], with H held constant.
        drift_distance: Distance of -B- to it.
        <half>_norm, <half>_cosine: Of the contributions B+ (`positive`), -B- (`negative`) and -B- with the
            mean of max H in its place (`constant`): norm, and cosine with ∇p.
        <half>_rms: Root mean square norm of what one sampled response contributes.
        <half>_group_<G>: Norm weighted by the probability that a group of G is all correct, or all wrong.
        grpo_group_<G>: Norm of GRPO's expected update.
    """
    rng = np.random.default_rng(job.seeds[0])
    tree = PrefixTree(job.config["vocabulary"], job.config["length"])
    start, correct = draw(tree, job.config["policies"], rng)
    middle = RATES.index(0.5)
    # From one half outwards: both ends are reached along the gradient of p, each rate from its neighbour.
    by_rate: dict[float, Enumeration] = {}
    for path in (RATES[middle:], RATES[middle - 1 :: -1]):
        policy = by_rate.get(0.5, start)
        for rate in path:
            policy = by_rate[rate] = moved(policy, correct, rate)
    parts = [at_rate(by_rate[rate], correct, rate) for rate in RATES]
    series = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Record.of_one_seed({"policies": len(correct)}, series)


def at_rate(
    policy: Enumeration, correct: Bool[np.ndarray, "D Q"], rate: float
) -> dict[str, Float[np.ndarray, " D"]]:
    """What `halves` emits at one success rate."""
    entropies, right = policy.entropies, correct[..., None].astype(float)
    mean_top = (policy.sequences * entropies.max(axis=-1)).sum(axis=-1)[:, None, None]
    weights = {
        "positive": right * entropies,
        "negative": -(1.0 - right) * _gaps(policy),
        "constant": -(1.0 - right) * (mean_top - entropies),
    }
    updates = {name: policy.expected_update(weight) for name, weight in weights.items()}
    ascent = policy.success_gradient(correct)
    drift = _drift(policy)
    values = {
        "p": np.full(len(correct), rate),
        "policy": np.arange(len(correct), dtype=float),
        "drift_norm": _norm(drift),
        "drift_distance": _norm(updates["negative"] - drift),
    }
    for name, update in updates.items():
        values[f"{name}_norm"] = _norm(update)
        values[f"{name}_rms"] = np.sqrt(policy.second_moment(weights[name]))
        values[f"{name}_cosine"] = (update * ascent).sum(axis=(1, 2)) / (_norm(update) * _norm(ascent))
    for size in GROUP_SIZES:
        values[f"positive_group_{size}"] = rate ** (size - 1) * values["positive_norm"]
        values[f"negative_group_{size}"] = (1.0 - rate) ** (size - 1) * values["negative_norm"]
        values[f"grpo_group_{size}"] = grpo_coefficient(rate, size) * _norm(ascent)
    return values


def _gaps(policy: Enumeration) -> Float[np.ndarray, "D Q L"]:
    """max H - H_t along every sequence."""
    return policy.entropies.max(axis=-1, keepdims=True) - policy.entropies


def _drift(policy: Enumeration) -> Float[np.ndarray, "D N V"]:
    """-∇E[max H] with H held constant."""
    top = policy.entropies.max(axis=-1, keepdims=True)
    return -policy.expected_update(np.broadcast_to(top, policy.entropies.shape))


def grpo_coefficient(p: float, size: int) -> float:
    """Factor of ∇p in GRPO's expected update per response, population standard deviation.

    With k of G correct, advantages are sqrt((G-k)/k) and -sqrt(k/(G-k)); E[∇log π | R] is ∇p/p or -∇p/(1-p).
    """
    correct = np.arange(size + 1)
    chance = np.array([comb(size, int(k)) * p**k * (1 - p) ** (size - k) for k in correct])
    return float((chance * np.sqrt(correct * (size - correct)) / size).sum() / (p * (1 - p)))


def advantage_rules(job: Job, _workspace: Path) -> Record:
    """C1: Remark 1, Eq. 5 and Remark 3 on random groups with ragged responses, 0/1 and -1/1 rewards.

    Eq. 5 is written out token by token as the reference; Remark 1 differentiates the clipped loss.

    Config: `draws` groups, `group_size`, `length`, `alpha`. Every fourth group is all correct, every fourth
    all wrong.

    Emits per zero-variance group: `pattern_error` against Eq. 5, `grpo_gradient` and `zvp_gradient`, the
    largest absolute gradient of the loss at its log-probabilities; per mixed group `mixed_difference` to
    GRPO.
    """
    rng = np.random.default_rng(job.seeds[0])
    draws, size, length, alpha = (job.config[name] for name in ("draws", "group_size", "length", "alpha"))
    rewards = _group_rewards(rng, draws, size)
    entropies = rng.exponential(1.0, (draws * size, length))
    lengths = rng.integers(1, length + 1, draws * size)
    mask = np.arange(length) < lengths[:, None]
    tensors = (
        torch.from_numpy(rewards.reshape(-1)),
        torch.from_numpy(entropies),
        torch.from_numpy(mask.astype(int)),
    )
    own = rl_zvp_advantages(*tensors, size, alpha)
    grpo = rl_zvp_advantages(*tensors, size, alpha, use_positive=False, use_negative=False)
    padded = np.where(mask, entropies, np.nan).reshape(draws, size, length)
    expected = [equation_5(*group, alpha) for group in zip(rewards, padded, strict=True)]
    equal = rewards.min(axis=1) == rewards.max(axis=1)
    log_ratio = torch.from_numpy(OLD_NOISE * rng.standard_normal(entropies.shape))
    difference = np.abs(own.numpy() - np.concatenate(expected)) * mask
    mixed = np.abs((own - grpo).numpy())
    series = {
        "pattern_error": _per_group(difference, draws)[equal],
        "mixed_difference": _per_group(mixed, draws)[~equal],
        "grpo_gradient": _per_group(_loss_gradient(log_ratio, grpo, tensors[2]), draws)[equal],
        "zvp_gradient": _per_group(_loss_gradient(log_ratio, own, tensors[2]), draws)[equal],
    }
    return Record.of_one_seed({"instances": draws}, series)


def equation_5(
    rewards: Float[np.ndarray, " G"], rows: Float[np.ndarray, "G T"], alpha: float
) -> Float[np.ndarray, "G T"]:
    """Eq. 5 of one group as it is written; 0 if the group is mixed. Padding is NaN in `rows`."""
    values = np.zeros(rows.shape)
    if len(set(rewards.tolist())) > 1:
        return values
    for index, (reward, row) in enumerate(zip(rewards, rows, strict=True)):
        own = [float(h) for h in row if not np.isnan(h)]
        for t, h in enumerate(own):
            values[index, t] = alpha * h if reward > 0 else -alpha * (max(own) - h)
    return values


def _group_rewards(rng: np.random.Generator, draws: int, size: int) -> Float[np.ndarray, "Q G"]:
    low = rng.choice([0.0, -1.0], size=(draws, 1))
    correct = rng.integers(1, size, size=(draws, 1))
    correct[0::4], correct[1::4] = size, 0
    return np.where(np.arange(size) < correct, 1.0, low)


def _loss_gradient(
    log_ratio: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
) -> Float[np.ndarray, "B T"]:
    leaf = log_ratio.clone().requires_grad_()
    (clipped_surrogate(leaf, advantages) * mask).sum().backward()
    assert leaf.grad is not None
    return leaf.grad.abs().numpy()


def _per_group(values: Float[np.ndarray, "B T"], groups: int) -> Float[np.ndarray, " Q"]:
    return values.reshape(groups, -1).max(axis=1)


def _norm(update: Float[np.ndarray, "D N V"]) -> Float[np.ndarray, " D"]:
    return np.sqrt((update**2).sum(axis=(1, 2)))


def _largest(update: Float[np.ndarray, "D N V"]) -> Float[np.ndarray, " D"]:
    return np.abs(update).max(axis=(1, 2))


def draw(
    tree: PrefixTree, policies: int, rng: np.random.Generator
) -> tuple[Enumeration, Bool[np.ndarray, "D Q"]]:
    """Standard normal logits, and correct sets of uniformly drawn size, neither empty nor complete."""
    logits = rng.standard_normal((policies, tree.nodes, tree.vocabulary))
    ranks = rng.permuted(np.tile(np.arange(tree.sequences), (policies, 1)), axis=1)
    return Enumeration(tree, logits), ranks < rng.integers(1, tree.sequences, size=(policies, 1))


def moved(policy: Enumeration, correct: Bool[np.ndarray, "D Q"], success: float) -> Enumeration:
    """The policies after gradient steps on p, forwards or backwards, until p is `success`.

    Raises:
        ArithmeticError: a policy does not get there.
    """
    target = np.log(success) - np.log1p(-success)
    for _ in range(NEWTON_STEPS):
        p = policy.success(correct)
        gap = target - (np.log(p) - np.log1p(-p))
        if np.abs(gap).max() < 1e-9:
            return policy
        # Newton in the logit of p: its gradient is ∇p / (p (1 - p)); a step along it moves it by the square.
        gradient = policy.success_gradient(correct) / (p * (1.0 - p))[:, None, None]
        square = (gradient**2).sum(axis=(1, 2))
        step = np.clip(gap, -LARGEST_STEP, LARGEST_STEP) / square
        policy = Enumeration(policy.tree, policy.logits + step[:, None, None] * gradient)
    raise ArithmeticError(f"a policy did not reach p = {success}; the largest gap in logits is {gap.max()}")
