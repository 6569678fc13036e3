"""Arms of FastGRPO, what is measured of them, premises and claims of the card. Ratios are paired by seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.study.audits import averages, reported
from common.study.frame import Errors, over, rows, scalar
from common.study.report import Measure
from papers.fastgrpo.experiment import PROFILES, Config

Number = TypeVar("Number", float, pd.Series)

# Arms

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
LEARNERS = ("fast", "floor", "peak_high", "peak_low", *STATIC)  # arms of the replay with an online draft
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
TREES = ("4", "8", "16", "32")  # static trees at fixed batches, by the tokens of a row

# Selecting records


def loop(frame: pd.DataFrame, name: str, arm: str, warm: bool = True, sweep: str = "loops") -> pd.DataFrame:
    """A series over iterations of a GRPO loop; `warm` leaves the first iteration out."""
    part = rows(frame, sweep, name, arm=arm, variant="grpo")
    return part[part["step"] >= 1] if warm else part


def long_loop(frame: pd.DataFrame, name: str, arm: str, warm: bool = False) -> pd.DataFrame:
    """A series over iterations of a long loop."""
    return loop(frame, name, arm, warm, "end_to_end")


def replayed(frame: pd.DataFrame, name: str, arm: str, variant: str = "grpo") -> pd.Series:
    """A number of an arm of the replay."""
    sweep = "loops" if variant == "grpo" else "variants"
    return scalar(frame, sweep, f"replay/{name}", arm="fast", variant=variant, replayed=arm)


def acceptance(frame: pd.DataFrame, draft: str) -> pd.DataFrame:
    """Expected acceptance length of a draft over the measurements of a loop."""
    return rows(frame, "loops", "acceptance", arm="fast", variant="grpo", draft=draft)


def still(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected acceptance length of a frozen draft on a policy that does not move."""
    return rows(frame, "still", "acceptance", arm="still", draft="frozen")


def profiled(frame: pd.DataFrame, name: str, **labels: str | float) -> pd.Series:
    """A number of the profile."""
    return scalar(frame, "profile", name, arm="profile", **labels)


# Amdahl's law


def amdahl_e2e(share: Number, speedup: Number) -> Number:
    """End-to-end speed-up 1 / ((1 - f) + f / G) when a `share` f of the time becomes G times as fast."""
    return 1.0 / ((1.0 - share) + share / speedup)


def implied_share(e2e: float, speedup: float) -> float:
    """The share of generation that two reported speed-ups imply: Amdahl's law solved for f."""
    return (1.0 - 1.0 / e2e) / (1.0 - 1.0 / speedup)


def log_share(part: float, whole: float) -> float:
    """How much of a speed-up `whole` a factor `part` of it explains, in logarithms."""
    return math.log(part) / math.log(whole)


# Measures: one number per seed


