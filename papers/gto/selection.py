"""Arms of GTO: what they are called, and how to select one from the frame of records."""

from __future__ import annotations

import pandas as pd

from common.metrics.records import rows, scalar
from common.tasks.tridomain import DOMAINS

NAMES = {
    "untuned": "EAGLE-3",
    "continual": "continual, equal steps",
    "continual_time": "continual, equal time",
    "gto": "GTO",
    "shuffled": "GTO, shuffled advantages",
    "flipped": "GTO, flipped advantages",
}
DECODERS = {
    "vanilla": "plain decoding",
    "pld": "PLD",
    "sps": "SPS",
    "eagle": "EAGLE",
    "eagle2": "EAGLE-2",
    "eagle3": "EAGLE-3",
    "continual": "continual",
    "gto": "GTO",
}
AGGREGATORS = {"lse": "LSE", "max": "Max", "average": "Average", "node_sum": "node sum"}
KINDS = {"hass": "HASS-like", "griffin": "GRIFFIN-like"}
SHAPES = {
    f"{depth}:4:{budget}": f"depth {depth}, {budget} nodes" for depth in (4, 5, 6) for budget in (16, 24, 32)
}
AS_MANY = "5:4:5"  # a tree of as many nodes as the greedy path


def main(frame: pd.DataFrame, arm: str, name: str) -> pd.Series:
    """A scalar of an EAGLE-3 arm by seed."""
    return scalar(frame, "main", name, arm=arm)


def gain(frame: pd.DataFrame, arm: str, over: str, name: str = "tau1/all") -> pd.Series:
    """Difference of two arms of `main`, paired by seed."""
    return main(frame, arm, name) - main(frame, over, name)


def other(frame: pd.DataFrame, sweep: str, arm: str, name: str = "tau1/all", **labels: str) -> pd.Series:
    """A scalar of an arm outside `main` by seed."""
    return scalar(frame, sweep, name, arm=arm, **labels)


def paired(first: pd.Series, second: pd.Series) -> pd.Series:
    """Difference on the seeds that both arms have."""
    return (first - second).dropna()


def speed(frame: pd.DataFrame, arm: str, kind: str, temperature: int, domain: str = "all") -> pd.Series:
    """``speed``, ``sr`` or ``tau`` of the wall-clock measurement by seed."""
    return scalar(frame, "speed", f"{kind}{temperature}/{arm}/{domain}")


def by_domain(frame: pd.DataFrame, arm: str, name: str) -> pd.DataFrame:
    """A scalar of an arm of `main`, one column per domain."""
    return pd.DataFrame({domain: main(frame, arm, f"{name}/{domain}") for domain in DOMAINS})


def oracle(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A share of the target's own trees, one column per domain, the same for every seed of `main`."""
    seeds = main(frame, "untuned", "tau1/all").index
    return pd.DataFrame(
        {
            domain: pd.Series(float(scalar(frame, "oracle", f"{name}/{domain}").iloc[0]), index=seeds)
            for domain in DOMAINS
        }
    )


def gradient_spread(frame: pd.DataFrame, sweep: str, arm: str) -> pd.Series:
    """Variance of the gradient norm over the second half of Phase II, by seed."""
    part = rows(frame, sweep, "grad_norm", arm=arm)
    late = part[part["step"] >= (int(part["step"].max()) + 1) // 2]
    return late.groupby("seed")["value"].var(ddof=1)
