"""Selections of the study's frame that tables, figures and claims share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from common.metrics.records import rows, scalar
from papers.fastgrpo.systems import amdahl_e2e

NAMES = {
    "vanilla": "vanilla",
    "et": "vanilla + early termination",
    "eagle2": "EAGLE-2, N = 16",
    "hass": "HASS-like, N = 16",
    "eagle3": "EAGLE-3, N = 16",
    "static_4": "w/o concurrency-aware, N = 4",
    "static_8": "w/o concurrency-aware, N = 8",
    "static_16": "w/o concurrency-aware, N = 16",
    "frozen": "w/o online learning",
    "fast": "FastGRPO",
    "floor": "FastGRPO, at least 3 levels (code)",
    "random": "random draft",
    "peak_high": "C_peak 8 times too large",
    "peak_low": "C_peak 8 times too small",
}
STATIC = ("static_4", "static_8", "static_16")
DRAFTS = {
    "online": "online, pre-trained",
    "frozen": "frozen",
    "scratch": "online, from random weights",
    "used": "online, used rollouts only",
    "shuffled": "online, shuffled features",
    "generic": "online, from other traces",
    "generic_frozen": "frozen, from other traces",
}
PARTS = ("generation", "learn", "scoring", "update")
LOOPS = {"vanilla": "vanilla", "et": "early termination", "fast": "FastGRPO"}


def loop(frame: pd.DataFrame, name: str, arm: str, warm: bool = True) -> pd.DataFrame:
    """A series over iterations of a GRPO loop; `warm` leaves the first iteration out."""
    part = rows(frame, "loops", name, arm=arm, variant="grpo")
    return part[part["step"] >= 1] if warm else part


def total(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """Seconds of a part of a loop, mean over warm iterations, by seed."""
    return loop(frame, name, arm).groupby("seed")["value"].mean()


def common(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """The same over the iterations that the vanilla loop has too."""
    last = int(loop(frame, "wall", "vanilla")["step"].max())
    part = loop(frame, name, arm)
    return part[part["step"] <= last].groupby("seed")["value"].mean()


def replayed(frame: pd.DataFrame, name: str, variant: str = "grpo") -> pd.Series:
    """A number of the replay, e.g. ``fast/seconds``, by seed."""
    sweep = "loops" if variant == "grpo" else "variants"
    return scalar(frame, sweep, f"replay/{name}", arm="fast", variant=variant).sort_index()


def pace(frame: pd.DataFrame, arm: str, variant: str = "grpo") -> pd.Series:
    """Seconds per token of an arm of the replay: lengths differ by chance between arms."""
    return replayed(frame, f"{arm}/seconds", variant) / replayed(frame, f"{arm}/tokens", variant)


def gen_speedup(frame: pd.DataFrame, arm: str, base: str = "vanilla", variant: str = "grpo") -> pd.Series:
    """Speed-up of generation over a baseline in the replay, tokens per second."""
    return pace(frame, base, variant) / pace(frame, arm, variant)


def e2e_speedup(frame: pd.DataFrame, arm: str, base: str = "vanilla") -> pd.Series:
    """End-to-end speed-up of an arm of the replay: its generation with the rest of the measured loops.

    The rest is what scoring and update took in the vanilla loop, and the draft's step for arms with an
    online draft.
    """
    spent = sum((common(frame, part, "vanilla") for part in ("scoring", "update")), start=0.0)
    learning = common(frame, "learn", "fast") if _learns(arm) else 0.0
    generation = common(frame, "generation", "vanilla") / gen_speedup(frame, arm)
    baseline = common(frame, "generation", "vanilla") / gen_speedup(frame, base)
    return (baseline + spent) / (generation + spent + learning)


def _learns(arm: str) -> bool:
    return arm in ("fast", "floor", "peak_high", "peak_low", *STATIC)


def loop_speedup(frame: pd.DataFrame, arm: str, base: str) -> pd.Series:
    """Ratio of the time of two real loops, over the iterations that both have."""
    if "vanilla" in (arm, base):
        return common(frame, "wall", base) / common(frame, "wall", arm)
    return total(frame, "wall", base) / total(frame, "wall", arm)


def predicted_speedup(frame: pd.DataFrame) -> pd.Series:
    """Amdahl's law with the vanilla loop's share of generation and the gain in generation, draft included."""
    share = common(frame, "generation", "vanilla") / common(frame, "wall", "vanilla")
    ours = common(frame, "generation", "fast") + common(frame, "learn", "fast")
    gain = common(frame, "generation", "vanilla") / ours
    return pd.Series(
        [amdahl_e2e(f, g) for f, g in zip(share, gain, strict=True)], index=share.index, name="predicted"
    )


def acceptance(frame: pd.DataFrame, draft: str) -> pd.DataFrame:
    """Expected acceptance length of a draft over the measurements of a loop."""
    return rows(frame, "loops", f"acceptance/{draft}", arm="fast", variant="grpo")


def ends(part: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """First and last value of each seed."""
    ordered = part.sort_values("step").groupby("seed")["value"]
    return ordered.first(), ordered.last()


def static_speed(frame: pd.DataFrame, batch: int, name: str) -> pd.Series:
    """Tokens per second at a fixed batch over plain decoding, by seed."""
    speeds = [scalar(frame, "static", f"speed/{batch}/{which}", arm="static") for which in (name, "plain")]
    return speeds[0].sort_index() / speeds[1].sort_index()


def best(columns: dict[str, pd.Series]) -> str:
    """Name of the column with the largest mean."""
    return max(columns, key=lambda name: float(columns[name].mean()))


def profiled(frame: pd.DataFrame, name: str) -> pd.Series:
    """A number of the profile, by seed."""
    return scalar(frame, "profile", name, arm="profile").sort_index()


def correlation(first: pd.DataFrame, second: Sequence[float] | pd.Series) -> pd.Series:
    """Pearson correlation over iterations, by seed."""
    joined = first.assign(other=np.asarray(second))
    groups = joined.groupby("seed")
    return groups.apply(lambda part: part["value"].corr(part["other"]), include_groups=False)
