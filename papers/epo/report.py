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
from common.study.audits import reported
from common.study.configuration import configure
from common.study.frame import (
    Errors,
    Interval,
    after,
    curve,
    estimate,
    exact,
    long_table,
    point,
    rows,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.epo.experiment import ARMS, COEFFICIENTS, DECOY, PROFILES, SHARING, TUNED, Config

NAMES = {
    "ppo": "PPO",
    "base": "EPO-Base",
    "epo": "EPO",
    "epo10": "EPO, alpha = 0.1",
    "epo40": "EPO, alpha = 0.4",
    "epo1": "EPO, alpha = 1",
    "working": "working corridor",
    "wide": "EPO, kappa 0.5 to 1.5",
    "narrow": "EPO, kappa 0.8 to 1.2",
    "indicator": "indicator penalty",
    "constant": "EPO W/O DW",
    "code": "EPO, the code's reference and schedule",
    "decay": "EPO-Decay, turns",
    "decay_training": "EPO-Decay, training",
    "ea": "EA",
    "random": "random tokens",
    "random_working": "random tokens, working corridor",
    "fixed": "fixed reference",
    "grpo": "GRPO",
    "grpo_base": "GRPO, EPO-Base",
    "grpo_epo": "GRPO, EPO",
}
COLOURS = {
    "PPO": GREY,
    "GRPO": GREY,
    NAMES["base"]: HUES["blue"],
    NAMES["epo"]: HUES["orange"],
    NAMES["working"]: HUES["green"],
    NAMES["decay"]: HUES["vermilion"],
    NAMES["decay_training"]: HUES["pink"],
    NAMES["constant"]: HUES["brown"],
    NAMES["ea"]: HUES["purple"],
    NAMES["random"]: HUES["sky"],
    NAMES["grpo_base"]: HUES["blue"],
    NAMES["grpo_epo"]: HUES["orange"],
}
LAST, WINDOW = 0.2, 10  # share of a run that counts as its end; steps of a running mean, the paper's

# Measures: one number per seed


def series(frame: pd.DataFrame, name: str, arm: str, sweep: str = "plain", **labels: object) -> pd.DataFrame:
    """`rows` of a tabular arm."""
    return rows(frame, sweep, name, arm=arm, **labels)


def last(part: pd.DataFrame) -> pd.Series:
    """Mean of each seed over the last fifth of the steps."""
    start = part["step"].max() * (1 - LAST)
    return part[part["step"] > start].groupby("seed")["value"].mean()


def success(frame: pd.DataFrame, arm: str, sweep: str = "plain", **labels: object) -> pd.Series:
    """Success at the end."""
    return last(series(frame, "success", arm, sweep, **labels))


def entropy(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Mean entropy over steps, one column a seed."""
    return series(frame, "entropy", arm).pivot_table(index="step", columns="seed", values="value")


def oscillation(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Standard deviation of the step-to-step change of entropy without its running mean."""
    curves = entropy(frame, arm)
    rest = curves - curves.rolling(WINDOW, center=True, min_periods=1).mean()
    return rest.diff().std()


def remaining(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Entropy of the last fifth over that of the first step."""
    own = series(frame, "entropy", arm)
    return last(own) / after(own, 0)


def illness(frame: pd.DataFrame) -> pd.Series:
    """How far PPO's smoothed entropy rises after a fall, or falls below a fifth; over its first value."""
    curves = entropy(frame, "ppo").rolling(WINDOW, min_periods=1).mean()
    rebound = (curves - curves.cummin()).max() / curves.iloc[0]
    return rebound.clip(lower=0.2 - remaining(frame, "ppo"))


def outside(frame: pd.DataFrame, arm: str, sweep: str = "plain") -> pd.Series:
    """Share of tokens outside the corridor, mean over training."""
    parts = pd.concat([series(frame, name, arm, sweep) for name in ("above", "below")])
    return 2 * parts.groupby("seed")["value"].mean()


def apart(frame: pd.DataFrame, arm: str, sweep: str = "plain") -> float:
    """RL steps between evaluations."""
    steps, evaluations = (series(frame, name, arm, sweep)["step"].max() for name in ("entropy", "success"))
    return float((steps + 1) / evaluations)


def steps_to_half(frame: pd.DataFrame, arm: str) -> pd.Series:
    """RL steps until success is 50 %; the whole run where it never is."""
    table = series(frame, "success", arm).pivot_table(index="seed", columns="step", values="value")
    every = apart(frame, arm)
    reached = table.to_numpy() >= 0.5
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), table.shape[1] - 1)
    return pd.Series(every * first, index=table.index)


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
    return lambda frame: values(frame, "theory", *names, analysis="equations")


# Audits of the paper's own numbers


def improvements(_frame: pd.DataFrame) -> Errors:
    """Distance of the printed improvements to those that cells within rounding allow, points."""
    table, half = reported("epo", "table1"), 0.05
    errors = []
    for base in ("PPO", "GRPO"):
        old, new, stated = (table.loc[row] for row in (base, f"{base}+EPO", f"{base}+EPO, gain (%)"))
        low, high = (100 * ((new + s * half) / (old - s * half) - 1) for s in (-1, 1))
        errors.append(np.maximum(np.maximum(low - stated, stated - high), 0.0))
    return np.concatenate(errors)


def forty_eighths(_frame: pd.DataFrame) -> Errors:
    """Distance of each Succ.* of the trained rows to the nearest k of 48 episodes, points."""
    trained = ["PPO", "PPO+EPO", "GRPO", "GRPO+EPO"]
    cells = reported("epo", "table1").filter(like="*").loc[trained].to_numpy().ravel()
    return cells - np.round(cells * 48 / 100) / 48 * 100


PREMISES: dict[str, Measure] = {
    "ill": illness,
    "bonus_acts": lambda f: remaining(f, "base") / remaining(f, "ppo") - 1,
    "headroom": lambda f: success(f, "base"),
    "outside": lambda f: outside(f, "epo"),
    "outside_tuned": lambda f: outside(f, "epo", "tuned"),
    "outside_working": lambda f: outside(f, "working"),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="epo": success(f, arm) - success(f, "ppo"),
    "c1_tuned": lambda f, arm="epo": success(f, arm, "tuned") - success(f, "ppo", "tuned"),
    "c1_rate": lambda f, arm="tuned": success(f, "ppo", arm) - success(f, "epo"),
    "c2_smooth": lambda f, arm="epo": np.log(oscillation(f, arm) / oscillation(f, "ppo")),
    "c2_low": lambda f, arm="epo": remaining(f, arm) - remaining(f, "ppo"),
    "c3a": lambda f, arm="epo": success(f, arm) - success(f, "base"),
    "c3b": lambda f, arm="working": success(f, arm) - success(f, "base"),
    "c4": lambda f: np.subtract(*(series(f, "entropy", a).value.to_numpy() for a in ("indicator", "base"))),
    "c5_force": theory("force"),
    "c5_constants": theory("push", "lower", "inert"),
    "c6": theory("corridor", "exact_penalty"),
    "c7": lambda f: values(f, "theory", "ratio_error", "excess", analysis="drift"),
    "c8_speed": lambda f, arm="constant": steps_to_half(f, arm) - steps_to_half(f, "epo10"),
    "c8_final": lambda f: success(f, "epo10") - success(f, "constant"),
    "c9_gap": lambda f: gap(f, "shared"),
    "c9_separate": lambda f: gap(f, "separate"),
    "c9_success": lambda f, arm="decay": success(f, arm) - success(f, "base"),
    "c10": lambda f, arm="epo": success(f, arm) - success(f, "ea"),
    "c11": lambda f, arm="epo": noise(f, arm) - noise(f, "base"),
    "c12": lambda f: np.concatenate([improvements(f), forty_eighths(f)]),
}

# Tables

FIELDS = {"lambda": "coefficient", "kappa_l": "kappa_low", "kappa_r": "kappa_high", "RL steps": "steps"}


def scores(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """Success in percent: the best evaluated policy (Succ.*) and the last fifth (Succ.)."""
    for regime, arms in {"plain": ARMS, "decoy": DECOY, "tuned": TUNED}.items():
        for arm in arms:
            best = series(frame, "success", arm, regime).groupby("seed")["value"].max()
            yield NAMES[arm], f"{regime} Succ.*", estimate(100 * best)
            yield NAMES[arm], f"{regime} Succ.", estimate(100 * success(frame, arm, regime))


def ablation(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """What each arm did to entropy and success in the plain regime."""
    for arm in ARMS:
        yield NAMES[arm], "success minus PPO's", estimate(success(frame, arm) - success(frame, "ppo"))
        yield NAMES[arm], "entropy, last over first", estimate(remaining(frame, arm))
        yield NAMES[arm], "tokens outside (%)", estimate(100 * outside(frame, arm))
        yield NAMES[arm], "steps to 50 %", estimate(steps_to_half(frame, arm))


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """Ours at the laptop profile."""
    config = configure(Config, PROFILES, "laptop")
    own = config.objective.model_dump()
    cells = {row: own[name] for row, name in (FIELDS | {"gamma": "gamma", "alpha": "alpha"}).items()}
    cells["learning rate"] = config.tabular.learning_rate
    return long_table((row, "lock", exact(value)) for row, value in cells.items())


TABLES: dict[str, Twin] = {
    "table1": lambda f: long_table(scores(f)),
    "table2": hyperparameters,
    "table3": hyperparameters,
    "arms": lambda f: long_table(ablation(f)),
    "strength": lambda f: long_table(
        (
            f"lambda = {coefficient:g}",
            NAMES[arm],
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
                yield curve(part.assign(step=steps), panel=panel.replace("_", " "), arm=NAMES[arm])

    return stacked(parts())


def successes(frame: pd.DataFrame, **sweeps: tuple[str, ...]) -> pd.DataFrame:
    """Success over RL steps, a panel for each sweep and its arms."""
    return stacked(
        curves(frame, arms, sweep, **{f"{sweep}_success": "success"}) for sweep, arms in sweeps.items()
    )


MAIN = ("ppo", "epo", "base")
NOTE = "tabular agent on a lock of 10 stages"
CURVES = lines(NOTE, x="RL step", fixed=COLOURS, rates=("success", "above", "below"))

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
    "sharing": Figure(
        lambda f: stacked(point(gap(f, name), panel="change of the gap", arm=name) for name in SHARING),
        dots(NOTE, y="gap's change over first entropy", level=0.0),
    ),
}
