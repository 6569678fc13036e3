"""One function per tested claim of the card: the frame to one number per seed, or to errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import rows, scalar
from papers.fastgrpo.arms import (
    LOOPS,
    STATIC,
    acceptance,
    best,
    common,
    correlation,
    ends,
    gen_speedup,
    loop,
    loop_speedup,
    pace,
    predicted_speedup,
    profiled,
    replayed,
    static_speed,
    total,
)
from papers.fastgrpo.grid import LAYERS
from papers.fastgrpo.systems import log_share

Errors = Float[np.ndarray, " N"]
TREES = (16, 32)


def c1_share(frame: pd.DataFrame) -> pd.Series:
    """Share of generation, vanilla."""
    return total(frame, "generation", "vanilla") / total(frame, "wall", "vanilla")


def c1_longer(frame: pd.DataFrame) -> pd.Series:
    """Correlation of the longest response with generation over update."""
    generation, update = (loop(frame, name, "et")["value"].to_numpy() for name in ("generation", "update"))
    return correlation(loop(frame, "longest", "et"), generation / update)


def c2_wins(frame: pd.DataFrame) -> pd.DataFrame:
    """Static trees over plain decoding at one row."""
    return pd.DataFrame({f"N = {size}": static_speed(frame, 1, str(size)) for size in TREES})


def c2_loses(frame: pd.DataFrame) -> pd.DataFrame:
    """Static trees over plain decoding at 64 rows."""
    return pd.DataFrame({f"N = {size}": static_speed(frame, 64, str(size)) for size in TREES})


def c2_decline(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up of N = 32 by rows."""
    return pd.DataFrame(
        {f"{rows} row{'s' * (rows > 1)}": static_speed(frame, rows, "32") for rows in (64, 8, 1)}
    )


def c3_median(frame: pd.DataFrame) -> pd.Series:
    """Median static tree over the rule."""
    paces = pd.DataFrame({arm: pace(frame, arm) for arm in STATIC})
    return paces.median(axis=1) / pace(frame, "fast")


def c3_best(frame: pd.DataFrame) -> pd.Series:
    """Best static tree over the rule."""
    speeds = {arm: 1.0 / pace(frame, arm) for arm in STATIC}
    return pace(frame, best(speeds)) / pace(frame, "fast")


def c3_constant(frame: pd.DataFrame) -> pd.Series:
    """The rule over the best static choice where no row ends."""
    choices = {name: static_speed(frame, 64, name) for name in ("plain", "4", "8", "16", "32")}
    return static_speed(frame, 64, "rule") / choices[best(choices)]


def c4_decay(frame: pd.DataFrame) -> pd.Series:
    """Change of the frozen draft."""
    first, last = ends(acceptance(frame, "frozen"))
    return last - first


def c4_still(frame: pd.DataFrame) -> pd.Series:
    """Change of the frozen draft on a policy that does not move."""
    first, last = ends(rows(frame, "still", "acceptance/frozen", arm="still"))
    return last - first


def c4_online(frame: pd.DataFrame) -> pd.Series:
    """Online minus frozen at the end."""
    return _end(frame, "online") - _end(frame, "frozen")


def c4_generic(frame: pd.DataFrame) -> pd.Series:
    """Online minus frozen at the end, pre-trained on other traces."""
    return _end(frame, "generic") - _end(frame, "generic_frozen")


