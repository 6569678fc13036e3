"""What FCP's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Differences are paired by seed; arms that ran on fewer seeds decide on those. Shares of tables are in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Plot

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES, caption, label, legend, panels
from common.statistics import Interval
from common.study.audits import averages, reported
from common.study.frame import (
    Errors,
    curve,
    estimate,
    long_table,
    paired,
    point,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin

# Arms

SWEEPS = dict.fromkeys(("cft", "positives only", "shuffled", "scalar"), "controls")
"""Sweep of the arms that are not in `main`."""
METHODS = {
    "Base": "base",
    "GRPO": "grpo",
    "RFT": "rft",
    "RFT+GRPO": "rft+grpo",
    "CFT": "cft",
    "FCP": "fcp",
    "FCP+Bootstrap": "bootstrap",
    "FCP, no condition": "fcp without condition",
    "FCP, positives only": "positives only",
    "FCP, shuffled critiques": "shuffled",
    "FCP, score for critique": "scalar",
    "self-distillation": "self-distillation",
    "FCP+Bootstrap, every praise": "every praise",
}
"""Row of Table 1 to the arm's name in the records."""
KINDS = {
    "words": "words",
    "ids": "token per combination",
    "tokens": "token per attribute and polarity",
}
SIGNS = {"(+, +)": "++", "(+, -)": "+-", "(-, +)": "-+"}
"""Conditions of the composition study: shown, and in the records."""
COLOURS = {
    "GRPO": GREY,
    "RFT+GRPO": HUES["brown"],
    "FCP+Bootstrap": HUES["green"],
    "with words on length": HUES["orange"],
    "without": HUES["green"],
    "reference": GREY,
    "(+, +)": HUES["green"],
    "(+, -)": HUES["orange"],
    "(-, +)": HUES["vermilion"],
    "praise of correctness": HUES["blue"],
    "praise of correct and concise": HUES["orange"],
}


def value(
    frame: pd.DataFrame, arm: str, measure: str = "accuracy", sweep: str = "", condition: str = "own"
) -> pd.Series:
    """A measure of one arm, by seed; condition ``own`` is the arm's own way of being asked."""
    return scalar(frame, sweep or SWEEPS.get(arm, "main"), measure, arm=arm, condition=condition)


# Measures: one number per seed


def gain(frame: pd.DataFrame, arm: str, over: str, sweep: str = "") -> pd.Series:
    """Accuracy of an arm minus that of another."""
    return paired(value(frame, arm, sweep=sweep), value(frame, over, sweep=sweep))


