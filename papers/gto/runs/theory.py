"""Theorem 1 taken apart, and the expectation that the reward stands for, exactly (claims C9 to C11).

What survives of Theorem 1: the reward lies within log N / η of the longest branch; it rises with each L_i on
a fixed topology; a rise beyond the slack raises the longest branch. What does not: a rise of the reward does
not in general raise the expected length.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from common.models.recipe import ModelShape, build_model
from common.speculative.drafts import SmallLMDraft
from common.speculative.enumeration import (
    Target,
    Tree,
    accepted_length,
    block_probability,
    leaves,
    matching_outcomes,
    node_sum,
    random_target,
    random_tree,
    rejection_outcomes,
)
from common.speculative.generate import SpeculativeGenerator
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target as Decoder
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks.tridomain.warm_start import tokenizer
from papers.gto.tree_reward import MODES, Mode, aggregate

SIZE = 8  # of the largest trees that the verifiers are tried on
ETAS = (0.5, 1.0, 4.0)
TIE = 1e-12
NOISE = 1.0  # of the draft's weights, relative to their spread; it keeps about half of the acceptance
SHAPE = ModelShape(hidden=32, layers=3, heads=2, kv_heads=1, head_dim=16, ffn=64, context=512, tied=True)


def rewards(
    lengths: Float[np.ndarray, "B N"], mask: Bool[np.ndarray, "B N"], mode: Mode = "lse", eta: float = 1.0
) -> Float[np.ndarray, " B"]:
    """`aggregate` on numpy arrays in float64."""
    return aggregate(torch.from_numpy(lengths), torch.from_numpy(mask), mode, eta).numpy()


def bounds(job: Job, _workspace: Path) -> Record:
    """Largest violation of max L ≤ r ≤ max L + log N / η per random tree (true).

    Config: `draws`.
    """
    rng = np.random.default_rng(job.seeds[0])
    worst = []
    for index in range(int(job.config["draws"])):
        (lengths, ends), eta = _instance(rng), ETAS[index % len(ETAS)]
        reward, longest = rewards(lengths, ends, eta=eta)[0], rewards(lengths, ends, "max")[0]
        worst.append(max(0.0, longest - reward, reward - longest - np.log(ends.sum()) / eta))
    return Record({}, {"violation": np.array([worst])})


def monotonicity(job: Job, _workspace: Path) -> Record:
    """One coordinate raised on a fixed topology: 1 where r does not rise (`coordinate`), or where r
    or the expected accepted length does not rise with the probability of one leaf's token (`expectation`).

    Config: `draws`.
    """
    rng = np.random.default_rng(job.seeds[0])
    coordinate: list[float] = []
    both: list[float] = []
    while len(both) < int(job.config["draws"]):
        target = random_target(rng)
        tree = random_tree(rng, target)
        ends = leaves(target, tree)
        leaf = int(rng.choice(np.flatnonzero(ends)))
        raised = target.length.copy()
        raised[leaf] += rng.uniform(0.01, 0.5)
        coordinate.append(float(not _rises(target.length, raised, ends)))
        likelier = _likelier(target, tree, leaf)
        if likelier is not None:
            rises = _rises(target.length, likelier.length, ends)
            both.append(float(not rises or node_sum(likelier, tree) <= node_sum(target, tree)))
    return Record({}, {"coordinate": np.array([coordinate]), "expectation": np.array([both])})


def _rises(
    before: Float[np.ndarray, " N"], after: Float[np.ndarray, " N"], ends: Bool[np.ndarray, " N"]
) -> bool:
    low, high = rewards(np.stack([before, after]), np.stack([ends, ends]))
    return bool(high > low)


def _likelier(target: Target, tree: Tree, leaf: int) -> Target | None:
    """The target with half of the mass of the leaf's siblings outside the tree moved to it.

    None where there is no such mass to speak of, or no path to the leaf.
    """
    above, token = divmod(leaf - 1, target.tokens)
    first = target.tokens * above + 1
    outside = [place for place in range(target.tokens) if not tree[first + place]]
    moved = target.conditional[above, outside].sum() / 2
    if moved < 1e-3 or target.path[above] < 1e-3:
        return None
    conditional = target.conditional.copy()
    conditional[above, outside] /= 2
    conditional[above, token] += moved
    return Target(conditional, target.depth)


def slack(job: Job, _workspace: Path) -> Record:
    """Pairs whose rewards differ by more than the slack log N / η - (r - max L): 1 if max L does not rise.

    Config: `draws`, the number of such pairs.
    """
    rng = np.random.default_rng(job.seeds[0])
    failed: list[float] = []
    while len(failed) < int(job.config["draws"]):
        eta = ETAS[len(failed) % len(ETAS)]
        (first, ends), (second, others) = _instance(rng), _instance(rng)
        low, high = rewards(first, ends, eta=eta)[0], rewards(second, others, eta=eta)[0]
        longest, longest_after = rewards(first, ends, "max")[0], rewards(second, others, "max")[0]
        if high - low > np.log(others.sum()) / eta - (low - longest):
            failed.append(float(longest_after <= longest))
    return Record({}, {"failed": np.array([failed])})


COUNTEREXAMPLE = {"A": (1, 2, 3), "A+": (1, 2, 3, 16), "B": (1, 6, 7, 8)}


def counterexample_trees() -> tuple[Target, dict[str, Tree]]:
    """A target of five tokens and two levels, and three trees of it.

    Root distribution (.48, .38, .10, .02, .02); after each token the first four have .02. A has the three
    likeliest as leaves; B has only the first, with three children of probability .02 each. A+ has a .02 child
    under A's third leaf, so that A+ and B have as many nodes.
    """
    below = np.tile([0.02, 0.02, 0.02, 0.02, 0.92], (30, 1))
    target = Target(np.concatenate([[[0.48, 0.38, 0.10, 0.02, 0.02]], below]), 2)
    places = np.arange(target.nodes + 1)
    return target, {name: np.isin(places, [0, *nodes]) for name, nodes in COUNTEREXAMPLE.items()}


def counterexample(_job: Job, _workspace: Path) -> Record:
    """From A to B the `reward` rises and the `expected` accepted length falls; parts by `tree`."""
    target, trees = counterexample_trees()
    parts = []
    for name, tree in trees.items():
        reward = rewards(target.length[None], leaves(target, tree)[None])
        expected = np.array([accepted_length(matching_outcomes(target, tree))])
        parts.append(({"tree": name}, Record({"reward": reward, "expected": expected})))
    return Record(parts=parts)


def discordance(job: Job, _workspace: Path) -> Record:
    """`discordant`, the share of pairs of trees that a reward orders the `wrong_way`; parts by `mode`.

    Config: `draws`.
    """
    shares = [wrong_way(np.random.default_rng(seed), int(job.config["draws"])) for seed in job.seeds]
    return Record(
        parts=[
            ({"mode": mode}, Record({"discordant": np.array([share[mode] for share in shares])}))
            for mode in MODES
        ]
    )


def wrong_way(rng: np.random.Generator, draws: int) -> dict[Mode, float]:
    """Share of random pairs of trees of one prefix whose reward and expectation move in opposite directions.

    A tie counts as agreement.
    """
    lengths, ends, expected = [], [], []
    for _ in range(draws):
        target = random_target(rng)
        for _ in range(2):
            tree = random_tree(rng, target)
            lengths.append(target.length)
            ends.append(leaves(target, tree))
            expected.append(node_sum(target, tree))
    change = np.diff(np.reshape(expected, (-1, 2)), axis=1)[:, 0]
    shares: dict[Mode, float] = {}
    for mode in MODES:
        reward = (
            np.array(expected) if mode == "node_sum" else rewards(np.stack(lengths), np.stack(ends), mode)
        )
        moved = np.diff(reward.reshape(-1, 2), axis=1)[:, 0]
        shares[mode] = float(((moved * change < 0) & (abs(moved) > TIE) & (abs(change) > TIE)).mean())
    return shares


def verifiers(job: Job, _workspace: Path) -> Record:
    """Both verifiers, every outcome enumerated, on random trees; parts by `verifier`.

    Config: `draws`. Emits per tree: `length`, the expected number of accepted tokens minus the node sum;
    `law`, the largest difference between the probability of a block and the target's own, or of all blocks
    and 1.
    """
    rng = np.random.default_rng(job.seeds[0])
    instances, parts = [], []
    for _ in range(int(job.config["draws"])):
        target = random_target(rng)
        instances.append((target, random_tree(rng, target, int(rng.integers(1, SIZE + 1)))))
    for rule, outcomes in {"matching": matching_outcomes, "rejection": rejection_outcomes}.items():
        length, law = [], []
        for target, tree in instances:
            blocks = list(outcomes(target, tree))
            length.append(accepted_length(blocks) - node_sum(target, tree))
            errors = [abs(chance - block_probability(target, block)) for block, chance in blocks]
            law.append(max(*errors, abs(sum(chance for _, chance in blocks) - 1)))
        parts.append(({"verifier": rule}, Record({}, {"length": np.array([length]), "law": np.array([law])})))
    return Record(parts=parts)


def lossless(job: Job, _workspace: Path) -> Record:
    """Entry point: greedy decoding with a draft against plain decoding, token by token in float64 (C10).

    On a random model whose draft is a noisy copy of it. Config: `prompts`, `tokens` (of each completion).
    Emits `differs`, 1 for each token that is another one, and `tau`, tokens per cycle.
    """
    torch.set_num_threads(1)
    (seed,) = job.seeds
    draws = torch.Generator().manual_seed(seed)
    model = build_model(SHAPE, tokenizer(), seed).double().requires_grad_(False)
    copy = deepcopy(model)
    for weight in copy.parameters():
        noise = torch.randn(weight.shape, generator=draws, dtype=weight.dtype)
        weight.add_(NOISE * weight.std() * noise)
    params = SamplingParams(job.config["tokens"], temperature=0.0)
    lengths = torch.randint(2, 20, (job.config["prompts"],), generator=draws)
    prompts = [torch.randint(5, len(tokenizer()), (int(length),), generator=draws) for length in lengths]
    plain = SpeculativeGenerator(Decoder(model)).generate(prompts, params)
    scheduler = StaticScheduler(TreePolicy(4, 3, 16))
    drafted = SpeculativeGenerator(Decoder(model), SmallLMDraft(copy), scheduler).generate(prompts, params)
    differs = torch.cat(plain.tokens) != torch.cat(drafted.tokens)
    tau = np.array([drafted.stats.acceptance_length])
    return Record({"tau": tau}, {"differs": differs.double().numpy()[None]})


def _instance(rng: np.random.Generator) -> tuple[Float[np.ndarray, "1 N"], Bool[np.ndarray, "1 N"]]:
    """L of every node of a random target and the leaves of a random tree."""
    target = random_target(rng)
    return target.length[None], leaves(target, random_tree(rng, target))[None]
