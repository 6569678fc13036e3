"""Protocols and sweeps: what they are called, and how to select them from the frame of records."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import rows, scalar

NAMES = {
    "proposed": "proposed",
    "xpo": "XPO-type",
    "vpo": "VPO-type",
    "selm": "SELM-type",
    "ablation_a": "ablation A",
    "ablation_b": "ablation B",
    "uniform": "uniform partner",
    "passive": "passive online DPO",
}
KNOBS = {"ce1": "beta", "ce2": "gap"}  # what a hard instance is swept over


def levels(frame: pd.DataFrame, sweep: str, label: str) -> list[float]:
    """Values of a numeric label in a sweep, rising."""
    return sorted(frame.loc[frame["sweep"] == sweep, label].dropna().unique().tolist())


def regret(
    frame: pd.DataFrame, sweep: str, protocol: str, name: str = "total", **labels: object
) -> pd.Series:
    """A scalar of a bandit run by seed, by default R_T."""
    return scalar(frame, sweep, name, protocol=protocol, **labels)


def growth(frame: pd.DataFrame, sweep: str, protocol: str, **labels: object) -> pd.Series:
    """R_T / R_(T/2) by seed: 2 if linear, 1 if the regret has stopped."""
    return regret(frame, sweep, protocol, **labels) / regret(frame, sweep, protocol, "half", **labels)


def slope(x: Float[np.ndarray, " N"], y: Float[np.ndarray, "S N"]) -> Float[np.ndarray, " S"]:
    """Least-squares slope of each row of y on x."""
    centred = x - x.mean()
    return (y * centred).sum(axis=-1) / (centred**2).sum()


def envelope(
    frame: pd.DataFrame, protocol: str, beta: float
) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, "S G H"], list[int]]:
    """Horizons, regret by seed, gap and horizon, and the seeds, of the exponent study."""
    horizons = np.array(levels(frame, "envelope", "horizon"))
    tables = [
        rows(frame, "envelope", "regret", protocol=protocol, beta=beta, horizon=horizon).pivot_table(
            index="seed", columns="step", values="value"
        )
        for horizon in horizons
    ]
    return horizons, np.stack([table.to_numpy() for table in tables], axis=2), list(tables[0].index)


def exponent(horizons: Float[np.ndarray, " H"], regrets: Float[np.ndarray, "S G H"]) -> float:
    """Slope of log max over gaps of the mean regret against log T."""
    worst = regrets.mean(axis=0).max(axis=0)
    return float(slope(np.log(horizons), np.log(worst)))


def jackknife(frame: pd.DataFrame, protocol: str, beta: float) -> pd.Series:
    """`exponent` as one jackknife pseudo-value per seed: n θ - (n - 1) θ without that seed."""
    horizons, regrets, seeds = envelope(frame, protocol, beta)
    n, whole = len(seeds), exponent(horizons, regrets)
    if n == 1:
        return pd.Series([whole], index=seeds)
    without = [exponent(horizons, np.delete(regrets, index, axis=0)) for index in range(n)]
    return pd.Series(n * whole - (n - 1) * np.array(without), index=pd.Index(seeds, name="seed"))


def bound(beta: float) -> float:
    """The exponent (β + 1) / (β + 2) of the abstract."""
    return (beta + 1) / (beta + 2)
