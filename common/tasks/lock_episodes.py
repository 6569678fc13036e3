"""Episodes of tabular agents on a cascade lock: which rows of a table act, and what they draw.

Rows: the symbols of form of each task, then the actions of each task and class of stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from common.study.errors import unknown
from common.tasks.cascade_lock import Combinations, Lock, advance

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


def warm_start(lock: Lock, keys: Combinations, regime: str, right: float) -> Float[np.ndarray, "R V"]:
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
        table[places] = (1 - HIDDEN - DECOY) / (lock.symbols - 2)
        table[places, keys.actions[:, 1::3]], table[places, lures] = HIDDEN, DECOY
    logits: np.ndarray = np.log(table)
    return logits


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
