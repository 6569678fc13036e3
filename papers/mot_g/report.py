"""Arms of MoT-G, what is measured of them, and the premises, claims, tables and figures of the card.

Accuracy is that of the policy after its last step, four samples of each held-out graph, decoded in the mode
that it was trained in. An area is the mean over the evaluation points after the start. All differences are
paired by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.study.configuration import configure
from common.study.frame import (
    Errors,
    Interval,
    after,
    average,
    curve,
    estimate,
    exact,
    learning_curve,
    long_table,
    point,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.mot_g.experiment import (
    ARMS,
    CANDIDATES,
    COLORED,
    DETERMINED,
    HALVES,
    HEAT,
    HEATED,
    PROFILES,
    WIDE,
    Config,
)

NAMES = {
    "vanilla": "GRPO",
    "different": "Different Tokens",
    "corrected": "Different Tokens, ordered likelihood",
    "dirichlet": "Dirichlet",
    "shuffled": "random partners",
    "visible": "the visible token alone",
    "hot": "GRPO, matched entropy",
    "bonus": "GRPO, entropy bonus",
    "top_k": "GRPO on the top 2",
    "noise": "GRPO, noisy embeddings",
}
COLOURS = {
    "GRPO": GREY,
    NAMES["different"]: HUES["blue"],
    NAMES["corrected"]: HUES["green"],
    NAMES["dirichlet"]: HUES["orange"],
    NAMES["shuffled"]: HUES["vermilion"],
    NAMES["visible"]: HUES["sky"],
    NAMES["hot"]: HUES["purple"],
    NAMES["noise"]: HUES["brown"],
}
DECODED = {
    "": "one token, as trained",
    "greedy_": "one token, greedy",
    "different_": "Different Tokens",
    "dirichlet_": "Dirichlet",
    "soft_": "top 2, probability weights",
    "visible_": "the visible token of Different Tokens alone",
}
SURROGATES = {
    "multi": "multi-token",
    "single": "single-token",
    "plackett_luce": "ordered likelihood",
    "cold": "ordered, drawn at 0.9",
}
COUNTEREXAMPLE = 1 - 1e-6  # a cosine below it is no rounding

# Measures: one number per seed


def final(frame: pd.DataFrame, arm: str, name: str = "accuracy", sweep: str = "reach") -> pd.Series:
    """A measure of the last policy."""
    return scalar(frame, sweep, f"final/{name}", arm=arm)


def area(frame: pd.DataFrame, arm: str, name: str, sweep: str = "") -> pd.Series:
    """Mean over the evaluation points after the start, by default on reach; ``noise`` decodes GRPO."""
    own, prefix = ("vanilla", "noise_") if arm == "noise" else (arm, "")
    return average(rows(frame, sweep or usual(arm), f"curve/{prefix}{name}", arm=own))


def start(frame: pd.DataFrame, sweep: str) -> pd.Series:
    """Accuracy of the base policies, sampled as GRPO does."""
    return after(rows(frame, sweep, "curve/accuracy", arm="vanilla"), 0)


def learned(frame: pd.DataFrame, sweep: str) -> pd.Series:
    """Accuracy that GRPO has gained on its base policy, both on the same walks."""
    return final(frame, "vanilla", sweep=sweep) - scalar(frame, sweep, "base/accuracy", arm="vanilla")


def lost(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Accuracy lost from the usual to the high temperature."""
    return final(frame, arm, sweep=usual(arm)) - final(frame, arm, sweep="heated")


def usual(arm: str) -> str:
    """The sweep in which an arm is run at the usual temperature."""
    return {"top_k": "warm", "bonus": "bonus"}.get(arm, "reach")


def bias(frame: pd.DataFrame, surrogate: str, k: int = 2) -> pd.Series:
    """Cosine of a surrogate's expected gradient with the true one, mean over instances."""
    return after(rows(frame, "bias", "cosine", surrogate=surrogate), k - 1)


