"""Arms of the exploration study, what is measured of them, and the premises and claims of the card.

Methods share their random numbers, so differences and ratios are paired by seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.plotting.style import GREY, HUES
from common.study.frame import Errors, final, levels, paired, rows, scalar, values
from common.study.report import Measure
from papers.rlhf_exploration.experiment import COIN_BETA, HARD_BETA, HARD_GAP
from papers.rlhf_exploration.method import rate

# Arms: protocol to name and colour

ARMS = {
    "proposed": ("proposed", HUES["blue"]),
    "xpo": ("XPO-type", HUES["orange"]),
    "vpo": ("VPO-type", HUES["green"]),
    "selm": ("SELM-type", HUES["vermilion"]),
    "ablation_a": ("ablation A", HUES["purple"]),
    "ablation_b": ("ablation B", HUES["brown"]),
    "uniform": ("uniform partner", HUES["sky"]),
    "passive": ("passive online DPO", GREY),
}
NAMES = {protocol: name for protocol, (name, _) in ARMS.items()}
PAIRS = {
    "pairs": ("uniform pairs", HUES["pink"])
}  # no protocol of the paper's kind: nothing that it learns is played
KNOBS = {"ce1": "beta", "ce2": "gap"}
GROWTH_BETAS = (0.5, 0.33, 0.25, 0.2)
FAR, NEAR, UNSATURATED = 10.0, 4.0, 2.0  # gaps of CE2
MANY, FEW = 100, 3  # arms

# Measures: one number per seed


def regret(frame: pd.DataFrame, sweep: str, protocol: str, name: str = "total", **labels: Any) -> pd.Series:
    """A scalar of a bandit run by seed, by default R_T."""
    return scalar(frame, sweep, name, protocol=protocol, **labels)


def growth(frame: pd.DataFrame, sweep: str, protocol: str, **labels: Any) -> pd.Series:
    """R_T / R_(T/2): 2 if linear, 1 if the regret has stopped."""
    return regret(frame, sweep, protocol, **labels) / regret(frame, sweep, protocol, "half", **labels)


def not_linear(frame: pd.DataFrame, protocol: str) -> Errors:
    """Regret on CE1 at each checkpoint over what it would be at the first round's rate, minus 1."""
    so_far = rows(frame, "ce1", "regret", protocol=protocol, beta=HARD_BETA).query("step > 0")
    rate_by_seed = regret(frame, "ce1", protocol, "first", beta=HARD_BETA)
    rounds = so_far["step"] * levels(frame, "ce1", "horizon")[0] // so_far["step"].max()
    return (so_far["value"] / (rounds * so_far["seed"].map(rate_by_seed)) - 1).to_numpy()


def at(sweep: str, level: float) -> dict[str, Any]:
    """Label of a level of CE1 or CE2."""
    return {KNOBS[sweep]: level}


def by_hardness(frame: pd.DataFrame, sweep: str, protocol: str, some: Sequence[float] = ()) -> pd.DataFrame:
    """R_T by seed, a column per 1/β of CE1 or per gap of CE2, by default at every level that was run."""
    columns = {
        1 / level if sweep == "ce1" else level: regret(frame, sweep, protocol, **at(sweep, level))
        for level in some or levels(frame, sweep, KNOBS[sweep])
    }
    return pd.DataFrame(columns)


def slope(x: Float[np.ndarray, " N"], y: Float[np.ndarray, "S N"]) -> Float[np.ndarray, " S"]:
    """Least-squares slope of each row of y on x."""
    centred = x - x.mean()
    return (y * centred).sum(axis=-1) / (centred**2).sum()


def log_slope(regrets: pd.DataFrame, power: bool = False) -> pd.Series:
    """Slope of each seed's log-regret on the columns; with `power` on their logarithm."""
    x = regrets.columns.to_numpy(float)
    return pd.Series(slope(np.log(x) if power else x, np.log(regrets.to_numpy())), index=regrets.index)


def degrees(frame: pd.DataFrame, on_ce1: str, on_ce2: str) -> pd.DataFrame:
    """Log-log slopes of the regret of one protocol in 1/β and of another in the gap."""
    tables = {"1/beta": by_hardness(frame, "ce1", on_ce1), "gap": by_hardness(frame, "ce2", on_ce2)}
    return pd.DataFrame({name: log_slope(part, power=True) for name, part in tables.items()}).dropna()


