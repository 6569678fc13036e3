"""The language of solutions: parameter lists, declarations, one objective, constraints; and its interpreter.

Lines are separated by ``;`` and tokens by spaces::

    x int 3 unit            three whole numbers ≥ 0 (``cont``, ``bin``); ``unit`` or ``box`` is a remark
    max k c x + f y         a sum of [scalar] list variable: Σ_i k c_i x_i
    A1 x <= b1              one row; ``sum x`` adds the entries of x
    x1 + x2 >= d            a row an entry; ``x <= K * y`` multiplies entry by entry
    x pack k                every entry of x is a whole multiple of k
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from common.tasks.or_models.solver import Program, Row

RELATIONS = ("<=", ">=", "=")
SENSES = ("max", "min")
LONGEST = 99  # entries of a variable
DIGITS = 9  # of a number
Affine = Float[np.ndarray, "rows columns"]


class MalformedError(ValueError):
    """A text is no program of this language; the message says where and why."""


def split(tokens: Sequence[str], separator: str) -> tuple[tuple[str, ...], ...]:
    """Parts between separators, empty ones included."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return tuple(map(tuple, parts))


def _is_number(token: str) -> bool:
    return token.isascii() and token.isdigit() and len(token) <= DIGITS


def parse_parameters(tokens: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Lists by name.

    Raises:
        MalformedError: a line that is not a name with numbers, or a name twice.
    """
    lists: dict[str, tuple[int, ...]] = {}
    for line in split(tokens, ";"):
        if len(line) < 2 or _is_number(line[0]) or not all(map(_is_number, line[1:])):
            raise MalformedError(f"'{' '.join(line)}' is no parameter; expected a name and its numbers")
        if line[0] in lists:
            raise MalformedError(f"parameter '{line[0]}' is given twice")
        lists[line[0]] = tuple(map(int, line[1:]))
    return lists


@dataclass
class _Builder:
    """A program while its lines are read; `spans` are the columns of each variable."""

    lists: Mapping[str, tuple[int, ...]]
    spans: dict[str, range] = field(default_factory=dict)
    integer: list[bool] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    sense: str | None = None
    costs: Affine = field(default_factory=lambda: np.zeros((1, 0)))
    rows: list[Row] = field(default_factory=list)

    def columns(self, size: int, domain: str) -> range:
        start = len(self.integer)
        self.integer += [domain != "cont"] * size
        self.upper += [1.0 if domain == "bin" else math.inf] * size
        return range(start, start + size)

    def read(self, line: tuple[str, ...]) -> None:
        match line:
            case (name, "int" | "cont" | "bin" as domain, size, *remark) if _is_number(size):
                if name in self.spans or name in self.lists:
                    raise MalformedError(f"'{name}' is declared twice")
                if not 1 <= int(size) <= LONGEST or remark not in ([], ["unit"], ["box"]):
                    raise MalformedError(f"'{' '.join(line)}' is no declaration")
                self.spans[name] = self.columns(int(size), domain)
            case ("max" | "min" as sense, *expression):
                if self.sense is not None:
                    raise MalformedError("a second objective")
                self.sense, self.costs = sense, self.expression(expression)
                if len(self.costs) != 1:
                    raise MalformedError("the objective is a list; expected a number")
            case (name, "pack", factor):
                self.pack(self.span(name), self.constant((factor,)))
            case _:
                self.relation(line)

    def span(self, name: str) -> range:
        if name not in self.spans:
            raise MalformedError(f"'{name}' is no variable")
        return self.spans[name]

    def constant(self, tokens: Sequence[str]) -> tuple[int, ...]:
        if len(tokens) != 1 or tokens[0] not in self.lists:
            raise MalformedError(f"'{' '.join(tokens)}' is no parameter")
        return self.lists[tokens[0]]

    def pack(self, span: range, factor: tuple[int, ...]) -> None:
        boxes = self.columns(len(span), "int")
        if len(factor) != 1:
            raise MalformedError("'pack' takes a single number")
        terms = zip(span, boxes, strict=True)
        self.rows += [Row(((x, 1.0), (z, -float(factor[0]))), 0.0, 0.0) for x, z in terms]

    def term(self, tokens: tuple[str, ...]) -> Affine:
        if not tokens:
            raise MalformedError("an empty term")
        *factors, name = tokens
        span = self.span(name)
        entries = np.zeros((len(span), len(self.integer)))
        entries[range(len(span)), span] = 1
        if not factors:
            return entries
        if factors == ["sum"]:
            return entries.sum(0, keepdims=True)
        product = factors[-1] == "*"
        weights = [
            np.array(self.constant((factor,)), float) for factor in (factors[:-1] if product else factors)
        ]
        if not weights or len(weights) > 2 or len(weights[-1]) != len(span):
            raise MalformedError(f"the lists of '{' '.join(tokens)}' have other lengths than '{name}'")
        if len(weights) == 2 and len(weights[0]) != 1:
            raise MalformedError(f"'{factors[0]}' is a list; expected a number")
        scaled = math.prod(float(weight[0]) for weight in weights[:-1]) * weights[-1][:, None] * entries
        return scaled if product else scaled.sum(0, keepdims=True)

    def expression(self, tokens: Sequence[str]) -> Affine:
        parts = [self.term(part) for part in split(tokens, "+")]
        if len({len(part) for part in parts}) != 1:
            raise MalformedError(f"'{' '.join(tokens)}' adds lists of different lengths")
        return np.sum(parts, axis=0)

    def relation(self, line: tuple[str, ...]) -> None:
        places = [place for place, token in enumerate(line) if token in RELATIONS]
        if len(places) != 1:
            raise MalformedError(f"'{' '.join(line)}' is neither declaration, objective nor constraint")
        left, right = line[: places[0]], line[places[0] + 1 :]
        rows = self.expression(left)
        if len(right) == 1 and right[0] in self.lists:
            limits = np.array(self.lists[right[0]], float)
            moved = np.zeros((len(limits), rows.shape[1]))
        else:
            moved = self.expression(right)
            limits = np.zeros(len(moved))
        if len(limits) != len(rows):
            raise MalformedError(f"the sides of '{' '.join(line)}' have different lengths")
        for row, limit in zip(rows - moved, limits, strict=True):
            terms = tuple((int(column), float(row[column])) for column in np.flatnonzero(row))
            lower = -math.inf if line[places[0]] == "<=" else float(limit)
            self.rows.append(Row(terms, lower, math.inf if line[places[0]] == ">=" else float(limit)))


def interpret(lines: Sequence[tuple[str, ...]], lists: Mapping[str, tuple[int, ...]]) -> Program:
    """The program that the lines state.

    Raises:
        MalformedError: an unknown name, lists of different lengths, no or a second objective, any other line.
    """
    builder = _Builder(lists)
    for line in lines:
        builder.read(line)
    if builder.sense is None:
        raise MalformedError("there is no objective")
    costs = np.zeros(len(builder.integer))
    costs[: builder.costs.shape[1]] = builder.costs[0]
    return Program(
        builder.sense == "max",
        tuple(costs.tolist()),
        tuple(builder.integer),
        tuple(builder.upper),
        tuple(builder.rows),
    )