def theory(analysis: str, *names: str, **labels: str) -> Callable[[pd.DataFrame], Errors]:
    """Errors of exact checks."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis, **labels)


def no_counterexample(frame: pd.DataFrame) -> Errors:
    """By how much the smallest cosine of the multi-token surrogate fails to be one, for k from 2 on."""
    smallest = rows(frame, "theory", "smallest", surrogate="multi")
    return np.maximum(smallest[smallest["step"] >= 1]["value"].to_numpy() - COUNTEREXAMPLE, 0.0)


PREMISES: dict[str, Measure] = {
    "ambiguous": lambda f: final(f, "vanilla"),
    "learns": lambda f: learned(f, "reach"),
    "learns_determined": lambda f: learned(f, "determined"),
    "first_hop": lambda f: final(f, "vanilla", "first_hop"),
    "delivered": lambda f: area(f, "different", "first_diversity"),
    "delivered_dirichlet": lambda f: area(f, "dirichlet", "first_diversity"),
    "matched": lambda f: area(f, "hot", "entropy") / area(f, "different", "entropy"),
    "headroom": lambda f: start(f, "determined"),
    "chains_help": lambda f: final(f, "vanilla") - final(f, "vanilla", sweep="halves"),
    "color_window": lambda f: final(f, "vanilla", sweep="color"),
    "color_learns": lambda f: learned(f, "color"),
    "color_delivered": lambda f: area(f, "different", "first_diversity", "color"),
}
CLAIMS: dict[str, Measure] = {
    "c1": theory("moments", "mean", "diversity"),
    "c2": theory("draws", "race", "first", "nested", "inclusion_falls", "coverage_falls"),
    "c2_variance": theory("draws", "variance_rises"),
    "c3": no_counterexample,
    "c3_corrected": theory("bias", "error", surrogate="plackett_luce"),
    "c3_bias": lambda f, arm="multi": bias(f, arm),
    "c3_training": lambda f, arm="corrected": final(f, arm) - final(f, "different"),
    "c4": lambda f, arm="different": final(f, arm) - final(f, "vanilla"),
    "c4_dirichlet": lambda f, arm="dirichlet": final(f, arm) - final(f, "vanilla"),
    "c4_color": lambda f, arm="different": final(f, arm, sweep="color") - final(f, "vanilla", sweep="color"),
    "c4_free": lambda f, arm="different": final(f, "vanilla", f"{arm}_accuracy") - final(f, "vanilla"),
    "c5": lambda f, arm="determined": final(f, "different", sweep=arm) - final(f, "vanilla", sweep=arm),
    "c6": lambda f, arm="different": final(f, arm, sweep="halves") - final(f, "vanilla"),
    "c7a": lambda f, arm="different": area(f, arm, "matrix_entropy") - area(f, "vanilla", "matrix_entropy"),
    "c7b": lambda f, arm="different": area(f, arm, "entropy") - area(f, "vanilla", "entropy"),
    "c8": lambda f, arm="dirichlet": lost(f, "vanilla") - lost(f, arm),
    "c9": lambda f, arm="different": final(f, arm) - final(f, "different", sweep="wide"),
}

# Tables


def percent(values: pd.Series) -> Interval:
    """Mean and interval in percent."""
    return estimate(100 * values)


def scores(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """Accuracy of every arm on each task that was run."""
    ran = set(frame["sweep"])
    for task, arms in {"reach": ARMS, "determined": DETERMINED, "color": COLORED}.items():
        for arm in arms if task in ran else ():
            yield ROWS.get(task, task), NAMES[arm], percent(final(frame, arm, sweep=task))


ROWS = {"color": "graph_color"}
"""What the authors' chart calls a task."""


