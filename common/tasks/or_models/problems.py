"""Draws of the five families of small optimisation problems: their parameters, without words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

Family = Literal["mix", "knap", "trans", "fix", "batch"]
Domain = Literal["int", "cont", "bin"]
Parameters = tuple[tuple[str, tuple[int, ...]], ...]
"""Lists of integers by name, in the order in which a solution copies them from the text."""

FAMILIES: tuple[Family, ...] = ("mix", "knap", "trans", "fix", "batch")


def _integers(rng: np.random.Generator, low: int, high: int, size: int) -> tuple[int, ...]:
    """`size` integers from low…high, both included."""
    return tuple(rng.integers(low, high + 1, size=size).tolist())


def _total(weights: tuple[int, ...], amounts: tuple[int, ...]) -> int:
    return sum(w * a for w, a in zip(weights, amounts, strict=True))


def _resources(rng: np.random.Generator, n: int) -> dict[str, tuple[int, ...]]:
    """Gains and two resource rows; every item uses a resource and every resource is used."""
    while True:
        first, second = _integers(rng, 0, 5, n), _integers(rng, 0, 5, n)
        if any(first) and any(second) and all(a + b for a, b in zip(first, second, strict=True)):
            break
    return {
        "c": _integers(rng, 1, 9, n),
        "A1": first,
        "A2": second,
        "b1": _integers(rng, 8, 40, 1),
        "b2": _integers(rng, 8, 40, 1),
    }


def _mix(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    """max c·x, A x ≤ b, upper bounds with probability 0.4 and a lower bound of each item with 0.4.

    The lower bounds alone fit the resources.
    """
    n = int(rng.integers(2, 4))
    while True:
        data = _resources(rng, n)
        least = tuple((rng.integers(1, 4, size=n) * (rng.random(n) < 0.4)).tolist())
        if any(least):
            data["lo"] = least
        if rng.random() < 0.4:
            data["up"] = _integers(rng, 4, 8, n)
        if all(_total(data[f"A{row}"], least) <= data[f"b{row}"][0] for row in (1, 2)):
            return data


def _batch(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    """A mix that is sold in boxes of k; at least one box of something fits the resources."""
    n = int(rng.integers(2, 4))
    while True:
        data = _resources(rng, n) | {"k": (int(rng.choice((2, 5))),)}
        boxes = zip(data["A1"], data["A2"], strict=True)
        limits = [data[row][0] // data["k"][0] for row in ("b1", "b2")]
        if any(a <= limits[0] and b <= limits[1] for a, b in boxes):
            return data


def _knap(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    """A 0/1 knapsack into which at least one item fits and not all of them."""
    n = int(rng.integers(3, 6))
    while True:
        values, weights = _integers(rng, 1, 9, n), _integers(rng, 1, 9, n)
        capacity = int(rng.uniform(0.3, 0.7) * sum(weights)) + 1
        if min(weights) <= capacity < sum(weights):
            return {"c": values, "A1": weights, "b1": (capacity,)}


def _trans(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    """Two sources and two or three destinations; supplies are scaled up where they fall short."""
    n = int(rng.integers(2, 4))
    costs, demand = [_integers(rng, 1, 9, n) for _ in range(2)], _integers(rng, 3, 11, n)
    supply = _integers(rng, 5, 19, 2)
    if (short := sum(demand) / sum(supply)) > 1:
        supply = tuple(int(np.ceil(s * short)) for s in supply)
    return {"c1": costs[0], "c2": costs[1], "s1": supply[:1], "s2": supply[1:], "d": demand}


def _fix(rng: np.random.Generator) -> dict[str, tuple[int, ...]]:
    """Plants with a price for opening one and a capacity; 40 to 90 % of all capacity is needed."""
    n = int(rng.integers(2, 4))
    capacity = _integers(rng, 5, 19, n)
    need = int(np.ceil(rng.uniform(0.4, 0.9) * sum(capacity)))
    return {"f": _integers(rng, 5, 29, n), "c": _integers(rng, 1, 7, n), "K": capacity, "D": (need,)}


_DRAWS: Mapping[Family, Callable[[np.random.Generator], dict[str, tuple[int, ...]]]] = {
    "mix": _mix,
    "knap": _knap,
    "trans": _trans,
    "fix": _fix,
    "batch": _batch,
}
_DOMAINS: Mapping[Family, tuple[Domain, ...]] = {
    "mix": ("int", "cont"),
    "knap": ("bin",),
    "trans": ("int",),
    "fix": ("cont",),
    "batch": ("int",),
}


def draw_data(family: Family, rng: np.random.Generator) -> tuple[Parameters, Domain]:
    """Parameters of a feasible and bounded problem with a positive optimum, and the domain of its x."""
    parameters = tuple(_DRAWS[family](rng).items())
    return parameters, _DOMAINS[family][rng.integers(len(_DOMAINS[family]))]
