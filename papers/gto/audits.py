"""Is the paper consistent with itself? Errors of its tables as they stand in the card."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.study.card import load_card

Errors = Float[np.ndarray, " N"]


def _row(table: str, row: str) -> dict[str, float]:
    reported = load_card("gto").tables[table].reported
    cells = cast(tuple[float, ...], reported.rows[row])
    return dict(zip(reported.columns, cells, strict=True))


def audit_averages(_frame: pd.DataFrame) -> Errors:
    """Reported averages minus means of the three benchmarks, EAGLE-3 and GTO."""
    errors = []
    for name in ("EAGLE-3", "GTO"):
        cells = _row("table1", f"LLaMA-3.1-8B {name}")
        for column in ("SR T=0", "τ T=0", "SR T=1"):
            parts = [cells[f"{benchmark} {column}"] for benchmark in ("MT-Bench", "HumanEval", "GSM8K")]
            errors.append(cells[column] - np.mean(parts))
    return np.array(errors)


def audit_gains(_frame: pd.DataFrame) -> Errors:
    """Reported gains minus those of the averages, in percentage points."""
    eagle, gto = (_row("table1", f"LLaMA-3.1-8B {name}") for name in ("EAGLE-3", "GTO"))
    reported = {"τ T=0": 7.4, "SR T=0": 7.7}
    return np.array([value - 100 * (gto[column] / eagle[column] - 1) for column, value in reported.items()])


def audit_sizes(_frame: pd.DataFrame) -> Errors:
    """1 for each row of Table 4 that one constant makes from the row m=8, to rounding."""
    eight = _row("table4", "m=8")
    scaled = []
    for size in (1, 4, 16, 32):
        row = _row("table4", f"m={size}")
        low = max((row[name] - 0.005) / (eight[name] + 0.005) for name in row)
        high = min((row[name] + 0.005) / (eight[name] - 0.005) for name in row)
        scaled.append(float(low <= high))
    return np.array(scaled)
