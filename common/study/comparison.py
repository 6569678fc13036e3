"""Compare two results: a run against the committed one, and files against recomputed ones."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.image import imread

from common.study.stored import UnreadableError, read_claims, read_csv, read_values

TOLERANCE = 1e-9
PIXELS = 1e-3  # of an SVG's coordinates, which hold six decimals
SHADE = 0.05  # of a pixel's channels, which go from 0 to 1
CELL = ("row", "column", "mean", "low", "high")
_IDENTIFIER = re.compile(r"\b[a-z][0-9a-f]{10}\b")
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def compare_runs(new: Path, old: Path) -> str:
    """How a run compares with the committed one: identical, within tolerance, or differs and where.

    Identical: every value bit for bit. Within tolerance: values to 1e-9, or every table cell inside the
    committed 95 % interval; verdicts equal in both cases. Committed files that are missing or damaged are
    named: they never stop a run that has ended.
    """
    if not old.exists():
        return "no committed results to compare with"
    try:
        return _compare_runs(new, old)
    except UnreadableError as error:
        return f"committed results cannot be read: {error.message}"


def _compare_runs(new: Path, old: Path) -> str:
    changed = _changed_verdicts(new, old)
    first, second = read_values(new / "values.parquet"), read_values(old / "values.parquet")
    if first.equals(second) and not changed:
        return "identical"
    if changed:
        return f"differs: verdicts changed for {', '.join(changed)}"
    largest = _largest_difference(first, second)
    if largest is not None and largest <= TOLERANCE:
        return f"within tolerance (largest relative difference {largest:.1g})"
    outside, total = _cells_outside(new, old)
    if outside is None:
        return "differs: the tables have other rows"
    if not outside:
        return f"within tolerance (all {total} table cells inside the committed intervals, verdicts equal)"
    return f"differs: {outside} of {total} table cells outside the committed intervals, verdicts equal"


def _changed_verdicts(new: Path, old: Path) -> list[str]:
    first, second = (
        {name: entry["verdict"] for name, entry in read_claims(folder)["claims"].items()}
        for folder in (new, old)
    )
    return [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]


def _largest_difference(first: pd.DataFrame, second: pd.DataFrame) -> float | None:
    keys = [column for column in first.columns if column != "value"]
    if list(first.columns) != list(second.columns) or len(first) != len(second):
        return None
    if not (first[keys].astype(str).to_numpy() == second[keys].astype(str).to_numpy()).all():
        return None
    one, other = first["value"].to_numpy(float), second["value"].to_numpy(float)
    scale = np.maximum(np.maximum(np.abs(one), np.abs(other)), 1.0)
    difference = np.where(np.isnan(one) & np.isnan(other), 0.0, np.abs(one - other) / scale)
    return float(np.nanmax(difference)) if not np.isnan(difference).any() else None


def _cells_outside(new: Path, old: Path) -> tuple[int | None, int]:
    outside = total = 0
    for path in sorted((old / "tables").glob("*.csv")):
        if not (new / "tables" / path.name).is_file():
            return None, 0
        fresh, stored = read_csv(new / "tables" / path.name, CELL), read_csv(path, CELL)
        if not fresh[["row", "column"]].equals(stored[["row", "column"]]):
            return None, 0
        bounded = stored["low"].notna()
        inside = fresh["mean"].between(stored["low"], stored["high"])
        outside += int((bounded & ~inside).sum())
        total += int(bounded.sum())
    return outside, total


def differing_columns(fresh: pd.DataFrame, stored: pd.DataFrame) -> list[str]:
    """What differs between two frames beyond the tolerance, one line each."""
    if list(fresh.columns) != list(stored.columns) or len(fresh) != len(stored):
        return ["rows or columns differ from the recomputed ones"]
    wrong = [column for column in fresh if not _equal(fresh[column], stored[column])]
    return [f"column '{column}' differs from the recomputed one" for column in wrong]


def _equal(fresh: pd.Series, stored: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(fresh) and pd.api.types.is_numeric_dtype(stored):
        first, second = fresh.to_numpy(float), stored.to_numpy(float)
        return bool(np.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool((fresh.astype(str) == stored.astype(str)).all())


def differing_fields(expected: Any, stored: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted place, stored, expected) of every leaf that differs; None where one side has nothing."""
    if isinstance(expected, dict) and isinstance(stored, dict):
        for name in sorted({*expected, *stored}):
            inner = f"{place}.{name}" if place else name
            if name in expected and name in stored:
                yield from differing_fields(expected[name], stored[name], inner)
            else:
                yield inner, stored.get(name), expected.get(name)
    elif not _same(expected, stored):
        yield place, stored, expected


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, float):
        return bool(np.isclose(first, second, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return type(first) is type(second) and bool(first == second)


def same_drawing(first: str, second: str) -> bool:
    """Whether two SVGs draw the same: matplotlib's ids hash coordinates that machines round differently."""
    if first == second:
        return True
    one, other = _numbered(first), _numbered(second)
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    numbers = [np.array(_NUMBER.findall(text), dtype=float) for text in (one, other)]
    return bool(np.allclose(numbers[0], numbers[1], rtol=0.0, atol=PIXELS))


def _numbered(text: str) -> str:
    """Ids replaced by their numbers in the order of appearance."""
    order: dict[str, str] = {}
    return _IDENTIFIER.sub(lambda match: order.setdefault(match[0], f"id{len(order)}"), text)


def same_picture(first: bytes, second: bytes) -> bool:
    """Whether two PNGs show the same pixels, up to the rounding of the machine that drew them."""
    if first == second:
        return True
    try:
        one, other = imread(BytesIO(first), "png"), imread(BytesIO(second), "png")
    except (OSError, ValueError, SyntaxError):  # pillow calls a broken PNG a SyntaxError
        return False
    return one.shape == other.shape and float(np.abs(one - other).max()) <= SHADE


def same_content(kind: str, first: str, second: str) -> bool:
    """Whether two notebook outputs of a MIME type show the same."""
    if first == second:
        return True
    if kind != "image/png":
        return False
    try:
        return same_picture(base64.b64decode(first), base64.b64decode(second))
    except ValueError:
        return False
