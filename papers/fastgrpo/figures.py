"""Data twins of the figures: long frames with panel, arm, step, mean, low, high, n (95 % t intervals)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from common.metrics.records import curve, rows
from common.metrics.summary import summarise
from papers.fastgrpo.arms import (
    DRAFTS,
    LOOPS,
    NAMES,
    PARTS,
    STATIC,
    acceptance,
    gen_speedup,
    loop,
    profiled,
    static_speed,
    total,
)
from papers.fastgrpo.grid import BATCHES, BUDGETS, CURVE, DRAFT_ROWS, LARGEST_PASS, LAYERS, TOKENS

PASS_ROWS = (1, 8, 64)
TRAINED = (
    "et", "eagle2", "hass", "eagle3", *STATIC, "frozen", "fast", "floor", "random", "peak_high", "peak_low"
)  # fmt: skip


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of each part in an iteration, by loop, in percent."""
    return _stack(
        _point(100 * total(frame, part, arm) / total(frame, "wall", arm), LOOPS[arm], part)
        for arm in LOOPS
        for part in PARTS
        if part != "learn" or arm == "fast"
    )


def fig2(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and longest response over iterations: what makes the batch shrink."""
    return _stack(
        curve(loop(frame, name, arm, warm=False), panel=LOOPS[arm], arm=title)
        for arm in ("et", "fast")
        for name, title in {"length": "mean response", "longest": "longest response"}.items()
    )


def fig3(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens per second over plain decoding by rows, static trees and the rule."""
    names = {**{str(size): f"N = {size}" for size in BUDGETS if size > 1}, "rule": "rule"}
    return _stack(
        _at(static_speed(frame, batch, name), batch, "Speed over plain decoding", title)
        for name, title in names.items()
        for batch in BATCHES
    )


def fig4(frame: pd.DataFrame) -> pd.DataFrame:
    """Acceptance of the online, the frozen and the shuffled draft, and of a frozen one on a still policy.

    Beside it, drafts pre-trained on other traces.
    """
    panels = {
        "Pre-trained on the policy's traces": ("online", "frozen", "shuffled"),
        "Pre-trained on other traces": ("generic", "generic_frozen"),
    }
    arms = [
        curve(acceptance(frame, draft), panel=panel, arm=DRAFTS[draft])
        for panel, drafts in panels.items()
        for draft in drafts
    ]
    control = rows(frame, "still", "acceptance/frozen", arm="still")
    return _stack([*arms, curve(control, panel=next(iter(panels)), arm="frozen, still policy")])


def fig5(frame: pd.DataFrame) -> pd.DataFrame:
    """Acceptance with and without pre-training, and from used rollouts only."""
    return _stack(
        curve(acceptance(frame, draft), panel="Acceptance length", arm=DRAFTS[draft])
        for draft in ("online", "scratch", "used")
    )


def fig6(frame: pd.DataFrame) -> pd.DataFrame:
    """Throughput of one-token passes by rows; time of a pass by its tokens over a one-token pass."""
    speed = [
        _at(profiled(frame, f"throughput/{count}") / 1000, count, "Throughput", "one token a row")
        for count in CURVE
    ]
    cost = [
        _at(
            profiled(frame, f"seconds/{count}/{size}") / profiled(frame, f"seconds/{count}/1"),
            size,
            "Cost of a pass",
            f"{count} row{'s' * (count > 1)}",
        )
        for count in PASS_ROWS
        for size in TOKENS
        if count * size <= LARGEST_PASS
    ]
    return _stack([*speed, *cost])


def depth(frame: pd.DataFrame) -> pd.DataFrame:
    """Predicted gain over plain decoding by rows and depth of the target, the rule's and the best tree's."""
    return _stack(
        _at(profiled(frame, f"{name}/{layers}/{rows}"), rows, panel, f"{layers} layers")
        for name, panel in {"gain": "Rule", "best": "Best tree"}.items()
        for layers in LAYERS
        for rows in DRAFT_ROWS
    )


def arms(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up of generation of every arm over both baselines."""
    return _stack(
        _point(gen_speedup(frame, arm, base), f"over {NAMES[base]}", NAMES[arm])
        for base in ("vanilla", "et")
        for arm in TRAINED
        if arm != base
    )


def rewards(frame: pd.DataFrame) -> pd.DataFrame:
    """Reward and response length over iterations."""
    return _stack(
        curve(loop(frame, name, arm, warm=False), panel=title, arm=LOOPS[arm])
        for name, title in {"reward": "Reward", "length": "Mean response (tokens)"}.items()
        for arm in ("et", "fast")
    )


def _point(values: pd.Series, panel: str, arm: str) -> pd.DataFrame:
    return summarise(values.reset_index(name="value").assign(panel=panel, arm=arm), ["panel", "arm"])


def _at(values: pd.Series, step: float, panel: str, arm: str) -> pd.DataFrame:
    table = values.reset_index(name="value").assign(panel=panel, arm=arm, step=np.float64(step))
    return summarise(table, ["panel", "arm", "step"])


def _stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(parts), ignore_index=True)
