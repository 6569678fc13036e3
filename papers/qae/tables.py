"""The tables of the card, in long form: row, column, mean, low, high, n (low and high NaN if exact).

Scores of Tables 1 and 2 are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.records import after, average, final, rows
from common.metrics.summary import Cell, estimate, long_table
from common.tasks.opchain import LEVELS
from papers.qae.arms import (
    BASES,
    EPSILON_HIGH,
    GATED,
    MIXES,
    NAMES,
    scalar,
    tabular,
)
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP

GROUP_SIZES = (8, 16, 32)
SUCCESS_RATES = (0.05, 0.25, 0.5, 0.75, 0.95)
MISMATCH_SIZES = (4, 8, 16, 32)
COEFFICIENTS = {"mean": "mean", "quantile": "QAE", "b0": "b=0", "b1": "b=1"}
ARM_LABELS = ["sweep", "mix", "baseline", "k", "epsilon_high", "optimizer", "matched_grad_norm"]


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at the end (percent) of the mean baseline at five upper clip ranges, and of QAE."""
    arms = {f"mean, eps_high={e:.2f}": ("mean", e) for e in EPSILON_HIGH_SWEEP}
    arms[f"QAE, eps_high={EPSILON_HIGH:.2f}"] = ("quantile", EPSILON_HIGH)
    return long_table(
        (row, f"{mix} mix", estimate(100 * final(tabular(frame, "success", mix, baseline, epsilon_high=e))))
        for row, (baseline, e) in arms.items()
        for mix in MIXES
    )


def table2(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out pass@1 and pass@16 (percent) by level and base algorithm, with the permuted-gate control."""
    arms = [("main", "clip_higher", baseline) for baseline in ("mean", "quantile", "random_gate")]
    arms += [("bases", base, baseline) for base in list(BASES)[1:] for baseline in ("mean", "quantile")]
    return long_table(
        (
            BASES[base] + {"mean": "", "quantile": " + QAE", "random_gate": " + permuted gate"}[baseline],
            f"{level} p@{k}",
            estimate(100 * scalar(frame, sweep, f"final/pass_at_{k}/{level}", baseline, base=base)),
        )
        for sweep, base, baseline in arms
        for level in (*LEVELS, "all")
        for k in (1, 16)
    )


def coefficients(frame: pd.DataFrame) -> pd.DataFrame:
    """Coefficient of the positive-sample gradient at a few success rates, by group size and baseline."""

    def cells() -> Iterator[Cell]:
        for size in GROUP_SIZES:
            labels = {"analysis": "expected_coefficients", "group_size": size}
            p = rows(frame, "theory", "p", **labels)["value"]
            for rate in SUCCESS_RATES:
                for name, column in COEFFICIENTS.items():
                    values = rows(frame, "theory", name, **labels)["value"][np.isclose(p, rate)]
                    yield f"G={size}, p={rate:.2f}", column, _exact(values)

    return long_table(cells())


def mismatches(frame: pd.DataFrame) -> pd.DataFrame:
    """Compositions at which the linear quantile leaves Eq. 4, by K and G; empty where there is none."""
    names = {"wrong": "wrong responses", "linear": "linear quantile", "inverted_cdf": "Eq. 4"}
    values = {
        name: rows(frame, "theory", name, analysis="linear_mismatches")["value"]
        for name in ("k", "group_size", *names)
    }
    return long_table(
        (
            f"K={k:.1f}, G={size}",
            column,
            _exact(values[name][np.isclose(values["k"], k) & (values["group_size"] == size)]),
        )
        for k in K_SWEEP
        for size in MISMATCH_SIZES
        for name, column in names.items()
    )


def controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Every tabular arm: exact entropies (nats) and scores at the end, zero share averaged over batches."""
    sweeps = [f"tabular_{mix}" for mix in MIXES] + ["tabular_small_steps"]
    part = frame[frame["sweep"].isin(sweeps) & (frame["name"] == "success")]
    arms = part[ARM_LABELS].drop_duplicates().to_dict("records")
    order = {name: index for index, name in enumerate([*sweeps, *NAMES])}
    arms.sort(
        key=lambda arm: (
            order[arm["sweep"]],
            arm["optimizer"],
            order[arm["baseline"]],
            -arm["epsilon_high"],
            arm["matched_grad_norm"],
            arm["k"],
        )
    )
    return long_table(cell for arm in arms for cell in _arm_cells(frame, arm))


def _arm_cells(frame: pd.DataFrame, arm: dict[str, Any]) -> Iterator[Cell]:
    entropy, success, pass_at_16, zero = (
        rows(frame, name=name, **arm) for name in ("entropy", "success", "pass_at_16", "share_zero")
    )
    columns = {
        "entropy at 5": after(entropy, 5),
        "entropy at 15": after(entropy, 15),
        "mean entropy": average(entropy),
        "success": final(success),
        "pass@16": pass_at_16.set_index("seed")["value"],
        "zero share": zero.groupby("seed")["value"].mean(),
    }
    for column, values in columns.items():
        yield _arm_name(arm), column, estimate(values)


def _arm_name(arm: dict[str, Any]) -> str:
    name = f"{arm['mix']} mix: {NAMES[arm['baseline']]}"
    if arm["baseline"] in GATED:
        name += f", K={arm['k']:.1f}"
    if arm["epsilon_high"] != EPSILON_HIGH:
        name += f", eps_high={arm['epsilon_high']:.2f}"
    if arm["matched_grad_norm"]:
        name += ", matched gradient norm"
    if arm["sweep"] == "tabular_small_steps":
        name += f", one {'SGD' if arm['optimizer'] == 'sgd' else 'Adam'} step a batch"
    return name


def _exact(values: pd.Series) -> Interval:
    """A computed value: no interval, no seeds; NaN if there is none."""
    return Interval(float(values.iloc[0]) if len(values) else np.nan, np.nan, np.nan, 0)
