"""A draft too small for its target: how much longer could its trees be, and what does GTO find?

The target is a table: C contexts, from each of which a prefix tree of V tokens and D levels hangs, with a
conditional distribution at every prefix. The draft's logits are a matrix of rank r over all prefixes of all
contexts, so at small r it cannot match the target everywhere, and what it gives up decides its trees. At full
rank cross-entropy alone reaches the best trees. Worlds of many seeds, and arms, are trained in one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from common.speculative.tabular import World, greedy_paths, random_world, trees
from common.study.jobs import Job, Record
from papers.gto.tree_reward import MODES, Mode, aggregate, group_advantages, gto_loss, path_ratio

EPSILON = 0.2
ARMS = ("continual", "gto", "shuffled", "flipped", "uniform", "prefix", "max", "average", "node_sum")
SLOPES = ("gto", "shuffled", "uniform", "token")
TREES, NOISE = 8, 0.3  # of the group of one prefix; spread of the noise, in logits or in weights
DRAWS = 400  # of the noise that a slope is the mean over


def tree_rewards(
    world: World, log_q: Float[np.ndarray, "B M V"], mode: Mode = "node_sum"
) -> Float[np.ndarray, " B"]:
    """Draft tree reward of each context; `node_sum` is the expected number of accepted draft tokens."""
    inside = trees(world, log_q)
    if mode == "node_sum":
        return (world.path * inside)[:, 1:].sum(axis=1)
    rows, nodes = np.nonzero(inside[:, 1:])
    leaves = inside.copy()
    leaves[rows, world.parent[nodes]] = False
    return aggregate(torch.from_numpy(world.length), torch.from_numpy(leaves), mode).numpy()


@dataclass
class Draft:
    """Drafts with logits U Wᵀ of rank r, one for each of R worlds.

    Attributes:
        left: U, one row per prefix of every context.
        right: W, one row per token.
    """

    left: Float[torch.Tensor, "R CM r"]
    right: Float[torch.Tensor, "R V r"]

    @classmethod
    def random(cls, contexts: World, rank: int, rngs: Sequence[np.random.Generator]) -> Draft:
        """Small random factors; the contexts are those of as many worlds as there are generators."""
        rows = contexts.conditional[..., 0].size // len(rngs)
        drawn = [[0.3 * rng.normal(size=(n, rank)) for n in (rows, contexts.tokens)] for rng in rngs]
        return cls(*(torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True)))

    def repeated(self, times: int) -> Draft:
        """All of them so many times in turn."""
        return Draft(self.left.repeat(times, 1, 1), self.right.repeat(times, 1, 1))

    def log_q(self, world: World) -> torch.Tensor:
        """Log-probabilities, shape (B, M, V)."""
        return torch.log_softmax((self.left @ self.right.mT).view(world.conditional.shape), dim=-1)

    def expected_length(self, world: World) -> Float[np.ndarray, " R"]:
        """Expected accepted draft tokens of the trees at temperature 1, mean over the contexts of a world."""
        return tree_rewards(world, self.log_q(world).numpy()).reshape(len(self.left), -1).mean(axis=1)

    def moved(self, size: float, noise: Draft) -> Draft:
        """Weights plus so many times those of another draft."""
        return Draft(self.left + size * noise.left, self.right + size * noise.right)

    def noise(self, rngs: Sequence[np.random.Generator]) -> Draft:
        """Standard normal weights of the same shapes; worlds take turns of the generators."""
        drawn = [[rng.normal(size=part.shape[1:]) for part in (self.left, self.right)] for rng in rngs]
        left, right = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        return Draft(left, right).repeated(len(self.left) // len(rngs))


Loss = Callable[[torch.Tensor], torch.Tensor]
"""Log-probabilities (B, M, V) to one loss per world."""


def cross_entropy(world: World, log_q: torch.Tensor) -> Float[torch.Tensor, " B"]:
    """Soft cross-entropy of each context, prefixes weighted by how often the target visits them."""
    weights = world.path[:, : world.conditional.shape[1], None] * world.conditional
    return -(torch.from_numpy(weights) * log_q).sum(dim=(1, 2))


def train(world: World, draft: Draft, steps: int, rate: float, loss: Loss) -> Draft:
    """A trained copy of the drafts, by Adam; what one of them learns does not depend on the others."""
    trained = Draft(*(part.clone().requires_grad_() for part in (draft.left, draft.right)))
    optimizer = torch.optim.Adam([trained.left, trained.right], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(trained.log_q(world)).sum().backward()
        optimizer.step()
    return Draft(trained.left.detach(), trained.right.detach())


def gradient(world: World, draft: Draft, loss: Loss) -> Draft:
    """Gradient of each world's loss in its own draft's weights, of length 1."""
    parts = [part.clone().requires_grad_() for part in (draft.left, draft.right)]
    left, right = torch.autograd.grad(loss(Draft(*parts).log_q(world)).sum(), parts)
    norm = ((left**2).sum(dim=(1, 2)) + (right**2).sum(dim=(1, 2))).sqrt().clamp(min=1e-12)[:, None, None]
    return Draft(left / norm, right / norm)


class PhaseTwo:
    """The losses of Phase II, for drafts of every arm and seed at once; contexts of a world are the group.

    Args:
        world: Contexts of all seeds.
        reference: Drafts of Phase I.
        arms: Arms, which come in turn, each with all seeds.
        seeds: Of the draws.
    """

    def __init__(self, world: World, reference: Draft, arms: Sequence[str], seeds: Sequence[int]) -> None:
        self.arms, self.world, self.all = arms, world, world.repeated(len(arms))
        self.seeds, self.contexts = len(seeds), len(world.conditional) // len(seeds)
        self.log_reference = reference.repeated(len(arms)).log_q(self.all)
        self.rngs = [np.random.default_rng((seed, 1)) for seed in seeds]
        self.many = world.repeated(1, TREES)
        log_q = reference.log_q(world).numpy()
        self.base = {mode: tree_rewards(world, log_q, mode) for mode in MODES}

    def token(self, log_q: torch.Tensor) -> Float[torch.Tensor, " R"]:
        """Cross-entropy, mean over contexts."""
        return cross_entropy(self.all, log_q).view(-1, self.contexts).mean(dim=1)

    def gto(self, log_q: torch.Tensor) -> Float[torch.Tensor, " R"]:
        """L_GTO (Eq. 11) or what an arm has in its place; 0 for token training."""
        values = log_q.detach().numpy()
        nodes, lengths = greedy_paths(self.all, trees(self.all, values))
        rows, edges = torch.arange(len(nodes))[:, None], torch.from_numpy(nodes - 1)
        log_m, log_0 = (part.flatten(1)[rows, edges] for part in (log_q, self.log_reference))
        ratio = path_ratio(log_m, log_0, torch.from_numpy(lengths)).view(len(self.arms), self.seeds, -1)
        losses = []
        for index, arm in enumerate(self.arms):
            own = slice(index * len(self.world.conditional), (index + 1) * len(self.world.conditional))
            if arm == "continual":
                losses.append(torch.zeros(self.seeds, dtype=torch.float64))
            elif arm == "prefix":
                losses.append(self.prefix(log_q[own]))
            else:
                losses.append(_per_world(ratio[index], self.advantages(arm, values[own])))
        return torch.cat(losses)

    def advantages(self, arm: str, log_q: Float[np.ndarray, "B M V"]) -> Float[torch.Tensor, "S C"]:
        """Of the contexts of one arm; `uniform` does not look at rewards."""
        mode: Mode = next((mode for mode in MODES if mode == arm), "lse")
        debiased = torch.from_numpy(tree_rewards(self.world, log_q, mode) - self.base[mode])
        own = _standardised(debiased.view(self.seeds, -1))
        if arm == "shuffled":
            order = np.stack([rng.permutation(self.contexts) for rng in self.rngs])
            return own.gather(1, torch.from_numpy(order))
        if arm == "flipped":
            return -own
        return torch.ones_like(own) if arm == "uniform" else own

    def prefix(self, log_q: torch.Tensor) -> Float[torch.Tensor, " S"]:
        """An alternative of ours: the group is several trees of one prefix, grown from noisy logits.

        The likelihood is that of what was drawn, the noise, so its gradient is that of the smoothed reward.
        """
        shape = (self.contexts, TREES, *log_q.shape[1:])
        noise = torch.from_numpy(np.stack([rng.normal(size=shape) for rng in self.rngs])).flatten(0, 1)
        drawn = (log_q.detach()[:, None] + NOISE * noise).flatten(0, 1).numpy()
        rewards = torch.from_numpy(tree_rewards(self.many, drawn, "lse")).view(-1, TREES)
        surrogate = (noise * log_q[:, None]).sum(dim=(2, 3)) * _standardised(rewards)
        return -surrogate.view(self.seeds, -1).mean(dim=1)


def _standardised(rewards: Float[torch.Tensor, "G m"]) -> Float[torch.Tensor, "G m"]:
    return group_advantages(rewards[:, None], torch.ones_like(rewards[:, None], dtype=torch.bool))[:, 0]


def _per_world(ratio: Float[torch.Tensor, "S C"], advantages: torch.Tensor) -> Float[torch.Tensor, " S"]:
    one = torch.ones(1, 1, ratio.shape[1], dtype=torch.bool)
    pairs = zip(ratio[:, None, None], advantages[:, None, None], strict=True)
    return torch.stack([gto_loss(*pair, one, EPSILON) for pair in pairs])


def tuned(world: World, first: Draft, seeds: Sequence[int], steps: int, rate: float, omega: float) -> Draft:
    """Drafts of Phase I tuned by every arm of Phase II, arm after arm, with the same draws."""
    phase, start = PhaseTwo(world, first, ARMS, seeds), first.repeated(len(ARMS))
    return train(phase.all, start, steps, rate, lambda log_q: phase.token(log_q) + omega * phase.gto(log_q))


def phase_one(world: World, rank: int, steps: int, rate: float, rngs: Sequence[np.random.Generator]) -> Draft:
    """Drafts trained by cross-entropy, one for each generator's world."""
    start, contexts = Draft.random(world, rank, rngs), len(world.conditional) // len(rngs)
    return train(world, start, steps, rate, lambda log_q: cross_entropy(world, log_q) / contexts)


