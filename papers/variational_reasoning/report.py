"""Arms of variational reasoning, what is measured of them, and the premises, claims, tables and figures.

Accuracy of an arm is the share of correct responses to the fixed held-out questions after the last optimizer
step, eight samples each. Differences are paired by seed: arms of a seed share traces and order of training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.study.frame import Interval, curve, estimate, long_table, point, rows, scalar, stacked, values
from common.study.report import Figure, Measure, Twin

NAMES = {
    "base": "base policy",
    "sft": "SFT",
    "acc": "Acc",
    "uniform": "equal weights",
    "shuffled": "shuffled weights",
    "without": "Acc, without a hint",
    "wrong": "Acc, wrong hint",
    "gml": "GML",
    "lik": "L",
    "k1": "Acc, K = 1",
    "k2": "Acc, K = 2",
    "k4": "Acc, K = 4",
    "single": "Acc, best trace",
    "single_mix": "Acc, best trace, mixed",
    "mix": "Acc, mixed",
    "overlap": "Acc, overlap",
    "apart": "Acc, no overlap",
    "naive": "Acc, mean over tokens",
}
COLOURS = {
    NAMES["sft"]: GREY,
    NAMES["acc"]: HUES["orange"],
    NAMES["uniform"]: HUES["blue"],
    NAMES["shuffled"]: HUES["sky"],
    "GRPO": GREY,
    "rejection sampling": HUES["blue"],
    "variational reasoning": HUES["orange"],
}
MAIN = ("sft", "acc", "uniform", "shuffled")
POWERS = (1, 2, 4, 8, 16, 32)
TRACES = {0: "sft", 1: "k1", 2: "k2", 4: "k4", 8: "acc"}
"""K to the arm; without traces there are the demonstrations."""
BIN = 10  # tokens of a bin of trace lengths
FACTORS = {"rft": "rejection sampling", "grpo": "GRPO", "variational": "variational reasoning"}

# Measures: one number per seed


def score(frame: pd.DataFrame, arm: str, sweep: str = "main", name: str = "accuracy") -> pd.Series:
    """A scalar of an arm on the held-out questions."""
    return scalar(frame, sweep, name, arm=arm)


def gain(frame: pd.DataFrame, arm: str, over: str, sweep: str = "main", name: str = "accuracy") -> pd.Series:
    """How much an arm is above another."""
    return score(frame, arm, sweep, name) - score(frame, over, sweep, name)


def harder(frame: pd.DataFrame, arm: str, over: str) -> pd.Series:
    """Gain on hard questions minus that on easy ones."""
    return gain(frame, arm, over, "ablations", "hard") - gain(frame, arm, over, "ablations", "easy")


def ablated(frame: pd.DataFrame, **pairs: tuple[str, str]) -> pd.DataFrame:
    """Gains of arms over others, a column each."""
    return pd.DataFrame({name: gain(frame, *arms, "ablations") for name, arms in pairs.items()})


def widening(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Gain over SFT in pass@k from the first k to the last, hard minus easy."""

    def grown(level: str) -> pd.Series:
        gains = [
            gain(frame, arm, "sft", "ablations", name)
            for name in (f"pass@1/{level}", f"pass@{most(frame)}/{level}")
        ]
        return gains[1] - gains[0]

    return grown("hard") - grown("easy")


def most(frame: pd.DataFrame) -> int:
    """The largest k of pass@k that was measured."""
    return max(k for k in POWERS if f"pass@{k}/hard" in set(frame["name"]))


