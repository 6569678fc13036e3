"""Scores at a budget: a learning curve read off at equal rollouts or at equal wall time, seed by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import learning_curve, rows, scalar
from papers.zoo.objectives import OBJECTIVES

METRICS = {"pass@1": "curve/pass_at_1", "pass@16": "curve/pass_at_16"}
Curve = dict[int, tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]]
"""Seed to (position on the budget's axis, score) at every evaluation point."""


def points(frame: pd.DataFrame, objective: str, metric: str) -> Curve:
    """A learning curve over iterations."""
    part = learning_curve(frame, "train", METRICS[metric], objective=objective)
    return {
        int(seed): (own["step"].to_numpy(), own["value"].to_numpy()) for seed, own in part.groupby("seed")
    }


def rollouts(frame: pd.DataFrame, objective: str) -> dict[int, Float[np.ndarray, " T"]]:
    """Completions sampled after 0..T iterations, by seed; dynamic sampling logs how many it drew."""
    dynamic = OBJECTIVES[objective].arguments.get("dynamic_sampling_rounds")
    drawn = rows(frame, "train", "rollouts_generated" if dynamic else "reward", objective=objective)
    batch = scalar(frame, "train", "batch", objective=objective)
    return {
        int(seed): np.cumsum([0.0, *(part["value"] if dynamic else [batch[seed]] * len(part))])
        for seed, part in drawn.groupby("seed")
    }


def seconds(frame: pd.DataFrame, objective: str) -> float:
    """Seconds of one iteration: the median over the rounds of the timing."""
    return float(rows(frame, "cost", f"seconds/{objective}")["value"].median())


def against_rollouts(frame: pd.DataFrame, objective: str, metric: str = "pass@1") -> Curve:
    """A learning curve over sampled completions."""
    drawn = rollouts(frame, objective)
    curve = points(frame, objective, metric)
    return {seed: (drawn[seed][at.astype(int)], score) for seed, (at, score) in curve.items()}


def against_time(frame: pd.DataFrame, objective: str, metric: str = "pass@1") -> Curve:
    """A learning curve over seconds of training."""
    pace = seconds(frame, objective)
    return {seed: (at * pace, score) for seed, (at, score) in points(frame, objective, metric).items()}


def budget(curves: list[Curve]) -> float:
    """The largest budget that every curve reaches."""
    return min(float(at[-1]) for curve in curves for at, _ in curve.values())


def read_off(curve: Curve, at: float) -> pd.Series:
    """Score of each seed at a budget, linear between evaluation points."""
    return pd.Series({seed: float(np.interp(at, where, score)) for seed, (where, score) in curve.items()})


def at_equal_rollouts(frame: pd.DataFrame, metric: str = "pass@1") -> pd.DataFrame:
    """One column per objective, one row per seed."""
    return _at_equal({name: against_rollouts(frame, name, metric) for name in OBJECTIVES})


def at_equal_time(frame: pd.DataFrame, metric: str = "pass@1") -> pd.DataFrame:
    """One column per objective, one row per seed."""
    return _at_equal({name: against_time(frame, name, metric) for name in OBJECTIVES})


def at_the_start(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of the warm start."""
    return pd.DataFrame({name: read_off(points(frame, name, "pass@1"), 0.0) for name in OBJECTIVES})


def _at_equal(curves: dict[str, Curve]) -> pd.DataFrame:
    allowed = budget(list(curves.values()))
    return pd.DataFrame({name: read_off(curve, allowed) for name, curve in curves.items()})
