"""What RL-ZVP's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Scores of tables are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines
from common.plotting.point import describe, listed
from common.plotting.style import GREY, HUES, reported_line
from common.statistics import Interval
from common.study.configuration import configure
from common.study.frame import curve, estimate, exact, final, long_table, point, scalar, stacked
from common.study.report import Figure, Twin
from common.tasks.opchain import LEVELS
from papers.rl_zvp.experiment import ALPHAS, BEST, CONTROLS, PROFILES, TABULAR, Config
from papers.rl_zvp.report.measures import (
    ALPHA,
    CLAIMS,
    FILTERS,
    MIXES,
    NAMES,
    PREMISES,
    accuracy,
    at,
    budget,
    filtered,
    half,
    score,
    stop,
    tabular,
    trained,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "PREMISES", "TABLES"]

Cell = tuple[str, str, Interval]
COLOURS = {
    "GRPO": GREY,
    "RL-ZVP": HUES["orange"],
    "positive half": HUES["green"],
    "negative half": HUES["vermilion"],
    "negative half, constant": HUES["sky"],
    "DS-r": HUES["purple"],
    "DS-g": HUES["purple"],
    "GRESO-r": HUES["brown"],
    "GRESO-g": HUES["brown"],
    NAMES["no_negative"]: HUES["green"],
    NAMES["unit"]: HUES["blue"],
    NAMES["const"]: HUES["sky"],
    NAMES["shuffle"]: HUES["pink"],
    NAMES["flip"]: HUES["vermilion"],
    NAMES["small"]: HUES["brown"],
}

# Tables

ABLATIONS = ("zvp", "no_negative", "no_positive", "unit", "grpo", *CONTROLS)
LANGUAGE_ARMS = {
    "easy": ("grpo", "ds", "zvp"),
    "proofs": ("grpo", "zvp", "small", "const", "shuffle", "flip"),
}
MIX_OF = {"easy": "easy", "proofs": "hard"}
LEVELS_OF = {"easy": LEVELS, "proofs": ("E", "H", "X")}
FIELDS = {
    "samples per prompt": "group_size",
    "max response length": "max_response",
    "clip low": "epsilon_low",
    "clip high": "epsilon_high",
    "validation temperature": "evaluation_temperature",
    "validation top-p": "evaluation_top_p",
    "learning rate": "learning_rate",
    "alpha": "zvp_alpha",
}


def settings(frame: pd.DataFrame) -> dict[str, str]:
    """Sweeps of OpChain in this run with their mixes; `laptop` leaves the hard one to `desk`."""
    return {sweep: mix for sweep, mix in MIX_OF.items() if sweep in set(frame["sweep"])}


def heldout(frame: pd.DataFrame, sweep: str = "easy") -> pd.DataFrame:
    """Held-out Acc@8 and Pass@8 by OpChain level."""
    return long_table(
        (
            f"{MIX_OF[sweep]}: {NAMES[arm]}",
            f"{level} {kind}",
            estimate(100 * scalar(frame, sweep, f"final/pass_at_{k}/{level}", arm=arm)),
        )
        for arm in LANGUAGE_ARMS[sweep]
        for level in (*LEVELS_OF[sweep], "all")
        for kind, k in {"Acc": 1, "Pass": 8}.items()
    )


def scores(
    frame: pd.DataFrame, row: str, arm: str, alpha: float = ALPHA, mixes: tuple[str, ...] = MIXES
) -> Iterator[Cell]:
    """Success and pass@8 at the end of a tabular arm."""
    for mix in mixes:
        yield row, f"{mix} Acc", estimate(100 * final(tabular(frame, "success", mix, arm, alpha)))
        pass_at_8 = tabular(frame, "pass_at_8", mix, arm, alpha).set_index("seed")["value"]
        yield row, f"{mix} Pass@8", estimate(100 * pass_at_8)


def over_alpha(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 at the end over α; GRPO is α = 0."""

    def cells() -> Iterator[Cell]:
        yield from scores(frame, "GRPO, alpha = 0", "grpo")
        for alpha in ALPHAS:
            yield from scores(frame, f"RL-ZVP, alpha = {alpha:.2f}", "zvp", alpha)
        for alpha in ALPHAS:
            yield from scores(frame, f"const, alpha = {alpha:.2f}", "const", alpha, ("hard",))

    return long_table(cells())