def target_length(world: World) -> Float[np.ndarray, " B"]:
    """Expected accepted draft tokens of trees grown from the target itself."""
    return tree_rewards(world, np.log(world.conditional + 1e-12))


def climb(
    world: World, draft: Draft, steps: int, rngs: Sequence[np.random.Generator]
) -> Float[np.ndarray, " R"]:
    """Best expected lengths that random changes of drafts' factors find; only improvements are kept."""
    best, value = draft, draft.expected_length(world)
    for step in range(steps):
        noise = best.noise(rngs)
        other = best.moved(0.5 * 0.02 ** (step / steps), noise)
        if step % 2:
            other.right = best.right
        length = other.expected_length(world)
        better = torch.from_numpy(length >= value)[:, None, None]
        left, right = ((other.left, best.left), (other.right, best.right))
        best = Draft(torch.where(better, *left), torch.where(better, *right))
        value = np.maximum(value, length)
    return value


def slopes(
    world: World, first: Draft, at: Draft, seeds: Sequence[int], draws: int = DRAWS
) -> dict[str, Float[np.ndarray, " S"]]:
    """How fast the expected accepted length of drafts rises down the gradient of a loss.

    Trees change in jumps, so the length is smoothed: its mean over normal noise of spread `NOISE` in the
    weights, the same on both sides of a central difference as wide as that.

    Returns:
        Accepted tokens per unit of weights by `SLOPES`: the GTO loss alone with its own, shuffled and uniform
        advantages, and the token loss.
    """
    phase = PhaseTwo(world, first, SLOPES[:-1], seeds)
    down = gradient(phase.all, at.repeated(len(SLOPES) - 1), phase.gto)
    token = gradient(world, at, lambda log_q: cross_entropy(world, log_q))
    every, places = world.repeated(len(SLOPES)), at.repeated(len(SLOPES))
    direction = Draft(torch.cat([down.left, token.left]), torch.cat([down.right, token.right]))
    total = np.zeros(len(places.left))
    for _ in range(draws):
        near = places.moved(NOISE, at.noise(phase.rngs).repeated(len(SLOPES)))
        ahead, behind = (near.moved(-side * NOISE, direction).expected_length(every) for side in (1, -1))
        total += (ahead - behind) / (2 * NOISE)
    return dict(zip(SLOPES, (total / draws).reshape(len(SLOPES), -1), strict=True))


