"""Right solutions with one error put in, and how often such an error is lucky: wrong step, right optimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from common.tasks.or_models import Item, OrModelsConfig, items
from common.tasks.or_models.formulation import Formulation, formulations
from common.tasks.or_models.problems import FAMILIES, Family
from common.tasks.or_models.verification import reward

Corrupted = Formulation | None
"""None where a solution gives no occasion for the error."""


@dataclass(frozen=True)
class Corruption:
    """One kind of error.

    Attributes:
        families: Where it can occur.
        steps: Numbers of the steps that it makes wrong; the program then repeats the wrong lines.
        apply: Puts it into a right solution.
    """

    families: tuple[Family, ...]
    steps: tuple[int, ...]
    apply: Callable[[Formulation, np.random.Generator], Corrupted]


def _without(*dropped: str) -> Callable[[Formulation, np.random.Generator], Corrupted]:
    """Leave out one of these constraints."""

    def apply(right: Formulation, rng: np.random.Generator) -> Corrupted:
        present = [line for line in right.constraints if line in dropped]
        if not present:
            return None
        line = present[rng.integers(len(present))]
        return replace(right, constraints=tuple(kept for kept in right.constraints if kept != line))

    return apply


def _domain(before: str, after: str) -> Callable[[Formulation, np.random.Generator], Corrupted]:
    """Declare variables of one domain in another one."""

    def apply(right: Formulation, _: np.random.Generator) -> Corrupted:
        declared = tuple(line.replace(f" {before} ", f" {after} ") for line in right.variables)
        return replace(right, variables=declared) if declared != right.variables else None

    return apply


def _parameter(right: Formulation, name: str, values: Sequence[int]) -> Formulation:
    lists = tuple((key, tuple(values) if key == name else old) for key, old in right.parameters)
    return replace(right, parameters=lists)


def _coefficient(right: Formulation, rng: np.random.Generator) -> Corrupted:
    """Copy one coefficient of the objective wrong."""
    values = list(dict(right.parameters)["c"])
    place = rng.integers(len(values))
    values[place] = int(rng.choice([value for value in range(1, 10) if value != values[place]]))
    return _parameter(right, "c", values)


def _swap(right: Formulation, rng: np.random.Generator) -> Corrupted:
    """Copy two different coefficients of the objective or of a resource in the wrong order."""
    lists = dict(right.parameters)
    names = [name for name in ("c", "A1", "A2") if len(set(lists.get(name, ()))) > 1]
    if not names:
        return None
    name = names[rng.integers(len(names))]
    values = list(lists[name])
    pairs = [(i, j) for j in range(len(values)) for i in range(j) if values[i] != values[j]]
    i, j = pairs[rng.integers(len(pairs))]
    values[i], values[j] = values[j], values[i]
    return _parameter(right, name, values)


def _sense(right: Formulation, _: np.random.Generator) -> Corrupted:
    """Read the sense wrong and carry it on."""
    before, after = ("max", "min") if right.objective.startswith("max") else ("min", "max")
    return replace(
        right,
        reading=right.reading.replace(before, after),
        objective=right.objective.replace(before, after),
    )


def _setup(right: Formulation, _: np.random.Generator) -> Corrupted:
    """Leave the price of opening out of the objective."""
    return replace(right, objective=right.objective.replace("f y + ", ""))


def _mislabel(right: Formulation, _: np.random.Generator) -> Corrupted:
    """Declare the unit in which the later steps do not count."""
    unit, other = ("unit", "box") if right.variables[0].endswith("unit") else ("box", "unit")
    return replace(right, variables=(right.variables[0].replace(unit, other),))


def _rescale(line: str) -> str:
    """The objective or a resource row of units in boxes, or the other way round; else the line itself."""
    if " k " in f" {line} " and "pack" not in line:
        return f" {line} ".replace(" k ", " ", 1).strip()
    return line.replace("c x", "k c x").replace("A1", "k A1").replace("A2", "k A2")


def _mixed_objective(right: Formulation, _: np.random.Generator) -> Corrupted:
    """State the objective in the other unit."""
    return replace(right, objective=_rescale(right.objective))


def _mixed_rows(right: Formulation, _: np.random.Generator) -> Corrupted:
    """State the resource rows in the other unit."""
    return replace(right, constraints=tuple(map(_rescale, right.constraints)))


def _forgotten(right: Formulation, rng: np.random.Generator) -> Corrupted:
    """Leave a constraint out of the program although it was stated."""
    left_out = rng.integers(len(right.constraints))
    kept = (line for place, line in enumerate(right.constraints) if place != left_out)
    return replace(right, program=(*right.variables, right.objective, *kept))


_MIXES: tuple[Family, ...] = ("mix", "batch")
_ROWS = ("A1 x <= b1", "A2 x <= b2", "k A1 x <= b1", "k A2 x <= b2")
CORRUPTIONS: Mapping[str, Corruption] = {
    "drop resource": Corruption(_MIXES, (5,), _without(*_ROWS)),
    "drop upper bound": Corruption(("mix",), (5,), _without("x <= up")),
    "drop lower bound": Corruption(("mix",), (5,), _without("x >= lo")),
    "drop supply": Corruption(("trans",), (5,), _without("sum x1 <= s1", "sum x2 <= s2")),
    "drop demand": Corruption(("trans",), (5,), _without("x1 + x2 >= d")),
    "drop link": Corruption(("fix",), (5,), _without("x <= K * y")),
    "drop packing": Corruption(("batch",), (5,), _without("x pack k")),
    "int to cont": Corruption(("mix", "trans"), (3,), _domain("int", "cont")),
    "cont to int": Corruption(("mix",), (3,), _domain("cont", "int")),
    "bin to cont": Corruption(("knap", "fix"), (3,), _domain("bin", "cont")),
    "bin to int": Corruption(("knap",), (3,), _domain("bin", "int")),
    "swap": Corruption(("mix", "knap", "batch"), (2,), _swap),
    "wrong coefficient": Corruption(("mix", "knap", "fix", "batch"), (2,), _coefficient),
    "wrong sense": Corruption(FAMILIES, (1, 4), _sense),
    "drop setup cost": Corruption(("fix",), (4,), _setup),
    "wrong unit": Corruption(("batch",), (3,), _mislabel),
    "objective in other unit": Corruption(("batch",), (4,), _mixed_objective),
    "rows in other unit": Corruption(("batch",), (5,), _mixed_rows),
    "forgotten line": Corruption(FAMILIES, (6,), _forgotten),
}
Dial = Literal["none", "usual", "high"]
KINDS: Mapping[Dial, Mapping[Family, tuple[str, ...]]] = {
    "none": {
        "mix": ("wrong sense",),
        "knap": ("wrong sense", "forgotten line"),
        "trans": ("drop demand",),
        "fix": ("drop link", "drop setup cost", "wrong sense"),
        "batch": ("objective in other unit", "rows in other unit", "wrong sense"),
    },
    "usual": {
        family: tuple(kind for kind in CORRUPTIONS if family in CORRUPTIONS[kind].families)
        for family in FAMILIES
    },
    "high": {
        "mix": ("drop resource", "drop upper bound", "drop lower bound", "int to cont", "cont to int"),
        "knap": ("swap",),
        "trans": ("drop supply", "int to cont"),
        "fix": ("wrong coefficient",),
        "batch": ("drop resource", "drop packing", "wrong unit"),
    },
}
"""The lucky dial: kinds of error by how often they are lucky. `none` never is, for the optimum is positive
and each of its errors moves it; only in `mix` a wrong sense is lucky where lower bounds leave no room."""


class Draw(NamedTuple):
    """A solution and the kind of error in it."""

    formulation: Formulation
    kind: str


def corrupt(item: Item, rng: np.random.Generator, kinds: Iterable[str]) -> Draw | None:
    """A right solution of a problem with one error, whose kind is uniform among those that it can have.

    None if it can have none of these kinds.
    """
    truths = formulations(item)
    right = truths[rng.integers(len(truths))]
    drawn = ((kind, _apply(kind, item, right, rng)) for kind in kinds)
    possible = [Draw(wrong, kind) for kind, wrong in drawn if wrong is not None]
    return possible[rng.integers(len(possible))] if possible else None


def _apply(kind: str, item: Item, right: Formulation, rng: np.random.Generator) -> Corrupted:
    corruption = CORRUPTIONS[kind]
    return corruption.apply(right, rng) if item.family in corruption.families else None


class LuckyRate(NamedTuple):
    """How often one kind of error leaves the optimum as it is."""

    family: Family
    kind: str
    steps: tuple[int, ...]
    n: int
    lucky: int


def lucky_table(size: int, seed: int) -> tuple[LuckyRate, ...]:
    """Lucky rate of every kind of error in every family that can have it.

    Args:
        size: Problems drawn of each family; `n` counts those that give occasion for the error.
        seed: Of the problems.
    """
    table = []
    for family in FAMILIES:
        problems = items(OrModelsConfig(seed=seed, size=size, families=(family,)))
        for place, kind in enumerate(CORRUPTIONS):
            rng = np.random.default_rng((seed, FAMILIES.index(family), place, 0))
            drawn = ((item, corrupt(item, rng, (kind,))) for item in problems)
            lucky = [reward(draw.formulation.text.split(), item) for item, draw in drawn if draw]
            if lucky:
                table.append(LuckyRate(family, kind, CORRUPTIONS[kind].steps, len(lucky), sum(lucky)))
    return tuple(table)


def lucky_share(size: int, seed: int, dial: Dial, rate: float) -> float:
    """Part of the solutions with the right optimum that have a wrong step, in a corpus with errors at a rate.

    It is rl / (1 - r + rl) with the rate r and the part l of the errors that is lucky, measured on `size`
    problems of all families.
    """
    rng = np.random.default_rng((seed, len(FAMILIES)))
    drawn = [
        (item, corrupt(item, rng, KINDS[dial][item.family])) for item in items(OrModelsConfig(seed, size))
    ]
    lucky = np.mean([reward(draw.formulation.text.split(), item) for item, draw in drawn if draw])
    return float(rate * lucky / (1 - rate + rate * lucky))
