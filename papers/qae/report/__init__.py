"""What QAE's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Scores of tables are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES, REFERENCE, reported_line, shades
from common.study.frame import (
    ESTIMATE,
    after,
    average,
    curve,
    estimate,
    exact,
    final,
    long_table,
    point,
    rows,
    stacked,
)
from common.study.report import Figure, Twin
from common.tasks.opchain import LEVELS
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP, numbers
from papers.qae.report.measures import (
    BASES,
    CLAIMS,
    MIXES,
    NAMES,
    NARROW,
    PREMISES,
    RATES,
    STUDY,
    WIDE,
    K,
    Runs,
    at_rate,
    doublings,
    long_run,
    score,
    success,
    tabular,
    trained,
    trained_levels,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "PREMISES", "TABLES"]

ARMS = {"mean baseline": "mean", "QAE": "quantile", "permuted gate": "random_gate"}
DIFFERENCE = "QAE - mean baseline"
COLOURS = {
    "mean baseline": GREY,
    "QAE": HUES["blue"],
    f"QAE, K = {K:g}": HUES["blue"],
    "POS-MASK": HUES["green"],
    "NEG-MASK": HUES["vermilion"],
    "positive advantage": HUES["green"],
    "zero advantage": GREY,
    "negative advantage": HUES["vermilion"],
    "permuted gate": HUES["pink"],
    DIFFERENCE: HUES["blue"],
    **shades(f"K = {k:.1f}" for k in K_SWEEP),
}

# Tables

COEFFICIENTS = {"mean": "mean", "quantile": "QAE", "b0": "b=0", "b1": "b=1"}
SUFFIXES = {"mean": "", "quantile": " + QAE", "random_gate": " + permuted gate"}


def clip_ranges(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at the end (percent) of the mean baseline at five upper clip ranges, and of QAE."""
    arms = {f"mean, eps_high={e:.2f}": ("mean", e) for e in EPSILON_HIGH_SWEEP}
    arms[f"QAE, eps_high={WIDE:.2f}"] = ("quantile", WIDE)
    return long_table(
        (row, f"{mix} mix", estimate(100 * success(frame, arm, e, mix)))
        for row, (arm, e) in arms.items()
        for mix in MIXES
    )


