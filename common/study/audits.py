"""Audits: are a paper's reported numbers consistent with one another? They read the card and no record.

Each function returns a measure for ``report.CLAIMS``: errors in the unit of the reported numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from common.study.card import Cell, load_card
from common.study.errors import StudyError
from common.study.frame import Errors

Audit = Callable[[pd.DataFrame], Errors]


def reported(slug: str, table: str) -> pd.DataFrame:
    """The paper's block of a table as numbers; an empty cell is NaN."""
    block = load_card(slug).tables[table].reported
    rows = {name: [number(cell) for cell in cells] for name, cells in block.rows.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(block.columns))


def number(cell: Cell) -> float:
    """A cell, or the first number of a text such as ``-18.6%``.

    Raises:
        StudyError: a text without a number.
    """
    if cell is None or isinstance(cell, float):
        return np.nan if cell is None else cell
    match = re.search(r"[-+]?\d+(\.\d+)?", str(cell))
    if match is None:
        raise StudyError(f"the card reports '{cell}' where an audit needs a number")
    return float(match.group())


def averages(slug: str, table: str, average: str, of: Sequence[str]) -> Audit:
    """Reported average minus the mean of the columns that it averages, every row that has them all."""

    def errors(_frame: pd.DataFrame) -> Errors:
        block = reported(slug, table)[[average, *of]].dropna()
        return (block[average] - block[list(of)].mean(axis=1)).to_numpy()

    return errors


def possible(slug: str, table: str, cases: Mapping[str, int], only: Sequence[str] = ()) -> Audit:
    """Distance of scores in percent to the nearest average of 0/1 outcomes.

    Args:
        slug: Paper.
        table: Its table.
        cases: Column to the number of outcomes behind each of its cells (questions times samples).
        only: Rows to look at; all by default.
    """

    def errors(_frame: pd.DataFrame) -> Errors:
        block = reported(slug, table)
        block = block.loc[list(only)] if only else block
        found = [block[name] - (block[name] / 100 * n).round() * 100 / n for name, n in cases.items()]
        return np.abs(np.concatenate(found))

    return errors


def gains(slug: str, table: str, rows: Sequence[tuple[str, str, str]], half: float = 0.05) -> Audit:
    """Distance of reported relative gains, in percent, to those that the cells allow.

    Args:
        slug: Paper.
        table: Its table.
        rows: Names of the rows before, after, and of the gain.
        half: Largest rounding error of a cell.
    """

    def errors(_frame: pd.DataFrame) -> Errors:
        block = reported(slug, table)
        found = []
        for old, new, stated in ((block.loc[name] for name in names) for names in rows):
            low, high = (100 * ((new + s * half) / (old - s * half) - 1) for s in (-1, 1))
            found.append(np.maximum(np.maximum(low - stated, stated - high), 0.0))
        return np.concatenate(found)

    return errors
