"""A draft too small for its target: how much longer could its trees be, and what does GTO find?

The target is a table: C contexts, from each of which a prefix tree of V tokens and D levels hangs, with a
conditional distribution at every prefix. The draft's logits are a matrix of rank r over all prefixes of all
contexts, so at small r it cannot match the target everywhere, and what it gives up decides its trees. At full
rank cross-entropy alone reaches the best trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from common.study.jobs import Job, Record
from papers.gto.tree_reward import MODES, Mode, aggregate, group_advantages, gto_loss, path_ratio

EPSILON = 0.2
ARMS = ("continual", "gto", "shuffled", "flipped", "max", "average", "node_sum")


@dataclass(frozen=True)
class World:
    """C contexts of V tokens and D levels, and the shape of the draft's trees.

    Attributes:
        conditional: The target, shape (C, M, V): prefix v has the children V·v + 1 … V·v + V.
        depth: D.
        top_k: Children that a node proposes, and nodes of a frontier.
        budget: Nodes kept.
    """

    conditional: Float[np.ndarray, "C M V"]
    depth: int
    top_k: int
    budget: int

    @property
    def tokens(self) -> int:
        """V."""
        return self.conditional.shape[2]

    @cached_property
    def parent(self) -> Int[np.ndarray, " N"]:
        """Parent of each node but the root."""
        return np.arange(self.tokens * self.conditional.shape[1]) // self.tokens

    @cached_property
    def path(self) -> Float[np.ndarray, "C N+1"]:
        """The target's probability of the path to each node."""
        return self.along(self.conditional, np.multiply, 1.0)

    @cached_property
    def length(self) -> Float[np.ndarray, "C N+1"]:
        """L of the branch to each node."""
        steps = self.path[:, 1:].reshape(self.conditional.shape)
        return self.along(steps, np.add, 0.0)

    def along(self, steps: Float[np.ndarray, "C M V"], join: Callable, start: float) -> np.ndarray:
        """Accumulate a value per edge from the root to every node, level by level."""
        flat = steps.reshape(len(steps), -1)
        total = np.full((len(steps), flat.shape[1] + 1), start)
        first = 1
        for level in range(1, self.depth + 1):
            nodes = np.arange(first, first + self.tokens**level)
            total[:, nodes] = join(total[:, self.parent[nodes - 1]], flat[:, nodes - 1])
            first += len(nodes)
        return total


def random_world(rng: np.random.Generator, contexts: int, tokens: int, depth: int) -> World:
    """Conditional distributions from a Dirichlet(0.5); two children a node, six nodes kept."""
    rows = sum(tokens**level for level in range(depth))
    return World(rng.dirichlet(np.full(tokens, 0.5), size=(contexts, rows)), depth, top_k=2, budget=6)


def trees(world: World, log_q: Float[np.ndarray, "C M V"]) -> Bool[np.ndarray, "C N+1"]:
    """The draft's trees, grown as decoding grows them; with the root."""
    score = world.along(log_q, np.add, 0.0)
    best = log_q.argsort(axis=-1)[..., ::-1][..., : world.top_k] + 1
    inside = np.zeros_like(score, dtype=bool)
    for row in range(len(score)):
        frontier, candidates = np.array([0]), []
        for _ in range(world.depth):
            children = (world.tokens * frontier[:, None] + best[row, frontier]).ravel()
            candidates.append(children)
            frontier = children[np.argsort(-score[row, children], kind="stable")[: world.top_k]]
        nodes = np.concatenate(candidates)
        best_nodes = nodes[np.argsort(-score[row, nodes], kind="stable")[: world.budget]]
        inside[row, best_nodes] = inside[row, 0] = True
    return inside


def expected_length(world: World, log_q: Float[np.ndarray, "C M V"]) -> float:
    """Expected accepted draft tokens of the trees at temperature 1, mean over contexts."""
    return float(tree_rewards(world, log_q, "node_sum").mean())


