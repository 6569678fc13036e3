"""One function per tested claim of the card: the frame to one number per seed, or to errors.

Differences are paired by seed. For facts about enumerated policies a policy takes the place of a seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import after, final, rows, scalar
from papers.rl_zvp.arms import MIXES, at, batch_quarter, filtered, half, stop, tabular, training
from papers.rl_zvp.enumeration import RATES

Errors = Float[np.ndarray, " N"]
RARE, SURE = RATES[0], RATES[-1]
ALIGNED = [rate for rate in RATES if 0.02 <= rate <= 0.98]
NEGATIVE_RANGE = [rate for rate in RATES if 0.02 <= rate <= 0.1]


def c1_gradient(frame: pd.DataFrame) -> Errors:
    """GRPO's gradient on zero-variance groups."""
    return _exact(frame, "advantage_rules", "grpo_gradient")


def c1_pattern(frame: pd.DataFrame) -> Errors:
    """Difference to Eq. 5 on zero-variance groups."""
    return _exact(frame, "advantage_rules", "pattern_error")


def c1_mixed(frame: pd.DataFrame) -> Errors:
    """Difference to GRPO on mixed groups."""
    return _exact(frame, "advantage_rules", "mixed_difference")


def c2_hard(frame: pd.DataFrame) -> pd.Series:
    """Change of the zero-variance share, hard mix."""
    return _share_change(frame, "hard")


def c2_hard_frozen(frame: pd.DataFrame) -> pd.Series:
    """Expected minus sampled share at the start, hard mix."""
    return -_start_gap(frame, "hard")


def c2_easy(frame: pd.DataFrame) -> pd.Series:
    """Change of the zero-variance share, easy mix."""
    return _share_change(frame, "easy")


def c2_easy_frozen(frame: pd.DataFrame) -> pd.Series:
    """Expected minus sampled share at the start, easy mix."""
    return -_start_gap(frame, "easy")


def c2_start(frame: pd.DataFrame) -> pd.DataFrame:
    """Sampled minus expected share at the start, both mixes."""
    return pd.DataFrame({mix: _start_gap(frame, mix) for mix in MIXES})


def c3(frame: pd.DataFrame) -> pd.Series:
    """Held-out Acc@8, RL-ZVP minus GRPO."""
    return _gain(frame, "zvp")


def c3_const(frame: pd.DataFrame) -> pd.Series:
    """Held-out Acc@8, const minus GRPO."""
    return _gain(frame, "const")


def c3_shuffle(frame: pd.DataFrame) -> pd.Series:
    """Held-out Acc@8, shuffle minus GRPO."""
    return _gain(frame, "shuffle")


