"""Data twins of the figures: long frames with panel, arm, step and mean, low, high, n (95 % t intervals).

`step` is the horizontal axis: rounds, 1/β, a gap or a number of arms. Where runs are bistable, the twin holds
one row per seed (`seed`, `value`) and the median over seeds instead of a mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from common.metrics.records import curve, rows
from common.metrics.summary import estimate
from papers.rlhf_exploration.arms import NAMES, bound, envelope, jackknife, levels, regret
from papers.rlhf_exploration.experiment import LM_PROTOCOLS, PAIR
from papers.rlhf_exploration.simulate import CHECKPOINTS

MAIN = ("proposed", "xpo", "vpo", "ablation_a", "ablation_b")
SLOPES = "Slope against β"
BOUND = "(β+1)/(β+2)"
POLICIES = {"model": "transformer", "table": "table of logits"}


def fig_a(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret on CE1 at every β."""
    return _stack(
        _over_rounds(frame, "ce1", "regret", protocol, f"β = {beta:g}", beta=beta)
        for beta in reversed(levels(frame, "ce1", "beta"))
        for protocol in MAIN
    )


def fig_b(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T on CE1 by 1/β, every seed."""
    return _by_seed(frame, "ce1", "beta")


def fig_c(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T on CE2 by gap, every seed."""
    return _by_seed(frame, "ce2", "gap")


def fig_d(frame: pd.DataFrame) -> pd.DataFrame:
    """Regret at the worst gap by horizon, then the slopes with the bound's exponent."""

    def points() -> Iterator[tuple[object, ...]]:
        betas = levels(frame, "envelope", "beta")
        for beta in betas:
            for protocol in PAIR:
                horizons, regrets, _ = envelope(frame, protocol, beta)
                worst = regrets.mean(axis=0).argmax(axis=0)
                for index, horizon in enumerate(horizons):
                    values = estimate(pd.Series(regrets[:, worst[index], index]))
                    yield f"β = {beta:g}", NAMES[protocol], horizon, *values
        for beta in betas:
            for protocol in PAIR:
                yield SLOPES, NAMES[protocol], beta, *estimate(jackknife(frame, protocol, beta))
            yield SLOPES, BOUND, beta, bound(beta), float("nan"), float("nan"), 0

    return pd.DataFrame(points(), columns=["panel", "arm", "step", "mean", "low", "high", "n"])


def fig_e(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T on random bandits, over K at the middle β and over 1/β at five arms."""
    told = {"random": "Broad π_ref", "hard_prior": "π_ref on the worst arm"}

    def parts() -> Iterator[tuple[object, ...]]:
        for kind, name in told.items():
            middle = _middle(frame, kind)
            for protocol in PAIR:
                for arms in levels(frame, kind, "arms"):
                    values = estimate(regret(frame, kind, protocol, beta=middle, arms=arms))
                    yield f"{name}, β = {middle:g}", NAMES[protocol], arms, *values
                for beta in levels(frame, kind, "beta"):
                    values = estimate(regret(frame, kind, protocol, beta=beta, arms=5))
                    yield f"{name}, K = 5", NAMES[protocol], 1 / beta, *values

    return pd.DataFrame(parts(), columns=["panel", "arm", "step", "mean", "low", "high", "n"])


def fig_f(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret of the learned policies over rounds."""
    found = frame.loc[frame["sweep"] == "lm", ["instance", "policy"]].drop_duplicates()
    return _stack(
        curve(
            rows(frame, "lm", "regret", protocol=protocol, instance=instance, policy=policy),
            panel=f"{instance.capitalize()}, {POLICIES[policy]}",
            arm=NAMES[protocol],
        )
        for instance, policy in found.itertuples(index=False)
        for protocol in LM_PROTOCOLS
    )


def fig_g(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of mixed pairs at the smallest β of CE1; information at the largest gap of CE2."""
    beta, gap = levels(frame, "ce1", "beta")[0], levels(frame, "ce2", "gap")[-1]
    mixed, known = f"Mixed pairs, CE1, β = {beta:g}", f"Information, CE2, gap {gap:g}"
    parts = [_over_rounds(frame, "ce1", "mixed", protocol, mixed, beta=beta) for protocol in MAIN]
    parts += [_over_rounds(frame, "ce2", "information", protocol, known, gap=gap) for protocol in MAIN]
    return _stack(parts).query("step > 0").reset_index(drop=True)


def _over_rounds(
    frame: pd.DataFrame, sweep: str, name: str, protocol: str, panel: str, **labels: object
) -> pd.DataFrame:
    part = curve(rows(frame, sweep, name, protocol=protocol, **labels), panel=panel, arm=NAMES[protocol])
    return part.assign(step=part["step"].astype(float) * levels(frame, sweep, "horizon")[0] / CHECKPOINTS)


def _by_seed(frame: pd.DataFrame, sweep: str, label: str) -> pd.DataFrame:
    parts = []
    for protocol, arm in NAMES.items():
        for level in levels(frame, sweep, label):
            values = regret(frame, sweep, protocol, **{label: level}).reset_index()
            step = 1 / level if label == "beta" else level
            parts.append(values.assign(panel=arm, step=step, median=values["value"].median()))
    return _stack(parts)[["panel", "step", "seed", "value", "median"]]


def _middle(frame: pd.DataFrame, sweep: str) -> float:
    """The β at which the number of arms varies."""
    here = frame[(frame["sweep"] == sweep) & (frame["arms"] != 5)]
    return float(here["beta"].iloc[0])


def _stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(parts), ignore_index=True)
