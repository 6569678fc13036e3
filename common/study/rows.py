"""The rows of ``values.parquet`` against the jobs that say which there have to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from common.study.jobs import Job

SHOWN = 3
MEASURED = ("seed", "name", "step", "value")
Row = tuple[Any, ...]


def label_columns(jobs: Sequence[Job]) -> list[str]:
    """Columns that tell rows of different jobs apart: sweep and labels, in the order of the frame."""
    return ["sweep", *dict.fromkeys(name for job in jobs for name in job.labels)]


def part_columns(frame: pd.DataFrame, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """By sweep, the columns that its records bring themselves (`Record.parts`), where there are any."""
    columns = [name for name in frame.columns if name not in ("sweep", *MEASURED)]
    labels: dict[str, set[str]] = {}
    for job in jobs:
        labels.setdefault(job.sweep, set()).update(job.labels)
    filled = frame[columns].notna().groupby(frame["sweep"], observed=True).any()
    found = {
        sweep: [name for name in columns if filled.loc[sweep, name] and name not in labels.get(sweep, set())]
        for sweep in filled.index
    }
    return {sweep: names for sweep, names in found.items() if names}


def row_counts(
    frame: pd.DataFrame, jobs: Sequence[Job], parts: Mapping[str, Sequence[str]] | None = None
) -> list[int]:
    """Number of rows that bear the labels and seeds of each job.

    Args:
        frame: The rows.
        jobs: The jobs.
        parts: `part_columns`; by default those of the frame.
    """
    columns = label_columns(jobs)
    parts = part_columns(frame, jobs) if parts is None else parts
    counts = _count(_without(frame, parts), [*columns, "seed"])
    return [sum(counts[row] for row in _rows(job, columns)) for job in jobs]


def misfits(
    frame: pd.DataFrame, jobs: Sequence[Job], parts: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    """What a frame has or lacks against its jobs: rows of other seeds, none of a job, gaps in a series.

    Args:
        frame: The rows.
        jobs: The jobs.
        parts: The columns that records bring themselves, by sweep, as the manifest has them; none by default.
    """
    columns, parts = label_columns(jobs), parts or {}
    own = [name for names in parts.values() for name in names if name not in columns]
    expected = [*columns, *dict.fromkeys(own), *MEASURED]
    fits = sorted(frame.columns) == sorted(expected) if own else list(frame.columns) == expected
    if not fits:  # columns of parts stand among the labels where the first record brought them
        return [f"columns are {', '.join(frame.columns)}; the jobs give {', '.join(expected)}"]
    text = [name for name in ("seed", "step", "value") if not is_numeric_dtype(frame[name])]
    if text:
        return [f"column {name} holds no numbers" for name in text]
    counts = _count(_without(frame, parts), [*columns, "seed"])
    wanted = {row: job for job in jobs for row in _rows(job, columns)}
    absent = [
        f"no rows of job {job.describe()}, seed {row[-1]}" for row, job in wanted.items() if not counts[row]
    ]
    foreign = [
        f"rows of {_name([*columns, 'seed'], row)} are of no job" for row in counts if row not in wanted
    ]
    broken = [f"steps of {_name([*columns, 'seed', 'name'], row)} are not 0, 1, 2 …" for row in _gaps(frame)]
    return [line for lines in (absent, foreign, broken) for line in _shorten(lines)]


def _without(frame: pd.DataFrame, parts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows as if their records had no parts."""
    for sweep, names in parts.items():
        others = frame["sweep"] != sweep
        frame = frame.assign(**{name: frame[name].where(others) for name in names})
    return frame


def _rows(job: Job, columns: Sequence[str]) -> list[Row]:
    labels = (job.sweep, *(job.labels.get(name) for name in columns[1:]))
    return [(*labels, seed) for seed in job.seeds]


def _count(frame: pd.DataFrame, columns: list[str]) -> Counter[Row]:
    sizes = frame.groupby(columns, observed=True, dropna=False, sort=False).size()
    return Counter({_plain(row): int(size) for row, size in zip(sizes.index, sizes, strict=True)})


def _gaps(frame: pd.DataFrame) -> list[Row]:
    """Quantities whose steps are neither one NA (a scalar) nor 0 … T - 1, each once."""
    by = [column for column in frame.columns if column not in ("step", "value")]
    steps = frame.groupby(by, observed=True, dropna=False, sort=False)["step"]
    seen = steps.agg(["size", "count", "nunique", "min", "max"])
    scalar = (seen["size"] == 1) & (seen["count"] == 0)
    whole = (seen["count"] == seen["size"]) & (seen["nunique"] == seen["size"])
    series = whole & (seen["min"] == 0) & (seen["max"] == seen["size"] - 1)
    return [_plain(row) for row in seen.index[~(scalar | series.fillna(False)).to_numpy(dtype=bool)]]


def _plain(row: Row) -> Row:
    """A label that a job lacks is NaN in the frame and None here."""
    return tuple(None if pd.isna(value) else value for value in row)


def _name(columns: Sequence[str], row: Row) -> str:
    pairs = zip(columns, row, strict=True)
    return " ".join(f"{column}={value}" for column, value in pairs if value is not None)


def _shorten(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"and {more} more of this kind"] if more > 0 else [])
