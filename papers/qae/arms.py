"""Arms of QAE: what they are called, and how to select one from the frame of records."""

from __future__ import annotations

from typing import Any

import pandas as pd

from common.metrics.records import learning_curve, rows
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
    """`learning_curve` of a language-model arm."""
    return learning_curve(frame, sweep, name, baseline=baseline, **labels)


def scalar(frame: pd.DataFrame, sweep: str, name: str, baseline: str, **labels: Any) -> pd.Series:
    """A scalar of a language-model arm, one value per seed."""
    return training(frame, sweep, name, baseline, **labels).set_index("seed")["value"]
