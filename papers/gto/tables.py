"""The tables of the card, in long form: row, column, mean, low, high, n (low and high NaN if exact)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.records import scalar, values
from common.metrics.summary import Cell, estimate, long_table
from common.tasks.tridomain import DOMAINS
from papers.gto.selection import (
    AGGREGATORS,
    DECODERS,
    KINDS,
    NAMES,
    SHAPES,
    gain,
    gradient_spread,
    main,
    other,
    speed,
)
from papers.gto.tabular import ARMS

Select = Callable[[str], pd.Series]
TAU = {"τ T=0": "tau0", "τ T=1": "tau1"}
PLACES = (*DOMAINS, "all")
COMPARED = ("untuned", "continual", "gto")
MILLISECONDS = {
    "target, 1 token": "one",
    "target, root and tree": "tree",
    "draft, tree": "draft",
    "training step, token loss": "token_step",
    "training step, GTO": "gto_step",
}


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up over plain decoding and τ, decoded, by domain and temperature."""
    return long_table(
        (
            name,
            f"{'mean' if domain == 'all' else domain} {told} T={temperature}",
            estimate(speed(frame, arm, kind, temperature, domain)),
        )
        for arm, name in DECODERS.items()
        for temperature in (0, 1)
        for domain in PLACES
        for told, kind in {"SR": "sr", "τ": "tau"}.items()
    )