def ends(world: World, inside: Bool[np.ndarray, "C N+1"]) -> Bool[np.ndarray, "C N+1"]:
    """Leaves of the trees."""
    rows, nodes = np.nonzero(inside[:, 1:])
    leaf = inside.copy()
    leaf[rows, world.parent[nodes]] = False
    return leaf


def tree_rewards(world: World, log_q: Float[np.ndarray, "C M V"], mode: Mode) -> Float[np.ndarray, " C"]:
    """Draft tree reward of each context."""
    inside = trees(world, log_q)
    if mode == "node_sum":
        return (world.path * inside)[:, 1:].sum(axis=1)
    lengths, leaves = torch.from_numpy(world.length), torch.from_numpy(ends(world, inside))
    return aggregate(lengths, leaves, mode).numpy()


@dataclass
class Draft:
    """Logits U Wᵀ of rank r, trained by Adam.

    Attributes:
        left: U, one row per prefix of every context.
        right: W, one row per token.
    """

    left: torch.Tensor
    right: torch.Tensor

    @classmethod
    def random(cls, world: World, rank: int, rng: np.random.Generator) -> Draft:
        """Small random factors."""
        rows = world.conditional.shape[0] * world.conditional.shape[1]
        return cls(*(torch.from_numpy(0.3 * rng.normal(size=(n, rank))) for n in (rows, world.tokens)))

    def log_q(self, world: World) -> torch.Tensor:
        """Log-probabilities, shape (C, M, V)."""
        logits = (self.left @ self.right.T).view(world.conditional.shape)
        return torch.log_softmax(logits, dim=-1)

    def expected_length(self, world: World) -> float:
        """Expected accepted draft tokens of its trees."""
        return expected_length(world, self.log_q(world).numpy())


def cross_entropy(world: World, log_q: torch.Tensor) -> torch.Tensor:
    """Soft cross-entropy at every prefix, weighted by how often the target visits it."""
    inner = torch.from_numpy(world.path[:, : world.conditional.shape[1]])
    return -(inner[..., None] * torch.from_numpy(world.conditional) * log_q).sum() / len(inner)


def train(
    world: World, draft: Draft, steps: int, rate: float, loss: Callable[[torch.Tensor], torch.Tensor]
) -> Draft:
    """A trained copy of the draft."""
    trained = Draft(*(part.clone().requires_grad_() for part in (draft.left, draft.right)))
    parameters = [trained.left, trained.right]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(trained.log_q(world)).backward()
        optimizer.step()
    return Draft(trained.left.detach(), trained.right.detach())


def cross_entropy_draft(world: World, rank: int, steps: int, rate: float, rng: np.random.Generator) -> Draft:
    """Phase I."""
    start = Draft.random(world, rank, rng)
    return train(world, start, steps, rate, lambda log_q: cross_entropy(world, log_q))


def target_length(world: World) -> float:
    """Expected accepted draft tokens of trees grown from the target itself."""
    return expected_length(world, np.log(world.conditional + 1e-12))


def greedy_paths(
    world: World, inside: Bool[np.ndarray, "C N+1"]
) -> tuple[Int[np.ndarray, "C D"], Int[np.ndarray, " C"]]:
    """Nodes of the greedily verified path of each tree, padded, and its length."""
    nodes, lengths = np.ones((len(inside), world.depth), dtype=int), np.zeros(len(inside), dtype=int)
    for row, tree in enumerate(inside):
        node = 0
        for level in range(world.depth):
            node = world.tokens * node + 1 + int(world.conditional[row, node].argmax())
            if not tree[node]:
                break
            nodes[row, level], lengths[row] = node, level + 1
    return nodes, lengths


