"""Arms: how to select one from the frame of records, what it is called, how it becomes a number per seed.

A series over policies has a step 0 (the start) and a step t after t iterations; a series over batches has a
step t for the batch that the policy after t iterations sampled.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.metrics.summary import summarise
from common.study.errors import StudyError
from papers.qae.experiment import Config

K, EPSILON_HIGH = Config().quantile_k, Config().epsilon_high
MIXES = ("hard", "broad")
NAMES = {
    "mean": "mean",
    "quantile": "QAE",
    "pos": "POS-MASK",
    "neg": "NEG-MASK",
    "b0": "b=0",
    "b1": "b=1",
    "random_gate": "permuted gate",
    "inverted": "inverted gate",
    "sparse_mean": "mean, random 80% masked",
}
GATED = ("quantile", "pos", "neg", "random_gate", "inverted")  # baselines that K changes
BASES = {"clip_higher": "Clip-Higher", "clip_cov": "Clip-Cov", "kl_cov": "KL-Cov", "gspo": "GSPO"}


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
    part = frame.loc[frame["name"] == name, ["sweep", *labels, "seed", "step", "value"]]
    for label, wanted in {"sweep": sweep, **labels}.items():
        part = part[part[label] == wanted]
    told = f"'{name}' of sweep '{sweep}' with {labels}"
    if part.empty:
        raise StudyError(f"this run has no record of {told}")
    if part.duplicated(["seed", "step"]).any():
        raise StudyError(f"more than one arm has {told}; give more labels")
    return part[["seed", "step", "value"]].sort_values(["seed", "step"], ignore_index=True)


def tabular(
    frame: pd.DataFrame,
    name: str,
    mix: str,
    baseline: str,
    *,
    k: float = K,
    epsilon_high: float = EPSILON_HIGH,
) -> pd.DataFrame:
    """`rows` of a tabular arm with μ = 8 Adam steps and unmatched gradient norm."""
    labels = {"baseline": baseline, "k": k, "epsilon_high": epsilon_high, "matched_grad_norm": False}
    return rows(frame, f"tabular_{mix}", name, **labels)


def training(frame: pd.DataFrame, sweep: str, name: str, baseline: str, **labels: Any) -> pd.DataFrame:
    """`rows` of a language-model arm; the steps of a ``curve/`` series become iterations."""
    part = rows(frame, sweep, name, baseline=baseline, **labels)
    if not name.startswith("curve/"):
        return part
    points = rows(frame, sweep, "curve/iteration", baseline=baseline, **labels)
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


def scalar(frame: pd.DataFrame, sweep: str, name: str, baseline: str, **labels: Any) -> pd.Series:
    """A scalar of a language-model arm, one value per seed."""
    return training(frame, sweep, name, baseline, **labels).set_index("seed")["value"]