def table2(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ from HASS-like and GRIFFIN-like drafts."""
    suffixes = {"untuned": "", "continual": " + continual", "gto": " + GTO"}
    return long_table(
        cell
        for kind, name in KINDS.items()
        for arm, suffix in suffixes.items()
        for cell in _taus(name + suffix, lambda key, a=arm, k=kind: other(frame, "inits", a, key, kind=k))
    )


def table3(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ by aggregator, with continual training."""
    return long_table(
        cell
        for arm, name in [*AGGREGATORS.items(), ("continual", "continual")]
        for cell in _taus(
            name,
            lambda key, a=arm: (
                main(frame, "gto" if a == "lse" else a, key)
                if a in ("lse", "continual")
                else other(frame, "aggregators", a, key)
            ),
        )
    )


def table4(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ by group size; taken literally a group of one has advantage 0."""
    found = sorted(_arms(frame, "sizes"), key=lambda arm: int(arm.removeprefix("m=")))
    sizes = {"m=1, that is continual training": ("main", "continual"), "m=8": ("main", "gto")}
    sizes |= {arm: ("sizes", arm) for arm in found}
    ordered = sorted(sizes, key=lambda row: int(row.removeprefix("m=").split(",")[0]))
    return long_table(
        cell
        for row in ordered
        for cell in _taus(row, lambda key, where=sizes[row]: other(frame, where[0], where[1], key))
    )


def table5(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ, and the variance of the gradient norm, with and without debiasing."""
    arms = {"with": ("main", "gto"), "without": ("debias", "no debiasing")}

    def cells() -> Iterator[Cell]:
        for row, (sweep, arm) in arms.items():
            yield from _taus(row, lambda key, s=sweep, a=arm: other(frame, s, a, key))
            yield row, "variance of the gradient norm", estimate(gradient_spread(frame, sweep, arm))

    return long_table(cells())


def table6(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ of EAGLE-3, both continual arms and GTO."""
    return long_table(
        cell
        for arm in (*COMPARED[:2], "continual_time", "gto")
        for cell in _taus(NAMES[arm], lambda key, a=arm: main(frame, a, key))
    )


def table7(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ on nine tree shapes."""
    return long_table(
        (row, f"{NAMES[arm]} {told}", estimate(main(frame, arm, f"{key}/all@{shape}")))
        for shape, row in SHAPES.items()
        for arm in COMPARED
        for told, key in TAU.items()
    )


def offline(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ of every arm by domain, and of the target as its own draft."""

    def cells() -> Iterator[Cell]:
        for arm, name in NAMES.items():
            yield from _everywhere(name, lambda key, a=arm: main(frame, a, key))
        yield from _everywhere("EAGLE-2", lambda key: other(frame, "eagle", "untuned", key))
        yield from _everywhere(
            "EAGLE, static tree, fewer prefixes",
            lambda key: other(frame, "eagle", "untuned", f"{key}@static"),
        )
        yield from _everywhere(
            "target as its own draft, fewer prefixes", lambda key: scalar(frame, "oracle", key)
        )

    return long_table(cells())


def differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Differences of exact τ, paired by seed, by domain."""
    pairs = [
        ("gto", "untuned"),
        ("continual", "untuned"),
        ("gto", "continual"),
        ("gto", "continual_time"),
        ("shuffled", "continual"),
        ("flipped", "continual"),
    ]
    return long_table(
        (
            f"{NAMES[arm]} - {NAMES[over]}",
            f"{place} {told}",
            estimate(gain(frame, arm, over, f"{key}/{place}")),
        )
        for arm, over in pairs
        for told, key in TAU.items()
        for place in PLACES
    )


def orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of pairs in which reward and expected length disagree, and the counterexample."""

    def cells() -> Iterator[Cell]:
        for mode, name in AGGREGATORS.items():
            found = scalar(frame, "theory", f"discordance/{mode}", analysis="discordance")
            yield name, "random trees: wrong way", estimate(found)
            yield name, "before and after GTO: wrong way", estimate(main(frame, "gto", f"discordant/{mode}"))
            yield name, "before and after GTO: Kendall τ", estimate(main(frame, "gto", f"kendall/{mode}"))
        for tree in ("A", "A+", "B"):
            for told, kind in {"reward": "reward", "expected length": "expected"}.items():
                value = values(frame, "theory", f"{kind}/{tree}", analysis="counterexample")[0]
                yield f"counterexample, tree {tree}", told, Interval(float(value), np.nan, np.nan, 0)

    return long_table(cells())


def tabular(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected accepted draft tokens by rank."""
    told = {"cross_entropy": "cross-entropy", **{arm: arm for arm in ARMS}, "best": "best found"}
    told["target"] = "target as its own draft"
    return long_table(
        (name, f"rank {rank:g}", estimate(scalar(frame, "tabular", arm, rank=rank)))
        for arm, name in told.items()
        for rank in ranks(frame)
    )


def target(frame: pd.DataFrame) -> pd.DataFrame:
    """What the target has learnt."""

    def cells() -> Iterator[Cell]:
        for domain in DOMAINS:
            for told, name in {"next-token accuracy": "accuracy", "entropy (nats)": "entropy"}.items():
                yield domain, told, _one(frame, f"{name}/{domain}")
        yield "math", "right answers, greedy", _one(frame, "verified/math")
        yield "parameters", "number", _one(frame, "parameters")

    return long_table(cells())


def latency(frame: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds of the parts, and SR = τ t(1) / (t(tree) + t(draft)) at the exact τ."""

    def cells() -> Iterator[Cell]:
        parts = {name: scalar(frame, "speed", f"latency/{key}") for name, key in MILLISECONDS.items()}
        for name, seconds in parts.items():
            yield name, "milliseconds", estimate(1000 * seconds)
        one, tree, draft = (parts[name] for name in list(MILLISECONDS)[:3])
        for arm in COMPARED:
            for told, key in TAU.items():
                predicted = (main(frame, arm, f"{key}/all") * one / (tree + draft)).dropna()
                yield f"{NAMES[arm]}, {told}", "predicted SR", estimate(predicted)

    return long_table(cells())


def ranks(frame: pd.DataFrame) -> list[int]:
    """Ranks of the tabular draft, rising."""
    return sorted(int(rank) for rank in frame.loc[frame["sweep"] == "tabular", "rank"].dropna().unique())


def _one(frame: pd.DataFrame, name: str) -> Interval:
    return Interval(float(scalar(frame, "target", name).iloc[0]), np.nan, np.nan, 0)


def _arms(frame: pd.DataFrame, sweep: str) -> list[str]:
    return list(dict.fromkeys(frame.loc[frame["sweep"] == sweep, "arm"]))


def _taus(row: str, select: Select) -> Iterator[Cell]:
    for told, key in TAU.items():
        yield row, told, estimate(select(f"{key}/all"))


def _everywhere(row: str, select: Select) -> Iterator[Cell]:
    for told, key in TAU.items():
        for place in PLACES:
            yield row, f"{place} {told}", estimate(select(f"{key}/{place}"))
