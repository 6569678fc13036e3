"""Arms of EPO, what is measured of them, and the premises, claims, tables and figures of the card.

Success of an arm is the exact probability that the lock opens, averaged over the last fifth of the evaluated
policies: one window for all arms, never a maximum. Differences are paired by seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.study.audits import gains, possible
from common.study.configuration import configure
from common.study.frame import (
    Interval,
    after,
    average,
    curve,
    estimate,
    exact,
    late,
    long_table,
    point,
    reached,
    rebound,
    roughness,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.epo.experiment import ARMS, COEFFICIENTS, DECOY, PROFILES, SHARING, TUNED, Config

# fmt: off
SHOWN = {
    "base": "blue", "epo": "orange", "working": "green", "decay": "vermilion", "decay_training": "pink",
    "constant": "brown", "ea": "purple", "random": "sky", "grpo_base": "blue", "grpo_epo": "orange",
}
# fmt: on
COLOURS = {ARMS[arm]: HUES[hue] for arm, hue in SHOWN.items()} | {"PPO": GREY, "GRPO": GREY}
MAIN = ("ppo", "epo", "base")
WINDOW = 10  # steps of a running mean, the paper's

# Measures: one number per seed


def series(frame: pd.DataFrame, name: str, arm: str, sweep: str = "plain", **labels: object) -> pd.DataFrame:
    """`rows` of a tabular arm."""
    return rows(frame, sweep, name, arm=arm, **labels)


def success(frame: pd.DataFrame, arm: str, sweep: str = "plain", **labels: object) -> pd.Series:
    """Success at the end: mean over the last fifth of the run."""
    return late(series(frame, "success", arm, sweep, **labels))


def early(frame: pd.DataFrame, arm: str, sweep: str) -> pd.Series:
    """Success at the beginning: mean over the first fifth of the run."""
    own = series(frame, "success", arm, sweep)
    return own[own["step"] < own["step"].max() * 0.2].groupby("seed")["value"].mean()


def oscillation(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Standard deviation of the step-to-step change of entropy without its running mean."""
    return roughness(series(frame, "entropy", arm), WINDOW)


def remaining(frame: pd.DataFrame, arm: str, sweep: str = "plain") -> pd.Series:
    """Entropy of the last fifth over that of the first step."""
    own = series(frame, "entropy", arm, sweep)
    return late(own) / after(own, 0)


def illness(frame: pd.DataFrame, sweep: str = "plain") -> pd.Series:
    """How far PPO's smoothed entropy rises after a fall, or falls below a fifth; over its first value."""
    rise = rebound(series(frame, "entropy", "ppo", sweep), WINDOW)
    return rise.clip(lower=0.2 - remaining(frame, "ppo", sweep))


def felt(frame: pd.DataFrame, sweep: str = "plain") -> pd.Series:
    """Relative change of the final entropy by the bonus."""
    return remaining(frame, "base", sweep) / remaining(frame, "ppo", sweep) - 1


def outside(frame: pd.DataFrame, arm: str, sweep: str = "plain") -> pd.Series:
    """Share of tokens outside the corridor, mean over training."""
    parts = pd.concat([series(frame, name, arm, sweep) for name in ("above", "below")])
    return 2 * parts.groupby("seed")["value"].mean()


def apart(frame: pd.DataFrame, arm: str, sweep: str = "plain") -> float:
    """RL steps between evaluations."""
    steps, evaluations = (series(frame, name, arm, sweep)["step"].max() for name in ("entropy", "success"))
    return float(round((steps + 1) / evaluations))


def steps_to_half(frame: pd.DataFrame, arm: str) -> pd.Series:
    """RL steps until success is 50 %; the whole run where it never is."""
    return apart(frame, arm) * reached(series(frame, "success", arm), 0.5)


def gap(frame: pd.DataFrame, sharing: str) -> pd.Series:
    """Change of the entropy gap between early and late turns, EPO-Decay minus EPO-Base, over the first
    entropy; mean over the steps in which both kinds of turns are played.
    """

    def own(arm: str) -> pd.Series:
        early, late = (
            series(frame, name, arm, "sharing", sharing=sharing).set_index(["seed", "step"])["value"]
            for name in ("early", "late")
        )
        return (early - late).groupby("seed").mean()

    first = after(series(frame, "entropy", "base", "sharing", sharing=sharing), 0)
    return (own("decay") - own("base")) / first