def phase_two(world: World, reference: Draft, arm: str, omega: float, rng: np.random.Generator) -> Callable:
    """The loss of an arm: cross-entropy, and (unless `continual`) ω L_GTO with the contexts as one group."""
    mode: Mode = next((mode for mode in MODES if mode == arm), "lse")
    log_reference = reference.log_q(world)
    base = tree_rewards(world, log_reference.numpy(), mode)
    rows = torch.arange(len(base))[:, None]

    def loss(log_q: torch.Tensor) -> torch.Tensor:
        token = cross_entropy(world, log_q)
        if arm == "continual":
            return token
        values = log_q.detach().numpy()
        debiased = torch.from_numpy(tree_rewards(world, values, mode) - base)[None, None]
        mask = torch.ones_like(debiased, dtype=torch.bool)
        advantages = group_advantages(debiased, mask)
        if arm == "shuffled":
            advantages = advantages[..., torch.from_numpy(rng.permutation(len(base)))]
        if arm == "flipped":
            advantages = -advantages
        nodes, lengths = greedy_paths(world, trees(world, values))
        edges = torch.from_numpy(nodes - 1)
        log_m, log_0 = (part.flatten(1)[rows, edges] for part in (log_q, log_reference))
        ratio = path_ratio(log_m, log_0, torch.from_numpy(lengths))
        return token + omega * gto_loss(ratio[None, None], advantages, mask, EPSILON)

    return loss


def tuned_drafts(
    world: World, first: Draft, steps: int, rate: float, omega: float, seed: int
) -> Iterator[tuple[str, Draft]]:
    """The draft of Phase I tuned by every arm of Phase II, with the same draws."""
    for arm in ARMS:
        loss = phase_two(world, first, arm, omega, np.random.default_rng((seed, 1)))
        yield arm, train(world, first, steps, rate, loss)


def climb(world: World, draft: Draft, steps: int, rng: np.random.Generator) -> float:
    """Best expected length that random changes of a draft's factors find; only improvements are kept."""
    best, value = draft, draft.expected_length(world)
    for step in range(steps):
        size = 0.5 * 0.02 ** (step / steps)
        left, right = (
            part + size * torch.from_numpy(rng.normal(size=part.shape)) for part in (best.left, best.right)
        )
        other = Draft(left, best.right if step % 2 else right)
        length = other.expected_length(world)
        if length >= value:
            best, value = other, length
    return value


def study(job: Job, _workspace: Path) -> Record:
    """Entry point: Phase I, every arm of Phase II, the best trees that climbing finds, the target's own.

    Config: `contexts`, `tokens`, `depth`, `rank`, `phase_one`, `phase_two` (steps), `rate_one`, `rate_two`,
    `omega`, `climbs`, `restarts`.

    Emits `accepted`, the expected accepted tokens, as parts by `arm`: ``cross_entropy`` (after Phase I), one
    of `ARMS`, ``best`` (largest found at this rank), ``target`` (trees grown from the target).
    """
    lengths = [dict(_one(seed, job.config)) for seed in job.seeds]
    return Record(
        parts=[
            ({"arm": arm}, Record({"accepted": np.array([length[arm] for length in lengths])}))
            for arm in lengths[0]
        ]
    )


def _one(seed: int, config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Expected accepted tokens of one seed, arm by arm."""
    rng, rank = np.random.default_rng(seed), config["rank"]
    world = random_world(rng, config["contexts"], config["tokens"], config["depth"])
    first = cross_entropy_draft(world, rank, config["phase_one"], config["rate_one"], rng)
    tuned = tuned_drafts(world, first, config["phase_two"], config["rate_two"], config["omega"], seed)
    lengths = {"cross_entropy": first.expected_length(world)}
    lengths |= {arm: draft.expected_length(world) for arm, draft in tuned}
    yield from lengths.items()
    starts = [first, *(Draft.random(world, rank, rng) for _ in range(config["restarts"]))]
    yield "best", max(*lengths.values(), *(climb(world, draft, config["climbs"], rng) for draft in starts))
    yield "target", target_length(world)
