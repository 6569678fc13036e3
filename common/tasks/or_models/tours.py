"""The travelling-salesman case of the paper's Appendix C.1: without subtour constraints the same optimum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np

from common.tasks.or_models.solver import Program, Row, same_optimum, solve

Costs = Sequence[Sequence[int]]
CITIES = ("E", "F", "G", "H", "I")
COSTS: Costs = (
    (0, 37, 72, 66, 33),
    (37, 0, 26, 56, 100),
    (72, 26, 0, 49, 32),
    (66, 56, 49, 0, 13),
    (33, 100, 32, 13, 0),
)
"""MAMO ComplexLP 74, as printed in Appendix C.1, arXiv:2509.22558."""


class Tour(NamedTuple):
    """A closed tour from city 0, without the return, and its cost."""

    cost: int
    cities: tuple[int, ...]


def shortest_tour(costs: Costs) -> Tour:
    """By enumeration of all (n - 1)! tours; of equal ones the first in lexicographic order."""
    tours = ((0, *rest) for rest in permutations(range(1, len(costs))))
    return min(
        Tour(sum(costs[a][b] for a, b in zip(tour, (*tour[1:], 0), strict=True)), tour) for tour in tours
    )


def assignment(costs: Costs) -> Program:
    """Every city is left once and entered once; there may be several closed tours."""
    return _program(costs, order=0, rows=())


def miller_tucker_zemlin(costs: Costs) -> Program:
    """The assignment with places u of the cities 1…n-1: u_i - u_j + (n-1) x_ij ≤ n-2."""
    n, arcs = len(costs), _arcs(len(costs))
    places = {city: len(arcs) + city - 1 for city in range(1, n)}
    rows = tuple(
        Row(((places[i], 1.0), (places[j], -1.0), (column, n - 1.0)), upper=n - 2.0)
        for column, (i, j) in enumerate(arcs)
        if i and j
    )
    return _program(costs, order=n - 1, rows=rows)


def _arcs(n: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(n) for j in range(n) if i != j]


def _program(costs: Costs, order: int, rows: tuple[Row, ...]) -> Program:
    n, arcs = len(costs), _arcs(len(costs))
    degrees = tuple(
        Row(tuple((column, 1.0) for column, arc in enumerate(arcs) if arc[end] == city), 1.0, 1.0)
        for city in range(n)
        for end in (0, 1)
    )
    return Program(
        maximize=False,
        costs=(*(float(costs[i][j]) for i, j in arcs), *[0.0] * order),
        integer=(True,) * len(arcs) + (False,) * order,
        upper=(*[1.0] * len(arcs), *[n - 2.0] * order),
        rows=degrees + rows,
    )


def lucky_share(n: int, instances: int, seed: int) -> float:
    """How often the assignment has the optimum of the tour, for symmetric costs uniform on 10…100."""
    rng, lucky = np.random.default_rng((seed, n)), 0
    for _ in range(instances):
        upper = np.triu(rng.integers(10, 101, size=(n, n)), 1)
        costs = (upper + upper.T).tolist()
        lucky += same_optimum(solve(assignment(costs)).objective, shortest_tour(costs).cost)
    return lucky / instances
