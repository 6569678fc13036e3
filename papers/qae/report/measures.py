"""Arms of QAE, what is measured of them, and the claims of the card. Differences are paired by seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from common.study.errors import StudyError
from common.study.frame import Errors, after, average, final, late, learning_curve, paired, rows, values
from common.study.report import Measure
from common.tasks.opchain import LEVELS
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP, PROFILES, Config, numbers

Runs = Callable[[str], pd.DataFrame]
"""The series of an arm's runs, by name."""

OBJECTIVE = Config().objective
K, WIDE, NARROW = OBJECTIVE.quantile_k, OBJECTIVE.epsilon_high, EPSILON_HIGH_SWEEP[0]
MIXES = ("hard", "broad")
NAMES = {"pos": "POS-MASK", "neg": "NEG-MASK", "quantile": "QAE"}
STUDY = Config().changed(PROFILES["desk"])
RATES, SHARES = numbers(STUDY.grid.learning_rates), numbers(STUDY.long.mix)
BASES = {"clip_higher": "Clip-Higher", "clip_cov": "Clip-Cov", "kl_cov": "KL-Cov", "gspo": "GSPO"}


def tabular(
    frame: pd.DataFrame, name: str, arm: str, mix: str = "hard", k: float = K, epsilon_high: float = WIDE
) -> pd.DataFrame:
    """A series of a tabular arm with μ = 8 Adam steps and unmatched gradient norm."""
    labels = {"baseline": arm, "k": k, "epsilon_high": epsilon_high, "matched_grad_norm": False}
    return rows(frame, f"tabular_{mix}", name, **labels)


def trained(
    frame: pd.DataFrame, name: str, arm: str, base: str = "clip_higher", sweep: str = "main", **labels: Any
) -> pd.DataFrame:
    """A series of a language-model arm."""
    return learning_curve(frame, sweep, name, base=base, baseline=arm, **labels)


def long_run(frame: pd.DataFrame, arm: str) -> Runs:
    """The series of an arm in the runs of the primary claim."""
    return lambda name: trained(frame, name, arm, sweep="long", purpose="judged")


def at_rate(frame: pd.DataFrame, arm: str, rate: float | None = None, purpose: str = "judged") -> Runs:
    """The series of an arm in the grid of learning rates, at one rate or at its own."""
    own = own_rate(frame, arm) if rate is None else rate
    return lambda name: trained(frame, name, arm, sweep="rates", learning_rate=own, purpose=purpose)


def own_rate(frame: pd.DataFrame, arm: str) -> float:
    """The learning rate at which an arm's pass@1 on the levels trained on is best on development seeds."""
    rates = sorted(frame.loc[frame["sweep"] == "rates", "learning_rate"].unique())
    if len(rates) == 1:
        return rates[0]
    return max(rates, key=lambda rate: trained_levels(at_rate(frame, arm, rate, "search")).mean())


# Measures: one number per seed


def entropy_at(frame: pd.DataFrame, iterations: int, arm: str) -> pd.Series:
    """Entropy after so many iterations, hard mix.

    Raises:
        StudyError: the run was shorter.
    """
    entropy = after(tabular(frame, "entropy", arm), iterations)
    if entropy.empty:
        raise StudyError(f"this claim reads the entropy after {iterations} iterations; the run was shorter")
    return entropy


def over_arms(frame: pd.DataFrame, **arms: str) -> pd.DataFrame:
    """`entropy_at` after five iterations, one column per arm."""
    return pd.DataFrame({name: entropy_at(frame, 5, arm) for name, arm in arms.items()})


def early_entropy(frame: pd.DataFrame, arm: str, k: float) -> pd.Series:
    """Mean entropy over the first quarter of the iterations, broad mix."""
    return average(tabular(frame, "entropy", arm, "broad", k), share=0.25)


def mean_entropy(frame: pd.DataFrame, arm: str, epsilon_high: float = WIDE) -> pd.Series:
    """Mean entropy over training, hard mix."""
    return average(tabular(frame, "entropy", arm, epsilon_high=epsilon_high))


def success(frame: pd.DataFrame, arm: str, epsilon_high: float = WIDE, mix: str = "hard") -> pd.Series:
    """Success at the end."""
    return final(tabular(frame, "success", arm, mix, epsilon_high=epsilon_high))


def score(
    frame: pd.DataFrame, arm: str, base: str = "clip_higher", k: int = 1, level: str = "all"
) -> pd.Series:
    """Held-out pass@k at the end of a language-model arm."""
    sweep = "main" if base == "clip_higher" else "bases"
    return trained(frame, f"final/pass_at_{k}/{level}", arm, base, sweep).set_index("seed")["value"]


def gain(frame: pd.DataFrame, arm: str, base: str = "clip_higher", k: int = 1) -> pd.Series:
    """Held-out pass@k, arm minus mean on the same base."""
    return score(frame, arm, base, k) - score(frame, "mean", base, k)


def trained_levels(runs: Runs, k: int = 1) -> pd.Series:
    """Held-out pass@k at the end on the levels trained on, in the shares of the training."""
    scores = {
        level: share * runs(f"final/pass_at_{k}/{level}").set_index("seed")["value"]
        for level, share in zip(LEVELS, SHARES, strict=True)
        if share
    }
    return pd.DataFrame(scores).sum(axis=1, skipna=False)


def advantage(frame: pd.DataFrame, arm: str, k: int = 1, runs: Callable[..., Runs] = long_run) -> pd.Series:
    """`trained_levels` of an arm minus the mean baseline's."""
    return paired(trained_levels(runs(frame, arm), k), trained_levels(runs(frame, "mean"), k))


