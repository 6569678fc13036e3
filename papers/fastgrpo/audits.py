"""Are the paper's numbers consistent with one another? Computed from the card's reported cells."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.study.card import Cell, load_card
from papers.fastgrpo.systems import implied_share

Errors = Float[np.ndarray, " N"]
RANGE = (2.35, 2.72)  # abstract
SHARES = (0.91, 0.98)  # Fig. 1


def audit_averages(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed averages of Table 1."""
    whole = [row for row in _cells("table1").values() if None not in row]
    numbers = np.array(whole, dtype=float)
    return numbers[:, 3] - numbers[:, :3].mean(axis=1)


def audit_range(_frame: pd.DataFrame) -> Errors:
    """Distance of FastGRPO's end-to-end cells to the range in the abstract."""
    cells = [
        float(cell)
        for name, row in _cells("table1").items()
        if name.endswith("FastGRPO")
        for cell in row
        if cell is not None
    ]
    return _outside(np.array(cells), RANGE)


def audit_share(_frame: pd.DataFrame) -> Errors:
    """Distance of Table 3's implied shares of generation to the reported range."""
    pairs = np.array([[float(cell or np.nan) for cell in row] for row in _cells("table3").values()])
    return _outside(np.array([implied_share(e2e, gen) for gen, e2e in pairs]), SHARES)


def _outside(values: Float[np.ndarray, " N"], bounds: tuple[float, float]) -> Errors:
    low, high = bounds
    return np.maximum(0.0, np.maximum(low - values, values - high))


@cache
def _cells(table: str) -> dict[str, tuple[Cell, ...]]:
    return dict(load_card("fastgrpo").tables[table].reported.rows)