def between(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Accuracy over the base policy, and over RFT less five points."""
    return pd.DataFrame(
        {"over base": gain(frame, arm, "base"), "against RFT": gain(frame, arm, "rft") + 0.05}
    )


def contrast(
    frame: pd.DataFrame, arm: str, one: str, other: str, measure: str = "accuracy", factor: float = 1.0
) -> pd.Series:
    """A measure under one condition minus `factor` times that under another."""
    under = partial(value, frame, arm, measure)
    return under(condition=one) - factor * under(condition=other)


def composed(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Responses both correct and concise under (+, +), over the three alternatives, by kind of critique."""
    both = partial(value, frame, measure="both", sweep="composition")
    others = {"reference": both("reference")}
    others |= {shown: both(kind, condition=SIGNS[shown]) for shown in ("(+, -)", "(-, +)")}
    return pd.DataFrame({name: both(kind, condition="++") - other for name, other in others.items()})


def rollouts(frame: pd.DataFrame, arm: str, name: str) -> pd.DataFrame:
    """A curve of the rollouts over rounds, or of the loss over optimizer steps."""
    return rows(frame, "main", f"curve/{name}", arm=arm)


def by_round(frame: pd.DataFrame, arm: str, name: str) -> pd.DataFrame:
    """A curve of the rollouts: a row per round or step, a column per seed."""
    return rollouts(frame, arm, name).pivot_table(index="step", columns="seed", values="value")


def quarter(frame: pd.DataFrame, arm: str, name: str, late: bool = False) -> pd.Series:
    """Mean over the first or last quarter of the rounds (at least one)."""
    table = by_round(frame, arm, name)
    size = max(1, len(table) // 4)
    return (table.iloc[-size:] if late else table.iloc[:size]).mean()


def drift(frame: pd.DataFrame, arm: str, name: str) -> pd.Series:
    """Last quarter of the rounds minus the first."""
    return quarter(frame, arm, name, late=True) - quarter(frame, arm, name)


def noise(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Standard deviation of the step-to-step change of the loss, second half minus first."""
    change = by_round(frame, arm, "loss").diff().iloc[1:]
    half = len(change) // 2
    return change.iloc[half:].std() - change.iloc[:half].std()


def ablated(frame: pd.DataFrame) -> pd.DataFrame:
    """The ablations of the online stage."""
    against = partial(gain, frame, sweep="ablations")
    columns = {arm: against(arm, "default") for arm in ("several updates", "seq-mean-token-sum")}
    return pd.DataFrame(columns | {"default": against("default", "praise per rollout")})


def theory(analysis: str, *names: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


MATHEMATICS = ("AIME24", "AIME25", "MATH500", "Minerva", "Olympiad")


def reported_changes(_frame: pd.DataFrame) -> Errors:
    """Audit: reported minus recomputed changes of Table 5."""
    block = reported("fcp", "table5")
    score, change = (block[name] for name in block)
    return (change - (score - score["default"])).dropna().to_numpy()


CLAIMS: dict[str, Measure] = {
    "c1": theory("offline", "own", "other_0", "other_1", "other_2"),
    "c1_reversed": theory("offline", "reversed"),
    "c2": theory("link_to_rl", "identity", "optimum", "excess"),
    "c2_verifier": theory("link_to_rl", "verifier"),
    "c3": theory("fixed_point", "error", "fall"),
    "c3_behind": theory("fixed_point", "exponent_error"),
    "c4": lambda f, arm="fcp": between(f, arm),
    "c5": lambda f: gain(f, "bootstrap", "grpo"),
    "c5_gain": lambda f, arm="bootstrap": gain(f, arm, "fcp"),
    "c6": lambda f, arm="fcp": contrast(f, arm, "fully positive", "fully negative"),
    "c6_blame": lambda f, arm="fcp": paired(value(f, "base"), value(f, arm, condition="fully negative")),
    "c6_code": lambda f, arm="fcp": contrast(f, arm, "has code", "fully positive", "code", 2.0),
    "c6_length": lambda f, arm="fcp": contrast(f, arm, "verbose", "fully positive", "length"),
    "c7": lambda f, arm="fcp": gain(f, arm, "positives only"),
    "c8": lambda f, arm="words": composed(f, arm),
    "c8_tokens": lambda f: composed(f, "tokens"),
    "c9": lambda f, arm="every praise": drift(f, arm, "length"),
    "c9_loss": lambda f, arm="every praise": noise(f, arm),
    "c10": lambda f: quarter(f, "grpo", "score", late=True) - quarter(f, "bootstrap", "score", late=True),
    "c10_early": lambda f: quarter(f, "grpo", "score") - quarter(f, "bootstrap", "score"),
    "c11": lambda f, arm="cft": gain(f, arm, "base"),
    "c12": ablated,
    "c12_offline": lambda f: value(f, "fcp", sweep="ablations") - value(f, "default", sweep="ablations"),
    "audit_average": averages("fcp", "table1", "Avg", MATHEMATICS),
    "audit_average2": averages("fcp", "table2", "Average", ("GPQA-Diamond", "MMLU-Pro", "TheoremQA")),
    "audit_changes": reported_changes,
}

# Tables

MEASURES = {
    "two terms": "terms=2",
    "three terms": "terms=3",
    "all": "accuracy",
    "all, greedy": "greedy",
    "rigorous": "rigorous",
    "code": "code",
    "length": "length",
}
CONDITIONS = ("fully positive", "fully negative", "neutral", "has code", "verbose")
UNITS = {"length": 1.0, "score": 1.0}
CONDITIONED = {
    "Base": ("base", "controls"),
    "FCP": ("fcp", "main"),
    "FCP, shuffled critiques": ("shuffled", "controls"),
}


def cell(frame: pd.DataFrame, arm: str, measure: str, sweep: str = "", condition: str = "own") -> Interval:
    """A measure over seeds, shares in percent."""
    return estimate(UNITS.get(measure, 100.0) * value(frame, arm, measure, sweep, condition))


def composition(frame: pd.DataFrame) -> pd.DataFrame:
    """Correct, concise, and both, by kind of critique and condition."""
    columns = {"both": "both", "correct": "accuracy", "concise": "concise"}
    arms = {"reference policy": ("reference", "own")}
    for kind, name in KINDS.items():
        arms |= {f"{name}, {shown}": (kind, sign) for shown, sign in SIGNS.items()}
    return long_table(
        (row, column, cell(frame, arm, measure, "composition", condition))
        for row, (arm, condition) in arms.items()
        for column, measure in columns.items()
    )


TABLES: dict[str, Twin] = {
    "table1": lambda f: long_table(
        (row, column, cell(f, arm, measure))
        for row, arm in METHODS.items()
        for column, measure in MEASURES.items()
        if not (arm == "fcp without condition" and measure == "greedy")
    ),
    "table3": lambda f: long_table(
        (f"{row}, {condition}", column, cell(f, arm, measure, sweep, condition))
        for row, (arm, sweep) in CONDITIONED.items()
        for condition in CONDITIONS
        for column, measure in {"accuracy": "accuracy", "code ratio": "code", "length": "length"}.items()
    ),
    "table5": lambda f: long_table(
        (arm, "accuracy", cell(f, arm, "accuracy", "ablations"))
        for arm in ("default", "several updates", "seq-mean-token-sum", "praise per rollout")
    ),
    "composition": composition,
}

# Figures

ONLINE = {"GRPO": "grpo", "RFT+GRPO": "rft+grpo", "FCP+Bootstrap": "bootstrap"}
POOLS = {"with words on length": "every praise", "without": "bootstrap"}
PRAISE = {"correct": "praise of correctness", "concise": "praise of correct and concise"}
WINDOW = 5  # optimizer steps of the moving average of the loss
RESPONSES = 6  # of the example world


def both_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    """Correct and concise responses by condition, one panel per kind of critique."""

    def parts() -> Iterator[pd.DataFrame]:
        for kind, panel in KINDS.items():
            arms = {"reference": ("reference", "own")} | {arm: (kind, sign) for arm, sign in SIGNS.items()}
            for arm, (name, condition) in arms.items():
                both = value(frame, name, "both", "composition", condition)
                yield point(both, panel=f"Both, {panel}", arm=arm)

    return stacked(parts())


def over_rounds(arms: Mapping[str, str], name: str, panel: str) -> Twin:
    """A curve of the rollouts over rounds."""
    return lambda f: stacked(
        curve(rollouts(f, arm, name), panel=panel, arm=shown) for shown, arm in arms.items()
    )


def smooth_loss(frame: pd.DataFrame) -> pd.DataFrame:
    """Loss by optimizer step, moving average of five steps."""

    def parts() -> Iterator[pd.DataFrame]:
        for arm, name in POOLS.items():
            part = rollouts(frame, name, "loss")
            smooth = part.groupby("seed")["value"].transform(
                lambda losses: losses.rolling(WINDOW, min_periods=1).mean()
            )
            yield curve(part.assign(value=smooth), panel="Loss (nats per token)", arm=arm)

    return stacked(parts())


def posterior(frame: pd.DataFrame) -> pd.DataFrame:
    """P_off(o|c) and the fitted policy of one world: columns panel, critique, response, value."""

    def parts() -> Iterator[pd.DataFrame]:
        for panel, name in {"P_off(o|c)": "posterior", "learned": "learned"}.items():
            cells = theory("example", name)(frame)
            critique, response = np.divmod(np.arange(len(cells)), RESPONSES)
            yield pd.DataFrame({"panel": panel, "critique": critique, "response": response, "value": cells})

    return stacked(parts())


def exact_rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """E[log p_env(c+|o)] and expected length after each exact round, iterated and in closed form."""
    quantities = {"E[log p(c+|o)] (nats)": "praise", "Expected length": "length"}
    forms = {"iterated": "{}", "closed": "{}, closed form"}
    return stacked(
        curve(
            rows(frame, "theory", f"{measure}_{kind}_{form}", analysis="example"),
            panel=panel,
            arm=shown.format(name),
        )
        for panel, measure in quantities.items()
        for kind, name in PRAISE.items()
        for form, shown in forms.items()
    )


def learned_error(data: pd.DataFrame) -> str:
    """How far the fitted policy is from the posterior at its worst cell."""
    exact, learned = (part["value"].to_numpy() for _, part in data.groupby("panel", sort=False))
    return f"The fitted policy differs from P_off(o|c) by at most {np.abs(exact - learned).max():.1g}."


def heat_maps(data: pd.DataFrame, _reported: Mapping[str, float]) -> Plot:
    """Two heat maps with their numbers."""
    figure, axes = panels(2, width=3.4, height=2.6)
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        grid = part.pivot_table(index="critique", columns="response", values="value").to_numpy()
        axis.imshow(grid, vmin=0, vmax=data["value"].max(), cmap="cividis", aspect="auto")
        for (row, column), number in np.ndenumerate(grid):
            colour = "black" if number > 0.6 * data["value"].max() else "white"
            axis.text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axis.grid(visible=False)
        label(axis, str(name), x="response o", y="critique c")
        axis.set_yticks(range(len(grid)))
    caption(figure, "one random world; exact posterior and the policy fitted by likelihood")
    return figure


def lines_and_circles(data: pd.DataFrame, _reported: Mapping[str, float]) -> Plot:
    """Iterated rounds as lines, the closed form as circles on them."""
    figure, axes = panels(2)
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        for arm in PRAISE.values():
            line, circles = (part[part["arm"] == one] for one in (arm, f"{arm}, closed form"))
            axis.plot(line["step"], line["mean"], color=COLOURS[arm], label=arm)
            axis.plot(
                circles["step"],
                circles["mean"],
                "o",
                mfc="none",
                ms=5,
                color=COLOURS[arm],
                label="closed form",
            )
        label(axis, x="round", y=str(name), integer=True)
    legend(figure)
    caption(
        figure,
        "twelve responses of length 1 to 12, exact updates; every other response is likely to be right",
    )
    return figure


TASK = "VerbalArith, 0.2 M parameters"
ROUNDS = lines(f"{TASK}; temperature 1", x="round", fixed=COLOURS, rates=("rollouts", "ten"))
POOL = f"{TASK}; pool of praise with and without words on length"

FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        both_attributes, dots(f"{TASK}; share of responses both correct and concise", fixed=COLOURS)
    ),
    "fig2a": Figure(over_rounds(ONLINE, "accuracy", "Accuracy of the rollouts"), ROUNDS),
    "fig2b": Figure(over_rounds(ONLINE, "score", "Environment's score over ten"), ROUNDS),
    "fig3a": Figure(
        over_rounds(POOLS, "length", "Rollout length (tokens)"), lines(POOL, x="round", fixed=COLOURS)
    ),
    "fig3b": Figure(
        smooth_loss, lines(f"{POOL}; moving average of five steps", x="optimizer step", fixed=COLOURS)
    ),
    "posterior": Figure(posterior, heat_maps, learned_error),
    "rounds": Figure(exact_rounds, lines_and_circles),
}
