"""Data twins of the figures: long frames with panel, arm, step, mean, low, high, n (95 % t intervals)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from common.metrics.records import curve, rows
from common.metrics.summary import summarise
from papers.fcp.claims import value
from papers.fcp.tables import KINDS

ONLINE = {"GRPO": "grpo", "RFT+GRPO": "rft+grpo", "FCP+Bootstrap": "bootstrap"}
POOLS = {"with words on length": "every praise", "without": "bootstrap"}
CONDITIONS = {"(+, +)": "++", "(+, -)": "+-", "(-, +)": "-+"}
PRAISE = {"correct": "praise of correctness", "concise": "praise of correct and concise"}
WINDOW = 5  # optimizer steps of the moving average of the loss


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """Correct and concise responses by condition, one panel per kind of critique."""
    parts = []
    for kind, panel in KINDS.items():
        arms = {"reference": "reference", **{arm: f"{kind}@{sign}" for arm, sign in CONDITIONS.items()}}
        for arm, name in arms.items():
            values = value(frame, name, "both", "composition").reset_index()
            parts.append(summarise(values.assign(panel=f"Both, {panel}", arm=arm), ["panel", "arm"]))
    return _stack(parts)


def fig2a(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the rollouts."""
    return _rollouts(frame, ONLINE, "accuracy", "Accuracy of the rollouts")


def fig2b(frame: pd.DataFrame) -> pd.DataFrame:
    """Score of the rollouts."""
    return _rollouts(frame, ONLINE, "score", "Environment's score over ten")


def fig3a(frame: pd.DataFrame) -> pd.DataFrame:
    """Length of the rollouts."""
    return _rollouts(frame, POOLS, "length", "Rollout length (tokens)")


def fig3b(frame: pd.DataFrame) -> pd.DataFrame:
    """Loss by optimizer step, moving average of five steps."""
    parts = []
    for arm, name in POOLS.items():
        part = rows(frame, "main", f"{name}/curve/loss")
        smooth = part.groupby("seed")["value"].transform(
            lambda values: values.rolling(WINDOW, min_periods=1).mean()
        )
        parts.append(curve(part.assign(value=smooth), panel="Loss (nats per token)", arm=arm))
    return _stack(parts)


def posterior(frame: pd.DataFrame) -> pd.DataFrame:
    """P_off(o|c) and the fitted policy of one world: columns panel, critique, response, value."""
    panels = {"P_off(o|c)": "posterior", "learned": "learned"}
    parts = []
    for panel, name in panels.items():
        cells = rows(frame, "theory", name, analysis="example")["value"].to_numpy()
        critique, response = np.divmod(np.arange(len(cells)), RESPONSES)
        parts.append(
            pd.DataFrame({"panel": panel, "critique": critique, "response": response, "value": cells})
        )
    return _stack(parts)


RESPONSES = 6


def rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """E[log p_env(c+|o)] and expected length after each exact round, iterated and in closed form."""
    panels = {"E[log p(c+|o)] (nats)": "praise", "Expected length": "length"}
    return _stack(
        curve(
            rows(frame, "theory", f"{measure}_{kind}_{form}", analysis="example"),
            panel=panel,
            arm=name if form == "iterated" else f"{name}, closed form",
        )
        for panel, measure in panels.items()
        for kind, name in PRAISE.items()
        for form in ("iterated", "closed")
    )


def _rollouts(frame: pd.DataFrame, arms: dict[str, str], name: str, panel: str) -> pd.DataFrame:
    return _stack(
        curve(rows(frame, "main", f"{arm}/curve/{name}"), panel=panel, arm=label)
        for label, arm in arms.items()
    )


def _stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(parts), ignore_index=True)
