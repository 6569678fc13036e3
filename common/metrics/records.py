"""Records of a study as numbers per seed: select an arm from the tidy frame, then reduce its curve.

A series over policies has a step 0 (the start) and a step t after t iterations; a series over batches has a
step t for the batch that the policy after t iterations sampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.summary import summarise
from common.study.errors import StudyError


def rows(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.DataFrame:
    """Values `name` of one arm: columns seed, step, value, sorted, whatever the order of the frame.

    Args:
        frame: Tidy frame of the study.
        sweep: Sweep to look in; the same arm may stand in two.
        name: Name of the scalar or series.
        labels: Values of the label columns that single the arm out.

    Raises:
        StudyError: no such record, or more than one arm fits.
    """
    chosen = np.ones(len(frame), dtype=bool)
    for label, wanted in {"sweep": sweep, "name": name, **labels}.items():
        chosen &= (frame[label] == wanted).to_numpy(dtype=bool, na_value=False)
    part = frame.loc[chosen, ["seed", "step", "value"]].sort_values(["seed", "step"], ignore_index=True)
    told = f"'{name}' of sweep '{sweep}' with {labels}"
    if part.empty:
        raise StudyError(f"this run has no record of {told}")
    if part.duplicated(["seed", "step"]).any():
        raise StudyError(f"more than one arm has {told}; give more labels")
    return part


def scalar(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.Series:
    """A scalar of one arm, one value per seed."""
    return rows(frame, sweep, name, **labels).set_index("seed")["value"]


def values(frame: pd.DataFrame, sweep: str, *names: str, **labels: Any) -> Float[np.ndarray, " N"]:
    """The values of several records of one arm, one record after the other."""
    return np.concatenate([rows(frame, sweep, name, **labels)["value"].to_numpy() for name in names])


def learning_curve(frame: pd.DataFrame, sweep: str, name: str, **labels: Any) -> pd.DataFrame:
    """`rows` of a trained arm (`common.rlvr.train`); the steps of a ``curve/`` series become iterations."""
    part = rows(frame, sweep, name, **labels)
    if not name.startswith("curve/"):
        return part
    points = rows(frame, sweep, "curve/iteration", **labels)
    joined = part.merge(points, on=["seed", "step"], suffixes=("", "_point"), validate="one_to_one")
    return joined.assign(step=joined["value_point"])[["seed", "step", "value"]]


def curve(part: pd.DataFrame, **labels: str) -> pd.DataFrame:
    """An arm's mean curve over seeds, with the given labels as leading columns."""
    summary = summarise(part, ["step"]).sort_values("step")
    return summary.assign(**labels)[[*labels, *summary.columns]]


def final(part: pd.DataFrame) -> pd.Series:
    """Last value of each seed."""
    return after(part, int(part["step"].max()))


def after(part: pd.DataFrame, iterations: int) -> pd.Series:
    """Value of each seed after so many iterations; empty if the run was shorter."""
    chosen = part[part["step"] == iterations]
    return chosen.set_index("seed")["value"]


def average(part: pd.DataFrame, share: float = 1.0) -> pd.Series:
    """Mean of each seed over the first `share` of its iterations, the start left out."""
    last = max(1, int(share * int(part["step"].max())))
    chosen = part[(part["step"] >= 1) & (part["step"] <= last)]
    return chosen.groupby("seed")["value"].mean()