def c4_shuffled(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus frozen at the end."""
    return _end(frame, "shuffled") - _end(frame, "frozen")


def c5_e2e(frame: pd.DataFrame) -> pd.Series:
    """Loop with early termination over the method's."""
    return loop_speedup(frame, "fast", "et")


def c5_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Iterations per second of the three loops."""
    return pd.DataFrame({name: 1.0 / common(frame, "wall", arm) for arm, name in LOOPS.items()})


def c5_amdahl(frame: pd.DataFrame) -> pd.Series:
    """Measured over predicted end-to-end ratio."""
    return loop_speedup(frame, "fast", "vanilla") / predicted_speedup(frame)


def c6_lossless(frame: pd.DataFrame) -> Errors:
    """Differences of the probabilities of texts."""
    return _exact(frame, "lossless")


def c6_greedy(frame: pd.DataFrame) -> Errors:
    """Greedy texts that differ."""
    return _exact(frame, "greedy")


def c6_reward(frame: pd.DataFrame) -> pd.Series:
    """Reward of the second half, the method minus plain rollouts."""
    return _late_reward(frame, "fast") - _late_reward(frame, "et")


def c6_accuracy(frame: pd.DataFrame) -> pd.Series:
    """Held-out accuracy at the end, the method minus plain rollouts."""
    fast, plain = (
        scalar(frame, "loops", "heldout/accuracy", arm=arm, variant="grpo").sort_index()
        for arm in ("fast", "et")
    )
    return fast - plain


def c7(frame: pd.DataFrame) -> pd.Series:
    """From random weights over pre-trained, at the end."""
    return (_end(frame, "scratch") - 1) / (_end(frame, "online") - 1)


def c7_start(frame: pd.DataFrame) -> pd.Series:
    """The same at the start."""
    return (_start(frame, "scratch") - 1) / (_start(frame, "online") - 1)


def c8(frame: pd.DataFrame) -> pd.Series:
    """All rollouts minus used ones, at the end."""
    return _end(frame, "online") - _end(frame, "used")


def c8_start(frame: pd.DataFrame) -> pd.Series:
    """The same at the start."""
    return _start(frame, "online") - _start(frame, "used")


def c9(frame: pd.DataFrame) -> pd.Series:
    """Share of the draft's step."""
    return total(frame, "learn", "fast") / total(frame, "wall", "fast")


def c10_intensity(frame: pd.DataFrame) -> Errors:
    """Errors of the closed form of the intensity."""
    return _exact(frame, "roofline")


def c10_rule(frame: pd.DataFrame) -> Errors:
    """Tokens above C_peak."""
    return _exact(frame, "rule")


def c10_knee(frame: pd.DataFrame) -> pd.Series:
    """Elasticity of a pass's time beyond the knee minus below it."""
    beyond = np.log2(profiled(frame, "seconds/64/16") / profiled(frame, "seconds/64/8"))
    below = np.log2(profiled(frame, "seconds/1/8") / profiled(frame, "seconds/1/1")) / 3
    return beyond - below


def depth_gain(frame: pd.DataFrame) -> pd.DataFrame:
    """Predicted gain of the rule at one row by depth of the target."""
    return pd.DataFrame({f"{layers} layers": profiled(frame, f"gain/{layers}/1") for layers in LAYERS})


def c11_gain(frame: pd.DataFrame) -> pd.Series:
    """Speed-up of generation by early termination."""
    return gen_speedup(frame, "et")


def c11_identity(frame: pd.DataFrame) -> pd.Series:
    """The same over its prediction from lengths and costs."""
    return gen_speedup(frame, "et") / replayed(frame, "et/predicted")


def c11_share(frame: pd.DataFrame) -> pd.Series:
    """Early termination's part of the logarithm of the method's speed-up."""
    parts, wholes = gen_speedup(frame, "et"), gen_speedup(frame, "fast")
    return pd.Series(
        [log_share(part, whole) for part, whole in zip(parts, wholes, strict=True)], index=parts.index
    )


def random_draft(frame: pd.DataFrame) -> pd.Series:
    """Plain decoding over speculation with a random draft."""
    return gen_speedup(frame, "random", base="et")


def wrong_peak(frame: pd.DataFrame) -> pd.DataFrame:
    """A wrong C_peak over the right one."""
    ours = pace(frame, "fast")
    return pd.DataFrame({arm: pace(frame, arm) / ours for arm in ("peak_high", "peak_low")})


def _end(frame: pd.DataFrame, draft: str) -> pd.Series:
    return ends(acceptance(frame, draft))[1]


def _start(frame: pd.DataFrame, draft: str) -> pd.Series:
    return ends(acceptance(frame, draft))[0]


def _late_reward(frame: pd.DataFrame, arm: str) -> pd.Series:
    part = loop(frame, "reward", arm)
    return part[part["step"] >= (int(part["step"].max()) + 1) // 2].groupby("seed")["value"].mean()


def _exact(frame: pd.DataFrame, name: str) -> Errors:
    return rows(frame, "exact", name, arm=name)["value"].to_numpy()
