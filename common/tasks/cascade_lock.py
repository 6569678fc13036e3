"""A lock of many stages that opens after one long run of right turns, with a single reward at the end.

A task is a combination: a symbol for each class of stages, so that the same few parameters act early and
late. A turn is some symbols of form and one of action. A turn of wrong form is lost; a right action opens a
stage, a wrong one may let the last stage fall shut again. Success under a fixed policy is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Lock:
    """Sizes of a lock.

    Attributes:
        tasks: Combinations.
        stages: Stages to open.
        turns: Longest episode.
        symbols: What a token may be.
        classes: Stages s and s + classes need the same action.
        form: Symbols of form in front of the action.
        slip: Probability that a wrong action shuts a stage.
    """

    tasks: int = 8
    stages: int = 10
    turns: int = 30
    symbols: int = 8
    classes: int = 3
    form: int = 3
    slip: float = 0.3

    def __post_init__(self) -> None:
        least = {"tasks": 1, "stages": 1, "turns": 1, "symbols": 2, "classes": 1, "form": 0}
        small = [name for name, bound in least.items() if getattr(self, name) < bound]
        if small or not 0 <= self.slip <= 1:
            raise ValueError(f"Lock: {', '.join(small) or 'slip'} is out of range")


class Combinations(NamedTuple):
    """What opens the lock of each task.

    Attributes:
        form: Right symbols of form.
        actions: Right action in each class of stages.
    """

    form: Int[np.ndarray, "tasks form"]
    actions: Int[np.ndarray, "tasks classes"]


def combinations(lock: Lock, seed: int) -> Combinations:
    """Uniformly drawn combinations; a pure function of its arguments."""
    generator = np.random.default_rng([seed, 0x10C4])
    drawn = generator.integers(lock.symbols, size=(lock.tasks, lock.form + lock.classes))
    return Combinations(drawn[:, : lock.form], drawn[:, lock.form :])


def advance(
    stage: Int[np.ndarray, "*n"],
    formed: Bool[np.ndarray, "*n"],
    right: Bool[np.ndarray, "*n"],
    slips: Bool[np.ndarray, "*n"],
) -> Int[np.ndarray, "*n"]:
    """Stages after a turn.

    Args:
        stage: Open stages, less than all.
        formed: All symbols of form were right.
        right: The action was.
        slips: A wrong action would shut a stage.
    """
    wrong = np.where(slips & (stage > 0), -1, 0)
    moved: np.ndarray = stage + np.where(formed, np.where(right, 1, wrong), 0)
    return moved


def stage_probabilities(
    lock: Lock, accuracy: Float[np.ndarray, " classes"], formed: float
) -> Float[np.ndarray, "turns+1 stages+1"]:
    """Probability of each number of open stages before and after every turn; the last column is success.

    Args:
        lock: The lock.
        accuracy: Probability of the right action in each class of stages.
        formed: Probability that a turn's form is right.
    """
    reached = np.zeros((lock.turns + 1, lock.stages + 1))
    reached[0, 0] = 1
    right = formed * np.asarray(accuracy)[np.arange(lock.stages) % lock.classes]
    shut = np.where(np.arange(lock.stages) > 0, lock.slip * (formed - right), 0.0)
    for before, after in pairwise(reached):
        after[:] = before
        after[:-1] -= before[:-1] * (right + shut)
        after[1:] += before[:-1] * right
        after[:-2] += before[1:-1] * shut[1:]
    return reached


def success_probability(lock: Lock, accuracy: Float[np.ndarray, " classes"], formed: float = 1.0) -> float:
    """Probability that the lock opens in time."""
    return float(stage_probabilities(lock, accuracy, formed)[-1, -1])


class CascadeLock(gymnasium.Env[Any, Any]):
    """One lock: the observation is (task, open stages), an action the symbols of a turn.

    Whatever is no action counts as one of wrong form, for a language model may write anything. The reward is
    1 for the last stage and 0 otherwise; `reset` draws the task unless ``options={"task": …}`` names it.

    Args:
        combinations: What opens the locks.
        lock: Sizes.
    """

    def __init__(self, combinations: Combinations, lock: Lock | None = None) -> None:
        self.lock = lock = lock or Lock()
        self.combinations = combinations
        self.observation_space = spaces.MultiDiscrete([lock.tasks, lock.stages + 1])
        self.action_space = spaces.MultiDiscrete([lock.symbols] * (lock.form + 1))
        self.task = self.stage = self.turn = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Int[np.ndarray, " 2"], dict[str, Any]]:
        """A shut lock."""
        super().reset(seed=seed)
        drawn = int(self.np_random.integers(self.lock.tasks))
        self.task, self.stage, self.turn = (options or {}).get("task", drawn), 0, 0
        return self._seen(), {}

    def step(self, action: Sequence[int]) -> tuple[Int[np.ndarray, " 2"], float, bool, bool, dict[str, Any]]:
        """Turn the lock.

        Raises:
            RuntimeError: it is open, or the turns are over.
        """
        if self.stage == self.lock.stages or self.turn == self.lock.turns:
            raise RuntimeError("the episode is over: reset the lock")
        *form, act = action if len(action) == self.lock.form + 1 else [-1] * (self.lock.form + 1)
        formed = np.array_equal(form, self.combinations.form[self.task]) and 0 <= act < self.lock.symbols
        right = act == self.combinations.actions[self.task, self.stage % self.lock.classes]
        slips = self.np_random.random() < self.lock.slip  # drawn in every turn: the same numbers for all
        turned = advance(*(np.asarray(each) for each in (self.stage, formed, right, slips)))
        self.stage, self.turn = int(turned), self.turn + 1
        opened = self.stage == self.lock.stages
        info = {"formed": bool(formed), "right": bool(right)}
        return self._seen(), float(opened), opened, not opened and self.turn == self.lock.turns, info

    def _seen(self) -> Int[np.ndarray, " 2"]:
        return np.array([self.task, self.stage])
