"""From a frame to tables, figures and verdicts: the last stage, pure in the frame and the card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Plot

from common.study.card import Table
from common.study.errors import StudyError
from common.study.frame import TABLE_COLUMNS
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
        self._verdicts: dict[str, Verdict] | None = None

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

    def plot(self, name: str) -> Plot:
        """The drawn figure."""
        return self.study.report.figure(name).draw(self.data(name), self.study.card.figures[name].reported)

    def verdicts(self) -> dict[str, Verdict]:
        """Verdict of every selected claim; what this run cannot decide is untested, with the reason."""
        if self._verdicts is None:
            self._verdicts = self._judge()
        return self._verdicts

    def _judge(self) -> dict[str, Verdict]:
        claims = self.study.card.claims
        only = self.study.options.only
        selected = [name for name in claims if not only or name in only]
        controls = [claims[name].control for name in selected]
        reasons = {name: self.study.available(claims[name]) for name in {*selected, *filter(None, controls)}}
        measured = {
            name: self._once(name, self.study.report.measure(name, claims[name]))
            for name in claims
            if reasons.get(name) == ""
        }
        judged = judge(claims, measured)
        return {
            name: judged[name] if name in judged else Verdict(name, "untested", reasons[name])
            for name in selected
        }

    def _once(self, name: str, make: Callable[[pd.DataFrame], Any]) -> Any:
        if name not in self._results:
            self._results[name] = make(self.frame)
        return self._results[name]


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
