"""Solutions: what a right one states in each of its six steps, as text and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from common.tasks.or_models import END, EOS, STEP, STEPS, Item
from common.tasks.or_models.language import MalformedError, split
from common.tasks.or_models.problems import Family, Parameters

_SENSE: Mapping[Family, str] = {"mix": "max", "batch": "max", "knap": "max", "trans": "min", "fix": "min"}


@dataclass(frozen=True)
class Formulation:
    """What the six steps state; the sixth repeats the lines of the third to the fifth unless it is given.

    Attributes:
        reading: Family and sense.
        parameters: Lists copied from the problem.
        variables: Declarations.
        objective: One line.
        constraints: Lines.
        program: The lines that are run.
    """

    reading: str
    parameters: Parameters
    variables: tuple[str, ...]
    objective: str
    constraints: tuple[str, ...]
    program: tuple[str, ...] | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """Text of each step."""
        lists = (f"{name} {' '.join(map(str, values))}" for name, values in self.parameters)
        program = self.program or (*self.variables, self.objective, *self.constraints)
        blocks = ((self.reading,), lists, self.variables, (self.objective,), self.constraints, program)
        return tuple(" ; ".join(block) for block in blocks)

    @property
    def text(self) -> str:
        """The completion, `EOS` included, tokens separated by spaces."""
        return " ".join([*(f"{STEP} {step} {END}" for step in self.steps), EOS])


def formulations(item: Item) -> tuple[Formulation, ...]:
    """The right solutions: for `batch` one in units and one in boxes, else a single one."""
    lists = dict(item.parameters)
    entries = len(item.parameters[0][1])  # of the first list, and of every variable
    reading = f"{item.family} {_SENSE[item.family]}"

    def right(variables: str, objective: str, *constraints: str) -> Formulation:
        declared = tuple(f"{variable} {entries}" for variable in variables.split(", "))
        return Formulation(reading, item.parameters, declared, objective, constraints)

    match item.family:
        case "mix":
            bounds = (
                f"x {relation} {name}" for relation, name in ((">=", "lo"), ("<=", "up")) if name in lists
            )
            return (right(f"x {item.domain}", "max c x", "A1 x <= b1", "A2 x <= b2", *bounds),)
        case "knap":
            return (right("x bin", "max c x", "A1 x <= b1"),)
        case "trans":
            rows = ("sum x1 <= s1", "sum x2 <= s2", "x1 + x2 >= d")
            return (right("x1 int, x2 int", "min c1 x1 + c2 x2", *rows),)
        case "fix":
            return (right("x cont, y bin", "min f y + c x", "sum x >= D", "x <= K * y"),)
        case "batch":
            units = right("x int", "max c x", "A1 x <= b1", "A2 x <= b2", "x pack k")
            boxes = right("x int", "max k c x", "k A1 x <= b1", "k A2 x <= b2")
            return (_in("unit", units), _in("box", boxes))


def _in(unit: str, formulation: Formulation) -> Formulation:
    return replace(formulation, variables=tuple(f"{line} {unit}" for line in formulation.variables))


class Blocks(NamedTuple):
    """A completion cut into steps.

    Attributes:
        steps: Tokens of each complete step.
        defect: Why the whole is no solution; empty if it is one.
    """

    steps: tuple[tuple[str, ...], ...]
    defect: str


def cut(completion: Sequence[str]) -> Blocks:
    """Steps of any sequence of tokens; what stands outside of steps is a defect, never an error."""
    steps: list[tuple[str, ...]] = []
    opened: list[str] | None = None
    defect = "" if completion and completion[-1] == EOS else f"it does not end with {EOS}"
    for token in completion[:-1] if not defect else completion:
        if token == STEP and opened is None:
            opened = []
        elif token == END and opened is not None:
            steps.append(tuple(opened))
            opened = None
        elif opened is None or token in (STEP, END, EOS):
            defect = defect or f"'{token}' stands where no such token may stand"
        else:
            opened.append(token)
    if opened is not None:
        defect = defect or "the last step is open"
    if len(steps) != STEPS:
        defect = defect or f"it has {len(steps)} steps; expected {STEPS}"
    return Blocks(tuple(steps), defect)


def solution_steps(completion: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The six steps of a solution.

    Raises:
        MalformedError: it has a defect (`cut`).
    """
    blocks = cut(completion)
    if blocks.defect:
        raise MalformedError(blocks.defect)
    return blocks.steps


def lines(step: Sequence[str]) -> tuple[str, ...]:
    """The lines of a step in sorted order: their order says nothing."""
    return tuple(sorted(" ".join(line) for line in split(step, ";")))
