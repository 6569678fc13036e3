"""The tables of the card, in long form: row, column, mean, low, high, n (low and high NaN if exact)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.records import rows
from common.metrics.summary import Cell, estimate, long_table
from papers.rlhf_exploration.arms import NAMES, bound, growth, jackknife, levels, regret
from papers.rlhf_exploration.experiment import PAIR


def table_a(frame: pd.DataFrame) -> pd.DataFrame:
    """Every protocol at the hardest setting of each instance: R_T, R_T / R_(T/2), the partner's R_T."""
    hardest = {"ce1": ("beta", min, "β"), "ce2": ("gap", max, "gap ")}

    def cells() -> Iterator[Cell]:
        for protocol, row in NAMES.items():
            for sweep, (label, pick, told) in hardest.items():
                level = pick(levels(frame, sweep, label))
                column = f"{sweep.upper()}, {told}{'=' if label == 'beta' else ''}{level:g}"
                yield row, f"{column}: R_T", estimate(regret(frame, sweep, protocol, **{label: level}))
                ratio = growth(frame, sweep, protocol, **{label: level})
                yield row, f"{column}: R_T/R_(T/2)", estimate(ratio)
                second = regret(frame, sweep, protocol, "partner", **{label: level})
                yield row, f"{column}: R_T of the partner", estimate(second)

    return long_table(cells())


def ce1_regret(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T by β."""
    return long_table(_by_level(frame, "beta", "β={:g}", {"ce1": "", "ce1_constant": ", constant alpha"}))


def ce2_regret(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T by gap."""
    return long_table(_by_level(frame, "gap", "gap {:g}", {"ce2": "", "ce2_wide": ", mass 0.01"}))


def exponents(frame: pd.DataFrame) -> pd.DataFrame:
    """Slope by β and protocol, with the bound's exponent."""

    def cells() -> Iterator[Cell]:
        for beta in levels(frame, "envelope", "beta"):
            row = f"β={beta:g}"
            yield row, "bound", Interval(bound(beta), np.nan, np.nan, 0)
            for protocol in PAIR:
                yield row, NAMES[protocol], estimate(jackknife(frame, protocol, beta))

    return long_table(cells())


def controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Coin labels and no bonus: regret, growth, gain over π_ref, and how far the bonus still pulls."""

    def cells() -> Iterator[Cell]:
        arms = [(f"coin labels: {NAMES[p]}", "coin", p, {}) for p in NAMES]
        arms += [
            (f"no bonus, {instance.upper()}: {NAMES[p]}", "alpha0", p, {"instance": instance})
            for instance in ("ce1", "ce2")
            for p in ("proposed", "ablation_a", "ablation_b", "xpo")
        ]
        for row, sweep, protocol, labels in arms:
            yield row, "R_T", estimate(regret(frame, sweep, protocol, **labels))
            yield row, "R_T/R_(T/2)", estimate(growth(frame, sweep, protocol, **labels))
            yield row, "J - J(π_ref), second half", estimate(regret(frame, sweep, protocol, "gain", **labels))
            residual = regret(frame, sweep, protocol, "residual", **labels)
            yield row, "|π_t - π_cal|, last tenth", estimate(residual)

    return long_table(cells())


def closed_forms(frame: pd.DataFrame) -> pd.DataFrame:
    """Enumeration, closed form and leading term of derivations 1 and 2."""
    told = {
        "horizons": ("beta", "rounds until a mixed pair, β={:g}", "waiting"),
        "comparisons": ("gap", "direct over indirect information, gap {:g}", "ratio"),
    }

    def cells() -> Iterator[Cell]:
        for analysis, (label, row, measured) in told.items():
            names = (label, measured, "closed", "leading")
            columns = [rows(frame, "theory", name, analysis=analysis)["value"] for name in names]
            for level, *values in zip(*columns, strict=True):
                for column, value in zip(("enumerated", "closed form", "leading term"), values, strict=True):
                    yield row.format(level), column, Interval(value, np.nan, np.nan, 0)

    return long_table(cells())


def _by_level(frame: pd.DataFrame, label: str, column: str, sweeps: dict[str, str]) -> Iterator[Cell]:
    for sweep, suffix in sweeps.items():
        here = frame[frame["sweep"] == sweep]
        for protocol, name in NAMES.items():
            if (here["protocol"] == protocol).any():
                for level in levels(frame, sweep, label):
                    values = regret(here, sweep, protocol, **{label: level})
                    yield name + suffix, column.format(level), estimate(values)
