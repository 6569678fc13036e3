"""Arms of QAE, what is measured of them, and the claims of the card. Differences are paired by seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from common.study.audits import Audit, number, possible, reported
from common.study.card import load_card
from common.study.errors import StudyError
from common.study.frame import Errors, after, average, final, learning_curve, rows, values
from common.study.report import Measure
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP, Config

# Arms

OBJECTIVE = Config().objective
K, WIDE, NARROW = OBJECTIVE.quantile_k, OBJECTIVE.epsilon_high, EPSILON_HIGH_SWEEP[0]
MIXES = ("hard", "broad")
NAMES = {
    "mean": "mean",
    "quantile": "QAE",
    "pos": "POS-MASK",
    "neg": "NEG-MASK",
    "b0": "b=0",
    "b1": "b=1",
    "random_gate": "permuted gate",
    "inverted": "inverted gate",
    "sparse_mean": "mean, random 80% masked",
}
GATED = ("quantile", "pos", "neg", "random_gate", "inverted")  # baselines that K changes
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


def batches(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """A series of every tabular run with a baseline, all K, clip ranges and gradient norms."""
    sweeps = [f"tabular_{mix}" for mix in MIXES]
    part = frame[frame["sweep"].isin(sweeps) & (frame["baseline"] == arm) & (frame["name"] == name)]
    index = ["sweep", "k", "epsilon_high", "matched_grad_norm", "seed", "step"]
    return part.astype({"sweep": str, "k": float}).set_index(index)["value"].sort_index()


def zero_share(frame: pd.DataFrame, arm: str, predicted: str = "") -> Errors:
    """Share of zero advantages, less a predicted one, in every batch with a mixed group."""
    share = batches(frame, "share_zero", arm) - (batches(frame, predicted, arm) if predicted else 0.0)
    return share[batches(frame, "mixed_groups", arm) > 0].to_numpy()


# Audits of the paper's own numbers


def improved_cells(_frame: pd.DataFrame) -> Errors:
    """Reported count of improved pass@1 cells of Table 2 minus the recomputed one."""
    block = reported("qae", "table2").filter(regex="p@1$", axis=1)
    methods = block.filter(like=" + QAE", axis=0)
    bases = block.loc[methods.index.str.removesuffix(" + QAE")]
    count = number(load_card("qae").claims["audit_cells"].reported)
    return np.array([count - (methods.to_numpy() > bases.to_numpy()).sum()])


def relative_changes(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed relative changes (percentage points): Table 1, then the headline."""
    table1 = reported("qae", "table1").dropna()
    base = float(reported("qae", "table1")["AIME24 pass@1"]["mean, eps_high=0.28"])
    ours = table1["relative to 0.28"] - 100 * (table1["AIME24 pass@1"] / base - 1)
    aime = reported("qae", "table2")["AIME24 p@1"]
    change = number(load_card("qae").claims["c9_headline"].reported)
    headline = change - 100 * (aime["8B Clip-Higher + QAE"] / aime["8B Clip-Higher"] - 1)
    return np.array([*ours, headline])


def possible_scores(*audits: Audit) -> Audit:
    """Several audits as one."""
    return lambda frame: np.concatenate([audit(frame) for audit in audits])


SAMPLES = Config().run.evaluation_samples
AIME, AMC = 30 * SAMPLES, 40 * SAMPLES

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
    "c5a": lambda f: zero_share(f, "quantile", "share_zero_predicted"),
    "c5a_mean": lambda f: zero_share(f, "mean"),
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
    "c9": lambda f, arm="quantile": gain(f, arm),
    "c9_pass16": lambda f: gain(f, "quantile", k=16),
    "c9_clip_cov": lambda f: gain(f, "quantile", "clip_cov"),
    "c9_kl_cov": lambda f: gain(f, "quantile", "kl_cov"),
    "c9_gspo": lambda f: gain(f, "quantile", "gspo"),
    "c10": lambda f, arm="quantile": pd.DataFrame(
        {f"eps_high={e:.2f}": success(f, arm) - success(f, "mean", e) for e in EPSILON_HIGH_SWEEP}
    ),
    "c11": lambda f: pd.DataFrame(off_mean(f, "quantile") | off_mean(f, "b0")),
    "c11_drop": drop,
    "audit_cells": improved_cells,
    "audit_relative": relative_changes,
    "audit_possible": possible_scores(
        possible("qae", "table1", {"AIME24 pass@1": AIME}),
        possible("qae", "table2", {"AIME25 p@1": AIME, "AIME24 p@1": AIME, "AMC23 p@1": AMC}),
    ),
}
