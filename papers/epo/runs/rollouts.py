"""Episodes of a tabular agent on a lock: which rows of its logits act, what they draw, how often they count.

Rows: the symbols of form of each task, then the actions of each task and class of stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.study.errors import unknown
from common.tasks.cascade_lock import Combinations, Lock, advance
from papers.epo.method import Corridor, smoothing_penalty

FORMED = 0.98  # probability of a right symbol of form under the warm start
OPEN, HIDDEN, DECOY = 0.5, 0.1, 0.8  # "decoy": right actions outside and inside the decoy's class, the decoy
REGIMES = ("plain", "decoy")


@dataclass(frozen=True)
class Episodes:
    """One batch; E episodes of at most T turns, each of F symbols of form and an action.

    Attributes:
        rows: Row of the logits that each token is drawn from.
        symbols: What was drawn.
        stages: Open stages before each turn, less than all.
        alive: Turns that were played.
        success: Whether the lock opened.
        task: Of each episode.
    """

    rows: Int[np.ndarray, "T E F+1"]
    symbols: Int[np.ndarray, "T E F+1"]
    stages: Int[np.ndarray, "T E"]
    alive: Bool[np.ndarray, "T E"]
    success: Bool[np.ndarray, " E"]
    task: Int[np.ndarray, " E"]


def form_rows(lock: Lock) -> Int[np.ndarray, "tasks form"]:
    """Rows of the symbols of form."""
    return np.arange(lock.tasks * lock.form).reshape(lock.tasks, lock.form)


def action_rows(lock: Lock) -> Int[np.ndarray, "tasks classes"]:
    """Rows of the actions."""
    return lock.tasks * lock.form + np.arange(lock.tasks * lock.classes).reshape(lock.tasks, lock.classes)


def warm_start(lock: Lock, keys: Combinations, regime: str, right: float) -> Float[Tensor, "R V"]:
    """Logits before training.

    Symbols of form are right with probability 0.98. In ``"plain"`` the right action has probability `right`
    and the wrong ones share the rest. In ``"decoy"`` it has 0.5 in all classes but the second, where it has
    0.1 and one wrong action 0.8.

    Raises:
        StudyError: unknown regime.
    """
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES)
    chances = np.full(lock.classes, right if regime == "plain" else OPEN)
    if regime == "decoy":
        chances[1::3] = HIDDEN
    rows = lock.tasks * (lock.form + lock.classes)
    table = np.empty((rows, lock.symbols))
    for places, symbols, odds in (
        (form_rows(lock), keys.form, np.full(lock.form, FORMED)),
        (action_rows(lock), keys.actions, chances),
    ):
        table[places] = ((1 - odds) / (lock.symbols - 1))[None, :, None]
        table[places, symbols] = odds
    if regime == "decoy":
        places, lures = action_rows(lock)[:, 1::3], (keys.actions[:, 1::3] + 1) % lock.symbols
        table[places] *= (1 - HIDDEN - DECOY) / (lock.symbols - 2) / table[places].min(-1, keepdims=True)
        table[places, keys.actions[:, 1::3]], table[places, lures] = HIDDEN, DECOY
    return torch.from_numpy(np.log(table))


def roll_out(
    probabilities: Float[np.ndarray, "R V"],
    lock: Lock,
    keys: Combinations,
    episodes: int,
    generator: np.random.Generator,
) -> Episodes:
    """Play: groups of one task stand together, and every turn takes its random numbers, played or not."""
    uniforms = generator.random((lock.turns, episodes, lock.form + 2))
    cumulative = probabilities.cumsum(-1)
    task = np.repeat(np.arange(lock.tasks), episodes // lock.tasks)
    rows = np.empty((lock.turns, episodes, lock.form + 1), dtype=np.int64)
    rows[..., :-1] = form_rows(lock)[task]
    symbols = np.empty_like(rows)
    symbols[..., :-1] = drawn(cumulative[rows[0, :, :-1]], uniforms[..., : lock.form])
    formed = (symbols[..., :-1] == keys.form[task]).all(-1)
    stages, stage = np.empty((lock.turns, episodes), dtype=np.int64), np.zeros(episodes, dtype=np.int64)
    alive, actions = np.empty((lock.turns, episodes), dtype=bool), action_rows(lock)
    for turn in range(lock.turns):
        alive[turn], stages[turn] = stage < lock.stages, np.minimum(stage, lock.stages - 1)
        place = stages[turn] % lock.classes
        rows[turn, :, -1] = actions[task, place]
        symbols[turn, :, -1] = drawn(cumulative[rows[turn, :, -1]], uniforms[turn, :, -2])
        right = symbols[turn, :, -1] == keys.actions[task, place]
        stage = advance(stage, formed[turn] & alive[turn], right, uniforms[turn, :, -1] < lock.slip)
    return Episodes(rows, symbols, stages, alive, stage == lock.stages, task)


def drawn(
    cumulative: Float[np.ndarray, "*n V"], uniforms: Float[np.ndarray, "*m n"]
) -> Int[np.ndarray, "*m n"]:
    """The symbol whose interval of the cumulative distribution holds each number."""
    symbols: np.ndarray = (uniforms[..., None] > cumulative[..., :-1]).sum(-1)
    return symbols


@dataclass(frozen=True)
class Visits:
    """How much each row counts in EPO's averages over trajectories, turns and tokens.

    Attributes:
        rows: Row of each token that was played.
        turns: Its turn.
        shares: Its weight, 1 / (E T_j (F+1)); they sum to 1.
        order: A random order of the tokens, for the control that scatters the penalty.
        mass: The weights by row and turn.
    """

    rows: Int[Tensor, " N"]
    turns: Int[Tensor, " N"]
    shares: Float[Tensor, " N"]
    order: Int[Tensor, " N"]
    mass: Float[Tensor, "R T"]

    @classmethod
    def of(cls, episodes: Episodes, count: int, order: np.random.Generator) -> Visits:
        """Those of a batch; `count` is the number of rows."""
        alive, width = episodes.alive, episodes.rows.shape[-1]
        rows = torch.from_numpy(episodes.rows[alive].reshape(-1))
        turns = torch.from_numpy(np.nonzero(alive)[0].repeat(width))
        played = np.broadcast_to(alive.sum(0), alive.shape)[alive]
        shares = torch.from_numpy((1.0 / (alive.shape[1] * played * width)).repeat(width))
        mass = torch.zeros(count, len(alive), dtype=torch.float64)
        mass.index_put_((rows, turns), shares, accumulate=True)
        return cls(rows, turns, shares, torch.from_numpy(order.permutation(len(rows))), mass)

    def penalty(
        self, entropies: Float[Tensor, "R 1"], reference: Float[Tensor, " K"], corridor: Corridor
    ) -> Float[Tensor, ""]:
        """The average of P (Eq. 4); the reference is one number, or one per turn."""
        return (self.mass * smoothing_penalty(entropies, reference[None], corridor)).sum()

    def scattered(
        self, entropies: Float[Tensor, "R 1"], reference: Float[Tensor, " K"], corridor: Corridor
    ) -> Float[Tensor, ""]:
        """As many tokens pushed as the penalty pushes, the same way, but random ones."""
        own = entropies.detach()
        slopes = (own > corridor.high * reference).double() - (own < corridor.low * reference).double()
        slopes = slopes.expand(self.mass.shape)[self.rows, self.turns][self.order]
        return (self.shares * slopes * entropies[self.rows, 0]).sum()
