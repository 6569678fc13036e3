"""From a frame to tables, figures and verdicts: the last stage, pure in the frame and the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from itertools import combinations
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Plot

from common.plotting.point import headline
from common.study.card import Claim, Table
from common.study.errors import StudyError
from common.study.frame import TABLE_COLUMNS
from common.study.jobs import Job
from common.study.premises import Check, check, unmeasured
from common.study.study import Study
from common.study.verdicts import Verdict, judge

NO_COUNTERPART = "no counterpart at this profile"
EMPTY = "-"


class Artefacts:
    """Reads a paper's report on one frame, each entry at most once.

    Args:
        study: The paper and profile.
        frame: Its records from a stored ``values.parquet``; by default those of the store, read on first use.
    """

    def __init__(self, study: Study, frame: pd.DataFrame | None = None) -> None:
        self.study = study
        self._stored = frame
        self._results: dict[str, Any] = {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Every measured value of the run, tidy."""
        return self.study.frame() if self._stored is None else self._stored

    def tables(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """(id, long table) of every table that this run can make."""
        for name, table in self.study.card.tables.items():
            if not self.missing(name):
                yield name, self.table(name, table)

    def figures(self) -> Iterator[tuple[str, pd.DataFrame, Plot]]:
        """(id, data twin, drawn figure) of every figure that this run can make."""
        for name in self.study.card.figures:
            if not self.missing(name):
                yield name, self.data(name), self.plot(name)

    def missing(self, name: str) -> str:
        """Why a table or figure cannot be made from this run; empty if it can."""
        only = self.study.options.only
        if only and name not in only:
            return f"not selected (ONLY={','.join(only)})"
        return self.study.available({**self.study.card.tables, **self.study.card.figures}[name])

    def table(self, name: str, table: Table) -> pd.DataFrame:
        """Our block in long form: row, column, mean, low, high, n.

        Raises:
            StudyError: the report made other columns.
        """
        block = self._once(name, self.study.report.table(name))
        if list(block.columns) != TABLE_COLUMNS:
            raise StudyError(f"TABLES['{name}'] has columns {list(block.columns)}; expected {TABLE_COLUMNS}")
        unmatched = sorted(set(table.pairs(list(block["row"])).values()) - set(block["row"]))
        if unmatched:
            raise StudyError(f"TABLES['{name}'] has no row {unmatched}, which the card maps as counterparts")
        return block

    def data(self, name: str) -> pd.DataFrame:
        """Data twin of a figure."""
        data: pd.DataFrame = self._once(name, self.study.report.figure(name).data)
        return data

    def point(self, name: str) -> str:
        """The sentence that says what a figure shows.

        Raises:
            StudyError: the report has none for this kind of twin.
        """
        text = self.study.report.figure(name).point(self.data(name))
        if not text:
            raise StudyError(f"FIGURES['{name}'] needs a 'point': its twin is neither curves nor points")
        return text

    def plot(self, name: str) -> Plot:
        """The drawn figure, its point above it."""
        figure = self.study.report.figure(name)
        plot = figure.draw(self.data(name), self.study.card.figures[name].reported)
        headline(plot, self.point(name))
        return plot

    @cached_property
    def premises(self) -> dict[str, Check]:
        """State of every premise; one that this run does not measure is not met."""
        card, report = self.study.card, self.study.report
        states = {}
        for name, premise in card.premises.items():
            reason = self.study.available(premise)
            states[name] = (
                unmeasured(name, reason)
                if reason
                else check(name, premise, self._once(name, report.premise(name)))
            )
        return states

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """Verdict of every selected claim; what this run cannot decide is untested, with the reason."""
        card, only = self.study.card, self.study.options.only
        selected = [name for name in card.claims if not only or name in only]
        involved = {*selected, *(control for name in selected for control in card.controls(name))}
        reasons = {name: self.study.available(card.claims[name]) for name in involved}
        measured = {
            name: self._once(name, self.study.report.measure(name, card.claims[name]))
            for name in card.claims
            if reasons.get(name) == ""
        }
        arms = arm_seeds(self.study.jobs)
        planned = {name: plan_of(values, card.claims[name], arms) for name, values in measured.items()}
        judged = judge(card, measured, self.premises, planned)
        return {
            name: judged[name] if name in judged else Verdict(name, "untested", reasons[name])
            for name in selected
        }

    def _once(self, name: str, make: Callable[[pd.DataFrame], Any]) -> Any:
        if name not in self._results:
            self._results[name] = make(self.frame)
        return self._results[name]


def arm_seeds(jobs: Sequence[Job]) -> dict[str, set[frozenset[int]]]:
    """By sweep, the sets of seeds that its arms were planned on."""
    arms: dict[tuple[str, str], set[int]] = {}
    for job in jobs:
        arms.setdefault((job.sweep, repr(job.labels)), set()).update(job.seeds)
    sweeps: dict[str, set[frozenset[int]]] = {}
    for (sweep, _), seeds in arms.items():
        sweeps.setdefault(sweep, set()).add(frozenset(seeds))
    return sweeps


def plan_of(values: Any, claim: Claim, arms: Mapping[str, Set[frozenset[int]]]) -> Set[int]:
    """Seeds that a claim was planned on: those of one of its arms, or those that two of them share.

    What was measured tells which; a measure that fits none of them lacks seeds of the smallest that holds it.
    """
    sets = {seeds for sweep in claim.needs for seeds in arms.get(sweep, ())}
    shared = {one & other for one, other in combinations(sets, 2)}
    seen = set(getattr(values, "index", ()))
    return min((seeds for seeds in sets | shared if seen <= seeds), key=len, default=frozenset())


def side_by_side(table: Table, block: pd.DataFrame | None) -> pd.DataFrame:
    """The paper's rows beside ours: two column blocks, never one column.

    Args:
        table: The card's entry, with the reported numbers.
        block: Our long table, or None if this run does not make it.

    Returns:
        Wide frame with column blocks ``paper`` and our heading, cells as text.
    """
    ours = _wide(block) if block is not None else pd.DataFrame()
    pairs = table.pairs(list(ours.index))
    rows = [*table.reported.rows, *[row for row in ours.index if row not in pairs.values()]]
    cells: list[list[str]] = []
    for row in rows:
        reported = table.reported.rows.get(row)
        theirs = [_cell(value) for value in reported] if reported else [EMPTY] * len(table.reported.columns)
        own_row = pairs.get(row, row if reported is None else "")
        own = list(ours.loc[own_row]) if own_row in ours.index else [NO_COUNTERPART] * len(ours.columns)
        cells.append([*theirs, *own])
    columns = [("paper", column) for column in table.reported.columns]
    columns += [(table.ours, column) for column in ours.columns]
    index = pd.Index(rows, name="row")
    heads = pd.MultiIndex.from_arrays([[block for block, _ in columns], [name for _, name in columns]])
    return pd.DataFrame(cells, index=index, columns=heads)


def _wide(block: pd.DataFrame) -> pd.DataFrame:
    text = block.assign(text=[_estimate(*item) for item in block[["mean", "low", "high", "n"]].to_numpy()])
    rows, columns = block["row"].drop_duplicates(), block["column"].drop_duplicates()
    wide = text.pivot_table(index="row", columns="column", values="text", aggfunc="first", observed=True)
    return wide.reindex(index=rows, columns=columns).fillna(EMPTY)


def _estimate(mean: float, low: float, high: float, n: float) -> str:
    if pd.isna(mean):
        return EMPTY
    if pd.isna(low):
        return f"{mean:.4g}"
    return f"{mean:.3f} [{low:.3f}, {high:.3f}] n={n:.0f}"


def _cell(value: float | str | None) -> str:
    return EMPTY if value is None else f"{value:g}" if isinstance(value, float) else str(value)
