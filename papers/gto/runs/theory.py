"""Theorem 1 taken apart, and the expectation that the reward stands for, exactly (claims C9 to C11).

What survives of Theorem 1: the reward lies within log N / η of the longest branch; it rises with each L_i on
a fixed topology; a rise beyond the slack raises the longest branch. What does not: a rise of the reward does
not in general raise the expected length.

Targets are small enough to enumerate every path and every outcome of both verifiers. A target is a full tree
of conditional distributions over V tokens, D levels deep. Node 0 is the root (the empty continuation); node v
has the children V·v + 1 … V·v + V, one per token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from common.study.jobs import Job, Record
from papers.gto.tree_reward import MODES, Mode, aggregate

SIZE, TOKENS, DEPTH, CONCENTRATION = 8, 3, 3, 0.5
ETAS = (0.5, 1.0, 4.0)
TIE = 1e-12
Block = tuple[int, ...]
"""Tokens that one cycle emits: the accepted ones and the target's own."""


@dataclass(frozen=True)
class Target:
    """A target over a prefix tree.

    Attributes:
        conditional: ``conditional[v, a]``: probability of token a after node v; one row more level than the
            tree has draft levels, so that the token after a full path has a distribution.
        depth: D, levels of draft tokens.
    """

    conditional: Float[np.ndarray, "M V"]
    depth: int

    @property
    def tokens(self) -> int:
        """V."""
        return self.conditional.shape[1]

    @property
    def nodes(self) -> int:
        """Nodes of the tree without the root."""
        return sum(self.tokens**level for level in range(1, self.depth + 1))

    @cached_property
    def parent(self) -> Int[np.ndarray, " N"]:
        """Parent of each node but the root, in node numbers."""
        return (np.arange(1, self.nodes + 1) - 1) // self.tokens

    @cached_property
    def path(self) -> Float[np.ndarray, " N+1"]:
        """Probability of the path to each node; 1 at the root."""
        path = np.ones(self.nodes + 1)
        for node in range(1, self.nodes + 1):
            above, token = divmod(node - 1, self.tokens)
            path[node] = path[above] * self.conditional[above, token]
        return path

    @cached_property
    def length(self) -> Float[np.ndarray, " N+1"]:
        """L of the branch that ends in each node, 0 at the root (Eq. 3)."""
        length = np.zeros(self.nodes + 1)
        for node in range(1, self.nodes + 1):
            length[node] = length[(node - 1) // self.tokens] + self.path[node]
        return length


Tree = Bool[np.ndarray, " N+1"]
"""Which nodes of a target a draft tree holds, the root among them."""


def random_target(
    rng: np.random.Generator, tokens: int = TOKENS, depth: int = DEPTH, concentration: float = CONCENTRATION
) -> Target:
    """Conditional distributions drawn from a symmetric Dirichlet."""
    rows = sum(tokens**level for level in range(depth + 1))
    return Target(rng.dirichlet(np.full(tokens, concentration), size=rows), depth)


def random_tree(rng: np.random.Generator, target: Target, size: int = SIZE) -> Tree:
    """An ancestor-closed set of `size` nodes and the root, grown by one uniformly drawn child at a time."""
    chosen = np.zeros(target.nodes + 1, dtype=bool)
    chosen[0] = True
    while chosen.sum() <= size:
        available = np.flatnonzero(~chosen[1:] & chosen[target.parent]) + 1
        chosen[available[rng.integers(len(available))]] = True
    return chosen


def leaves(target: Target, chosen: Tree) -> Tree:
    """Chosen nodes without chosen children, the root never."""
    inner = np.zeros_like(chosen)
    inner[target.parent[chosen[1:]]] = True
    return chosen & ~inner & (np.arange(len(chosen)) > 0)


def children(target: Target, chosen: Tree, node: int) -> list[int]:
    """Chosen children of a node."""
    if node > (target.nodes - 1) // target.tokens:
        return []
    first = target.tokens * node + 1
    return [child for child in range(first, first + target.tokens) if chosen[child]]


def node_sum(target: Target, chosen: Tree) -> float:
    """Closed form of the expected number of accepted draft tokens: Σ_v Π T(u)."""
    return float(target.path[1:][chosen[1:]].sum())


def matching_outcomes(target: Target, chosen: Tree, node: int = 0) -> Iterator[tuple[Block, float]]:
    """Every block that token matching emits below a node, with its probability.

    The target draws a token at the node; a draw among the node's chosen children is accepted.
    """
    below = {(child - 1) % target.tokens: child for child in children(target, chosen, node)}
    for token, chance in enumerate(target.conditional[node]):
        if token not in below:
            yield (token,), float(chance)
            continue
        for block, rest in matching_outcomes(target, chosen, below[token]):
            yield (token, *block), float(chance) * rest


def rejection_outcomes(target: Target, chosen: Tree, node: int = 0) -> Iterator[tuple[Block, float]]:
    """Every block that recursive rejection emits below a node, with its probability.

    Children are tried in order; each is accepted with its probability under the residual, or removed from it.
    """
    residual, reached = target.conditional[node].copy(), 1.0
    for child in children(target, chosen, node):
        token = (child - 1) % target.tokens
        accept = residual[token] / residual.sum()
        for block, rest in rejection_outcomes(target, chosen, child):
            yield (token, *block), reached * float(accept) * rest
        reached *= 1 - float(accept)
        residual[token] = 0.0
        if residual.sum() == 0:
            return
    for token, chance in enumerate(residual / residual.sum()):
        if chance > 0:
            yield (token,), reached * float(chance)


def accepted_length(outcomes: Iterable[tuple[Block, float]]) -> float:
    """Expected accepted draft tokens: those of a block without the target's own."""
    return sum(chance * (len(block) - 1) for block, chance in outcomes)


def block_probability(target: Target, block: Block) -> float:
    """The target's own probability of a block of tokens."""
    node, probability = 0, 1.0
    for token in block:
        probability *= float(target.conditional[node, token])
        node = target.tokens * node + token + 1
    return probability


def rewards(
    lengths: Float[np.ndarray, "B N"], mask: Bool[np.ndarray, "B N"], mode: Mode = "lse", eta: float = 1.0
) -> Float[np.ndarray, " B"]:
    """`aggregate` on numpy arrays in float64."""
    return aggregate(torch.from_numpy(lengths), torch.from_numpy(mask), mode, eta).numpy()


# What jobs run


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
        chosen = random_tree(rng, target)
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


def _likelier(target: Target, chosen: Tree, leaf: int) -> Target | None:
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
    for name, chosen in trees.items():
        reward = rewards(target.length[None], leaves(target, chosen)[None])
        expected = np.array([accepted_length(matching_outcomes(target, chosen))])
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
            chosen = random_tree(rng, target)
            lengths.append(target.length)
            ends.append(leaves(target, chosen))
            expected.append(node_sum(target, chosen))
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
        for target, chosen in instances:
            blocks = list(outcomes(target, chosen))
            length.append(accepted_length(blocks) - node_sum(target, chosen))
            errors = [abs(chance - block_probability(target, block)) for block, chance in blocks]
            law.append(max(*errors, abs(sum(chance for _, chance in blocks) - 1)))
        parts.append(({"verifier": rule}, Record({}, {"length": np.array([length]), "law": np.array([law])})))
    return Record(parts=parts)


def _instance(rng: np.random.Generator) -> tuple[Float[np.ndarray, "1 N"], Bool[np.ndarray, "1 N"]]:
    """L of every node of a random target and the leaves of a random tree."""
    target = random_target(rng)
    return target.length[None], leaves(target, random_tree(rng, target))[None]