def total(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """Seconds of a part of a loop, mean over warm iterations."""
    return loop(frame, name, arm).groupby("seed")["value"].mean()


def common(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """Seconds of a part of a loop, mean over the warm iterations that the vanilla loop has too."""
    last = int(loop(frame, "iteration", "vanilla")["step"].max())
    part = loop(frame, name, arm)
    return part[part["step"] <= last].groupby("seed")["value"].mean()


def generation_share(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Share of generation in an iteration."""
    return total(frame, "generation", arm) / total(frame, "iteration", arm)


def pace(frame: pd.DataFrame, arm: str, variant: str = "grpo") -> pd.Series:
    """Seconds per token of an arm of the replay: lengths differ by chance between arms."""
    return replayed(frame, "seconds", arm, variant) / replayed(frame, "tokens", arm, variant)


def gen_speedup(frame: pd.DataFrame, arm: str, base: str = "vanilla", variant: str = "grpo") -> pd.Series:
    """Speed-up of generation over a baseline in the replay, tokens per second."""
    return pace(frame, base, variant) / pace(frame, arm, variant)


def e2e_speedup(frame: pd.DataFrame, arm: str, base: str = "vanilla") -> pd.Series:
    """End-to-end speed-up of an arm of the replay: its generation with the rest of the measured loops.

    The rest is what scoring and update took in the vanilla loop, and the draft's step for arms with an
    online draft.
    """
    spent = sum((common(frame, part, "vanilla") for part in ("scoring", "update")), start=0.0)
    learning = common(frame, "learn", "fast") if arm in LEARNERS else 0.0
    generation = common(frame, "generation", "vanilla") / gen_speedup(frame, arm)
    baseline = common(frame, "generation", "vanilla") / gen_speedup(frame, base)
    return (baseline + spent) / (generation + spent + learning)


def loop_speedup(frame: pd.DataFrame, arm: str, base: str) -> pd.Series:
    """Ratio of the time of two real loops, over the iterations that both have."""
    if "vanilla" in (arm, base):
        return common(frame, "iteration", base) / common(frame, "iteration", arm)
    return total(frame, "iteration", base) / total(frame, "iteration", arm)


def termination_share(frame: pd.DataFrame) -> pd.Series:
    """Early termination's part of the logarithm of the method's speed-up."""
    parts, wholes = gen_speedup(frame, "et"), gen_speedup(frame, "fast")
    shares = [log_share(part, whole) for part, whole in zip(parts, wholes, strict=True)]
    return pd.Series(shares, index=parts.index)


def ends(part: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """First and last value of each seed."""
    ordered = part.sort_values("step").groupby("seed")["value"]
    return ordered.first(), ordered.last()


def at_start(frame: pd.DataFrame, draft: str) -> pd.Series:
    """Acceptance length of a draft at the first measurement."""
    return ends(acceptance(frame, draft))[0]


def at_end(frame: pd.DataFrame, draft: str) -> pd.Series:
    """Acceptance length of a draft at the last measurement."""
    return ends(acceptance(frame, draft))[1]


def change(part: pd.DataFrame) -> pd.Series:
    """Last value of each seed minus the first."""
    first, last = ends(part)
    return last - first


def static_speed(frame: pd.DataFrame, batch: float, schedule: str) -> pd.Series:
    """Tokens per second at a fixed batch over plain decoding."""
    speed, plain = (
        scalar(frame, "static", "speed", arm="static", rows=batch, schedule=name)
        for name in (schedule, "plain")
    )
    return speed / plain


def large_trees(frame: pd.DataFrame, batch: int) -> pd.DataFrame:
    """`static_speed` of trees of 16 and 32 tokens."""
    return pd.DataFrame({f"N = {size}": static_speed(frame, batch, size) for size in TREES[2:]})


def best(columns: Mapping[str, pd.Series]) -> str:
    """Name of the column with the largest mean."""
    return max(columns, key=lambda name: float(columns[name].mean()))


def best_static(frame: pd.DataFrame) -> pd.Series:
    """Pace of the best static tree over the rule's."""
    fastest = best({arm: 1.0 / pace(frame, arm) for arm in STATIC})
    return pace(frame, fastest) / pace(frame, "fast")


def median_static(frame: pd.DataFrame) -> pd.Series:
    """Median pace of the static trees over the rule's."""
    paces = pd.DataFrame({arm: pace(frame, arm) for arm in STATIC})
    return paces.median(axis=1) / pace(frame, "fast")


def constant_rows(frame: pd.DataFrame) -> pd.Series:
    """The rule over the best static choice where no row ends."""
    choices = {name: static_speed(frame, 64, name) for name in ("plain", *TREES)}
    return static_speed(frame, 64, "rule") / choices[best(choices)]


def knee(frame: pd.DataFrame) -> pd.Series:
    """Elasticity of a pass's time beyond the knee minus below it."""

    def ratio(count: int, more: int, fewer: int) -> pd.Series:
        seconds = (profiled(frame, "seconds", rows=count, tokens=size) for size in (more, fewer))
        return (next(seconds) / next(seconds)).transform(np.log2)

    return ratio(64, 16, 8) - ratio(1, 8, 1) / 3


def length_correlation(frame: pd.DataFrame) -> pd.Series:
    """Pearson correlation over iterations of the longest response with generation over update."""
    generation, update = (loop(frame, name, "et")["value"].to_numpy() for name in ("generation", "update"))
    pairs = loop(frame, "longest", "et").assign(ratio=generation / update).groupby("seed")
    return pd.Series({seed: part["value"].corr(part["ratio"]) for seed, part in pairs}).rename_axis("seed")


def tenths(part: pd.DataFrame) -> pd.DataFrame:
    """Means over ten iterations each."""
    steps = part.assign(step=part["step"] // 10 * 10 + 9)
    return steps.groupby(["seed", "step"])["value"].mean().reset_index()


def long_course(frame: pd.DataFrame) -> pd.DataFrame:
    """`long_speedup` of every ten iterations."""
    plain, ours = (tenths(long_loop(frame, "iteration", arm, warm=True)) for arm in ("et", "fast"))
    return plain.assign(value=plain["value"] / ours["value"])


def second_half(series: pd.DataFrame) -> pd.Series:
    """Mean of a series over the second half of its iterations."""
    late = series["step"] >= (int(series["step"].max()) + 1) // 2
    return series[late].groupby("seed")["value"].mean()


def moved(series: pd.DataFrame) -> pd.Series:
    """`second_half` minus the mean over the first tenth."""
    early = series["step"] < max(1, (int(series["step"].max()) + 1) // 10)
    return second_half(series) - series[early].groupby("seed")["value"].mean()


def epochs(frame: pd.DataFrame) -> pd.Series:
    """How often the method's loop has seen its training prompts."""
    batches = loop(frame, "reward", "fast", warm=False).groupby("seed").size()
    loops = Config().changed(PROFILES["laptop"]).loop  # every profile of the ladder task has these
    return batches * loops.prompts / loops.training_prompts


def long_speedup(frame: pd.DataFrame) -> pd.Series:
    """Time of plain decoding's long loop over the method's, the first iteration left out."""
    plain, ours = (long_loop(frame, "iteration", arm, warm=True) for arm in ("et", "fast"))
    return plain.groupby("seed")["value"].sum() / ours.groupby("seed")["value"].sum()


def unmodelled(frame: pd.DataFrame) -> pd.Series:
    """Largest relative difference of measured and predicted gain with 1, 8 and 64 rows, trees of 4 tokens and
    the rule.
    """
    cells = [{"decoder": name, "rows": batch} for name in ("4", "rule") for batch in (1, 8, 64)]
    ratios = [profiled(frame, "measured", **cell) / profiled(frame, "modelled", **cell) for cell in cells]
    return pd.concat(ratios, axis=1).sub(1).abs().max(axis=1)


def heldout(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """A number of the held-out evaluation."""
    return scalar(frame, "loops", f"heldout/{name}", arm=arm, variant="grpo")


def from_scratch(frame: pd.DataFrame, at: Callable[[pd.DataFrame, str], pd.Series]) -> pd.Series:
    """Draft tokens accepted from random weights over those of the pre-trained draft."""
    return (at(frame, "scratch") - 1) / (at(frame, "online") - 1)


def theory(name: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: rows(frame, "exact", name, arm=name)["value"].to_numpy()


# Audits of the paper's own numbers

RANGE = (2.35, 2.72)  # abstract
SHARES = (0.91, 0.98)  # Fig. 1


def outside(numbers: Float[np.ndarray, " N"], bounds: tuple[float, float]) -> Errors:
    """Distance to an interval."""
    low, high = bounds
    return np.maximum(0.0, np.maximum(low - numbers, numbers - high))


def stated_range(_frame: pd.DataFrame) -> Errors:
    """Distance of FastGRPO's end-to-end cells to the range in the abstract."""
    block = reported("fastgrpo", "table1").filter(regex="FastGRPO$", axis=0).to_numpy()
    return outside(block[~np.isnan(block)], RANGE)


def stated_share(_frame: pd.DataFrame) -> Errors:
    """Distance of Table 3's implied shares of generation to the reported range."""
    pairs = reported("fastgrpo", "table3").to_numpy()
    return outside(np.array([implied_share(e2e, gen) for gen, e2e in pairs]), SHARES)


PREMISES: dict[str, Measure] = {
    "knee": lambda f: profiled(f, "c_peak") / over(f, "rows", "profile", "throughput")["step"].max(),
    "engine": unmodelled,
    "policy_moves": lambda f: moved(loop(f, "reward", "et", warm=False)),
    "epoch": epochs,
    "long_delivered": lambda f: long_loop(f, "tau", "fast", warm=True).groupby("seed")["value"].mean(),
    "long_policy_moves": lambda f: moved(long_loop(f, "reward", "et")),
}
CLAIMS: dict[str, Measure] = {
    "c1_share": lambda f: generation_share(f, "vanilla"),
    "c1_longer": length_correlation,
    "c2_wins": lambda f: large_trees(f, 1),
    "c2_loses": lambda f: large_trees(f, 64),
    "c2_decline": lambda f: pd.DataFrame(
        {f"{count} row{'s' * (count > 1)}": static_speed(f, count, "32") for count in (64, 8, 1)}
    ),
    "c3_median": median_static,
    "c3_best": best_static,
    "c3_constant": constant_rows,
    "c4_decay": lambda f: change(acceptance(f, "frozen")),
    "c4_still": lambda f: change(still(f)),
    "c4_online": lambda f, arm="online": at_end(f, arm) - at_end(f, "frozen"),
    "c4_generic": lambda f: at_end(f, "generic") - at_end(f, "generic_frozen"),
    "c5_e2e": lambda f: long_speedup(f) - 1,
    "c5_order": lambda f: pd.DataFrame(
        {name: 1.0 / common(f, "iteration", arm) for arm, name in LOOPS.items()}
    ),
    "c6_lossless": theory("lossless"),
    "c6_greedy": theory("greedy"),
    "c6_reward": lambda f: (
        second_half(long_loop(f, "reward", "fast")) - second_half(long_loop(f, "reward", "et"))
    ),
    "c6_accuracy": lambda f: heldout(f, "accuracy", "fast") - heldout(f, "accuracy", "et"),
    "c7": lambda f: from_scratch(f, at_end),
    "c7_start": lambda f: from_scratch(f, at_start),
    "c8": lambda f: at_end(f, "online") - at_end(f, "used"),
    "c8_start": lambda f: at_start(f, "online") - at_start(f, "used"),
    "c9": lambda f: total(f, "learn", "fast") / total(f, "iteration", "fast"),
    "c10_intensity": theory("roofline"),
    "c10_rule": theory("rule"),
    "c10_knee": knee,
    "c11_gain": lambda f: gen_speedup(f, "et"),
    "c11_identity": lambda f: gen_speedup(f, "et") / replayed(f, "predicted", "et"),
    "c11_share": termination_share,
    "random_draft": lambda f: gen_speedup(f, "random", base="et"),
    "wrong_peak": lambda f: pd.DataFrame(
        {arm: pace(f, arm) / pace(f, "fast") for arm in ("peak_high", "peak_low")}
    ),
    "audit_averages": averages(
        "fastgrpo", "table1", "average E2E", ("GSM8K E2E", "SimpleRL E2E", "DAPO E2E")
    ),
    "audit_range": stated_range,
    "audit_share": stated_share,
}