def loss(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Mean training loss over the last half of the steps."""
    part = rows(frame, "main", "loss", arm=arm)
    return part[part["step"] >= (part["step"].max() + 1) / 2].groupby("seed")["value"].mean()


def spikes(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Log ratio of the 99th percentile of the gradient's norm to its median."""
    norms = rows(frame, "main", "norm", arm=arm).groupby("seed")["value"]
    return (norms.quantile(0.99) / norms.median()).map(np.log)


def calmer(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Loss and spikes of an arm minus those of SFT."""
    return pd.DataFrame({each.__name__: each(frame, arm) - each(frame, "sft") for each in (loss, spikes)})


def leaking(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Leaks of a proposal beyond those of the one it started from, and the entropy that it lost."""
    own, start = (
        {name: scalar(frame, "reverse", name, arm=each) for name in ("leak", "entropy")}
        for each in (arm, "forward")
    )
    return pd.DataFrame({"leak": own["leak"] - start["leak"], "entropy": start["entropy"] - own["entropy"]})


def theory(analysis: str, *names: str) -> Measure:
    """Errors of exact checks."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


PREMISES: dict[str, Measure] = {
    "verifies": lambda f: scalar(f, "main", "verified") / scalar(f, "main", "verified_prior"),
    "headroom": lambda f: score(f, "sft"),
    "learns": lambda f: gain(f, "sft", "base"),
    "unequal": lambda f: scalar(f, "main", "unequal"),
}
CLAIMS: dict[str, Measure] = {
    "c1": theory("bounds", "falls", "equality", "elbo", "theta", "phi"),
    "c3": theory("estimators", "formula", "vertex", "excess", "crossing"),
    "c4": theory(
        *("forward_kl", "rft", "binary", "grpo", "wake", "unnormalised", "shaped", "shift"),
        *("debiased", "rarer", "optimum", "biased_optimum"),
    ),
    "c6": theory("behaviour", "formula", "optimum", "lower"),
    "c18_norms": theory("factors", *FACTORS, *(f"sure_{name}" for name in FACTORS)),
    "c7_length": lambda f, arm="raw": scalar(f, "main", f"length_{arm}"),
    "c7_rank": lambda f, arm="rank": scalar(f, "main", arm),
    "c8": lambda f, arm="acc": gain(f, arm, "sft"),
    "c8_clean": lambda f, arm="clean": gain(f, "sft", "acc", arm),
    "c9_gain": lambda f, arm="acc": gain(f, arm, "without", "ablations"),
    "c9_hard": lambda f, arm="acc": harder(f, arm, "without"),
    "c10": lambda f, arm="acc": ablated(f, Acc=(arm, "lik"), GML=("gml" if arm == "acc" else arm, "lik")),
    "c11": lambda f, arm="acc": gain(f, arm, "k1", "ablations"),
    "c12": lambda f, arm="acc": ablated(f, all=(arm, "single_mix"), mixed=("single_mix", "single")),
    "c13": lambda f: gain(f, "apart", "overlap", "ablations"),
    "c14": lambda f: gain(f, "acc", "naive", "ablations"),
    "c15": lambda f, arm="reverse": leaking(f, arm),
    "c16": lambda f, arm="acc": widening(f, arm),
    "c17": lambda f, arm="acc": calmer(f, arm),
    "c18_slope": lambda f, arm="slope": scalar(f, "main", arm),
}

# Tables

LEVELS = {"all": "accuracy", "easy": "easy", "hard": "hard"}


def scores(frame: pd.DataFrame, *arms: str, sweep: str = "ablations") -> pd.DataFrame:
    """Accuracy in percent of arms, on all questions, the easy and the hard ones."""
    return long_table(
        (NAMES[arm], column, estimate(100 * score(frame, arm, sweep, name)))
        for arm in arms
        for column, name in LEVELS.items()
    )


def overview(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """What each arm of the primary claim did."""
    for arm in MAIN:
        yield NAMES[arm], "accuracy minus SFT's (%)", estimate(100 * gain(frame, arm, "sft"))
        yield NAMES[arm], "on hard questions (%)", estimate(100 * gain(frame, arm, "sft", name="hard"))
        yield NAMES[arm], "loss, last half (nats)", estimate(loss(frame, arm))
        yield NAMES[arm], "spikes of the gradient", estimate(spikes(frame, arm))


TABLES: dict[str, Twin] = {
    "table1": lambda f: scores(f, "base", *MAIN, sweep="main"),
    "table4": lambda f: scores(f, "acc", "without", "wrong"),
    "table5": lambda f: scores(f, "sft", "acc", "gml", "lik"),
    "table8": lambda f: scores(f, "mix", "acc", "single_mix", "single"),
    "table9": lambda f: scores(f, "overlap", "apart"),
    "table10": lambda f: scores(f, "acc", "naive"),
    "table12": lambda f: long_table(
        (NAMES[arm], "tokens", estimate(score(f, arm, name="length"))) for arm in MAIN
    ),
    "arms": lambda f: long_table(overview(f)),
}

# Figures


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Paired gains over SFT, a panel for each level."""
    return stacked(
        point(gain(frame, arm, "sft", name=name), panel=f"{level} questions", arm=NAMES[arm])
        for level, name in LEVELS.items()
        for arm in MAIN[1:]
    )


def training(frame: pd.DataFrame) -> pd.DataFrame:
    """Loss and gradient norm over optimizer steps."""
    return stacked(
        curve(rows(frame, "main", name, arm=arm), panel=panel, arm=NAMES[arm])
        for panel, name in {"loss (nats)": "loss", "gradient norm": "norm"}.items()
        for arm in MAIN[:3]
    )


def passes(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@k over k, a panel for each level."""

    def one(arm: str, level: str) -> pd.DataFrame:
        parts = [
            point(score(frame, arm, "ablations", f"pass@{k}/{level}"), step=float(k))
            for k in POWERS
            if k <= most(frame)
        ]
        return stacked(parts).assign(panel=f"{level} questions", arm=NAMES[arm])

    return stacked(one(arm, level) for level in ("easy", "hard") for arm in ("sft", "acc", "uniform"))


def by_traces(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over the number of traces of a question."""
    parts = [
        point(
            score(frame, arm, "ablations", name), step=float(k), panel=f"{level} questions", arm=NAMES["acc"]
        )
        for level, name in LEVELS.items()
        for k, arm in TRACES.items()
    ]
    return stacked(parts)


def by_length(frame: pd.DataFrame) -> pd.DataFrame:
    """Log ratio of q_φ's traces by their length, of the trace and of a token."""
    panels = {"log ratio of a trace (nats)": "raw_ratio", "log ratio of a token (nats)": "token_ratio"}

    def one(panel: str, name: str) -> pd.DataFrame:
        own = rows(frame, "main", name)
        return curve(own.assign(step=(own["step"].astype(float) + 0.5) * BIN), panel=panel, arm="traces")

    return stacked(one(panel, name) for panel, name in panels.items())


def before(frame: pd.DataFrame) -> pd.DataFrame:
    """Factors and norms over P."""

    def one(kind: str, panel: str, name: str) -> pd.DataFrame:
        own = rows(frame, "theory", f"{kind}_{name}", analysis="factors")
        steps = (own["step"].astype(float) + 1) / 100
        return curve(own.assign(step=steps), panel=panel, arm=FACTORS[name])

    panels = {"factor": "factor", "norm": "norm of the gradient"}.items()
    return stacked(one(kind, panel, name) for kind, panel in panels for name in FACTORS)


NOTE = "Countdown, decoder of 0.1 M parameters"
CLOSED = "closed forms; norms for traces that are right or wrong for sure"
FIGURES: dict[str, Figure] = {
    "gains": Figure(gains, dots(NOTE, y="accuracy minus SFT's", level=0.0, fixed=COLOURS)),
    "fig1": Figure(training, lines(NOTE, x="optimizer step", fixed=COLOURS)),
    "fig2": Figure(passes, lines(NOTE, x="k", y="pass@k", fixed=COLOURS, log="x")),
    "fig3": Figure(by_traces, lines(NOTE, x="traces of a question", y="accuracy", fixed=COLOURS)),
    "fig4": Figure(by_length, lines(NOTE, x="tokens of a trace of the proposal")),
    "factors": Figure(before, lines(CLOSED, x="P", fixed=COLOURS)),
}
