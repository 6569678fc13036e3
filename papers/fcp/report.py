"""What FCP's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Differences are paired by seed; arms of fewer seeds decide on those. Shares of tables are in percent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES, REFERENCE, reported_line
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
    "no word on length": HUES["green"],
    "every praise": HUES["orange"],
    "self-distillation": HUES["sky"],
    "reference": GREY,
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


def gain(frame: pd.DataFrame, arm: str, over: str, measure: str = "greedy", sweep: str = "") -> pd.Series:
    """Accuracy of an arm minus that of another, decoded greedily as in the paper."""
    return paired(value(frame, arm, measure, sweep), value(frame, over, measure, sweep))


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


def late_gap(frame: pd.DataFrame, name: str, one: str = "grpo", other: str = "bootstrap") -> pd.Series:
    """One arm minus another, GRPO minus FCP+Bootstrap by default, over the last quarter of the rounds."""
    return paired(quarter(frame, one, name, late=True), quarter(frame, other, name, late=True))


def word_moves(frame: pd.DataFrame) -> pd.Series:
    """The smaller of the differences that the words make, to correctness and to brevity."""
    under = partial(value, frame, "words", sweep="composition")
    correct = under("accuracy", condition="+-") - under("accuracy", condition="-+")
    concise = under("concise", condition="-+") - under("concise", condition="+-")
    return pd.concat([correct, concise], axis=1).min(axis=1, skipna=False)


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
GENERAL = ("GPQA-Diamond", "MMLU-Pro", "TheoremQA")


def reported_averages(frame: pd.DataFrame) -> Errors:
    """Audit: reported minus recomputed averages of Tables 1 and 2."""
    audits = averages("fcp", "table1", "Avg", MATHEMATICS), averages("fcp", "table2", "Average", GENERAL)
    return np.concatenate([audit(frame) for audit in audits])


def reported_changes(_frame: pd.DataFrame) -> Errors:
    """Audit: reported minus recomputed changes of Table 5."""
    block = reported("fcp", "table5")
    score, change = (block[name] for name in block)
    return (change - (score - score["default"])).dropna().to_numpy()


PREMISES: dict[str, Measure] = {
    "headroom": lambda f: value(f, "base", "greedy"),
    "room": lambda f: value(f, "fcp", "greedy"),
    "mixed_samples": lambda f: value(f, "base"),
    "online_learns": lambda f: drift(f, "bootstrap", "score"),
    "critique_teaches": lambda f: late_gap(f, "score", "bootstrap", "self-distillation"),
    "equal_accuracy": lambda f: late_gap(f, "accuracy"),
    "words_learned": word_moves,
}
CLAIMS: dict[str, Measure] = {
    "c1": theory("offline", "own", "other_0", "other_1", "other_2"),
    "c1_reversed": theory("offline", "reversed"),
    "c2": theory("link_to_rl", "identity", "optimum", "excess"),
    "c2_verifier": theory("link_to_rl", "verifier"),
    "c3": theory("fixed_point", "error", "fall"),
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
    "c10": lambda f: late_gap(f, "score"),
    "c10_early": lambda f: quarter(f, "grpo", "score") - quarter(f, "bootstrap", "score"),
    "c11": lambda f, arm="cft": gain(f, arm, "base", "accuracy"),
    "c12": ablated,
    "c12_offline": lambda f: gain(f, "fcp", "default", sweep="ablations"),
    "audit_average": reported_averages,
    "audit_changes": reported_changes,
}

# Tables

MEASURES = {
    "all, greedy": "greedy",
    "all": "accuracy",
    "two terms": "terms=2",
    "three terms": "terms=3",
    "rigorous": "rigorous",
    "code": "code",
    "length": "length",
}
CONDITIONS = ("fully positive", "fully negative", "neutral", "has code", "verbose")
CONDITIONED = {
    "Base": ("base", "controls"),
    "FCP": ("fcp", "main"),
    "FCP, shuffled critiques": ("shuffled", "controls"),
}


def cell(frame: pd.DataFrame, arm: str, measure: str, sweep: str = "", condition: str = "own") -> Interval:
    """A measure over seeds; shares in percent, and their interval ends at 0 and 100."""
    own = value(frame, arm, measure, sweep, condition)
    if measure == "length":
        return estimate(own)
    mean, low, high, n = estimate(100 * own)
    return Interval(mean, max(low, 0.0), min(high, 100.0), n)


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

ONLINE = {
    "GRPO": "grpo",
    "RFT+GRPO": "rft+grpo",
    "FCP+Bootstrap": "bootstrap",
    "self-distillation": "self-distillation",
}
POOLS = {"every praise": "every praise", "no word on length": "bootstrap"}
PRAISE = {"correct": "praise of correctness", "concise": "praise of correct and concise"}
MARGIN = 0.03  # of c5


def both_attributes(frame: pd.DataFrame) -> pd.DataFrame:
    """Responses both correct and concise: what praise of both adds, one panel per kind of critique."""
    return stacked(
        point(difference, panel=panel, arm=str(arm))
        for kind, panel in KINDS.items()
        for arm, difference in composed(frame, kind).items()
    )


def against_grpo(name: str, panel: str) -> Twin:
    """A curve of the rollouts over rounds, and FCP+Bootstrap's paired difference to GRPO."""

    def twin(frame: pd.DataFrame) -> pd.DataFrame:
        curves = [curve(rollouts(frame, arm, name), panel=panel, arm=shown) for shown, arm in ONLINE.items()]
        difference = by_round(frame, "bootstrap", name) - by_round(frame, "grpo", name)
        part = difference.melt(ignore_index=False).reset_index()
        return stacked([*curves, curve(part, panel=f"{panel}, minus GRPO's", arm="FCP+Bootstrap")])

    return twin


