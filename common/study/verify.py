"""Check results against themselves, and one run against another."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.study.artefacts import Artefacts
from common.study.errors import StudyError
from common.study.keys import file_hash
from common.study.ledger import readme
from common.study.paths import papers_root
from common.study.provenance import claim_hashes
from common.study.results import read_values, write_reports
from common.study.study import Study

TOLERANCE = 1e-9


def verify(study: Study, folder: Path) -> list[str]:
    """Recompute every verdict, table and data twin of a results folder from its ``values.parquet``.

    Returns:
        What is wrong, one line each; empty if all is well. Newer source code is not wrong.

    Raises:
        StudyError: the folder or its manifest is missing or cannot be read.
    """
    manifest = read_manifest(folder)
    problems = [
        f"claims.{name}: its test block changed after the run; run again or restore the card"
        for name, digest in claim_hashes(study.card).items()
        if manifest["claims"].get(name) != digest
    ]
    for name, digest in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name}: missing")
        elif path.suffix in (".parquet", ".png", ".svg", ".ipynb") and file_hash(path) != digest:
            problems.append(f"{name}: differs from what the manifest recorded")
    problems += _check_readme(study, folder)
    artefacts = Artefacts(study, read_values(folder / "values.parquet"))
    with tempfile.TemporaryDirectory() as scratch:
        write_reports(study, artefacts, Path(scratch))
        for fresh in sorted(Path(scratch).rglob("*.*")):
            name = str(fresh.relative_to(scratch))
            problems += [f"{name}: {problem}" for problem in _compare(fresh, folder / name)]
    return problems


def _check_readme(study: Study, folder: Path) -> list[str]:
    """A README whose verdict table is not the one of these results was edited by hand or is stale."""
    path = papers_root() / study.card.slug / "README.md"
    if folder != study.committed or not path.is_file() or not (folder / "claims.json").is_file():
        return []
    text = path.read_text(encoding="utf-8")
    claims = json.loads((folder / "claims.json").read_bytes())["claims"]
    stale = f"`{study.profile}` (generated)" in text and readme(text, claims, study.profile) != text
    return ["README.md: its verdict table is not the one of claims.json"] if stale else []


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of a results folder.

    Raises:
        StudyError: it is missing or damaged.
    """
    try:
        content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        return content
    except (OSError, ValueError) as error:
        raise StudyError(
            f"{folder} holds no readable results ({error}); make reproduce writes them"
        ) from error


def _compare(fresh: Path, stored: Path) -> list[str]:
    if not stored.is_file():
        return ["missing"]
    if fresh.suffix == ".csv":
        return _compare_frames(pd.read_csv(fresh), pd.read_csv(stored))
    if fresh.suffix == ".json":
        return _compare_claims(json.loads(fresh.read_bytes()), json.loads(stored.read_bytes()))
    return [] if fresh.read_bytes() == stored.read_bytes() else ["text differs from the recomputed one"]


def _compare_frames(fresh: pd.DataFrame, stored: pd.DataFrame) -> list[str]:
    if list(fresh.columns) != list(stored.columns) or len(fresh) != len(stored):
        return ["rows or columns differ from the recomputed ones"]
    wrong = [column for column in fresh if not _equal(fresh[column], stored[column])]
    return [f"column '{column}' differs from the recomputed one" for column in wrong]


def _equal(fresh: pd.Series, stored: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(fresh) and pd.api.types.is_numeric_dtype(stored):
        first, second = fresh.to_numpy(float), stored.to_numpy(float)
        return bool(np.allclose(first, second, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool((fresh.astype(str) == stored.astype(str)).all())


def _compare_claims(fresh: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    problems = []
    for name in sorted({*fresh["claims"], *stored["claims"]}):
        now, then = fresh["claims"].get(name), stored["claims"].get(name)
        if now is None or then is None:
            problems.append(f"claim {name} is only on one side")
            continue
        for key in sorted(
            set(now) & {"verdict", "reason", "n", "estimate", "low", "high", "p", "p_adjusted"}
        ):
            if not _same(now[key], then.get(key)):
                problems.append(f"claim {name}: stored {key} is {then.get(key)!r}, recomputed {now[key]!r}")
    return problems


def _same(now: Any, then: Any) -> bool:
    if isinstance(now, float) and isinstance(then, float):
        return bool(np.isclose(now, then, rtol=TOLERANCE, atol=TOLERANCE))
    return bool(now == then)


def compare_runs(new: Path, old: Path) -> str:
    """How a run compares with the committed one: identical, within tolerance, or differs and where.

    Identical: every value bit for bit. Within tolerance: values to 1e-9, or every table cell inside the
    committed 95 % interval; verdicts equal in both cases.
    """
    if not (old / "values.parquet").is_file():
        return "no committed results to compare with"
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
    first, second = (json.loads((folder / "claims.json").read_bytes())["claims"] for folder in (new, old))
    names = sorted({*first, *second})
    return [
        name for name in names if first.get(name, {}).get("verdict") != second.get(name, {}).get("verdict")
    ]


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
        fresh, stored = pd.read_csv(new / "tables" / path.name), pd.read_csv(path)
        if not fresh[["row", "column"]].equals(stored[["row", "column"]]):
            return None, 0
        bounded = stored["low"].notna()
        inside = fresh["mean"].between(stored["low"], stored["high"])
        outside += int((bounded & ~inside).sum())
        total += int(bounded.sum())
    return outside, total