def study(job: Job, _workspace: Path) -> Record:
    """Entry point: Phase I, every arm of Phase II, the best trees that climbing finds, the target's own.

    Config: `contexts`, `tokens`, `depth`, `rank`, `phase_one`, `phase_two` (steps), `rate_one`, `rate_two`,
    `omega`, `climbs`, `restarts`, `draws` (of a slope).

    Emits parts by `arm`: `accepted`, the expected accepted tokens, of ``cross_entropy`` (after Phase I), each
    of `ARMS`, ``best`` (largest found at this rank) and ``target`` (trees grown from the target); `slope` of
    each of `SLOPES`, where GTO has led.
    """
    torch.set_num_threads(1)
    config, seeds = job.config, job.seeds
    rngs = [np.random.default_rng(seed) for seed in seeds]
    shape = config["contexts"], config["tokens"], config["depth"]
    world = World.joined([random_world(rng, *shape) for rng in rngs])
    first = phase_one(world, config["rank"], config["phase_one"], config["rate_one"], rngs)
    later = tuned(world, first, seeds, config["phase_two"], config["rate_two"], config["omega"])
    lengths = {"cross_entropy": first.expected_length(world)}
    each = later.expected_length(world.repeated(len(ARMS))).reshape(len(ARMS), -1)
    lengths |= dict(zip(ARMS, each, strict=True))
    starts = [first, *(Draft.random(world, config["rank"], rngs) for _ in range(config["restarts"]))]
    found = [climb(world, start, config["climbs"], rngs) for start in starts]
    lengths["best"] = np.max([*lengths.values(), *found], axis=0)
    lengths["target"] = target_length(world).reshape(len(seeds), -1).mean(axis=1)
    place, count = ARMS.index("gto") * len(seeds), len(seeds)
    at = Draft(later.left[place : place + count], later.right[place : place + count])
    parts = [({"arm": arm}, Record({"accepted": length})) for arm, length in lengths.items()]
    steps = slopes(world, first, at, seeds, config["draws"])
    parts += [({"arm": arm}, Record({"slope": slope})) for arm, slope in steps.items()]
    return Record(parts=parts)