def thoughts(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """What the thoughts of each arm look like, over training on reach."""
    for arm in ARMS:
        yield NAMES[arm], "accuracy (%)", percent(final(frame, arm))
        for column, name in MEASURED.items():
            yield NAMES[arm], column, estimate(area(frame, arm, name))
    for column, name in MEASURED.items():
        yield NAMES["noise"], column, estimate(area(frame, "noise", name))


MEASURED = {
    "next-token entropy": "entropy",
    "matrix entropy": "matrix_entropy",
    "diversity": "diversity",
    "right first hop": "first_hop",
    "right hop among candidates": "covered",
}


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """Ours at the laptop profile."""
    config = configure(Config, PROFILES, "laptop")
    own = config.run
    cells = {
        "steps": own.iterations,
        "questions of a step": own.batch // own.group_size,
        "chains": own.group_size,
        "k": config.thought.tokens,
        "temperature": config.thought.temperature,
        "learning rate": own.learning_rate,
        "KL weight": own.kl_coefficient,
        "completion tokens": own.max_response,
    }
    return long_table((row, "pocket model", exact(value)) for row, value in cells.items())


def sides(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """Accuracy over chains, temperature and candidates, beside that of the usual run."""
    for arm in ("vanilla", "different", "dirichlet", "top_k"):
        yield NAMES[arm], "usual", percent(final(frame, arm, sweep=usual(arm)))
    for arm in HALVES:
        yield NAMES[arm], "half the chains", percent(final(frame, arm, sweep="halves"))
    for arm in HEATED:
        yield NAMES[arm], f"temperature {HEAT}", percent(final(frame, arm, sweep="heated"))
    yield NAMES["different"], f"k = {WIDE}", percent(final(frame, "different", sweep="wide"))


TABLES: dict[str, Twin] = {
    "chart": lambda f: long_table(scores(f)),
    "settings": hyperparameters,
    "thoughts": lambda f: long_table(thoughts(f)),
    "decoding": lambda f: long_table(
        (label, task, percent(final(f, "vanilla", f"{mode}accuracy", task)))
        for mode, label in DECODED.items()
        for task in ("reach", "determined")
    ),
    "sides": lambda f: long_table(sides(f)),
}

# Figures

NOTE = "0.1 M parameters"


def curves(frame: pd.DataFrame, sweep: str, arms: tuple[str, ...], **panels: str) -> pd.DataFrame:
    """Series of arms over RL steps, a panel each."""
    return stacked(
        curve(
            learning_curve(frame, sweep, f"curve/{name}", arm=arm),
            panel=panel.replace("_", " "),
            arm=NAMES[arm],
        )
        for panel, name in panels.items()
        for arm in arms
    )


def angles(frame: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the expected gradients with the true one, over k."""
    return stacked(
        curve(part.assign(step=part["step"] + 1), panel="cosine to the true gradient", arm=label)
        for surrogate, label in SURROGATES.items()
        for part in [rows(frame, "bias", "cosine", surrogate=surrogate)]
    )


def tradeoff(frame: pd.DataFrame) -> pd.DataFrame:
    """What a larger k gives and takes, exact means over random instances."""
    return stacked(
        curve(part.assign(step=part["step"] + 1), panel=panel, arm="Different Tokens")
        for panel, name in {"coverage": "coverage", "variance between chains over k = 1": "variance"}.items()
        for part in [rows(frame, "theory", name, analysis="draws")]
    )


def soft(frame: pd.DataFrame) -> pd.DataFrame:
    """What SmolLM2 writes while it reads mixtures, over k."""
    return stacked(
        curve(
            part.assign(step=np.array(CANDIDATES)[part["step"]], value=change(part["value"])),
            panel=panel,
            arm=arm,
        )
        for panel, (name, change) in SOFT.items()
        for arm, labels in READ.items()
        if not (name == "moved" and labels["read"] == "token")
        for part in [rows(frame, "soft", name, **labels)]
    )


def worse(twin: pd.DataFrame) -> str:
    """The perplexity with the most candidates, read as a mixture and as its visible token alone."""
    part = twin[twin["panel"] == PERPLEXITY].set_index(["arm", "step"])["mean"]
    ways = [f"{arm} {part[arm, CANDIDATES[-1]]:.0f}" for arm in READ]
    return f"{PERPLEXITY.capitalize()} under the plain model at k = {CANDIDATES[-1]}: {'; '.join(ways)}."


PERPLEXITY = "perplexity of the text"
SOFT: dict[str, tuple[str, Callable[[pd.Series], pd.Series]]] = {
    PERPLEXITY: ("surprise", np.exp),
    "next-token entropy (nats)": ("entropy", lambda values: values),
    "different pairs of tokens": ("pairs", lambda values: values),
    "distance from the token": ("moved", lambda values: values),
}
READ = {
    f"{name}{', token alone' * (read == 'token')}": {"arm": way, "read": read}
    for way, name in {
        "soft": "top k, weighted",
        "dirichlet": "Dirichlet",
        "different": "Different Tokens",
    }.items()
    for read in ("mixture", "token")
}

MAIN = ("vanilla", "different", "corrected", "dirichlet")
CURVES = lines(NOTE, x="RL step", fixed=COLOURS, rates=("accuracy",))
FIGURES: dict[str, Figure] = {
    "bias": Figure(angles, lines("5 tokens, random rewards of sets", x="k", width=6.0, level=0.0)),
    "tradeoff": Figure(tradeoff, lines("5 tokens", x="k", fixed=COLOURS, rates=("coverage",))),
    "training": Figure(
        lambda f: stacked(
            [
                curves(f, "reach", MAIN, reach_accuracy="accuracy"),
                curves(f, "determined", DETERMINED, determined_accuracy="accuracy"),
            ]
        ),
        CURVES,
    ),
    "controls": Figure(
        lambda f: curves(
            f, "reach", ("vanilla", "different", "shuffled", "visible", "hot"), accuracy="accuracy"
        ),
        lines(NOTE, x="RL step", width=7.5, fixed=COLOURS, rates=("accuracy",)),
    ),
    "entropy": Figure(
        lambda f: stacked(
            point(area(f, arm, name), panel=panel, arm=NAMES[arm])
            for panel, name in {"matrix entropy": "matrix_entropy", "next-token entropy": "entropy"}.items()
            for arm in ("vanilla", "noise", "different", "dirichlet", "hot")
        ),
        dots(f"{NOTE}; nats, mean over training", columns=2, width=4.2, fixed=COLOURS),
    ),
    "soft": Figure(
        soft,
        lines(
            "SmolLM2-135M in 4-bit weights, stories",
            x="k",
            columns=2,
            rates=("pairs of tokens",),
        ),
        worse,
    ),
    "diversity": Figure(
        lambda f: curves(f, "reach", ("different", "corrected", "dirichlet"), diversity="diversity"),
        lines(NOTE, x="RL step", fixed=COLOURS, rates=("diversity",)),
    ),
}