def noise(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Log of the gradient's coefficient of variation, mean over checkpoints."""
    part = rows(frame, "probe", "variation", arm=arm)
    return np.log(part.set_index("seed")["value"]).groupby("seed").mean()


def theory(*names: str) -> Measure:
    """Errors of exact checks."""
    return lambda frame: values(frame, "theory", *names)


STARS = dict.fromkeys(("SW IID Succ.*", "SW OOD Succ.*", "AW IID Succ.*", "AW OOD Succ.*"), 48)
TRAINED = ("PPO", "PPO+EPO", "GRPO", "GRPO+EPO")
AUDITS = (
    gains("epo", "table1", [(base, f"{base}+EPO", f"{base}+EPO, gain (%)") for base in ("PPO", "GRPO")]),
    possible("epo", "table1", STARS, TRAINED),
)

PREMISES: dict[str, Measure] = {
    "ill": illness,
    "bonus_acts": felt,
    "headroom": lambda f: success(f, "base"),
    "outside": lambda f: outside(f, "epo"),
    "outside_tuned": lambda f: outside(f, "epo", "tuned"),
    "outside_working": lambda f: outside(f, "working"),
    "text_ill": lambda f: illness(f, "text_game"),
    "text_bonus": lambda f: felt(f, "text_game"),
    "text_learns": lambda f: success(f, "ppo", "text_game") - early(f, "ppo", "text_game"),
    "text_headroom": lambda f: success(f, "base", "text_game"),
    "text_outside": lambda f: average(series(f, "epo/outside", "epo", "text_game")),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="epo": success(f, arm) - success(f, "ppo"),
    "c1_tuned": lambda f, arm="epo": success(f, arm, "tuned") - success(f, "ppo", "tuned"),
    "c1_text": lambda f, arm="epo": success(f, arm, "text_game") - success(f, "ppo", "text_game"),
    "c1_rate": lambda f, arm="tuned": success(f, "ppo", arm) - success(f, "epo"),
    "c2_smooth": lambda f, arm="epo": np.log(oscillation(f, arm) / oscillation(f, "ppo")),
    "c2_low": lambda f, arm="epo": remaining(f, arm) - remaining(f, "ppo"),
    "c3a": lambda f, arm="epo": success(f, arm) - success(f, "base"),
    "c3a_text": lambda f, arm="epo": success(f, arm, "text_game") - success(f, "base", "text_game"),
    "c3b": lambda f, arm="working": success(f, arm) - success(f, "base"),
    "c4": lambda f: np.subtract(*(series(f, "entropy", a).value.to_numpy() for a in ("indicator", "base"))),
    "c5": theory("force", "push", "lower", "inert"),
    "c6": theory("corridor", "exact_penalty", "ratio_error", "excess"),
    "c8_speed": lambda f, arm="constant": steps_to_half(f, arm) - steps_to_half(f, "epo10"),
    "c8_final": lambda f: success(f, "epo10") - success(f, "constant"),
    "c9_gap": lambda f: gap(f, "shared"),
    "c9_separate": lambda f: gap(f, "separate"),
    "c9_success": lambda f, arm="decay": success(f, arm) - success(f, "base"),
    "c10": lambda f, arm="epo": success(f, arm) - success(f, "ea"),
    "c11": lambda f, arm="epo": noise(f, arm) - noise(f, "base"),
    "c12": lambda f: np.concatenate([audit(f) for audit in AUDITS]),
}

# Tables

FIELDS = {
    "lambda": "objective.coefficient",
    "kappa_l": "objective.kappa_low",
    "kappa_r": "objective.kappa_high",
    "RL steps": "objective.steps",
    "gamma": "objective.gamma",
    "alpha": "objective.alpha",
    "learning rate": "tabular.learning_rate",
}


def scores(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """Success in percent: the best evaluated policy (Succ.*) and the last fifth (Succ.)."""
    for regime, arms in {"plain": ARMS, "decoy": DECOY, "tuned": TUNED}.items():
        for arm in arms:
            best = series(frame, "success", arm, regime).groupby("seed")["value"].max()
            yield ARMS[arm], f"{regime} Succ.*", estimate(100 * best)
            yield ARMS[arm], f"{regime} Succ.", estimate(100 * success(frame, arm, regime))


def ablation(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """What each arm did to entropy and success in the plain regime."""
    for arm in ARMS:
        yield ARMS[arm], "success minus PPO's", estimate(success(frame, arm) - success(frame, "ppo"))
        yield ARMS[arm], "entropy, last over first", estimate(remaining(frame, arm))
        yield ARMS[arm], "tokens outside (%)", estimate(100 * outside(frame, arm))
        yield ARMS[arm], "steps to 50 %", estimate(steps_to_half(frame, arm))


def searches(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """The text game, success in percent."""
    for arm in MAIN:
        yield ARMS[arm], "seen worlds", estimate(100 * success(frame, arm, "text_game"))
        yield ARMS[arm], "unseen worlds", estimate(100 * scalar(frame, "text_game", "unseen", arm=arm))
        yield ARMS[arm], "entropy, last over first", estimate(remaining(frame, arm, "text_game"))


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """Ours at the laptop profile."""
    config = configure(Config, PROFILES, "laptop")
    return long_table((row, "lock", exact(config.value(name))) for row, name in FIELDS.items())


TABLES: dict[str, Twin] = {
    "table1": lambda f: long_table(scores(f)),
    "table2": hyperparameters,
    "table3": hyperparameters,
    "arms": lambda f: long_table(ablation(f)),
    "searches": lambda f: long_table(searches(f)),
    "strength": lambda f: long_table(
        (
            f"lambda = {coefficient:g}",
            ARMS[arm],
            estimate(100 * success(f, arm, "strength", coefficient=coefficient)),
        )
        for coefficient in COEFFICIENTS
        for arm in ("base", "epo")
    ),
}

# Figures


def curves(frame: pd.DataFrame, arms: tuple[str, ...], sweep: str = "plain", **panels: str) -> pd.DataFrame:
    """Series of arms over RL steps, a panel each; all but entropy are measured with the evaluations."""

    def parts() -> Iterator[pd.DataFrame]:
        for panel, name in panels.items():
            for arm in arms:
                part = series(frame, name, arm, sweep)
                every = 1.0 if name == "entropy" else apart(frame, arm, sweep)
                steps = part["step"].astype(float) * every
                yield curve(part.assign(step=steps), panel=panel.replace("_", " "), arm=ARMS[arm])

    return stacked(parts())


def successes(frame: pd.DataFrame, **sweeps: tuple[str, ...]) -> pd.DataFrame:
    """Success over RL steps, a panel for each sweep and its arms."""
    return stacked(
        curves(frame, arms, sweep, **{f"{sweep}_success": "success"}) for sweep, arms in sweeps.items()
    )


NOTE = "tabular agent on a lock of 10 stages"
CURVED = ("success", "above", "below", "outside")  # ends of panels that show rates
CURVES = lines(NOTE, x="RL step", fixed=COLOURS, rates=CURVED)

FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        lambda f: stacked(
            [
                curves(f, ("base", "decay"), early_turns="early", late_turns="late"),
                curves(f, ("ppo", "epo"), all_turns="entropy"),
            ]
        ),
        lines(f"{NOTE}; entropy in nats", x="RL step", fixed=COLOURS),
    ),
    "fig2": Figure(lambda f: successes(f, plain=MAIN, decoy=MAIN, tuned=MAIN), CURVES),
    "fig3": Figure(lambda f: successes(f, plain=("base", "epo10", "constant", "working")), CURVES),
    "fig4": Figure(lambda f: curves(f, ("base", "decay", "epo", "ea"), success="success"), CURVES),
    "fig5": Figure(lambda f: successes(f, plain=("grpo", "grpo_epo")), CURVES),
    "fig6": Figure(
        lambda f: stacked(
            [successes(f, decoy=DECOY), curves(f, ("grpo_base", "grpo_epo"), GRPO_success="success")]
        ),
        CURVES,
    ),
    "fig7": Figure(
        lambda f: curves(
            f, ("base", "decay", "decay_training"), success="success", early_turns="early", late_turns="late"
        ),
        CURVES,
    ),
    "fig8": Figure(lambda f: curves(f, ("ppo", "ea", "epo"), success="success", entropy="entropy"), CURVES),
    "corridor": Figure(
        lambda f: curves(f, ("epo", "working", "narrow"), share_above="above", share_below="below"), CURVES
    ),
    "text_game": Figure(
        lambda f: stacked(
            [
                curves(f, MAIN, "text_game", success="success", entropy="entropy"),
                curves(f, ("epo",), "text_game", share_outside="epo/outside"),
            ]
        ),
        lines("0.1 M, the coin game of TextWorldExpress", x="RL step", fixed=COLOURS, rates=CURVED),
    ),
    "sharing": Figure(
        lambda f: stacked(point(gap(f, name), panel="change of the gap", arm=name) for name in SHARING),
        dots(NOTE, y="gap's change over first entropy", level=0.0),
    ),
}
