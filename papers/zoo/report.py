"""Tables, figures and questions of the zoo, as pure functions of the frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.metrics.intervals import Interval, iqm_interval, probability_of_improvement
from common.metrics.records import average, curve, final, rows
from common.metrics.summary import ESTIMATE, Cell, estimate, long_table, summarise
from common.plotting.layouts import curves_by_panel
from common.plotting.style import bars, caption, curves, label, legend, panels
from papers.zoo.budgets import (
    Curve,
    against_rollouts,
    against_time,
    at_equal_rollouts,
    at_equal_time,
    at_the_start,
    budget,
)
from papers.zoo.budgets import rollouts as rollouts_of
from papers.zoo.objectives import OBJECTIVES, REFERENCE

WHAT = "OpChain, 0.1 M parameters"
BOOTSTRAP_SEED = 0
GRID = 21
SERIES = {
    "Entropy (nats)": "entropy",
    "Zero-advantage share": "share_zero",
    "Response length (tokens)": "length",
}


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, interquartile mean and probability of improvement over GRPO, at both budgets (percent)."""

    def cells() -> Iterator[Cell]:
        for name, read in {"rollouts": at_equal_rollouts, "time": at_equal_time}.items():
            scores, wide = read(frame), read(frame, "pass@16")
            for objective in OBJECTIVES:
                row, column = OBJECTIVES[objective].name, f"equal {name}"
                yield row, f"{column}: pass@1", estimate(100 * scores[objective])
                yield row, f"{column}: pass@1 (IQM)", _iqm(100 * scores[objective])
                yield row, f"{column}: P(better than GRPO)", _improvement(scores, objective)
                yield row, f"{column}: pass@16", estimate(100 * wide[objective])

    return long_table(cells())


def table2(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds per iteration against GRPO's, rollouts per iteration, entropy and zero-advantage share."""

    def cells() -> Iterator[Cell]:
        reference = rows(frame, "cost", f"seconds/{REFERENCE}").set_index("seed")["value"]
        for name, objective in OBJECTIVES.items():
            own = rows(frame, "cost", f"seconds/{name}").set_index("seed")["value"]
            drawn = pd.Series(
                {seed: total[-1] / (len(total) - 1) for seed, total in rollouts_of(frame, name).items()}
            )
            entropy, zero = (rows(frame, "train", part, objective=name) for part in ("entropy", "share_zero"))
            yield objective.name, "seconds per iteration", estimate(own)
            yield objective.name, "time, GRPO = 1", estimate(own / reference)
            yield objective.name, "rollouts per iteration", estimate(drawn)
            yield objective.name, "entropy at the end (nats)", estimate(final(entropy))
            yield objective.name, "zero-advantage share", estimate(average(zero))

    return long_table(cells())


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 on a common grid of sampled completions, then of seconds."""
    axes = {
        "pass@1 against rollouts": {name: against_rollouts(frame, name) for name in OBJECTIVES},
        "pass@1 against wall time": {name: against_time(frame, name) for name in OBJECTIVES},
    }
    return pd.concat(
        [
            _on_grid(found[name], budget(list(found.values())), panel, OBJECTIVES[name].name)
            for panel, found in axes.items()
            for name in OBJECTIVES
        ],
        ignore_index=True,
    )


def plot_fig1(data: pd.DataFrame, _reported: Mapping[str, float]) -> Figure:
    """Two panels, one colour per objective."""
    figure, axes = panels(2, width=4.6, height=3.4)
    arms = list(dict.fromkeys(data["arm"]))
    units = ("sampled completions", "seconds of training")
    for axis, (name, part), unit in zip(axes, data.groupby("panel", sort=False), units, strict=True):
        curves(axis, part, "arm", order=arms, band=False)
        label(axis, name, x=unit)
    legend(figure, columns=4)
    n = f"means of n = {data['n'].max():.0f} seeds, intervals in Table 1"
    caption(figure, f"{WHAT}; seconds: iterations times the median of the interleaved timing; {n}")
    return figure


def fig2(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy, zero-advantage share and length over iterations."""
    return pd.concat(
        [
            curve(rows(frame, "train", name, objective=key), panel=panel, arm=objective.name)
            for panel, name in SERIES.items()
            for key, objective in OBJECTIVES.items()
        ],
        ignore_index=True,
    )


def plot_fig2(data: pd.DataFrame, _reported: Mapping[str, float]) -> Figure:
    """Three panels over iterations."""
    return curves_by_panel(data, WHAT, rates=("share",), band=False)


def fig3(frame: pd.DataFrame) -> pd.DataFrame:
    """P(better than GRPO) of every other objective, at both budgets."""
    budgets = {"Equal rollouts": at_equal_rollouts(frame), "Equal wall time": at_equal_time(frame)}
    found = [
        (panel, OBJECTIVES[name].name, *_improvement(scores, name))
        for panel, scores in budgets.items()
        for name in OBJECTIVES
        if name != REFERENCE
    ]
    return pd.DataFrame(found, columns=["panel", "arm", *ESTIMATE])


def plot_fig3(data: pd.DataFrame, _reported: Mapping[str, float]) -> Figure:
    """A point with its interval per objective; at 0.5 neither is better."""
    figure, axes = panels(2, width=4.0, height=3.2)
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        bars(axis, part, "arm")
        axis.axhline(0.5, color="0.4", lw=1, ls="--")
        axis.set_ylim(-0.02, 1.02)
        label(axis, name, y="P(better than GRPO)")
    caption(figure, f"{WHAT}; n = {data['n'].max():.0f} seeds; whiskers: 95 % bootstrap")
    return figure


def z1(frame: pd.DataFrame) -> pd.DataFrame:
    """Gain over the warm start at equal rollouts."""
    return at_equal_rollouts(frame) - at_the_start(frame)


def z2(frame: pd.DataFrame) -> pd.DataFrame:
    """Difference to GRPO at equal rollouts."""
    return _to_reference(at_equal_rollouts(frame))


def z3(frame: pd.DataFrame) -> pd.DataFrame:
    """Difference to GRPO at equal wall time."""
    return _to_reference(at_equal_time(frame))


def z4(frame: pd.DataFrame) -> pd.Series:
    """DAPO's difference to GRPO at equal rollouts."""
    return z2(frame)["dapo"]


def _to_reference(scores: pd.DataFrame) -> pd.DataFrame:
    return scores.drop(columns=REFERENCE).sub(scores[REFERENCE], axis=0)


def _improvement(scores: pd.DataFrame, objective: str) -> Interval:
    if objective == REFERENCE:
        return Interval(0.5, np.nan, np.nan, len(scores))
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    own, reference = (scores[[name]].to_numpy() for name in (objective, REFERENCE))
    return probability_of_improvement(own, reference, rng)


def _iqm(values: pd.Series) -> Interval:
    return iqm_interval(values.to_numpy()[:, None], np.random.default_rng(BOOTSTRAP_SEED))


def _on_grid(found: Curve, allowed: float, panel: str, arm: str) -> pd.DataFrame:
    grid = np.linspace(0.0, allowed, GRID)
    parts = [
        pd.DataFrame({"seed": seed, "step": grid, "value": np.interp(grid, at, score)})
        for seed, (at, score) in found.items()
    ]
    summary = summarise(pd.concat(parts, ignore_index=True), ["step"])
    return summary.assign(panel=panel, arm=arm)[["panel", "arm", *summary.columns]]
