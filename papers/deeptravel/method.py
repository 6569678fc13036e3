"""DeepTravel: a hierarchical reward, and the replay of failed queries (arXiv:2509.21842).

An itinerary is judged as a whole first, and only if it could be travelled, each of its details is compared
with what the tools have returned; any failure gives zero. Queries that every rollout has failed go into a
buffer and are asked again now and then. Neither the paper's text nor its code was available: what its
abstract does not say is an option here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from scipy import stats

from common.tasks.travel import PARTS, Plan, Query, parse
from common.tasks.travel.verification import FAILED, Seen, Verdict, feasible, supported

Aggregation = Literal["all", "mean"]
Kind = Literal["product", "mean", "trajectory", "turn", "permuted", "shuffled"]
Replay = Literal["", "failures", "random", "solved"]
KINDS, REPLAYS = get_args(Kind), get_args(Replay)

# The reward


class HierarchicalReward:
    """r = R_traj Π_k R_turn(k), a `common.tasks.travel.verification.Judge` that counts what it asks.

    Args:
        trajectory: R_traj of a query and an itinerary.
        turn: R_turn of one part, from what the tools have returned in the episode.
        aggregation: ``"all"`` is the product over parts, ``"mean"`` their mean.
        early_exit: Ask for turns only where R_traj = 1, and with ``"all"`` no further than the first failure;
            the reward is the same. Without, a verdict is complete.

    Attributes:
        calls: Of each verifier, ``"trajectory"`` and ``"turn"``.
    """

    def __init__(
        self,
        trajectory: Callable[[Query, Plan], bool] = feasible,
        turn: Callable[[int, Query, Plan, Seen], bool] = supported,
        aggregation: Aggregation = "all",
        early_exit: bool = True,
    ) -> None:
        self.trajectory, self.turn = trajectory, turn
        self.aggregation, self.early_exit = aggregation, early_exit
        self.calls: Counter[str] = Counter()

    def __call__(self, query: Query, text: str, seen: Seen) -> Verdict:
        """The verdict on an answer; a text that is no itinerary gets nothing, and nobody is asked."""
        plan = parse(text)
        if plan is None:
            return FAILED
        self.calls["trajectory"] += 1
        passed = self.trajectory(query, plan)
        turns: list[bool] = []
        for part in range(len(PARTS)):
            if self.early_exit and (not passed or (self.aggregation == "all" and not all(turns))):
                break
            self.calls["turn"] += 1
            turns.append(self.turn(part, query, plan, seen))
        return Verdict(aggregated(passed, turns, self.aggregation), passed, tuple(turns), well_formed=True)


def aggregated(trajectory: bool, turns: Sequence[bool], aggregation: Aggregation = "all") -> float:
    """Scalar reward of both levels; parts that were not asked for are no failures."""
    if not trajectory:
        return 0.0
    return float(all(turns)) if aggregation == "all" else sum(turns) / len(turns)


def turn_calls(verdict: Verdict) -> int:
    """How often the turn verifier has to be asked: not below R_traj = 1, and up to the first failure."""
    if not verdict.trajectory:
        return 0
    return verdict.turns.index(False) + 1 if False in verdict.turns else len(verdict.turns)


def flipped(verifier: Callable[..., bool], rate: float, dice: np.random.Generator) -> Callable[..., bool]:
    """A noisy judge: the verifier's word, turned round with a probability, as a language model's may be."""
    return lambda *asked: verifier(*asked) != bool(dice.random() < rate)


def rewards_of(
    verdicts: Sequence[Verdict], kind: Kind, group: int, dice: np.random.Generator
) -> Float[np.ndarray, " N"]:
    """Rewards of a batch in group order, from complete verdicts.

    ``"product"``, ``"mean"`` (of the turns), ``"trajectory"`` and ``"turn"`` are the method and its parts.
    Two controls carry as many rewards as the product and less information: ``"permuted"`` deals the turn
    verdicts anew among the itineraries that pass R_traj, ``"shuffled"`` the products within their group.
    """
    trajectory = np.array([verdict.trajectory for verdict in verdicts], dtype=float)
    turn = np.array([verdict.consistent for verdict in verdicts], dtype=float)
    if kind == "trajectory":
        return trajectory
    if kind == "turn":
        return turn
    if kind == "mean":
        return np.array([aggregated(each.trajectory, each.turns, "mean") for each in verdicts])
    if kind == "permuted":
        passed = np.flatnonzero(trajectory)
        turn[passed] = dice.permutation(turn[passed])
    product = trajectory * turn
    return dice.permuted(product.reshape(-1, group), axis=1).reshape(-1) if kind == "shuffled" else product


# Replay


@dataclass
class ReplayBuffer:
    """Queries to ask again: failures, or for comparison whatever was asked, or what was solved.

    Attributes:
        kind: Which queries come in.
        admit: A query has failed if its group's mean reward is at most this (0: all rollouts fail).
        evict: A replayed failure leaves at this mean reward.
        tries: It also leaves after so many replays, so that what cannot be solved does not fill the buffer;
            0 keeps it.
        capacity: The oldest leave first.
        items: Query to its replays so far.
    """

    kind: Replay = "failures"
    admit: float = 0.0
    evict: float = 0.5
    tries: int = 6
    capacity: int = 512
    items: dict[Any, int] = field(default_factory=dict)

    def update(self, query: Any, reward: float) -> None:
        """Take in a group's mean reward, of a query of the stream or of a replay."""
        if query in self.items:
            self.items[query] += 1
            done = self.kind == "failures" and reward >= self.evict
            if done or (self.tries and self.items[query] >= self.tries):
                del self.items[query]
        elif {"failures": reward <= self.admit, "solved": reward >= self.evict, "random": True}[self.kind]:
            self.items[query] = 0
            if len(self.items) > self.capacity:
                del self.items[next(iter(self.items))]

    def draw(self, count: int, dice: np.random.Generator) -> list[Any]:
        """Different queries, at most so many."""
        held = list(self.items)
        return [held[place] for place in dice.permutation(len(held))[:count]]

    @property
    def network(self) -> None:
        """There is none: a checkpoint keeps a list."""

    def state_dict(self) -> dict[str, Any]:
        """Queries and replays, in their order."""
        return {"items": list(self.items.items())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.items = dict(state["items"])


# What replay can do for a group baseline, in closed form

Rates = Float[np.ndarray, " P"]
"""Pass rates of queries."""


def informative(rate: Rates, group: int = 8) -> Rates:
    """h(p) = 1 - p^G - (1-p)^G: the probability that rewards of a group differ, so that it teaches."""
    return 1 - rate**group - (1 - rate) ** group


def admitted(rate: Rates, group: int = 8, admit: float = 0.0) -> Rates:
    """a(p): the probability that a group's mean reward is at most `admit`; (1-p)^G for 0."""
    return stats.binom.cdf(np.floor(admit * group + 1e-9), group, rate)


def evicted(rate: Rates, group: int = 8, evict: float = 0.5) -> Rates:
    """e(p): the probability that a replay succeeds, Pr(Bin(G, p) >= θ_out G)."""
    return stats.binom.sf(np.ceil(evict * group - 1e-9) - 1, group, rate)


def expected_replays(rate: Rates, group: int = 8, evict: float = 0.5, tries: int = 6) -> Rates:
    """V(p) = Σ_{j=1..J} (1-e)^(j-1): how often an admitted query is replayed before it leaves."""
    stays = 1 - evicted(rate, group, evict)
    return np.sum([stays**earlier for earlier in range(tries)], axis=0)


def replayed_density(
    rate: Rates, stream: Rates, group: int = 8, admit: float = 0.0, evict: float = 0.5, tries: int = 6
) -> Rates:
    """q ∝ f a V, the weights of pass rates among replays in the steady state; they sum to 1.

    Replay raises the share of informative groups where E_q[h] > E_f[h]: where most of the stream is solved.
    It lowers it for a stream of middling rates, and where failures are hopeless.
    """
    weight = stream * admitted(rate, group, admit) * expected_replays(rate, group, evict, tries)
    return weight / weight.sum()


def supplied(rate: Rates, stream: Rates, group: int = 8, evict: float = 0.5, tries: int = 6) -> float:
    """The largest share of replays that the failures of a stream can fill: s / (1 + s), where a query of the
    stream brings s = E_f[a V] replays.
    """
    replays = float(stream @ (admitted(rate, group) * expected_replays(rate, group, evict, tries)))
    return replays / (stream.sum() + replays)


Law = Sequence[tuple[float, float, float]]
"""A mixture of beta laws of pass rates: weight, and both parameters."""


def density(law: Law, rate: Rates) -> Rates:
    """Weights of pass rates under a law; they sum to 1."""
    parts = [stats.beta.pdf(rate, a, b) for _, a, b in law]
    return np.sum([weight * part / part.sum() for (weight, *_), part in zip(law, parts, strict=True)], axis=0)


def drawn(law: Law, count: int, dice: np.random.Generator) -> Rates:
    """Pass rates of so many queries."""
    kinds = dice.choice(len(law), size=count, p=[weight for weight, *_ in law])
    return dice.beta(*np.array([(a, b) for _, a, b in law])[kinds].T)
