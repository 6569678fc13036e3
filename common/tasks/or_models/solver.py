"""Mixed-integer linear programs and their optima by HiGHS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import highspy
from highspy import HighsModelStatus as Model

Status = Literal["optimal", "infeasible", "unbounded", "time-out", "failed"]
SECONDS = 10.0
"""Wall-clock limit of one program; a program of this task takes milliseconds."""
NODES = 1_000_000
GAP = 1e-9
TOLERANCE = 1e-6
"""Relative difference up to which two optima are the same, absolute below 1."""


@dataclass(frozen=True)
class Row:
    """``lower ≤ Σ coefficient · column ≤ upper``; terms are pairs (column, coefficient)."""

    terms: tuple[tuple[int, float], ...]
    lower: float = -math.inf
    upper: float = math.inf


@dataclass(frozen=True)
class Program:
    """A linear program, some of whose columns are whole numbers.

    Attributes:
        maximize: Sense.
        costs: Objective's coefficient of each column.
        integer: Which columns are whole numbers.
        upper: Upper bounds; the lower ones are 0.
        rows: Constraints.
    """

    maximize: bool
    costs: tuple[float, ...]
    integer: tuple[bool, ...]
    upper: tuple[float, ...]
    rows: tuple[Row, ...]


_STATUS: dict[Model, Status] = {
    Model.kInfeasible: "infeasible",
    Model.kTimeLimit: "time-out",
    Model.kSolutionLimit: "time-out",
    Model.kIterationLimit: "time-out",
}


class Solution(NamedTuple):
    """What the solver says; the objective is NaN unless the status is optimal."""

    status: Status
    objective: float


def _solver(seconds: float) -> highspy.Highs:
    """A new instance, for the clock of an old one goes on and a linear program counts all of it.

    One thread: HiGHS keeps the number of a process's first run and refuses another one.
    """
    highs = highspy.Highs()
    highs.silent()
    options = {"threads": 1, "mip_rel_gap": 0.0, "mip_abs_gap": GAP, "mip_feasibility_tolerance": GAP}
    for name, value in {**options, "mip_max_nodes": NODES, "time_limit": seconds}.items():
        highs.setOptionValue(name, value)
    return highs


def _model(program: Program) -> highspy.HighsLp:
    model, matrix = highspy.HighsLp(), highspy.HighsSparseMatrix()
    model.num_col_, model.num_row_ = len(program.costs), len(program.rows)
    model.sense_ = highspy.ObjSense.kMaximize if program.maximize else highspy.ObjSense.kMinimize
    model.col_cost_ = list(program.costs)
    model.col_lower_, model.col_upper_ = [0.0] * len(program.costs), list(program.upper)
    model.row_lower_ = [row.lower for row in program.rows]
    model.row_upper_ = [row.upper for row in program.rows]
    kinds = highspy.HighsVarType
    if any(program.integer):
        model.integrality_ = [kinds.kInteger if whole else kinds.kContinuous for whole in program.integer]
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.num_col_, matrix.num_row_ = model.num_col_, model.num_row_
    terms = [term for row in program.rows for term in row.terms]
    matrix.start_ = [sum(len(row.terms) for row in program.rows[:i]) for i in range(len(program.rows) + 1)]
    matrix.index_, matrix.value_ = [column for column, _ in terms], [value for _, value in terms]
    model.a_matrix_ = matrix
    return model


def _run(highs: highspy.Highs) -> Model:
    highs.run()
    return highs.getModelStatus()


def _solution(highs: highspy.Highs) -> Solution:
    status = _run(highs)
    if status in (Model.kUnbounded, Model.kUnboundedOrInfeasible):
        # Which of the two: without an objective only an infeasible program has no optimum.
        highs.changeColsCost(highs.getNumCol(), list(range(highs.getNumCol())), [0.0] * highs.getNumCol())
        status = _run(highs)
        return Solution("unbounded" if status == Model.kOptimal else _STATUS.get(status, "failed"), math.nan)
    if status == Model.kOptimal:
        return Solution("optimal", highs.getInfo().objective_function_value)
    return Solution(_STATUS.get(status, "failed"), math.nan)


@lru_cache(maxsize=200_000)
def solve(program: Program, seconds: float = SECONDS) -> Solution:
    """Optimum of a program, or why there is none.

    Args:
        program: At least one column; coefficients are finite.
        seconds: Wall-clock limit; together with `NODES` nodes the solver's budget.
    """
    highs = _solver(seconds)
    if highs.passModel(_model(program)) == highspy.HighsStatus.kError:
        return Solution("failed", math.nan)
    return _solution(highs)


class Bounds(NamedTuple):
    """Between what the optimum of a minimisation lies; equal where it is proved, infinite where unknown."""

    lower: float
    upper: float


def bounds(program: Program, seconds: float) -> Bounds:
    """Bounds of the optimum that the solver has after so many seconds; `program` minimises whole numbers."""
    highs = _solver(seconds)
    highs.passModel(_model(program))
    highs.run()
    info = highs.getInfo()
    feasible = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    return Bounds(info.mip_dual_bound, info.objective_function_value if feasible else math.inf)


def solve_file(path: Path, seconds: float = SECONDS) -> Solution:
    """Optimum of a program in a file that HiGHS reads (``.lp``, ``.mps``)."""
    highs = _solver(seconds)
    if highs.readModel(str(path)) == highspy.HighsStatus.kError:
        return Solution("failed", math.nan)
    return _solution(highs)


def same_optimum(a: float, b: float, tolerance: float = TOLERANCE) -> bool:
    """|a - b| ≤ tolerance · max(1, |b|); a NaN is no optimum."""
    return abs(a - b) <= tolerance * max(1.0, abs(b))