def drop_in(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out pass@1 and pass@16 (percent) by level and base algorithm, with the permuted-gate control."""
    arms = [(base, arm) for base in BASES for arm in ("mean", "quantile")]
    arms.insert(2, ("clip_higher", "random_gate"))
    return long_table(
        (BASES[base] + SUFFIXES[arm], f"{level} p@{k}", estimate(100 * score(frame, arm, base, k, level)))
        for base, arm in arms
        for level in (*LEVELS, "all")
        for k in (1, 16)
    )


def settings(frame: pd.DataFrame) -> Mapping[str, Callable[[str], Runs]]:
    """The long runs of an arm, and those at each learning rate of the grid."""
    (own,) = numbers(STUDY.long.learning_rates)
    runs = [(own, STUDY.long, partial(long_run, frame))]
    runs += [(rate, STUDY.grid, partial(at_rate, frame, rate=rate)) for rate in RATES]
    return {
        f"{rate:g}, {part.iterations} batches of {part.completions or STUDY.run.batch}": run
        for rate, part, run in runs
    }


def long_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Every arm at every learning rate of the grid and in the long runs; shares and scores in percent."""

    def measures(runs: Runs) -> Iterator[tuple[str, pd.Series]]:
        entropy = runs("entropy")
        yield "entropy at the start", after(entropy, 0)
        yield "at the end", final(entropy)
        yield "swing (doublings)", doublings(entropy)
        for column, name in {"upper clip": "clip_high", "equal-reward groups": "zero_variance"}.items():
            yield column, 100 * average(runs(name))
        for k in (1, 16):
            yield f"trained levels p@{k}", 100 * trained_levels(runs, k)

    return long_table(
        (f"{name}, learning rate {setting}", column, estimate(value))
        for setting, runs in settings(frame).items()
        for name, arm in ARMS.items()
        for column, value in measures(runs(arm))
    )


def coefficients(frame: pd.DataFrame) -> pd.DataFrame:
    """Coefficient of the positive-sample gradient at a few success rates, by group size and baseline."""

    tables = {
        size: {
            name: rows(frame, "theory", name, analysis="expected_coefficients", group_size=size)["value"]
            for name in ("p", *COEFFICIENTS)
        }
        for size in (8, 16, 32)
    }
    return long_table(
        (f"G={size}, p={rate:.2f}", column, exact(table[name][np.isclose(table["p"], rate)].item()))
        for size, table in tables.items()
        for rate in (0.05, 0.25, 0.5, 0.75, 0.95)
        for name, column in COEFFICIENTS.items()
    )


TABLES: dict[str, Twin] = {
    "table1": clip_ranges,
    "table2": drop_in,
    "long_runs": long_runs,
    "coefficients": coefficients,
}

# Figures

ENTROPY, SHARE, GAIN = "Entropy (nats)", "Share of responses", "Gain in pass@{}"
SIGNS = {"positive advantage": "positive", "zero advantage": "zero", "negative advantage": "negative"}
SUCCESS = "success in training"
CLOSED_FORM = "One group (closed form)"


def by_rate(f: pd.DataFrame) -> pd.DataFrame:
    """Entropy and success of every arm at every learning rate of the grid and in the long runs."""
    quantities = {"entropy (nats)": "entropy", SUCCESS: "reward"}
    return stacked(
        curve(runs(arm)(name), panel=f"rate {setting}: {panel}", arm=label)
        for panel, name in quantities.items()
        for setting, runs in settings(f).items()
        for label, arm in ARMS.items()
    )


def gains(f: pd.DataFrame) -> pd.DataFrame:
    """Held-out pass@1 and pass@16 of the long runs, QAE minus mean baseline."""

    def scores(arm: str, k: int) -> pd.Series:
        return long_run(f, arm)(f"curve/pass_at_{k}").set_index(["seed", "step"])["value"]

    return stacked(
        curve((scores("quantile", k) - scores("mean", k)).reset_index(), panel=GAIN.format(k), arm=DIFFERENCE)
        for k in (1, 16)
    )


def by_sign(arm: str) -> Twin:
    """Entropy by the sign of the advantage; a gap where fewer than half of the seeds have the class."""

    def data(f: pd.DataFrame) -> pd.DataFrame:
        twin = stacked(
            curve(tabular(f, f"entropy_{sign}", arm), panel=ENTROPY, arm=name) for name, sign in SIGNS.items()
        )
        few = twin["n"] < twin["n"].max() / 2
        return twin.assign(**{name: twin[name].mask(few, 0 if name == "n" else np.nan) for name in ESTIMATE})

    return data


def closed_form(frame: pd.DataFrame, name: str, panel: str, arm: str, **labels: str | float) -> pd.DataFrame:
    """A closed form over the success rate."""
    value, p = (rows(frame, "theory", column, **labels)["value"] for column in (name, "p"))
    blank = {"low": np.nan, "high": np.nan, "n": 0}
    return pd.DataFrame({"panel": panel, "arm": arm, "step": p, "mean": value, **blank})


def weights(sign: str) -> Twin:
    """Weight on samples of a sign over the success rate."""
    arms = {"mean baseline": "mean", f"QAE, K = {K:g}": "quantile"}
    panel = f"Weight on {sign} samples"
    return lambda f: stacked(
        closed_form(f, f"{name}_{sign}", panel, arm, analysis="weight_curves") for arm, name in arms.items()
    )


def masks(epsilon_high: float) -> Twin:
    """Success at the end and mean entropy by mask at a clip range."""
    quantities = {"Success at the end": ("success", final), "Mean entropy (nats)": ("entropy", average)}
    return lambda f: stacked(
        point(
            of(tabular(f, name, arm, mix, epsilon_high=epsilon_high)),
            panel=f"{panel}, {mix} mix",
            arm=NAMES[arm],
        )
        for mix in MIXES
        for arm in ("pos", "neg", "quantile")
        for panel, (name, of) in quantities.items()
    )


def advantage_shares(f: pd.DataFrame) -> pd.DataFrame:
    """Shares of advantage values under QAE in three runs, and those of one group over its success rate."""
    parts = []
    for arm, sign in SIGNS.items():
        runs = {f"Tabular, {mix} mix": tabular(f, f"share_{sign}", "quantile", mix) for mix in MIXES}
        runs["OpChain"] = trained(f, f"share_{sign}", "quantile")
        parts += [curve(part, panel=panel, arm=arm) for panel, part in runs.items()]
    zero = closed_form(f, "zero_share", CLOSED_FORM, "zero advantage", analysis="zero_advantage_share", k=K)
    hard = zero["step"] <= 1 - K
    positive = zero.assign(arm="positive advantage", mean=(1 - zero["mean"]).where(hard, 0.0))
    negative = zero.assign(arm="negative advantage", mean=(1 - zero["mean"]).mask(hard, 0.0))
    return stacked([*parts, zero, positive, negative])


def every_k(f: pd.DataFrame) -> pd.DataFrame:
    """Entropy and success by K."""
    panels = {ENTROPY: "entropy", "Success": "success"}
    return stacked(
        curve(tabular(f, name, "quantile", "broad", k), panel=panel, arm=f"K = {k:.1f}")
        for panel, name in panels.items()
        for k in K_SWEEP
    )


def paper_shares(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's shares in the panels over training; the closed form has the success rate below it."""
    for name, axis in axes.items():
        axis.set_ylim(0, 1)
        for what, value in reported.items() if name != CLOSED_FORM else ():
            axis.axhline(value, ls="--", label=f"paper: {value:.0%} {what}", **REFERENCE)
    axes[CLOSED_FORM].set_xlabel("success rate p of the prompt")


def paper_gains(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's gain on AIME24, in its panel."""
    for panel, value in reported.items():
        reported_line(axes[panel], value, f"{value:+.3f} (AIME24, 8B)")


TABULAR, OPCHAIN = "tabular policy in a language model's place", "OpChain, 0.1 M parameters"
LONG = lines(
    f"{OPCHAIN}; learning rates side by side", columns=len(RATES) + 1, fixed=COLOURS, rates=(SUCCESS,)
)
GAINS = lines(
    f"{OPCHAIN}; all levels; learning rate {STUDY.long.learning_rates}",
    fixed=COLOURS,
    level=0.0,
    finish=paper_gains,
)
SIGN = lines(f"{TABULAR}, hard mix", fixed=COLOURS)
WEIGHT = lines("closed form", x="success rate p of the prompt", fixed=COLOURS)
POINTS = dots(TABULAR, columns=4, fixed=COLOURS)
SHARES = lines("last panel: closed form at K = 0.4", y=SHARE, columns=4, fixed=COLOURS, finish=paper_shares)
SWEEP = lines(f"{TABULAR}, broad mix", fixed=COLOURS, rates=("Success",))

FIGURES: dict[str, Figure] = {
    "fig1": Figure(by_rate, LONG),
    "fig4a": Figure(by_sign("mean"), SIGN),
    "fig4b": Figure(weights("positive"), WEIGHT),
    "fig4c": Figure(weights("negative"), WEIGHT),
    "fig5a": Figure(gains, GAINS),
    "fig5b": Figure(by_sign("quantile"), SIGN),
    "fig5c": Figure(advantage_shares, SHARES),
    "fig6b": Figure(masks(WIDE), POINTS),
    "fig6c": Figure(masks(NARROW), POINTS),
    "fig9": Figure(every_k, SWEEP),
}