def doublings(entropy: pd.DataFrame) -> pd.Series:
    """log2 of the highest over the lowest entropy in a run, of means over its tenths: 1 is a factor of 2."""
    tenth = 10 * entropy["step"] // (entropy["step"].max() + 1)
    means = entropy.groupby(["seed", tenth])["value"].mean().groupby("seed")
    return (means.max() / means.min()).map(np.log2)


def unrest(frame: pd.DataFrame, arm: str) -> pd.Series:
    """How far an arm's entropy swings in the long runs, in doublings."""
    return doublings(long_run(frame, arm)("entropy"))


def short_gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Gain of QAE in the short runs by base algorithm, on the seeds that all of them have."""
    return pd.DataFrame({base: gain(frame, "quantile", base) for base in BASES}).dropna()


def small_steps(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Entropy with one small SGD step a batch."""
    return rows(frame, "tabular_small_steps", "entropy", baseline=arm, optimizer="sgd")


def drop(frame: pd.DataFrame) -> pd.Series:
    """Entropy at the start minus at the end, mean baseline, small steps."""
    return after(small_steps(frame, "mean"), 0) - final(small_steps(frame, "mean"))


def off_mean(frame: pd.DataFrame, arm: str) -> dict[str, pd.Series]:
    """Entropy minus the mean baseline's, training average and end, relative to the latter's mean drop."""
    part, reference = small_steps(frame, arm), small_steps(frame, "mean")
    return {
        f"{arm}, {name}": (of(part) - of(reference)) / float(drop(frame).mean())
        for name, of in {"average": average, "end": final}.items()
    }


def theory(analysis: str, *names: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


def linear_mismatches(frame: pd.DataFrame) -> Errors:
    """Mismatches of the linear quantile beyond one per (G, K), then those at G = 16 on the swept K."""
    k, size = (theory("linear_mismatches", name)(frame) for name in ("k", "group_size"))
    _, counts = np.unique(np.stack([k, size]), axis=1, return_counts=True)
    at_sixteen = [np.isclose(k[size == 16], level).sum() for level in K_SWEEP]
    return np.concatenate([counts - 1, at_sixteen]).astype(float)


CLAIMS: dict[str, Measure] = {
    "c1": theory("threshold_switch", "baseline_error", "advantage_error"),
    "c1_linear": linear_mismatches,
    "c2": theory("objective_rewriting", "quantile_unclipped", "quantile_clipped"),
    "c2_on_policy": theory("on_policy_gradients", "difference"),
    "c2_sampled": theory("on_policy_gradients", "sampled_difference"),
    "c3": lambda f: (theory("entropy_safety", "increment")(f) <= 0).astype(float),
    "c3_centred": lambda f: (theory("entropy_safety", "centred_spread")(f) <= 1e-12).astype(float),
    "c3_identity": theory("entropy_safety", "identity_error", "bound_error"),
    "c4": theory("weight_curves", "error"),
    "c6": lambda f, arm="quantile": pd.DataFrame(
        {f"k{round(10 * k):02d}": early_entropy(f, arm, k) for k in K_SWEEP}
    ),
    "c7a": lambda f, arm="quantile": entropy_at(f, 15, arm) - entropy_at(f, 15, "mean"),
    "c7b": lambda f: over_arms(f, mean="mean", pos_mask="pos", b1="b1"),
    "c7b_positives": lambda f: over_arms(f, mean="mean", neg_mask="neg", b0="b0"),
    "c8a": lambda f: success(f, "neg") - success(f, "quantile"),
    "c8b": lambda f, arm="quantile": success(f, arm) - success(f, "pos"),
    "c8c": lambda f: success(f, "pos", NARROW) - success(f, "neg", NARROW),
    "c8c_wide": lambda f: success(f, "pos") - success(f, "neg"),
    "c8d": lambda f: pd.DataFrame(
        {f"eps_high={e:.2f}": mean_entropy(f, "pos", e) - mean_entropy(f, "neg", e) for e in (WIDE, NARROW)}
    ),
    "c8d_random": lambda f: mean_entropy(f, "mean") - mean_entropy(f, "sparse_mean"),
    "c9": lambda f, arm="quantile": paired(*(late(long_run(f, a)("reward"), 0.25) for a in (arm, "mean"))),
    "c9_end": lambda f, arm="quantile": advantage(f, arm),
    "c9_pass16": lambda f: advantage(f, "quantile", 16),
    "c9_tuned": lambda f, arm="quantile": advantage(f, arm, runs=at_rate),
    "c9_bases": short_gains,
    "c9_bases_gate": lambda f: gain(f, "random_gate"),
    "c10": lambda f, arm="quantile": pd.DataFrame(
        {f"eps_high={e:.2f}": success(f, arm) - success(f, "mean", e) for e in EPSILON_HIGH_SWEEP}
    ),
    "c11": lambda f: pd.DataFrame(off_mean(f, "quantile") | off_mean(f, "b0")),
    "c12": lambda f, arm="quantile": paired(unrest(f, arm), unrest(f, "mean")),
}

PREMISES: dict[str, Measure] = {
    "entropy_moves": lambda f: unrest(f, "mean"),
    "clipping_acts": lambda f: average(long_run(f, "mean")("clip_high")),
    "headroom": lambda f: trained_levels(long_run(f, "mean")),
    "entropy_moves_in_short_runs": lambda f: doublings(trained(f, "entropy", "mean")),
    "entropy_grows": lambda f: entropy_at(f, 15, "mean") - entropy_at(f, 0, "mean"),
    "small_steps_move": drop,
}
