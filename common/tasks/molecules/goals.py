"""What a lead is improved for: properties with thresholds and weights, and the tasks made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module

from common.study.errors import StudyError, unknown
from common.tasks.molecules.chemistry import ORACLES

Oracle = Callable[[str], float]
USERS = ("drd2", "jnk3")
"""Activities that a trained classifier scores; no package brings one, so a user names a function."""
SCALES = {"qed": (0, 1), "sa": (1, 10), "logp": (-4, 8), "plogp": (-12, 6), "drd2": (0, 1), "jnk3": (0, 1)}
"""Range of each property that observations resolve."""
LEVELS = 20


class OracleError(ValueError):
    """An oracle raised, or gave no finite number."""


@dataclass(frozen=True)
class Goal:
    """One property and when it counts as improved.

    Attributes:
        oracle: Name of the property.
        gain: Improvement over the lead that passes, in the direction that is better; None: none does.
        level: Value that passes whatever the lead's; None: none does.
        weight: Of the improvement in the reward of several goals.
        sign: +1 where more is better, -1 where less is.
    """

    oracle: str
    gain: float | None = None
    level: float | None = None
    weight: float = 1.0
    sign: int = 1

    def passed(self, value: float, lead: float) -> bool:
        """Whether a value is a success for a lead that had `lead`."""
        gained = self.gain is not None and self.sign * (value - lead) >= self.gain
        return gained or (self.level is not None and self.sign * (value - self.level) >= 0)


@dataclass(frozen=True)
class Task:
    """What to improve, from which leads.

    Attributes:
        name: Token of the prompt.
        goals: All have to pass.
        window: Range of the first property of a lead; None: any lead that does not pass as it is.
        prize: Reward of a success instead of the step's own; added to it where there are several goals; None:
            a success is worth its step.
        ends: A success ends the episode.
        similarity: Smallest Tanimoto similarity to the lead.
        heaviest: Most heavy atoms.
        chain: Longest carbon chain.
    """

    name: str
    goals: tuple[Goal, ...]
    window: tuple[float, float] | None = None
    prize: float | None = None
    ends: bool = False
    similarity: float = 0.4
    heaviest: int = 50
    chain: int = 7

    @property
    def oracles(self) -> tuple[str, ...]:
        """Names of its properties."""
        return tuple(goal.oracle for goal in self.goals)

    def passed(self, values: Mapping[str, float], lead: Mapping[str, float]) -> bool:
        """Whether every goal is reached."""
        return all(goal.passed(values[goal.oracle], lead[goal.oracle]) for goal in self.goals)

    def admits(self, lead: Mapping[str, float]) -> bool:
        """Whether a molecule with these values is a lead of this task."""
        if self.window is None:
            return not self.passed(lead, lead)
        return self.window[0] <= lead[self.goals[0].oracle] <= self.window[1]

    def merit(self, values: Mapping[str, float], lead: Mapping[str, float]) -> float:
        """What is maximised: weighted improvement over the lead, Σ_p w_p·(±Δ_p)."""
        return sum(g.weight * g.sign * (values[g.oracle] - lead[g.oracle]) for g in self.goals)

    def reward(
        self, values: Mapping[str, float], current: Mapping[str, float], lead: Mapping[str, float]
    ) -> float:
        """Reward of an admissible molecule with values F, where the current one has F_c and the lead F_0.

        One goal: 5Δ for Δ = F - F_c > 0, Δ otherwise; several: Σ_p w_p (±(F_p - F_0,p)).
        """
        if len(self.goals) > 1:
            return self.merit(values, lead) + (self.prize or 0.0) * self.passed(values, lead)
        if self.prize is not None and self.passed(values, lead):
            return self.prize
        (goal,) = self.goals
        change = goal.sign * (values[goal.oracle] - current[goal.oracle])
        return 5 * change if change > 0 else change


def _joint(name: str, *goals: Goal) -> Task:
    return Task(name, goals, prize=5.0 + 2.0 * len(goals))


_QED = Goal("qed", gain=0.1, level=0.9, weight=10)
_SA = Goal("sa", gain=0.5, weight=2, sign=-1)
_LOGP = Goal("logp", gain=1.0)
_DRD2 = Goal("drd2", gain=0.5, level=0.8, weight=4)
_JNK3 = Goal("jnk3", gain=0.1, weight=12)
TASKS = {
    task.name: task
    for task in (
        Task("qed", (Goal("qed", level=0.85),), window=(0.55, 0.70), prize=5.0, ends=True),
        Task("qed_hard", (Goal("qed", level=0.90),), window=(0.70, 0.80), prize=5.0, ends=True),
        Task("logp", (_LOGP,)),
        Task("plogp", (Goal("plogp", gain=1.0),)),
        Task("sa", (_SA,)),
        Task("drd2", (_DRD2,)),
        Task("jnk3", (_JNK3,)),
        _joint("qed+sa", _QED, _SA),
        _joint("qed+logp", _QED, _LOGP),
    )
}


def task(name: str) -> Task:
    """A task by its name.

    Raises:
        StudyError: there is none of this name.
    """
    if name not in TASKS:
        raise unknown("task on molecules", name, TASKS)
    return TASKS[name]


def oracles(task: Task, given: Mapping[str, str | Oracle] | None = None) -> dict[str, Oracle]:
    """The functions that score a task's properties.

    Args:
        task: The task.
        given: A user's functions from a SMILES to a number, or their places as ``"module:function"``; they
            go before ours of the same name.

    Raises:
        StudyError: a property that nobody scores, or a place where no function is.
    """
    given = given or {}
    if strange := set(given) - {*ORACLES, *USERS}:
        raise unknown("property", min(strange), {*ORACLES, *USERS})
    lacking = [name for name in task.oracles if name not in given and name not in ORACLES]
    if lacking:
        raise StudyError(
            f"task '{task.name}' needs a function that scores a SMILES for {lacking[0]}: name one, e.g. "
            f"{lacking[0]}=my_module:score"
        )
    return {
        name: partial(_scored, name, _found(given.get(name, ORACLES.get(name, "")))) for name in task.oracles
    }


def _found(place: str | Oracle) -> Oracle:
    if callable(place):
        return place
    module, _, function = place.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise StudyError(f"no function at '{place}' ({error}); expected module:function") from None
    if not callable(found):
        raise StudyError(f"'{place}' is no function")
    return found


def _scored(name: str, function: Oracle, smiles: str) -> float:
    """The number a function gives.

    Raises:
        OracleError: it raised, or gave something else. A user's classifier may fail in any way; a molecule on
            which it does is an outcome of the episode, not its end.
    """
    try:
        value = float(function(smiles))
    except Exception as error:
        raise OracleError(f"{name} of {smiles}: {error}") from error
    if not math.isfinite(value):
        raise OracleError(f"{name} of {smiles} is {value}")
    return value


def level(oracle: str, value: float) -> int:
    """Which of the `LEVELS` equal parts of a property's range a value falls into; the outermost are open."""
    low, high = SCALES[oracle]
    return min(max(math.floor((value - low) / (high - low) * LEVELS), 0), LEVELS - 1)