def every_growth(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T / R_(T/2) of the proposal in every configuration, on the seeds that all of them have."""
    columns = {
        f"{knob}={level:g}": growth(frame, sweep, "proposed", **at(sweep, level))
        for sweep, knob in KNOBS.items()
        for level in levels(frame, sweep, knob)
    }
    return pd.DataFrame(columns).dropna()


def log_ratio(frame: pd.DataFrame, sweep: str, protocol: str, **labels: Any) -> pd.Series:
    """Logarithm of a protocol's regret over the proposal's."""
    ratio = regret(frame, sweep, protocol, **labels) / regret(frame, sweep, "proposed", **labels)
    return ratio.transform(np.log)


def learned(frame: pd.DataFrame, instance: str, *others: str) -> pd.DataFrame:
    """`log_ratio` with a learned policy."""
    labels = {"instance": instance, "policy": "model"}
    return pd.DataFrame({other: log_ratio(frame, "lm", other, **labels) for other in others})


def envelope(
    frame: pd.DataFrame, protocol: str, beta: float
) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, "S G H"], pd.Index]:
    """Horizons, regret by seed, gap and horizon, and the seeds, of the exponent study."""
    horizons = np.array(levels(frame, "envelope", "horizon"))
    tables = [
        rows(frame, "envelope", "regret", protocol=protocol, beta=beta, horizon=horizon).pivot_table(
            index="seed", columns="step", values="value"
        )
        for horizon in horizons
    ]
    return horizons, np.stack([table.to_numpy() for table in tables], axis=2), tables[0].index


def exponent(horizons: Float[np.ndarray, " H"], regrets: Float[np.ndarray, "S G H"]) -> float:
    """Slope of log max over gaps of the mean regret against log T."""
    worst = regrets.mean(axis=0).max(axis=0)
    return float(slope(np.log(horizons), np.log(worst)))


def jackknife(frame: pd.DataFrame, protocol: str, beta: float) -> pd.Series:
    """`exponent` as one jackknife pseudo-value per seed: n θ - (n - 1) θ without that seed."""
    horizons, regrets, seeds = envelope(frame, protocol, beta)
    n, whole = len(seeds), exponent(horizons, regrets)
    if n == 1:
        return pd.Series([whole], index=seeds)
    without = [exponent(horizons, np.delete(regrets, index, axis=0)) for index in range(n)]
    return pd.Series(n * whole - (n - 1) * np.array(without), index=seeds)


def excess(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Exponent minus the bound's at each β."""
    betas = levels(frame, "envelope", "beta")
    return pd.DataFrame({f"beta={beta:g}": jackknife(frame, protocol, beta) - rate(beta) for beta in betas})


def last(frame: pd.DataFrame, sweep: str, name: str, protocol: str, **labels: Any) -> pd.Series:
    """Last value of a series by seed."""
    return final(rows(frame, sweep, name, protocol=protocol, **labels))


def mixed(frame: pd.DataFrame, protocol: str) -> pd.Series:
    """Share of mixed pairs on CE1, a protocol's minus that of VPO-type."""
    share, other = (last(frame, "ce1", "mixed", name, beta=HARD_BETA) for name in (protocol, "vpo"))
    return share - other


def information(frame: pd.DataFrame, gap: float) -> pd.Series:
    """log10 of the proposal's Fisher information over that of XPO-type on CE2."""
    ours, theirs = (last(frame, "ce2", "information", protocol, gap=gap) for protocol in ("proposed", "xpo"))
    return (ours / theirs).transform(np.log10)


def benign(frame: pd.DataFrame) -> pd.DataFrame:
    """log2 ratios over the proposal on benign bandits, averaged over β."""
    betas = levels(frame, "benign", "beta")
    sums = {
        other: sum(log_ratio(frame, "benign", other, beta=beta) for beta in betas)
        for other in ("vpo", "xpo", "passive")
    }
    return pd.DataFrame(sums) / (len(betas) * np.log(2))


def extra(frame: pd.DataFrame, protocol: str, arms: int) -> pd.Series:
    """Regret a round that a protocol has more than the proposal, with two good arms among so many."""
    both = (regret(frame, "many", name, arms=arms) for name in (protocol, "proposed"))
    return paired(*both) / levels(frame, "many", "horizon")[0]


def still_open(frame: pd.DataFrame) -> pd.Series:
    """Regret of the baselines' last policy over that of π_ref, rare families."""
    baselines = {}
    for name in ("passive", "xpo", "vpo"):
        labels = {"protocol": name, "instance": "rare", "policy": "model"}
        baselines[name] = scalar(frame, "lm", "last", **labels) / scalar(frame, "lm", "first", **labels)
    return pd.DataFrame(baselines).mean(axis=1)


def theory(analysis: str, *names: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


def waiting_errors(frame: pd.DataFrame) -> Errors:
    """Relative errors of both closed forms."""
    pairs = {"horizons": "waiting", "comparisons": "ratio"}
    return np.concatenate(
        [theory(name, part)(frame) / theory(name, "closed")(frame) - 1 for name, part in pairs.items()]
    )


def without_bonus(frame: pd.DataFrame) -> Errors:
    """Regret of the proposal minus that of ablation B, both without a bonus."""
    arms = ("proposed", "ablation_b")
    regrets = [[regret(frame, "alpha0", arm, instance=name) for arm in arms] for name in KNOBS]
    return np.concatenate([ours - other for ours, other in regrets])


PREMISES: dict[str, Measure] = {
    "misaligned": lambda f: growth(f, "ce1", "vpo", beta=HARD_BETA),
    "saturated": lambda f: growth(f, "ce2", "xpo", gap=FAR),
    "rare_pairs": lambda f: regret(f, "many", "pairs", "seen", arms=MANY),
    "still_wrong": lambda f: regret(f, "many", "pairs", "late", arms=MANY),
    "learners_open": still_open,
}
CLAIMS: dict[str, Measure] = {
    "c1": theory("identities", "regret", "optimum"),
    "c1_dpo": theory("identities", "dpo"),
    "c1_flipped": theory("identities", "flipped"),
    "c1_shift": theory("identities", "shift"),
    "c1_gradient": theory("identities", "gradient"),
    "c1_waiting": waiting_errors,
    "alpha0": without_bonus,
    "c2": lambda f, arm="vpo": not_linear(f, arm),
    "c2_growth": lambda f, arm="vpo": log_slope(by_hardness(f, "ce1", arm, GROWTH_BETAS)),
    "c3": lambda f, arm="xpo": regret(f, "ce2", arm, gap=FAR) / regret(f, "ce2", arm, gap=NEAR).mean(),
    "c3_linear": lambda f, arm="xpo": growth(f, "ce2", arm, gap=FAR),
    "c4": every_growth,
    "c4_coin": lambda f: growth(f, "coin", "proposed", beta=COIN_BETA),
    "c4_polynomial": lambda f: degrees(f, "proposed", "proposed"),
    "c4_polynomial_others": lambda f: degrees(f, "vpo", "xpo"),
    "c5_a": lambda f: log_ratio(f, "ce2", "ablation_a", gap=HARD_GAP),
    "c5_a_alpha0": lambda f: log_ratio(f, "alpha0", "ablation_a", instance="ce2"),
    "c5_b": lambda f: log_ratio(f, "ce1", "ablation_b", beta=HARD_BETA),
    "c5_b_alpha0": lambda f: log_ratio(f, "alpha0", "ablation_b", instance="ce1"),
    "c6": lambda f, arm="proposed": excess(f, arm),
    "c7": lambda f, arm="proposed": mixed(f, arm),
    "c7_information": lambda f: information(f, FAR),
    "c7_unsaturated": lambda f: information(f, UNSATURATED),
    "c8": benign,
    "c9": lambda f: learned(f, "rare", "xpo", "vpo"),
    "c9_pattern": lambda f: learned(f, "pattern", "xpo", "vpo"),
    "c9_passive": lambda f: learned(f, "rare", "passive")["passive"],
    "c9_passive_pattern": lambda f: learned(f, "pattern", "passive")["passive"],
    "c10": lambda f: extra(f, "pairs", MANY),
    "c10_few": lambda f: extra(f, "pairs", FEW),
    "c10_partner": lambda f: extra(f, "uniform", MANY),
    "c10_partner_few": lambda f: extra(f, "uniform", FEW),
}
