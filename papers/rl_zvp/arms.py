"""Arms of RL-ZVP: what they are called, and how to select one from the frame of records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from common.metrics.records import learning_curve, rows
from papers.rl_zvp.experiment import Config

ALPHA = Config().zvp_alpha
MIXES = ("easy", "hard")
NAMES = {
    "grpo": "GRPO",
    "zvp": "RL-ZVP",
    "no_negative": "w/o negative prompts",
    "no_positive": "w/o positive prompts",
    "unit": "w/o entropy scaling (±1)",
    "alpha": "±alpha",
    "const": "const (mean of each response)",
    "shuffle": "shuffle (permuted tokens)",
    "sym": "sym (-alpha H on negatives)",
    "constant_max": "constant in place of max H",
    "flip": "sign-flip",
}
FILTERS = {"ds": "DS", "greso": "GRESO"}


def tabular(frame: pd.DataFrame, name: str, mix: str, arm: str, alpha: float = ALPHA) -> pd.DataFrame:
    """`rows` of a tabular arm that trains on every prompt."""
    return rows(frame, f"tabular_{mix}", name, arm=arm, alpha=alpha)


def filtered(frame: pd.DataFrame, name: str, mix: str, arm: str) -> pd.DataFrame:
    """`rows` of a tabular filter."""
    return rows(frame, "filters", name, arm=arm, mix=mix)


def stop(frame: pd.DataFrame, mix: str, arm: str) -> pd.Series:
    """Batches after which a filter has sampled at least as many responses as the other arms do in all.

    The last batch if it never does, which a filter that skips prompts may.
    """
    part = filtered(frame, "rollouts", mix, arm)
    table = part.pivot_table(index="seed", columns="step", values="value")
    reached = table.ge(budget(frame, mix), axis=0).to_numpy()
    steps = np.where(reached.any(axis=1), reached.argmax(axis=1), reached.shape[1] - 1)
    return pd.Series(steps, index=table.index)


def budget(frame: pd.DataFrame, mix: str) -> pd.Series:
    """Responses that the arms without a filter sample, by seed."""
    return rows(frame, f"tabular_{mix}", "rollouts", arm="grpo").set_index("seed")["value"]


def at(part: pd.DataFrame, steps: pd.Series) -> pd.Series:
    """Value of each seed at its own step."""
    joined = part.merge(steps.rename("wanted"), left_on="seed", right_index=True)
    return joined[joined["step"] == joined["wanted"]].set_index("seed")["value"]


def batch_quarter(part: pd.DataFrame) -> pd.Series:
    """Mean of each seed over the last quarter of the batches."""
    batches = int(part["step"].max()) + 1
    return part[part["step"] >= batches - max(1, batches // 4)].groupby("seed")["value"].mean()


def drawdown(part: pd.DataFrame) -> pd.Series:
    """Largest fall of each seed's curve below an earlier value."""
    curves = part.pivot_table(index="seed", columns="step", values="value")
    return (curves.cummax(axis=1) - curves).max(axis=1)


def training(frame: pd.DataFrame, sweep: str, name: str, arm: str, **labels: Any) -> pd.DataFrame:
    """`learning_curve` of a language-model arm."""
    return learning_curve(frame, sweep, name, arm=arm, **labels)


def half(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A quantity of `theory.halves`: a row per policy, a column per success rate."""
    values = {
        column: rows(frame, "theory", column, analysis="halves")["value"] for column in ("p", "policy", name)
    }
    return pd.DataFrame(values).pivot_table(index="policy", columns="p", values=name)