def methods(frame: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, pd.Series], pd.Series, pd.Series]]:
    """Mix, name, scores at the end, batches trained on and rollouts of the six methods of Table 5."""
    for mix in MIXES:
        for arm in ("grpo", "zvp"):
            success, passed, rollouts = (
                tabular(frame, name, mix, arm) for name in ("success", "pass_at_8", "rollouts")
            )
            ends = {"Acc": final(success), "Pass@8": passed.set_index("seed")["value"]}
            steps = success.groupby("seed")["step"].max()
            yield mix, NAMES[arm], ends, steps, rollouts.set_index("seed")["value"]
        for arm, name in FILTERS.items():
            series = {"Acc": "success", "Pass@8": "pass_at_8"}
            curves = {column: filtered(frame, part, mix, arm) for column, part in series.items()}
            rollouts = filtered(frame, "rollouts", mix, arm)
            whole = rollouts.groupby("seed")["step"].max()
            for suffix, steps in {"r": stop(frame, mix, arm), "g": whole}.items():
                ends = {column: at(part, steps) for column, part in curves.items()}
                yield mix, f"{name}-{suffix}", ends, steps, at(rollouts, steps)


def rollouts(frame: pd.DataFrame) -> pd.DataFrame:
    """Rollouts, their factor to RL-ZVP's, and gradient steps of the tabular arms."""

    def cells() -> Iterator[Cell]:
        for mix, name, _, steps, total in methods(frame):
            yield f"{mix}: {name}", "rollouts", estimate(total)
            yield f"{mix}: {name}", "factor", estimate(total / budget(frame, mix))
            yield f"{mix}: {name}", "gradient steps", estimate(steps * TABULAR["inner_steps"])

    return long_table(cells())


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """The hyperparameters of both settings of OpChain, desk profile."""
    config = configure(Config, PROFILES, "desk")
    easy = {**config.run.model_dump(), **config.objective.model_dump()}
    settings = {"easy": easy, "hard": {**easy, **config.hard.model_dump(), **BEST["zvp"]}}

    def cells() -> Iterator[Cell]:
        for mix, own in settings.items():
            rows = {
                "prompts per batch": own["batch"] / own["group_size"],
                "prompts per mini-batch": own["mini_batch"] / own["group_size"],
                "gradient steps": own["iterations"] * (own["batch"] // own["mini_batch"]),
                "training temperature": 1.0,
                **{row: own[field] for row, field in FIELDS.items()},
            }
            yield from ((row, mix, exact(value)) for row, value in rows.items())

    return long_table(cells())


TABLES: dict[str, Twin] = {
    "table1": heldout,
    "table1_hard": lambda f: heldout(f, "proofs"),
    "table2": lambda f: long_table(cell for arm in ABLATIONS for cell in scores(f, NAMES[arm], arm)),
    "table3": over_alpha,
    "table5": rollouts,
    "table6": hyperparameters,
    "averages": lambda f: long_table(
        (f"{mix}: {name}", column, estimate(100 * value))
        for mix, name, ends, *_ in methods(f)
        for column, value in ends.items()
    ),
}

# Figures

PAIR = ("grpo", "zvp")
CURVES = {"Acc@8": "curve/pass_at_1", "entropy (nats)": "entropy", "length (tokens)": "length"}
VARIED = ("zvp", "small", "const", "shuffle", "flip")
PROBES = {"entropy of results (nats)": "result", "entropy of connectors (nats)": "connector"}
GAIN_AXIS, SHARE_AXIS = "Acc@8 minus GRPO's", "share of the gradient from zero-variance groups"
HALVES = {"positive half": "positive", "negative half": "negative", "negative half, constant": "constant"}
HALF_PANELS = {
    "Norm of the expected update": "norm",
    "Root mean square of one response": "rms",
    "Cosine with the gradient of p": "cosine",
}
BATCHES = 4  # of a language model, averaged in a figure
COMPARISON = ("zvp", "no_negative", "unit", "const", "shuffle", "flip")


def accuracies(frame: pd.DataFrame) -> pd.DataFrame:
    """Acc@8 at the end minus GRPO's with the same seed, both settings, in points."""
    return stacked(
        point(
            100 * (score(frame, arm, sweep=sweep) - score(frame, "grpo", sweep=sweep)),
            panel=f"{mix} mix",
            arm=NAMES[arm],
        )
        for sweep, mix in settings(frame).items()
        for arm in LANGUAGE_ARMS[sweep]
        if arm in VARIED
    )


def zero_variance(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of zero-variance prompts over batches, tabular policy and OpChain."""

    def parts() -> Iterator[pd.DataFrame]:
        for mix in MIXES:
            for arm in PAIR:
                part = tabular(frame, "zero_variance", mix, arm)
                yield curve(part, panel=f"tabular policy, {mix} mix", arm=NAMES[arm])
        for sweep, mix in settings(frame).items():
            for arm in PAIR:
                part = binned(trained(frame, sweep, "zero_variance", arm))
                yield curve(part, panel=f"OpChain, {mix} mix", arm=NAMES[arm])

    return stacked(parts())


def regime(frame: pd.DataFrame) -> pd.DataFrame:
    """OpChain's hard mix: gain over GRPO with the same seed, share of the gradient, entropies by kind."""

    def parts() -> Iterator[pd.DataFrame]:
        base = accuracy(frame, "grpo")
        for arm in VARIED:
            yield curve(gain(accuracy(frame, arm), base), panel=GAIN_AXIS, arm=NAMES[arm])
        for arm in VARIED:
            share = binned(trained(frame, "proofs", "gradient_share", arm), every=25)
            yield curve(share, panel=SHARE_AXIS, arm=NAMES[arm])
        for panel, kind in PROBES.items():
            for arm in (*PAIR, "const"):
                part = trained(frame, "proofs", f"curve/entropy/{kind}", arm)
                yield curve(part, panel=panel, arm=NAMES[arm])

    return stacked(parts())


def over_batches(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, entropy and length over batches, both settings."""
    return stacked(
        curve(binned(trained(frame, sweep, name, arm), name), panel=f"{mix} mix: {title}", arm=NAMES[arm])
        for sweep, mix in settings(frame).items()
        for title, name in CURVES.items()
        for arm in PAIR
    )


def six_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Success of the six methods at the end, both mixes, and pass@8 of the hard one, in percent.

    All methods solve every easy prompt in eight trials.
    """
    success, passed = "success (%)", "pass@8 (%)"
    panels = {f"easy mix: {success}": "Acc", f"hard mix: {success}": "Acc", f"hard mix: {passed}": "Pass@8"}
    runs = list(methods(frame))
    return stacked(
        point(100 * ends[column], panel=panel, arm=name)
        for panel, column in panels.items()
        for mix, name, ends, *_ in runs
        if panel.startswith(mix)
    )


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """Norm, sampled size and direction of both halves against p."""
    return stacked(
        curve(policies(half(frame, f"{name}_{suffix}")), panel=panel, arm=arm)
        for panel, suffix in HALF_PANELS.items()
        for arm, name in HALVES.items()
    )


def ablations(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact success over batches of ablations and controls, minus GRPO's with the same seed, both mixes."""

    def parts() -> Iterator[pd.DataFrame]:
        for mix in reversed(MIXES):
            base = tabular(frame, "success", mix, "grpo")
            for arm in COMPARISON:
                own = tabular(frame, "success", mix, arm)
                yield curve(gain(own, base), panel=f"{mix} mix", arm=NAMES[arm])

    return stacked(parts())


def gain(own: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """A curve minus another with the same seed."""
    first, second = (part.set_index(["seed", "step"])["value"] for part in (own, base))
    return (first - second).reset_index()


def binned(part: pd.DataFrame, name: str = "", every: int = BATCHES) -> pd.DataFrame:
    """Means over neighbouring batches, which are small; points of a ``curve/`` stay as they are."""
    if name.startswith("curve/"):
        return part
    steps = part["step"].astype(int) // every * every
    return part.assign(step=steps).groupby(["seed", "step"])["value"].mean().reset_index()


def policies(table: pd.DataFrame) -> pd.DataFrame:
    """A table of policies by success rate as rows of a curve."""
    return table.melt(ignore_index=False, var_name="step", value_name="value").reset_index(names="seed")


def papers_gain(axes: Mapping[str, Axes], data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's gain, a dashed line, and whole whiskers."""
    for name, axis in axes.items():
        ends = data.loc[data["panel"] == name, ["mean", "low", "high"]]  # one seed has no interval
        axis.set_ylim(ends.min().min() - 0.5, max(ends.max().max(), reported[name]) + 0.5)
        reported_line(axis, reported[name], "RL-ZVP minus GRPO")


def papers_ends(axes: Mapping[str, Axes], data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """Crosses at the paper's first and last share."""
    for name, axis in axes.items():
        mix, last = name.partition(", ")[2], data.loc[data["panel"] == name, "step"].max()
        ends = [reported[f"{mix}, start"], reported[f"{mix}, end"]]
        axis.scatter([0, last], ends, marker="x", color="0.35", label="paper, start and end", zorder=3)
        axis.set_ylim(0, 1.02)


def success_rates(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Stretch both ends of the success rates."""
    ticks = ["0.002", "0.02", "0.1", "0.5", "0.9", "0.98", "0.998"]
    for axis in axes.values():
        axis.set_xscale("logit", one_half="0.5")
        axis.set_xticks([float(tick) for tick in ticks], ticks, rotation=45)
        axis.minorticks_off()


TABULAR_NOTE = "tabular policy in a language model's place"
OPCHAIN = "OpChain, 0.1 M parameters"
POLICIES = "enumerated policies of 3 tokens, length 3, in the place of seeds"

BATCH_MEANS = f"{OPCHAIN}; entropy and length are means of four training batches"
SHARES = f"{TABULAR_NOTE}; {OPCHAIN}, means of four batches"
METHODS = f"{TABULAR_NOTE}; -r: as many rollouts as RL-ZVP, -g: as many gradient steps"
ACC = dots(OPCHAIN, y="Acc@8 minus GRPO's (points)", width=4.0, fixed=COLOURS, level=0.0, finish=papers_gain)
SHARE = lines(SHARES, x="batch", y="zero-variance prompts", columns=2, fixed=COLOURS, finish=papers_ends)
ORDER = [NAMES[arm] for arm in ("grpo", *VARIED)]
REGIME = lines(
    f"{OPCHAIN}, hard mix", x="batch", columns=2, width=4.4, fixed=COLOURS, order=ORDER, rates=("groups",)
)
TRAINING = lines(BATCH_MEANS, x="batch", fixed=COLOURS, rates=("Acc@8",))
METHOD = dots(METHODS, width=3.6, fixed=COLOURS)
HALF = lines(f"{POLICIES}; alpha = 1", x="success rate p", fixed=COLOURS, finish=success_rates)
GAIN = lines(
    TABULAR_NOTE, x="batch", y="success minus GRPO's", width=4.4, columns=2, fixed=COLOURS, level=0.0
)


def gains(data: pd.DataFrame) -> str:
    """Every arm on the last mix, which is the hard one where it was run."""
    mix = data["panel"].iloc[-1]
    return listed(f"Acc@8 over GRPO's on the {mix}, points", data[data["panel"] == mix], ".1f")


def on_the_last_mix(data: pd.DataFrame) -> str:
    """The default sentence about the last mix."""
    mix = data["panel"].iloc[-1].partition(":")[0]
    return describe(data[data["panel"].str.startswith(mix)])


FIGURES: dict[str, Figure] = {
    "fig1": Figure(accuracies, ACC, gains),
    "fig3": Figure(zero_variance, SHARE),
    "fig4": Figure(over_batches, TRAINING, on_the_last_mix),
    "regime": Figure(regime, REGIME),
    "fig6": Figure(six_methods, METHOD),
    "halves": Figure(halves, HALF),
    "ablations": Figure(ablations, GAIN),
}
