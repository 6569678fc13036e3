"""Theorem 1 taken apart, and the expectation that the reward stands for, exactly (claims C9 to C11).

Each entry point takes a job and returns a record with one row per seed. What survives of Theorem 1: the
reward lies within log N / η of the longest branch; it rises with each L_i on a fixed topology; a rise
beyond the slack raises the longest branch. What does not: a rise of the reward does not in general raise
the expected length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from common.study.jobs import Job, Record
from papers.gto.runs.enumeration import (
    Target,
    block_probability,
    leaves,
    matching_outcomes,
    node_sum,
    random_target,
    random_tree,
    rejection_outcomes,
)
from papers.gto.tree_reward import MODES, Mode, aggregate

SIZE, TOKENS, DEPTH, CONCENTRATION = 8, 3, 3, 0.5
ETAS = (0.5, 1.0, 4.0)
TIE = 1e-12


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
        lengths, mask, eta = *_drawn(rng), ETAS[index % len(ETAS)]
        reward, longest = rewards(lengths, mask, eta=eta)[0], rewards(lengths, mask, "max")[0]
        slack = np.log(mask.sum()) / eta
        worst.append(max(0.0, longest - reward, reward - longest - slack))
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
        target = random_target(rng, TOKENS, DEPTH, CONCENTRATION)
        chosen = random_tree(rng, target, SIZE)
        ends = leaves(target, chosen)
        leaf = int(rng.choice(np.flatnonzero(ends)))
        raised = target.length.copy()
        raised[leaf] += rng.uniform(0.01, 0.5)
        coordinate.append(float(not _rises(target.length, raised, ends)))
        likelier = _likelier(target, chosen, leaf)
        if likelier is not None:
            rises = _rises(target.length, likelier.length, ends)
            both.append(float(not rises or node_sum(likelier, chosen) <= node_sum(target, chosen)))
    return Record({}, {"coordinate": np.array([coordinate]), "expectation": np.array([both])})


def _rises(
    before: Float[np.ndarray, " N"], after: Float[np.ndarray, " N"], ends: Bool[np.ndarray, " N"]
) -> bool:
    low, high = rewards(np.stack([before, after]), np.stack([ends, ends]))
    return bool(high > low)


def _likelier(target: Target, chosen: Bool[np.ndarray, " N"], leaf: int) -> Target | None:
    """The target with half of the mass of the leaf's siblings outside the tree moved to it.

    None where there is no such mass to speak of, or no path to the leaf.
    """
    above, token = divmod(leaf - 1, target.tokens)
    first = target.tokens * above + 1
    outside = [place for place in range(target.tokens) if not chosen[first + place]]
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
        (first, ends), (second, others) = _drawn(rng), _drawn(rng)
        low, high = rewards(first, ends, eta=eta)[0], rewards(second, others, eta=eta)[0]
        longest, longest_after = rewards(first, ends, "max")[0], rewards(second, others, "max")[0]
        if high - low > np.log(others.sum()) / eta - (low - longest):
            failed.append(float(longest_after <= longest))
    return Record({}, {"failed": np.array([failed])})


def counterexample(_job: Job, _workspace: Path) -> Record:
    """Two trees of one prefix: the reward rises from A to B, the expected accepted length falls.

    Root distribution (.48, .38, .10, .02, .02). A has the three likeliest as leaves; B has only the first,
    with three children of probability .02 each. A+ has a .02 child under A's third leaf, so that A+ and B
    have as many nodes.
    """
    target = counterexample_target()
    scalars: dict[str, Float[np.ndarray, " S"]] = {}
    for name, nodes in COUNTEREXAMPLE.items():
        chosen = np.zeros(target.nodes + 1, dtype=bool)
        chosen[[0, *nodes]] = True
        reward = rewards(target.length[None], leaves(target, chosen)[None])
        outcomes = list(matching_outcomes(target, chosen))
        expected = sum(chance * (len(block) - 1) for block, chance in outcomes)
        scalars |= {f"reward/{name}": reward, f"expected/{name}": np.array([expected])}
    return Record(scalars)


COUNTEREXAMPLE = {"A": (1, 2, 3), "A+": (1, 2, 3, 16), "B": (1, 6, 7, 8)}


def counterexample_target() -> Target:
    """Five tokens, two levels; after each token the first four have .02."""
    below = np.tile([0.02, 0.02, 0.02, 0.02, 0.92], (30, 1))
    return Target(np.concatenate([[[0.48, 0.38, 0.10, 0.02, 0.02]], below]), 2)


def discordance(job: Job, _workspace: Path) -> Record:
    """Share of pairs of trees of one prefix in which reward and expectation move in opposite directions.

    Config: `draws`. Emits a share per aggregator; ties count as agreement.
    """
    shares: dict[str, list[float]] = {mode: [] for mode in MODES}
    for seed in job.seeds:
        rng = np.random.default_rng(seed)
        lengths, masks, expected = [], [], []
        for _ in range(int(job.config["draws"])):
            target = random_target(rng, TOKENS, DEPTH, CONCENTRATION)
            for _ in range(2):
                chosen = random_tree(rng, target, SIZE)
                lengths.append(target.length)
                masks.append(leaves(target, chosen))
                expected.append(node_sum(target, chosen))
        change = np.diff(np.reshape(expected, (-1, 2)), axis=1)[:, 0]
        for mode in MODES:
            if mode == "node_sum":
                found = np.array(expected)
            else:
                found = rewards(np.stack(lengths), np.stack(masks), mode)
            moved = np.diff(found.reshape(-1, 2), axis=1)[:, 0]
            shares[mode].append(
                float(((moved * change < 0) & (abs(moved) > TIE) & (abs(change) > TIE)).mean())
            )
    return Record({f"discordance/{mode}": np.array(values) for mode, values in shares.items()})


def verifiers(job: Job, _workspace: Path) -> Record:
    """Both verifiers, every outcome enumerated, on random trees.

    Config: `draws`. Emits per tree and verifier: `length`, the expected number of accepted tokens minus the
    node sum; `law`, the largest difference between the probability of a block and the target's own, or of
    all blocks and 1.
    """
    rng = np.random.default_rng(job.seeds[0])
    rules = {"matching": matching_outcomes, "rejection": rejection_outcomes}
    series: dict[str, list[float]] = {f"{name}/{rule}": [] for rule in rules for name in ("length", "law")}
    for _ in range(int(job.config["draws"])):
        target = random_target(rng, TOKENS, DEPTH, CONCENTRATION)
        chosen = random_tree(rng, target, int(rng.integers(1, SIZE + 1)))
        for rule, outcomes in rules.items():
            blocks = list(outcomes(target, chosen))
            expected = sum(chance * (len(block) - 1) for block, chance in blocks)
            series[f"length/{rule}"].append(expected - node_sum(target, chosen))
            errors = [abs(chance - block_probability(target, block)) for block, chance in blocks]
            errors.append(abs(sum(chance for _, chance in blocks) - 1))
            series[f"law/{rule}"].append(max(errors))
    return Record({}, {name: np.array([values]) for name, values in series.items()})


def _drawn(rng: np.random.Generator) -> tuple[Float[np.ndarray, "1 N"], Bool[np.ndarray, "1 N"]]:
    """L of every node of a random target and the leaves of a random tree."""
    target = random_target(rng, TOKENS, DEPTH, CONCENTRATION)
    return target.length[None], leaves(target, random_tree(rng, target, SIZE))[None]
