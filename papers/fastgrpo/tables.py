"""Our side of each table: long frames with row, column, mean, low, high, n (95 % t intervals)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.records import scalar
from common.metrics.summary import Cell, estimate, long_table
from papers.fastgrpo.arms import (
    DRAFTS,
    LOOPS,
    NAMES,
    PARTS,
    STATIC,
    acceptance,
    common,
    e2e_speedup,
    ends,
    gen_speedup,
    loop_speedup,
    profiled,
    replayed,
    total,
)
from papers.fastgrpo.experiment import PROFILES, VARIANTS, Config

ROWS = (1, 2, 4, 8, 16, 32, 64)
SCHEDULES = {
    "alpha_0.5": "rule, alpha = 0.5",
    "alpha_0.75": "rule, alpha = 0.75 (paper)",
    "alpha_1": "rule, alpha = 1",
    "alpha_1.5": "rule, alpha = 1.5",
    "floor": "rule, at least 3 levels (code)",
    "static": "best static tree",
    "plain": "plain decoding",
}
COMPARED = ("et", "eagle2", "hass", "eagle3", "fast")
ABLATIONS = ("fast", "frozen", *STATIC, "et")
Pairs = Mapping[str, pd.Series]


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Published drafts and the method over vanilla decoding."""
    return long_table(_speedups(frame, COMPARED))


def table2(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected acceptance length of each draft at the first and last measurement."""
    return long_table(
        (DRAFTS[draft], column, estimate(values))
        for draft in DRAFTS
        for column, values in zip(("start", "end"), ends(acceptance(frame, draft)), strict=True)
    )


def table3(frame: pd.DataFrame) -> pd.DataFrame:
    """Ablations over vanilla decoding."""
    return long_table(_speedups(frame, ABLATIONS))


def table4(frame: pd.DataFrame) -> pd.DataFrame:
    """Gain in generation by objective, over both baselines."""

    def cells() -> Iterator[Cell]:
        for variant in ("grpo", *VARIANTS):
            for base, column in (("vanilla", "over vanilla"), ("et", "over early termination")):
                yield variant.upper(), column, estimate(gen_speedup(frame, "fast", base, variant))
            yield variant.upper(), "acceptance length", estimate(replayed(frame, "fast/tau", variant))

    return long_table(cells())


def parts(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each part of an iteration in the real loops, and end-to-end ratios."""

    def cells() -> Iterator[Cell]:
        for arm, name in LOOPS.items():
            for part in PARTS:
                if part != "learn" or arm == "fast":
                    yield name, f"{part} (s)", estimate(common(frame, part, arm))
            yield name, "iteration (s)", estimate(common(frame, "wall", arm))
            share = total(frame, "generation", arm) / total(frame, "wall", arm)
            yield name, "generation (%)", estimate(100 * share)
            yield name, "E2E over vanilla", estimate(loop_speedup(frame, arm, "vanilla"))
            yield name, "E2E over early termination", estimate(loop_speedup(frame, arm, "et"))

    return long_table(cells())


def accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, dialect and length of the trained policies."""

    def cells() -> Iterator[Cell]:
        for arm in ("et", "fast"):
            for name, column in {"accuracy": "accuracy", "verbose": "verbose", "length": "tokens"}.items():
                values = scalar(frame, "loops", f"heldout/{name}", arm=arm, variant="grpo")
                yield LOOPS[arm], column, estimate(values)

    return long_table(cells())


def schedule(frame: pd.DataFrame) -> pd.DataFrame:
    """The oracle's trees by running rows."""
    columns = {"N": "tokens", "K": "top_k", "L": "depth"}
    return long_table(
        (f"{rows} row{'s' * (rows > 1)}", column, estimate(profiled(frame, f"oracle/{name}/{rows}")))
        for rows in ROWS
        for column, name in columns.items()
    )


def regret(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean regret of each schedule, in percent."""
    return long_table(
        (name, "regret (%)", estimate(100 * profiled(frame, f"regret/{key}")))
        for key, name in SCHEDULES.items()
    )


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """The values of the laptop profile."""
    config = Config(**PROFILES["laptop"])
    values = {
        "prompts per step": config.prompts,
        "samples per prompt": config.group_size,
        "max response length": config.max_response,
        "learning rate": config.learning_rate,
        "beta": config.kl_coefficient,
        "clip range": config.epsilon,
        "top-p": config.top_p,
        "draft learning rate": config.draft_learning_rate,
        "capacity": config.c_peak,
        "K max": config.k_max,
        "L max": config.l_max,
        "alpha": config.alpha,
    }
    return long_table(
        (name, "value", Interval(float(value), np.nan, np.nan, 0)) for name, value in values.items()
    )


def _speedups(frame: pd.DataFrame, arms: tuple[str, ...]) -> Iterator[Cell]:
    for arm in arms:
        columns = {
            "Gen SR": gen_speedup(frame, arm),
            "E2E SR": e2e_speedup(frame, arm),
            "Gen SR over ET": gen_speedup(frame, arm, base="et"),
            "E2E SR over ET": e2e_speedup(frame, arm, base="et"),
            "acceptance length": replayed(frame, f"{arm}/tau"),
        }
        for column, values in columns.items():
            yield NAMES[arm], column, estimate(values)
