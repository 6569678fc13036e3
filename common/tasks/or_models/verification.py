"""What a solution is worth: its outcome by HiGHS, and whether each of its steps is right by the generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from common.tasks.or_models import REASONS, STEPS, Item
from common.tasks.or_models.formulation import Formulation, cut, formulations, lines, solution_steps
from common.tasks.or_models.language import MalformedError, interpret, parse_parameters, split
from common.tasks.or_models.solver import SECONDS, Program, same_optimum, solve

Outcome = Literal["right", "wrong value", "infeasible", "unbounded", "malformed", "time-out", "failed"]


class Verdict(NamedTuple):
    """Outcome of a solution.

    Attributes:
        outcome: Right iff the program has an optimum and its value is the problem's.
        objective: Value of the optimum; NaN without one.
        detail: Why a text is malformed, else empty.
    """

    outcome: Outcome
    objective: float = math.nan
    detail: str = ""


def program(completion: Sequence[str]) -> Program:
    """The program of the sixth step with the parameters of the second.

    Raises:
        MalformedError: the completion is no solution, or one of these steps cannot be read.
    """
    steps = solution_steps(completion)
    return interpret(split(steps[5], ";"), parse_parameters(steps[1]))


@lru_cache(maxsize=100_000)
def optimum(item: Item) -> float:
    """Value of a problem's optimum, by its first right formulation."""
    solution = solve(program(formulations(item)[0].text.split()))
    if solution.status != "optimal":
        raise RuntimeError(f"the problem '{item.prompt}' has no optimum: {solution.status}")
    return solution.objective


def verify(completion: Sequence[str], item: Item, seconds: float = SECONDS) -> Verdict:
    """Outcome of a solution; any sequence of tokens has one."""
    try:
        stated = program(completion)
    except MalformedError as error:
        return Verdict("malformed", detail=str(error))
    solution = solve(stated, seconds)
    if solution.status != "optimal":
        return Verdict(solution.status)
    same = same_optimum(solution.objective, optimum(item))
    return Verdict("right" if same else "wrong value", solution.objective)


def reward(completion: Sequence[str], item: Item) -> int:
    """1 iff the outcome is right, else 0; `completion` is without padding and ends with `EOS`."""
    return int(verify(completion, item).outcome == "right")


def _differences(steps: Sequence[Sequence[str]], truth: Formulation) -> tuple[bool, ...]:
    """Which of the first five steps differ from a right formulation."""
    pairs = zip(steps, truth.steps, strict=False)
    return tuple(lines(step) != lines(expected.split()) for step, expected in pairs)[:5]


def step_reasons(completion: Sequence[str], item: Item) -> tuple[str | None, ...]:
    """Why each of six steps is wrong, None where it is right, given the other steps.

    The first five are compared with the right formulation that most of them follow, so that a unit which the
    later steps do not use is blamed on the step that declares it; the order of lines says nothing. The sixth
    is right iff it repeats the lines of the third to the fifth as they stand: an error is blamed where it is
    made. A step that is missing is wrong.
    """
    steps = list(cut(completion).steps[:STEPS])
    steps += [()] * (STEPS - len(steps))
    wrong = list(min((_differences(steps, truth) for truth in formulations(item)), key=sum))
    repeated = tuple(line for step in steps[2:5] for line in split(step, ";"))
    wrong.append(split(steps[5], ";") != repeated)
    reasons = [reason for reason in REASONS if reason != "unit"]
    if wrong[2] and any(lines(steps[2]) == lines(t.steps[2].split()) for t in formulations(item)):
        reasons[2] = "unit"
    return tuple(reason if is_wrong else None for reason, is_wrong in zip(reasons, wrong, strict=True))


def is_lucky(completion: Sequence[str], item: Item) -> bool:
    """Whether the outcome is right although a step is wrong."""
    return any(step_reasons(completion, item)) and reward(completion, item) == 1
