"""What the zoo's records show, by the ids of its card: curves read off at equal budgets, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.statistics import Interval, iqm_interval, probability_of_improvement
from common.study.frame import (
    average,
    estimate,
    final,
    learning_curve,
    long_table,
    point,
    rows,
    scalar,
    stacked,
    summarise,
)
from common.study.report import Figure, Measure, Twin
from papers.zoo.experiment import OBJECTIVES, REFERENCE

BOOTSTRAP_SEED = 0
GRID = 21
BUDGETS = {"rollouts": "Equal rollouts", "time": "Equal wall time"}
MARGIN = 0.03  # of z2 and z3
COLOURS = {
    "GRPO": GREY,
    "QAE": HUES["blue"],
    "RL-ZVP": HUES["orange"],
    "DAPO": HUES["purple"],
    "Dr. GRPO": HUES["brown"],
    "GSPO": HUES["green"],
    "Clip-Cov": HUES["sky"],
    "KL-Cov": HUES["vermilion"],
}
METRICS = {"pass@1": "curve/pass_at_1", "pass@16": "curve/pass_at_16"}
Curve = dict[int, tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]]
"""Seed to (position on the budget's axis, score) at every evaluation point."""


def evaluations(frame: pd.DataFrame, objective: str, metric: str) -> Curve:
    """A learning curve over iterations."""
    part = learning_curve(frame, "train", METRICS[metric], objective=objective)
    runs: Any = part.groupby("seed")
    return {int(seed): (own["step"].to_numpy(), own["value"].to_numpy()) for seed, own in runs}


def rollouts(frame: pd.DataFrame, objective: str) -> dict[int, Float[np.ndarray, " T"]]:
    """Completions sampled after 0..T iterations, by seed; dynamic sampling logs how many it drew."""
    dynamic = OBJECTIVES[objective].arguments.get("dynamic_sampling_rounds")
    batches = rows(frame, "train", "rollouts_generated" if dynamic else "reward", objective=objective)
    batch = scalar(frame, "train", "batch", objective=objective)
    runs: Any = batches.groupby("seed")
    return {
        int(seed): np.cumsum([0.0, *(part["value"] if dynamic else [batch[seed]] * len(part))])
        for seed, part in runs
    }


def seconds_per_batch(frame: pd.DataFrame, objective: str) -> float:
    """Seconds of one iteration: the median over the rounds of the timing."""
    return float(scalar(frame, "cost", "seconds", objective=objective).median())


def against_rollouts(frame: pd.DataFrame, objective: str, metric: str = "pass@1") -> Curve:
    """A learning curve over sampled completions."""
    completions = rollouts(frame, objective)
    curve = evaluations(frame, objective, metric)
    return {seed: (completions[seed][at.astype(int)], score) for seed, (at, score) in curve.items()}


def against_time(frame: pd.DataFrame, objective: str, metric: str = "pass@1") -> Curve:
    """A learning curve over seconds of training."""
    pace = seconds_per_batch(frame, objective)
    return {seed: (at * pace, score) for seed, (at, score) in evaluations(frame, objective, metric).items()}


def budget(curves: list[Curve]) -> float:
    """The largest budget that every curve reaches."""
    return min(float(at[-1]) for curve in curves for at, _ in curve.values())


def read_off(curve: Curve, at: float) -> pd.Series:
    """Score of each seed at a budget, linear between evaluation points."""
    return pd.Series({seed: float(np.interp(at, where, score)) for seed, (where, score) in curve.items()})


def at_equal(quantity: str, frame: pd.DataFrame, metric: str = "pass@1") -> pd.DataFrame:
    """Scores at the largest common budget, ``rollouts`` or ``time``: a column an objective, a row a seed."""
    against = {"rollouts": against_rollouts, "time": against_time}[quantity]
    curves = {name: against(frame, name, metric) for name in OBJECTIVES}
    allowed = budget(list(curves.values()))
    return pd.DataFrame({name: read_off(curve, allowed) for name, curve in curves.items()})


def at_the_start(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of the warm start."""
    return pd.DataFrame({name: read_off(evaluations(frame, name, "pass@1"), 0.0) for name in OBJECTIVES})


def to_reference(scores: pd.DataFrame) -> pd.DataFrame:
    """Difference of every other objective to GRPO."""
    return scores.drop(columns=REFERENCE).sub(scores[REFERENCE], axis=0)


def drawn(frame: pd.DataFrame, objective: str) -> pd.Series:
    """Completions sampled per iteration, as a multiple of a rollout batch."""
    batch = scalar(frame, "train", "batch", objective=objective)
    total = {seed: course[-1] / (len(course) - 1) for seed, course in rollouts(frame, objective).items()}
    return pd.Series(total) / batch


PREMISES: dict[str, Measure] = {
    "headroom": lambda f: at_the_start(f)[REFERENCE],
    "grpo_learns": lambda f: (at_equal("rollouts", f) - at_the_start(f))[REFERENCE],
    "dapo_drops": lambda f: drawn(f, "dapo"),
}
CLAIMS: dict[str, Measure] = {
    "z1": lambda f: at_equal("rollouts", f) - at_the_start(f),
    "z2": lambda f: to_reference(at_equal("rollouts", f)),
    "z3": lambda f: to_reference(at_equal("time", f)),
    "z4": lambda f: to_reference(at_equal("rollouts", f))["dapo"],
}

# Tables


def improvement(scores: pd.DataFrame, objective: str) -> Interval:
    """Probability of improvement over GRPO, with its bootstrap interval."""
    if objective == REFERENCE:
        return Interval(0.5, np.nan, np.nan, len(scores))
    own, reference = (scores[[name]].to_numpy() for name in (objective, REFERENCE))
    return probability_of_improvement(own, reference, np.random.default_rng(BOOTSTRAP_SEED))


def at_both_budgets(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean, interquartile mean and probability of improvement over GRPO, at both budgets (percent)."""

    def cells() -> Iterator[tuple[str, str, Interval]]:
        for name in BUDGETS:
            scores, wide = at_equal(name, frame), at_equal(name, frame, "pass@16")
            for key, objective in OBJECTIVES.items():
                row, column = objective.name, f"equal {name}"
                yield row, f"{column}: pass@1", estimate(100 * scores[key])
                rng = np.random.default_rng(BOOTSTRAP_SEED)
                yield row, f"{column}: pass@1 (IQM)", iqm_interval(100 * scores[[key]].to_numpy(), rng)
                yield row, f"{column}: P(better than GRPO)", improvement(scores, key)
                yield row, f"{column}: pass@16", estimate(100 * wide[key])

    return long_table(cells())


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds per iteration against GRPO's, rollouts per iteration, entropy and zero-advantage share."""

    def cells() -> Iterator[tuple[str, str, Interval]]:
        reference = scalar(frame, "cost", "seconds", objective=REFERENCE)
        for key, objective in OBJECTIVES.items():
            own = scalar(frame, "cost", "seconds", objective=key)
            batch = scalar(frame, "train", "batch", objective=key)
            entropy, zero = (rows(frame, "train", part, objective=key) for part in ("entropy", "share_zero"))
            yield objective.name, "seconds per iteration", estimate(own)
            yield objective.name, "time, GRPO = 1", estimate(own / reference)
            yield objective.name, "rollouts per iteration", estimate(drawn(frame, key) * batch)
            yield objective.name, "entropy at the end (nats)", estimate(final(entropy))
            yield objective.name, "zero-advantage share", estimate(average(zero))

    return long_table(cells())


TABLES: dict[str, Twin] = {"table1": at_both_budgets, "table2": costs}

# Figures


def on_a_grid(curve: Curve, allowed: float, panel: str, arm: str) -> pd.DataFrame:
    """A learning curve at common positions up to a budget."""
    grid = np.linspace(0.0, allowed, GRID)
    parts = [
        pd.DataFrame({"seed": seed, "step": grid, "value": np.interp(grid, at, score)})
        for seed, (at, score) in curve.items()
    ]
    summary = summarise(stacked(parts), ["step"])
    return summary.assign(panel=panel, arm=arm)[["panel", "arm", *summary.columns]]


def against_budgets(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 on a common grid of sampled completions, then of seconds."""
    panels = {"pass@1 against rollouts": against_rollouts, "pass@1 against wall time": against_time}
    all_curves = {panel: {name: of(frame, name) for name in OBJECTIVES} for panel, of in panels.items()}
    return stacked(
        on_a_grid(one, budget(list(curves.values())), panel, OBJECTIVES[name].name)
        for panel, curves in all_curves.items()
        for name, one in curves.items()
    )


def over_training(frame: pd.DataFrame) -> pd.DataFrame:
    """Zero-advantage share and, against GRPO's, the entropy of the sampled batches: means over training."""

    def means(name: str) -> pd.DataFrame:
        return pd.DataFrame({key: average(rows(frame, "train", name, objective=key)) for key in OBJECTIVES})

    panels = {
        "Zero-advantage share": means("share_zero"),
        "Entropy minus GRPO's (nats)": to_reference(means("entropy")),
    }
    return stacked(
        point(column, panel=panel, arm=OBJECTIVES[str(name)].name)
        for panel, table in panels.items()
        for name, column in table.items()
    )


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 minus GRPO's at both budgets, paired by seed."""
    return stacked(
        point(column, panel=panel, arm=OBJECTIVES[str(name)].name)
        for budget_name, panel in BUDGETS.items()
        for name, column in to_reference(at_equal(budget_name, frame)).items()
    )


def budget_axes(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """What each panel counts."""
    for axis, unit in zip(axes.values(), ("sampled completions", "seconds of training"), strict=True):
        axis.set_xlabel(unit)


def margins(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """The margin of z2 and z3, on one scale."""
    for axis in axes.values():
        axis.axhspan(-MARGIN, MARGIN, color="0.93", zorder=0, label="within 3 points of GRPO")
        axis.set_ylim(min(data["low"].min(), -MARGIN) - 0.005, max(data["high"].max(), MARGIN) + 0.005)


def gains(data: pd.DataFrame) -> str:
    """The smallest and the largest gain at the rollout budget."""
    part = data[data["panel"] == data["panel"].iloc[0]].groupby("arm", sort=False)["mean"]
    rise = (part.last() - part.first()).sort_values()
    return (
        f"At equal rollouts every objective's pass@1 changes by {rise.iloc[0]:+.3f} ({rise.index[0]}) to "
        f"{rise.iloc[-1]:+.3f} ({rise.index[-1]}) over the warm start's {part.first().mean():.3f}."
    )


def furthest(data: pd.DataFrame) -> str:
    """The objective furthest from GRPO at each budget."""
    parts = []
    for panel, part in data.groupby("panel", sort=False):
        row = part.iloc[int(part["mean"].abs().argmax())]
        size = "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**row)
        parts.append(f"at {str(panel).lower()} {row['arm']}, {size}")
    return f"Furthest from GRPO: {'; '.join(parts)}."


def spread(data: pd.DataFrame) -> str:
    """The extremes of the zero-advantage share, and the largest difference of entropy to GRPO."""
    zero, entropy = (part.set_index("arm")["mean"] for _, part in data.groupby("panel", sort=False))
    most = str(entropy.abs().idxmax())
    return (
        f"Zero advantage: {zero.idxmax()} {zero.max():.0%} of completions, GRPO {zero['GRPO']:.0%}, "
        f"{zero.idxmin()} {zero.min():.0%}. Entropy is furthest from GRPO's with {most}, "
        f"{entropy[most]:+.3f} nats."
    )


WHAT = "OpChain, 0.1 M parameters"
TIMED = f"{WHAT}; seconds: iterations times the median of the interleaved timing; intervals in Table 1"

FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        against_budgets,
        lines(TIMED, y="pass@1", width=4.6, height=3.4, fixed=COLOURS, band=False, finish=budget_axes),
        gains,
    ),
    "fig2": Figure(over_training, dots(WHAT, width=4.4, height=3.2, fixed=COLOURS, rates=("share",)), spread),
    "fig3": Figure(
        differences,
        dots(
            f"{WHAT}; paired by seed",
            y="pass@1 minus GRPO's",
            width=4.4,
            height=3.2,
            fixed=COLOURS,
            level=0.0,
            finish=margins,
        ),
        furthest,
    ),
}
