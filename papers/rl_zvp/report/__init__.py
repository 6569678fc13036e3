"""What RL-ZVP's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Scores of tables are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.statistics import Interval
from common.study.configuration import configure
from common.study.frame import average, curve, estimate, exact, final, long_table, point, scalar, stacked
from common.study.report import Figure, Twin
from common.tasks.opchain import LEVELS
from papers.rl_zvp.experiment import ALPHAS, CONTROLS, PROFILES, TABULAR, Config
from papers.rl_zvp.report.measures import (
    ALPHA,
    CLAIMS,
    FILTERS,
    MIXES,
    NAMES,
    at,
    batch_quarter,
    budget,
    drawdown,
    filtered,
    half,
    stop,
    tabular,
    trained,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "TABLES"]

Cell = tuple[str, str, Interval]
COLOURS = {
    "GRPO": GREY,
    "RL-ZVP": HUES["orange"],
    "RL-ZVP, positive half": HUES["green"],
    "RL-ZVP, negative half": HUES["vermilion"],
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
}

# Tables

ABLATIONS = ("zvp", "no_negative", "no_positive", "unit", "grpo", *CONTROLS)
LANGUAGE_ARMS = {"grpo": "GRPO", "ds": "DS-r", "zvp": "RL-ZVP", "const": "const", "shuffle": "shuffle"}
FACTS = {
    "norm +": "positive_norm",
    "norm -": "negative_norm",
    "norm of the drift": "drift_norm",
    "rms +": "positive_rms",
    "rms -": "negative_rms",
    "cosine +": "positive_cosine",
    "cosine -": "negative_cosine",
    "cosine - (constant)": "constant_cosine",
}


def heldout(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out Acc@8 and Pass@8 by OpChain level, both settings."""
    return long_table(
        (
            f"{mix}: {name}",
            f"{level} {kind}",
            estimate(100 * scalar(frame, mix, f"final/pass_at_{k}/{level}", arm=arm)),
        )
        for mix in MIXES
        for arm, name in LANGUAGE_ARMS.items()
        if mix == "easy" or arm in ("grpo", "ds", "zvp")
        for level in (*LEVELS, "all")
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
    """The hyperparameters of the laptop profile, language model and tabular policy."""
    config = configure(Config, PROFILES, "laptop")
    run, objective, tabular = config.run, config.objective, config.tabular
    settings: dict[str, tuple[float, float]] = {
        "prompts per batch": (run.batch / run.group_size, tabular.prompts),
        "prompts per mini-batch": (run.mini_batch / run.group_size, tabular.prompts),
        "samples per prompt": (run.group_size, run.group_size),
        "max response length": (run.max_response, TABULAR["length"]),
        "clip low": (objective.epsilon_low, objective.epsilon_low),
        "clip high": (objective.epsilon_high, objective.epsilon_high),
        "training temperature": (1.0, 1.0),
        "validation temperature": (run.evaluation_temperature, np.nan),
        "validation top-p": (run.evaluation_top_p, np.nan),
        "gradient steps": (run.iterations * run.optimizer_steps, tabular.iterations * TABULAR["inner_steps"]),
        "learning rate": (run.learning_rate, TABULAR["learning_rate"]),
        "alpha": (objective.zvp_alpha, objective.zvp_alpha),
    }
    return long_table(
        (row, column, exact(value))
        for row, pair in settings.items()
        for column, value in zip(("OpChain", "tabular policy"), pair, strict=True)
    )


def facts(frame: pd.DataFrame) -> pd.DataFrame:
    """Norms and cosines of both halves at each success rate."""
    columns = {column: half(frame, name) for column, name in FACTS.items()}
    rates = columns["norm of the drift"].columns
    return long_table(
        (f"p = {rate:g}", column, estimate(table[rate]))
        for rate in rates
        for column, table in columns.items()
    )


def controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Every tabular arm: success (end, mean, largest drawdown), pass@8, entropy, zero-variance share."""

    def cells() -> Iterator[Cell]:
        for mix in (*MIXES, "unsolvable"):
            for arm in NAMES if mix != "unsolvable" else ("grpo", "zvp", "no_negative", "constant_max"):
                success, entropy, share = (
                    tabular(frame, name, mix, arm) for name in ("success", "entropy", "zero_variance")
                )
                ends = {
                    name: 100 * scalar(frame, f"tabular_{mix}", name, arm=arm, alpha=ALPHA)
                    for name in ("solvable", "pass_at_8")
                }
                columns = {
                    "success": ends["solvable"],
                    "pass@8": ends["pass_at_8"],
                    "mean success": 100 * average(success),
                    "largest drawdown": 100 * drawdown(success),
                    "entropy at the end": final(entropy),
                    "zero-variance share": batch_quarter(share),
                }
                for column, value in columns.items():
                    yield f"{mix}: {NAMES[arm]}", column, estimate(value)

    return long_table(cells())


TABLES: dict[str, Twin] = {
    "table1": heldout,
    "table2": lambda f: long_table(cell for arm in ABLATIONS for cell in scores(f, NAMES[arm], arm)),
    "table3": over_alpha,
    "table5": rollouts,
    "table6": hyperparameters,
    "averages": lambda f: long_table(
        (f"{mix}: {name}", column, estimate(100 * value))
        for mix, name, ends, *_ in methods(f)
        for column, value in ends.items()
    ),
    "facts": facts,
    "controls": controls,
}

# Figures

PAIR = ("grpo", "zvp")
CURVES = {"Acc@8": "curve/pass_at_1", "entropy (nats)": "entropy", "length (tokens)": "length"}
HALVES = {"positive half": "positive", "negative half": "negative", "negative half, constant": "constant"}
HALF_PANELS = {
    "Norm of the expected update": "norm",
    "Root mean square of one response": "rms",
    "Cosine with the gradient of p": "cosine",
}
WEIGHTED = {"GRPO": "grpo", "RL-ZVP, positive half": "positive", "RL-ZVP, negative half": "negative"}
GROUP_SIZES = (8, 16)  # that `halves` weights by
BATCHES = 4  # of a language model, averaged in a figure
COMPARISON = ("zvp", "no_negative", "unit", "const", "shuffle", "flip")
NARROWEST = 2.0  # percentage points of an axis


def accuracies(frame: pd.DataFrame) -> pd.DataFrame:
    """Acc@8 of GRPO and RL-ZVP at the end, both settings, in percent."""
    return stacked(
        point(100 * scalar(frame, mix, "final/pass_at_1/all", arm=arm), panel=f"{mix} mix", arm=NAMES[arm])
        for mix in MIXES
        for arm in PAIR
    )


def zero_variance(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of zero-variance prompts over batches, tabular policy and OpChain."""

    def parts() -> Iterator[pd.DataFrame]:
        for mix in reversed(MIXES):
            for arm in PAIR:
                name = f"{mix} mix, {NAMES[arm]}"
                yield curve(tabular(frame, "zero_variance", mix, arm), panel="Tabular policy", arm=name)
                yield curve(binned(trained(frame, mix, "zero_variance", arm)), panel="OpChain", arm=name)

    return stacked(parts())


def over_batches(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, entropy and length over batches, both settings."""
    return stacked(
        curve(binned(trained(frame, mix, name, arm), name), panel=f"{mix} mix: {title}", arm=NAMES[arm])
        for mix in MIXES
        for title, name in CURVES.items()
        for arm in PAIR
    )


def six_methods(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 of the six methods at the end, both mixes, in percent."""
    runs = list(methods(frame))
    return stacked(
        point(100 * ends[column], panel=f"{panel} mix: {title}", arm=name)
        for panel in MIXES
        for title, column in {"success (%)": "Acc", "pass@8 (%)": "Pass@8"}.items()
        for mix, name, ends, *_ in runs
        if mix == panel
    )


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """Norm, sampled size and direction of both halves against p."""
    return stacked(
        curve(policies(half(frame, f"{name}_{suffix}")), panel=panel, arm=arm)
        for panel, suffix in HALF_PANELS.items()
        for arm, name in HALVES.items()
    )


def groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Norm of the expected contribution of a prompt against p, at the paper's α."""
    return stacked(
        curve(
            policies((1.0 if name == "grpo" else ALPHA) * half(frame, f"{name}_group_{size}")),
            panel=f"Groups of {size}",
            arm=arm,
        )
        for size in GROUP_SIZES
        for arm, name in WEIGHTED.items()
    )


def ablations(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact success over batches of ablations and controls, minus GRPO's with the same seed, both mixes."""

    def parts() -> Iterator[pd.DataFrame]:
        for mix in reversed(MIXES):
            base = tabular(frame, "success", mix, "grpo").set_index(["seed", "step"])["value"]
            for arm in COMPARISON:
                own = tabular(frame, "success", mix, arm).set_index(["seed", "step"])["value"]
                yield curve((own - base).reset_index(), panel=f"{mix} mix", arm=NAMES[arm])

    return stacked(parts())


def binned(part: pd.DataFrame, name: str = "") -> pd.DataFrame:
    """Means over `BATCHES` neighbouring batches, which are small; points of a ``curve/`` stay as they are."""
    if name.startswith("curve/"):
        return part
    steps = part["step"].astype(int) // BATCHES * BATCHES
    return part.assign(step=steps).groupby(["seed", "step"])["value"].mean().reset_index()


def policies(table: pd.DataFrame) -> pd.DataFrame:
    """A table of policies by success rate as rows of a curve."""
    return table.melt(ignore_index=False, var_name="step", value_name="value").reset_index(names="seed")


def percent(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """An axis of at least two points: a narrower one would show rounding."""
    for axis in axes.values():
        low, high = axis.get_ylim()
        room = max(0.0, NARROWEST - (high - low)) / 2
        axis.set_ylim(low - room, min(high + room, 101.0))


def success_rates(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Stretch both ends of the success rates."""
    ticks = ["0.002", "0.02", "0.1", "0.5", "0.9", "0.98", "0.998"]
    for axis in axes.values():
        axis.set_xscale("logit", one_half="0.5")
        axis.set_xticks([float(tick) for tick in ticks], ticks, rotation=45)
        axis.minorticks_off()


def logarithmic(axes: Mapping[str, Axes], data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """`success_rates`, with norms that fall to nothing."""
    success_rates(axes, data, reported)
    for axis in axes.values():
        axis.set_ylim(1e-6, 2)


TABULAR_NOTE = "tabular policy in a language model's place"
OPCHAIN = "OpChain, 0.1 M parameters"
POLICIES = "enumerated policies of 3 tokens, length 3, in the place of seeds"

BATCH_MEANS = f"{OPCHAIN}; entropy and length are means of four training batches"
SHARES = f"left: {TABULAR_NOTE}; right: {OPCHAIN}, means of four batches"
METHODS = f"{TABULAR_NOTE}; -r: as many rollouts as RL-ZVP, -g: as many gradient steps"
UPDATE = "norm of the expected update"
ACC = dots(OPCHAIN, y="Acc@8 (%)", width=3.0, fixed=COLOURS, finish=percent)
SHARE = lines(SHARES, x="batch", y="zero-variance prompts", rates=("policy", "OpChain"))
TRAINING = lines(BATCH_MEANS, x="batch", fixed=COLOURS, rates=("Acc@8",))
METHOD = dots(METHODS, columns=2, width=4.2, fixed=COLOURS, finish=percent)
HALF = lines(f"{POLICIES}; alpha = 1", x="success rate p", fixed=COLOURS, finish=success_rates)
GROUP = lines(
    f"{POLICIES}; alpha = 0.1", x="success rate p", y=UPDATE, log="y", fixed=COLOURS, finish=logarithmic
)
GAIN = lines(
    TABULAR_NOTE, x="batch", y="success minus GRPO's", width=4.4, columns=2, fixed=COLOURS, level=0.0
)

FIGURES: dict[str, Figure] = {
    "fig1": Figure(accuracies, ACC),
    "fig3": Figure(zero_variance, SHARE),
    "fig4": Figure(over_batches, TRAINING),
    "fig6": Figure(six_methods, METHOD),
    "halves": Figure(halves, HALF),
    "groups": Figure(groups, GROUP),
    "ablations": Figure(ablations, GAIN),
}