def c4_accuracy(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at equal rollouts, RL-ZVP minus filters."""
    return _over_filters(frame, "zvp", same_rollouts=True)


def c4_grpo(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at equal rollouts, GRPO minus filters."""
    return _over_filters(frame, "grpo", same_rollouts=True)


def c4_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Gradient steps of filters at equal rollouts, relative to RL-ZVP."""
    batches = _batches(frame, "zvp")
    return pd.DataFrame({arm: stop(frame, "hard", arm) / batches for arm in ("ds", "greso")})


def c4_steps_grpo(frame: pd.DataFrame) -> pd.Series:
    """Gradient steps of GRPO relative to RL-ZVP."""
    return _batches(frame, "grpo") / _batches(frame, "zvp")


def c4_oversampling(frame: pd.DataFrame) -> pd.DataFrame:
    """Groups rolled out per group trained on, times the share of mixed groups, dynamic sampling."""
    columns = {}
    for mix in MIXES:
        used, kept, shares = (
            filtered(frame, name, mix, "ds").pivot_table(index="seed", columns="step", values="value")
            for name in ("used", "kept", "zero_variance")
        )
        mixed = (used * (1.0 - shares)).sum(axis=1) / used.sum(axis=1)
        columns[mix] = used.sum(axis=1) / kept.sum(axis=1) * mixed
    return pd.DataFrame(columns)


def c5(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at equal gradient steps, RL-ZVP minus filters."""
    return _over_filters(frame, "zvp", same_rollouts=False)


def c5_grpo(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at equal gradient steps, GRPO minus filters."""
    return _over_filters(frame, "grpo", same_rollouts=False)


def c6_negative(frame: pd.DataFrame) -> pd.Series:
    """Success, RL-ZVP minus its form without negative prompts."""
    return _success(frame, "zvp") - _success(frame, "no_negative")


def c6_negative_flip(frame: pd.DataFrame) -> pd.Series:
    """Success, sign-flip minus RL-ZVP without negative prompts."""
    return _success(frame, "flip") - _success(frame, "no_negative")


def c6_positive(frame: pd.DataFrame) -> pd.Series:
    """Success, RL-ZVP minus its form without positive prompts."""
    return _success(frame, "zvp") - _success(frame, "no_positive")


def c6_positive_flip(frame: pd.DataFrame) -> pd.Series:
    """Success, sign-flip minus RL-ZVP without positive prompts."""
    return _success(frame, "flip") - _success(frame, "no_positive")


def c6_shape(frame: pd.DataFrame) -> pd.Series:
    """Success, RL-ZVP minus ±1."""
    return _success(frame, "zvp") - _success(frame, "unit")


def c6_const(frame: pd.DataFrame) -> pd.Series:
    """Success, const minus ±1."""
    return _success(frame, "const") - _success(frame, "unit")


def c6_matched(frame: pd.DataFrame) -> pd.DataFrame:
    """Success, RL-ZVP minus each scale-matched control."""
    method = _success(frame, "zvp")
    return pd.DataFrame({arm: method - _success(frame, arm) for arm in ("const", "shuffle", "alpha")})


def c6_null(frame: pd.DataFrame) -> pd.Series:
    """Success, shuffle minus const."""
    return _success(frame, "shuffle") - _success(frame, "const")


def c6_worst(frame: pd.DataFrame) -> pd.DataFrame:
    """Success of the other ablations minus that of ±1."""
    return _ablations_over(frame, "unit")


def c6_worst_const(frame: pd.DataFrame) -> pd.DataFrame:
    """Success of the other ablations minus that of const."""
    return _ablations_over(frame, "const")


def c7(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at the middle of the α sweep minus at its sides, RL-ZVP."""
    return _peak(frame, "zvp")


def c7_const(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with const."""
    return _peak(frame, "const")


def c8_entropy(frame: pd.DataFrame) -> pd.Series:
    """Late entropy, RL-ZVP over GRPO."""
    return _late_entropy(frame, "zvp") / _late_entropy(frame, "grpo")


def c8_entropy_const(frame: pd.DataFrame) -> pd.Series:
    """Late entropy, const over GRPO."""
    return _late_entropy(frame, "const") / _late_entropy(frame, "grpo")


def c8_length(frame: pd.DataFrame) -> pd.Series:
    """Length at the end, RL-ZVP over GRPO."""
    return _scalar(frame, "final/length", "zvp") / _scalar(frame, "final/length", "grpo")


def c8_length_const(frame: pd.DataFrame) -> pd.Series:
    """Length at the end, const over GRPO."""
    return _scalar(frame, "final/length", "const") / _scalar(frame, "final/length", "grpo")


def c9_zero_mean(frame: pd.DataFrame) -> Errors:
    """Components of the unconditional update."""
    return _exact(frame, "identities", "zero_mean")


def c9_identity(frame: pd.DataFrame) -> Errors:
    """Error of the identity of the negative half."""
    return _exact(frame, "identities", "drift")


def c9_limit(frame: pd.DataFrame) -> pd.Series:
    """Norm of the negative half relative to the drift's, minus 1, at rare success."""
    return _norm_excess(frame, "negative")


def c9_limit_constant(frame: pd.DataFrame) -> pd.Series:
    """The same with a constant in the place of max H."""
    return _norm_excess(frame, "constant")


def c9_vanishes(frame: pd.DataFrame) -> pd.Series:
    """Norm of the positive half at sure success over its maximum."""
    norms = half(frame, "positive_norm")
    return norms[SURE] / norms.max(axis=1)


def c9_stays(frame: pd.DataFrame) -> pd.Series:
    """Norm of the negative half at rare success over its maximum."""
    norms = half(frame, "negative_norm")
    return norms[RARE] / norms.max(axis=1)


def c9_positive(frame: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the positive half with the gradient of p."""
    return half(frame, "positive_cosine")[ALIGNED]


def c9_negative(frame: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the negative half with the gradient of p."""
    return half(frame, "negative_cosine")[ALIGNED]


def c9_weaker(frame: pd.DataFrame) -> pd.DataFrame:
    """Cosine of the positive minus that of the negative half at small p."""
    return (half(frame, "positive_cosine") - half(frame, "negative_cosine"))[NEGATIVE_RANGE]


def c9_weaker_constant(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a constant in the place of max H."""
    return (half(frame, "positive_cosine") - half(frame, "constant_cosine"))[NEGATIVE_RANGE]


def unsolvable(frame: pd.DataFrame) -> pd.Series:
    """Success over solvable prompts among unsolvable ones, RL-ZVP minus GRPO."""
    method, base = (
        scalar(frame, "tabular_unsolvable", "solvable", arm=arm).sort_index() for arm in ("zvp", "grpo")
    )
    return method - base


def flip(frame: pd.DataFrame) -> pd.Series:
    """Success, GRPO minus sign-flip."""
    return _success(frame, "grpo") - _success(frame, "flip")


def flip_zvp(frame: pd.DataFrame) -> pd.Series:
    """Success, GRPO minus RL-ZVP."""
    return _success(frame, "grpo") - _success(frame, "zvp")


def _exact(frame: pd.DataFrame, analysis: str, name: str) -> Errors:
    return rows(frame, "theory", name, analysis=analysis)["value"].to_numpy()


def _share_change(frame: pd.DataFrame, mix: str) -> pd.Series:
    shares = tabular(frame, "zero_variance", mix, "grpo")
    return batch_quarter(shares) - after(shares, 0)


def _start_gap(frame: pd.DataFrame, mix: str) -> pd.Series:
    predicted = tabular(frame, "predicted_zero_variance", mix, "grpo").set_index("seed")["value"]
    return after(tabular(frame, "zero_variance", mix, "grpo"), 0) - predicted


def _success(frame: pd.DataFrame, arm: str, alpha: float = 0.1) -> pd.Series:
    return final(tabular(frame, "success", "hard", arm, alpha))


def _over_filters(frame: pd.DataFrame, arm: str, *, same_rollouts: bool) -> pd.DataFrame:
    columns = {}
    for name in ("ds", "greso"):
        curve = filtered(frame, "success", "hard", name)
        reached = at(curve, stop(frame, "hard", name)) if same_rollouts else final(curve)
        columns[name] = _success(frame, arm) - reached
    return pd.DataFrame(columns)


def _batches(frame: pd.DataFrame, arm: str) -> pd.Series:
    return tabular(frame, "success", "hard", arm).groupby("seed")["step"].max().astype(float)


def _ablations_over(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    other = _success(frame, arm)
    return pd.DataFrame({name: _success(frame, name) - other for name in ("no_negative", "no_positive")})


def _peak(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    middle = (_success(frame, arm, 0.1) + _success(frame, arm, 0.2)) / 2
    return pd.DataFrame({f"alpha = {side}": middle - _success(frame, arm, side) for side in (0.05, 0.3)})


def _scalar(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    return scalar(frame, "easy", name, arm=arm)


def _gain(frame: pd.DataFrame, arm: str) -> pd.Series:
    return _scalar(frame, "final/pass_at_1/all", arm) - _scalar(frame, "final/pass_at_1/all", "grpo")


def _late_entropy(frame: pd.DataFrame, arm: str) -> pd.Series:
    return batch_quarter(training(frame, "easy", "entropy", arm))


def _norm_excess(frame: pd.DataFrame, name: str) -> pd.Series:
    drift = half(frame, "drift_norm")[RARE]
    return (half(frame, f"{name}_norm")[RARE] - drift) / drift.mean()