def by_pool(name: str, panel: str) -> Twin:
    """A curve of bootstrapping with and without praise of brevity in the pool, on the same seeds."""

    def twin(frame: pd.DataFrame) -> pd.DataFrame:
        parts = {shown: rollouts(frame, arm, name) for shown, arm in POOLS.items()}
        seeds = parts["every praise"]["seed"]
        return stacked(curve(p[p["seed"].isin(seeds)], panel=panel, arm=a) for a, p in parts.items())

    return twin


def exact_rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """E[log p_env(c+|o)] and expected length after each exact round."""
    quantities = {"E[log p(c+|o)] (nats)": "praise", "Expected length (tokens)": "length"}
    return stacked(
        curve(rows(frame, "theory", f"{measure}_{kind}_iterated", analysis="example"), panel=panel, arm=name)
        for panel, measure in quantities.items()
        for kind, name in PRAISE.items()
    )


def praise_of_both(data: pd.DataFrame) -> str:
    """What praise of both in words adds, to the reference and to praise of brevity alone."""
    words = data[data["panel"] == KINDS["words"]].set_index("arm")
    over = "{mean:.2f} [{low:.2f}, {high:.2f}]".format
    alone, brief = (over(**words.loc[arm, ["mean", "low", "high"]]) for arm in ("reference", "(-, +)"))
    return (
        f"In words, praise of both yields both {alone} more often than the reference policy, and {brief} "
        "more often than a critique that says wrong and concise."
    )


def gap_over_rounds(data: pd.DataFrame) -> str:
    """The paired difference to GRPO in the first and last round."""
    part = data[data["panel"].str.endswith("GRPO's")]
    first, last = ("{mean:.2f} [{low:.2f}, {high:.2f}]".format(**part.iloc[i]) for i in (0, -1))
    ends = data[data["panel"] == data["panel"].iloc[0]].groupby("arm")["mean"].agg(["first", "last"])
    moved = ends["last"] - ends["first"]
    return (
        f"GRPO's curve moves by {moved['GRPO']:.2f} and FCP+Bootstrap's by {moved['FCP+Bootstrap']:.2f}: the "
        f"lead that the offline stage gives, {first}, ends at {last}."
    )


def courses(start: str, panel: str, shown: str = "{:.1f}") -> Callable[[pd.DataFrame], str]:
    """First and last value of every arm's curve in one panel, as a sentence that begins with `start`."""

    def sentence(data: pd.DataFrame) -> str:
        means = data[data["panel"] == panel].groupby("arm", sort=False)["mean"]
        ends = (f"{shown.format(m.iloc[0])} → {shown.format(m.iloc[-1])} ({arm})" for arm, m in means)
        return f"{start}: {', '.join(ends)}."

    return sentence


def same_scale(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """One vertical scale for all panels; a single seed has no interval."""
    ends = data[["mean", "low", "high"]]
    for axis in axes.values():
        axis.set_ylim(ends.min().min() - 0.02, ends.max().max() + 0.02)


def margin(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The margin of c5, and the paper's difference."""
    *_, axis = axes.values()
    axis.axhline(0.0, **REFERENCE)
    axis.axhspan(-MARGIN, MARGIN, color="0.9", zorder=0, label="within 3 points")
    for name, difference in reported.items():
        reported_line(axis, difference, name)


TASK = "VerbalArith, 0.2 M parameters"
LENGTH, LOSS = "Rollout length (tokens)", "Loss (nats a token)"
ROUNDS = partial(lines, f"{TASK}; rollouts at temperature 1", x="round", width=4.2, fixed=COLOURS)

FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        both_attributes,
        dots(
            f"{TASK}; share of responses both correct and concise, paired by seed",
            y="under (+, +) minus …",
            fixed=COLOURS,
            level=0.0,
            finish=same_scale,
        ),
        praise_of_both,
    ),
    "fig2a": Figure(against_grpo("accuracy", "Accuracy"), ROUNDS(finish=margin), gap_over_rounds),
    "fig2b": Figure(against_grpo("score", "Score (of 1)"), ROUNDS(level=0.0), gap_over_rounds),
    "fig3a": Figure(
        by_pool("length", LENGTH), ROUNDS(), courses("Tokens a rollout, first and last round", LENGTH)
    ),
    "fig3b": Figure(
        by_pool("loss", LOSS),
        lines(TASK, x="optimizer step", width=4.2, fixed=COLOURS),
        courses("Loss of the first and last step", LOSS, "{:.2f}"),
    ),
    "rounds": Figure(
        exact_rounds,
        lines("twelve responses of 1 to 12 tokens, every other one likely right", x="round", fixed=COLOURS),
        courses("Expected length in ten exact rounds", "Expected length (tokens)"),
    ),
}
