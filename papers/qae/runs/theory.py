"""Exact checks of the paper's statements (claims C1-C4, Fig. 4b-c), enumerated and on random instances.

Each entry point takes a job with one seed; a curve's steps index its grid. Where a statement is about
advantages or losses, the training code itself is evaluated, in float64. The instances stand at the end. Axes:
D instances, Y sequences, T tokens, V vocabulary, X prefixes, G responses of a group, A arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.rl.losses import aggregate, clip_fractions, clipped_surrogate
from common.study.jobs import Job, Record
from papers.qae.method import (
    Mask,
    entropy_change,
    entropy_safety_bound,
    objective_weights,
    quantile_advantages,
    quantile_baseline,
)

MASKS: dict[str, Literal["none", "pos", "neg"]] = {
    "mean": "none",
    "quantile": "none",
    "pos": "pos",
    "neg": "neg",
}
"""Objectives of Eq. 5-8; the first has the group mean for its baseline, the others the quantile."""
Counts = Int[Tensor, "D Y"]


def threshold_switch(job: Job, _workspace: Path) -> Record:
    """C1: the K-quantile of 0/1 rewards is the switch of Eq. 4, for every composition of every group.

    The reference is integer arithmetic on the CDF: b = 0 iff n_wrong · grid >= j · G, with K = j / grid.

    Config: `max_group` (groups of 2 to this size), `grid` (0 < j < grid).
    Emits per (G, K), G outermost: `group_size`, `k`, `baseline_error` and `advantage_error`, the largest
    absolute errors over the compositions (the advantage against ±1/sqrt(p(1-p)) or 0); scalar `instances`.
    """
    grid, sizes, rows = job.config["grid"], range(2, job.config["max_group"] + 1), []
    for size in sizes:
        rewards = compositions(size)
        correct = torch.arange(size + 1)
        std = (correct * (size - correct)).double().sqrt()[:, None] / size
        for j in range(1, grid):
            expected = ((size - correct) * grid < j * size).double()
            baseline = quantile_baseline(rewards, size, j / grid)
            switched = (rewards.view(-1, size) - expected[:, None]) / std
            switched[[0, -1]] = 0.0  # equal rewards: 0 / 0, an advantage of 0 by definition
            advantages = quantile_advantages(rewards, size, j / grid, std="population").view(-1, size)
            errors = (baseline - expected).abs().max(), (advantages - switched).abs().max()
            rows.append((size, j / grid, *map(float, errors)))
    instances = (grid - 1) * sum(size + 1 for size in sizes)
    return _table({"instances": instances}, rows, "group_size", "k", "baseline_error", "advantage_error")


def linear_mismatches(job: Job, _workspace: Path) -> Record:
    """Where the official code's linear interpolation leaves Eq. 4: every (G, K, n_wrong) where b differs.

    Config: `max_group`, `grid` as in `threshold_switch`.
    Emits one step per mismatch, ordered by K, G: `k`, `group_size`, `wrong`, `linear` and `inverted_cdf` (the
    baselines); scalars `mismatches`, `instances` and `most_per_pair`, the largest count for one (G, K).
    """
    grid, sizes = job.config["grid"], range(2, job.config["max_group"] + 1)
    rows, counts = [], []
    for k in (j / grid for j in range(1, grid)):
        for size in sizes:
            rewards = compositions(size)
            linear = quantile_baseline(rewards, size, k, "linear")
            exact = quantile_baseline(rewards, size, k)
            different = ((linear - exact).abs() > 1e-9).nonzero().flatten().tolist()
            counts.append(len(different))
            rows += [(k, size, size - n, float(linear[n]), float(exact[n])) for n in different]
    instances = (grid - 1) * sum(size + 1 for size in sizes)
    scalars = {"mismatches": sum(counts), "most_per_pair": max(counts), "instances": instances}
    return _table(scalars, rows, "k", "group_size", "wrong", "linear", "inverted_cdf")


def objective_rewriting(job: Job, _workspace: Path) -> Record:
    """C2: the surrogate with the advantages of Eq. 3 equals the objectives of Prop. 4.1 (Eq. 5-8).

    On tabular autoregressive policies. A group holds every sequence in proportion to π_old, so its success
    rate is the true one and the right-hand side is an exact expectation. Left: advantages, clipped loss and
    aggregation of the training code. Right: w+ E_{π+} s+ - w- E_{π-} s- with the closed-form weights.

    Config: `draws`, `vocabulary`, `length`, `copies` (group size over number of sequences), `noise` (standard
    deviation of the logit changes), `k`, `epsilon_low`, `epsilon_high`. Boundary instances follow the random
    ones: uniform π_old with every possible number of correct sequences, p = 1 - K among them.
    Emits per instance the absolute errors `<objective>_clipped` and `<objective>_unclipped` of the objectives
    mean, quantile, pos, neg, and `success_rate`; scalars `clipped_low`, `clipped_high`, shares of tokens.
    """
    rng = np.random.default_rng(job.seeds[0])
    counts, correct, shapes = _policies(job, rng)
    success = (counts * correct).sum(dim=1) / counts.sum(dim=1).double()
    changes = [job.config["noise"] * torch.from_numpy(rng.standard_normal(shape)) for shape in shapes]
    log_ratio = sequence_log_ratios(counts, changes)
    responses = expand(counts, log_ratio)
    size, length = responses.shape[1:]
    rewards = expand(counts, correct[:, :, None].double()).flatten()
    epsilons = job.config["epsilon_low"], job.config["epsilon_high"]
    series = {"success_rate": success}
    for name, mask in MASKS.items():
        k = None if name == "mean" else job.config["k"]
        advantages = quantile_advantages(rewards, size, k, std="population", mask=mask)
        weights = objective_weights(success, k, mask)
        for suffix, bounds in (("clipped", epsilons), ("unclipped", (math.inf, math.inf))):
            left = _surrogates(responses, advantages, bounds)
            right = _rewritten(log_ratio.exp(), counts, correct, weights, bounds)
            series[f"{name}_{suffix}"] = (left - right).abs()
    signs = quantile_advantages(rewards, size, None)[:, None]
    shares = clip_fractions(responses.flatten(0, 1), signs, torch.ones(len(signs), length), *epsilons)
    return Record.of_one_seed({"clipped_low": float(shares.low), "clipped_high": float(shares.high)}, series)


def on_policy_gradients(job: Job, _workspace: Path) -> Record:
    """Companion of C2: at π = π_old the gradients of Eq. 5 and Eq. 6 agree if the group's p is the true p.

    Config: `draws`, `vocabulary`, `length`, `copies`, `k` as in `objective_rewriting`.
    Emits per instance `difference`, the largest absolute difference between the logit gradients of the mean
    and the quantile objective; `gradient`, the largest absolute entry of the former; and the control
    `sampled_difference`, the difference for groups sampled from π_old, whose p is not the true one.
    """
    rng = np.random.default_rng(job.seeds[0])
    counts, correct, shapes = _policies(job, rng)
    size = int(counts[0].sum())
    sampled = torch.from_numpy(rng.multinomial(size, counts.numpy() / size))  # counts / size is π_old

    def gradient(group: Counts, k: float | None) -> Float[Tensor, "D P"]:
        changes = [torch.zeros(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
        rewards = expand(group, correct[:, :, None].double()).flatten()
        advantages = quantile_advantages(rewards, size, k, std="population")
        objective = _surrogates(expand(group, sequence_log_ratios(counts, changes)), advantages, (0.2, 0.28))
        return torch.cat([part.flatten(1) for part in torch.autograd.grad(objective.sum(), changes)], dim=1)

    k = job.config["k"]
    mean = gradient(counts, None)
    series = {
        "difference": mean - gradient(counts, k),
        "gradient": mean,
        "sampled_difference": gradient(sampled, None) - gradient(sampled, k),
    }
    return Record.of_one_seed({}, {name: values.abs().amax(dim=1) for name, values in series.items()})


def entropy_safety(job: Job, _workspace: Path) -> Record:
    """C3: entropy changes of softmax bandits under the uncentred update (Prop. 4.2) and the true gradient.

    Config: `draws`, `arms`, `points` (baselines from 0 to 1), `step_size`.
    Emits per instance, in nats: `increment`, the smallest growth of ΔH from a baseline to the next (exact
    entropies before and after the uncentred step; positive means monotone), and `first_order_increment`, the
    same for the closed form; `uncentred_spread`, ΔH(b=1) - ΔH(b=0), and the control `centred_spread`, the
    range of ΔH over b after a step along the true gradient, which must vanish; `identity_error`, central
    difference of the entropy against -η Cov(log π, π(r - b)), largest over b, per unit of step size;
    `bound_error`, the distance between the extremes of the first-order changes and `entropy_safety_bound`.
    """
    step, draws = job.config["step_size"], job.config["draws"]
    logits, rewards = bandits(np.random.default_rng(job.seeds[0]), draws, job.config["arms"])
    probs = logits.softmax(dim=1)
    baselines = torch.linspace(0, 1, job.config["points"], dtype=torch.float64)
    advantages = rewards[:, None] - baselines[:, None]
    expectation = (probs[:, None] * advantages).sum(dim=2, keepdim=True)

    def change(values: Float[Tensor, "D B A"], size: float) -> Float[Tensor, "D B"]:
        return _entropy(logits[:, None] + size * probs[:, None] * values) - _entropy(logits)[:, None]

    uncentred, centred = change(advantages, step), change(advantages - expectation, step)
    derivative = (uncentred - change(advantages, -step)) / (2 * step)
    first_order = entropy_change(probs[:, None], rewards[:, None], baselines, step)
    lower, upper = entropy_safety_bound(probs, rewards, step)
    extremes = torch.stack([first_order.amin(dim=1) - lower, first_order.amax(dim=1) - upper])
    series = {
        "increment": uncentred.diff(dim=1).amin(dim=1),
        "first_order_increment": first_order.diff(dim=1).amin(dim=1),
        "uncentred_spread": uncentred[:, -1] - uncentred[:, 0],
        "centred_spread": centred.amax(dim=1) - centred.amin(dim=1),
        "identity_error": (derivative - first_order / step).abs().amax(dim=1),
        "bound_error": extremes.abs().amax(dim=0),
    }
    return Record.of_one_seed({}, series)


def weight_curves(job: Job, _workspace: Path) -> Record:
    """C4: weights on positives and negatives over the success rate (Fig. 4b-c), closed form against the code.

    Config: `k`, `points` (p = i / points for 0 < i < points).
    Emits over the grid `p`: `mean_positive`, `mean_negative`, `quantile_positive`, `quantile_negative`, and
    `error`, the largest absolute deviation of the four from p A+ and -(1 - p) A- of groups of `points`.
    """
    points = job.config["points"]
    p = torch.arange(1, points, dtype=torch.float64) / points
    series, errors = {"p": p}, []
    for name, k in (("mean", None), ("quantile", job.config["k"])):
        advantages = quantile_advantages(compositions(points), points, k, std="population")
        mixed = advantages.view(-1, points)[1:-1]
        implied = mixed[:, 0] * p, -mixed[:, -1] * (1 - p)
        weights = objective_weights(p, k)
        series |= {f"{name}_positive": weights[0], f"{name}_negative": weights[1]}
        errors += [(weight - value).abs() for weight, value in zip(weights, implied, strict=True)]
    series["error"] = torch.stack(errors).amax(dim=0)
    return Record.of_one_seed({}, series)


def expected_coefficients(job: Job, _workspace: Path) -> Record:
    """Coefficient on g+ = E_{π+} ∇log π in the expected on-policy update of finite groups.

    A sum over n_correct ~ Bin(G, p) with g- = -p g+ / (1 - p) put in; groups of equal rewards contribute 0.

    Config: `group_size`, `k`, `points` (p = i / points for 0 < i < points).
    Emits over the grid `p`: `mean`, `quantile`, `b0`, `b1`.
    """
    size, points = job.config["group_size"], job.config["points"]
    p = np.arange(1, points) / points
    correct = np.arange(size + 1)
    ways = np.array([math.comb(size, n) for n in correct], dtype=np.float64)
    weights = ways * p[:, None] ** correct * (1 - p[:, None]) ** (size - correct)
    series, k = {"p": p}, job.config["k"]
    masks: dict[str, Mask] = {"mean": "none", "quantile": "none", "b0": "b0", "b1": "b1"}
    for name, mask in masks.items():
        level = None if name == "mean" else k
        advantages = quantile_advantages(compositions(size), size, level, std="population", mask=mask)
        positive, negative = advantages.view(-1, size)[:, [0, -1]].numpy().T
        update = correct * positive - (size - correct) * negative * (p / (1 - p))[:, None]
        series[name] = (weights * update / size).sum(axis=1)
    return Record.of_one_seed({}, series)


def zero_advantage_share(job: Job, _workspace: Path) -> Record:
    """Share of responses with zero advantage over the success rate (companion of Fig. 5c).

    Config: `k`, `points` (p = (i + 1/2) / points). Groups have 2 · points responses: every p occurs exactly.
    Emits over the grid `p`: `zero_share`; scalar `uniform_average`, its mean for p ~ U(0, 1), which is
    1/2 + K (1 - K) if 1 - K is a multiple of 1 / points.
    """
    points = job.config["points"]
    rewards = compositions(2 * points).view(-1, 2 * points)[1::2]
    advantages = quantile_advantages(rewards.flatten(), 2 * points, job.config["k"])
    share = (advantages.view(points, -1) == 0).double().mean(dim=1).numpy()
    series = {"p": rewards.mean(dim=1).numpy(), "zero_share": share}
    return Record.of_one_seed({"uniform_average": share.mean()}, series)


def _table(scalars: Mapping[str, float], rows: Sequence[tuple[float, ...]], *names: str) -> Record:
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(names)).T
    return Record.of_one_seed(scalars, dict(zip(names, columns, strict=True)))


def _policies(job: Job, rng: np.random.Generator) -> tuple[Counts, Counts, list[tuple[int, int, int]]]:
    """`sequence_groups`, and the shapes [D, X, V] of the logits behind the prefixes, one a position."""
    vocabulary, length = job.config["vocabulary"], job.config["length"]
    counts, correct = sequence_groups(rng, job.config["draws"], vocabulary**length, job.config["copies"])
    return counts, correct, [(len(counts), vocabulary**t, vocabulary) for t in range(length)]


def _surrogates(
    responses: Float[Tensor, "D G T"], advantages: Float[Tensor, " N"], bounds: tuple[float, float]
) -> Float[Tensor, " D"]:
    """Objective of each group as training computes it: mean over responses of the mean over tokens."""
    groups = zip(responses, advantages.view(len(responses), -1, 1), strict=True)
    losses = [clipped_surrogate(log_ratio, advantage, *bounds) for log_ratio, advantage in groups]
    return torch.stack([-aggregate(loss, torch.ones_like(loss), "sequence_mean") for loss in losses])


def _rewritten(
    ratio: Float[Tensor, "D Y T"],
    counts: Counts,
    correct: Counts,
    weights: tuple[Float[Tensor, " D"], Float[Tensor, " D"]],
    bounds: tuple[float, float],
) -> Float[Tensor, " D"]:
    """w+ E_{π+} s+ - w- E_{π-} s- with f+ = min(ρ, 1 + ε_high) and f- = max(ρ, 1 - ε_low)."""
    scores = ratio.clamp(max=1 + bounds[1]).mean(dim=2), ratio.clamp(min=1 - bounds[0]).mean(dim=2)
    positive, negative = (
        (counts * side * score).sum(dim=1) / (counts * side).sum(dim=1)
        for side, score in zip((correct, 1 - correct), scores, strict=True)
    )
    return weights[0] * positive - weights[1] * negative


def _entropy(logits: Float[Tensor, "*S A"]) -> Float[Tensor, " *S"]:
    log_probs = logits.log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def compositions(size: int) -> Float[Tensor, " N"]:
    """Rewards of size + 1 groups in group order: the n-th group has its first n responses correct."""
    return (torch.arange(size) < torch.arange(size + 1)[:, None]).double().flatten()


def sequence_groups(
    rng: np.random.Generator, draws: int, sequences: int, copies: int
) -> tuple[Counts, Counts]:
    """How often each sequence is in a group of sequences · copies responses, and whether it is correct (0/1).

    Every sequence occurs, and some are correct and some wrong. After `draws` random instances come the
    boundary ones, in which every sequence occurs `copies` times and 1, 2, ... sequences are correct.
    """
    counts = 1 + rng.multinomial(sequences * (copies - 1), rng.dirichlet(np.ones(sequences), size=draws))
    ranks = rng.permuted(np.tile(np.arange(sequences), (draws, 1)), axis=1)
    correct = ranks < rng.integers(1, sequences, size=(draws, 1))
    boundary = np.arange(sequences) < np.arange(1, sequences)[:, None]
    counts = np.concatenate([counts, np.full(boundary.shape, copies)])
    return torch.from_numpy(counts), torch.from_numpy(np.concatenate([correct, boundary]).astype(np.int64))


def sequence_log_ratios(counts: Counts, changes: Sequence[Float[Tensor, "D X V"]]) -> Float[Tensor, "D Y T"]:
    """Token log-ratios log π_θ - log π_old of every sequence.

    π_old is the autoregressive policy whose sequence probabilities are proportional to `counts`; π_θ adds
    `changes`, one tensor per position, to its logits.
    """
    columns = []
    for change in changes:
        # A prefix is as likely as its sequences together: the continuations of one lie side by side, so that
        # a reshape to [D, X, V, rest] sums them, and repeating spreads a token over all sequences through it.
        prefixes = counts.reshape(*change.shape, -1).sum(dim=3).double()
        old = (prefixes / prefixes.sum(dim=2, keepdim=True)).log()
        ratio = ((old + change).log_softmax(dim=2) - old).flatten(1)
        columns.append(ratio.repeat_interleave(counts.shape[1] // ratio.shape[1], dim=1))
    return torch.stack(columns, dim=2)


def expand(counts: Counts, values: Float[Tensor, "D Y T"]) -> Float[Tensor, "D G T"]:
    """Values of a group's responses: each sequence's row as often as `counts` says."""
    rows = values.flatten(0, 1).repeat_interleave(counts.flatten(), dim=0)
    return rows.view(len(counts), -1, values.shape[2])


def bandits(
    rng: np.random.Generator, draws: int, arms: int
) -> tuple[Float[Tensor, "D A"], Float[Tensor, "D A"]]:
    """Logits of varied sharpness and 0/1 rewards of varied rate.

    The first four are boundary cases: nothing correct, everything correct, a nearly uniform policy and a
    sharp one.
    """
    scale, rate = rng.uniform(0.1, 3.0, size=(draws, 1)), rng.uniform(0.05, 0.95, size=(draws, 1))
    rate[:2, 0] = (0.0, 1.0)
    scale[2:4, 0] = (0.01, 6.0)
    logits = scale * rng.standard_normal((draws, arms))
    return torch.from_numpy(logits), torch.from_numpy((rng.random((draws, arms)) < rate).astype(np.float64))
