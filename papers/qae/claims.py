"""One function per tested claim of the card: the frame to one number per seed, or to errors.

Differences are paired by seed. Audits recompute the paper's own numbers, which they read from the card.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import after, average, final, rows, values
from common.study.card import Card, load_card
from common.study.errors import StudyError
from papers.qae.arms import EPSILON_HIGH, MIXES, scalar, tabular
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP

Errors = Float[np.ndarray, " N"]
NARROW = EPSILON_HIGH_SWEEP[0]
ROUNDING = 1e-12  # nats; what the entropy change may spread over b and still count as the same
QUESTIONS = {"AIME": 30, "AMC": 40}  # questions of the paper's benchmarks


def c1(frame: pd.DataFrame) -> Errors:
    """Errors of baseline and advantage against the integer form of Eq. 4."""
    return _theory(frame, "threshold_switch", "baseline_error", "advantage_error")


def c1_linear(frame: pd.DataFrame) -> Errors:
    """Mismatches of the linear quantile beyond one per (G, K), then those at G = 16 on the swept K."""
    k, size = (_theory(frame, "linear_mismatches", name) for name in ("k", "group_size"))
    _, counts = np.unique(np.stack([k, size]), axis=1, return_counts=True)
    at_sixteen = [np.isclose(k[size == 16], level).sum() for level in K_SWEEP]
    return np.concatenate([counts - 1, at_sixteen]).astype(float)


def c2(frame: pd.DataFrame) -> Errors:
    """Difference of both sides of Prop. 4.1, without and with clipping."""
    return _theory(frame, "objective_rewriting", "quantile_unclipped", "quantile_clipped")


def c2_on_policy(frame: pd.DataFrame) -> Errors:
    """Difference of the on-policy gradients at the true success rate."""
    return _theory(frame, "on_policy_gradients", "difference")


def c2_sampled(frame: pd.DataFrame) -> Errors:
    """The same at a sampled success rate."""
    return _theory(frame, "on_policy_gradients", "sampled_difference")


def c3(frame: pd.DataFrame) -> Errors:
    """1 where the entropy change does not rise at every step of b, uncentred update."""
    return (_theory(frame, "entropy_safety", "increment") <= 0).astype(float)


def c3_centred(frame: pd.DataFrame) -> Errors:
    """1 where the entropy change does not depend on b, true gradient."""
    return (_theory(frame, "entropy_safety", "centred_spread") <= ROUNDING).astype(float)


def c3_identity(frame: pd.DataFrame) -> Errors:
    """Errors of the covariance identity (per unit of step size) and of the bound."""
    return _theory(frame, "entropy_safety", "identity_error", "bound_error")


def c4(frame: pd.DataFrame) -> Errors:
    """Errors of the weights that the advantages imply."""
    return _theory(frame, "weight_curves", "error")


def c5a(frame: pd.DataFrame) -> Errors:
    """Measured minus predicted share of zero advantages, every batch with a mixed group of every QAE run."""
    difference = _batches(frame, "share_zero", "quantile") - _batches(
        frame, "share_zero_predicted", "quantile"
    )
    mixed = _batches(frame, "mixed_groups", "quantile") > 0
    return difference[mixed].to_numpy()


def c5a_mean(frame: pd.DataFrame) -> Errors:
    """Share of zero advantages of the mean baseline, every batch with a mixed group."""
    return _batches(frame, "share_zero", "mean")[_batches(frame, "mixed_groups", "mean") > 0].to_numpy()


def c6(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean entropy over the first quarter of the iterations, by K."""
    return _early_entropy(frame, "quantile")


def c6_gate(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a permuted gate."""
    return _early_entropy(frame, "random_gate")


def c7a(frame: pd.DataFrame) -> pd.Series:
    """Entropy after 15 iterations, QAE minus mean."""
    return _entropy_after(frame, 15, "quantile") - _entropy_after(frame, 15, "mean")


def c7a_gate(frame: pd.DataFrame) -> pd.Series:
    """Entropy after 15 iterations, permuted gate minus mean."""
    return _entropy_after(frame, 15, "random_gate") - _entropy_after(frame, 15, "mean")


def c7b(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy after 5 iterations as ever more weight is on negatives."""
    arms = {"mean": "mean", "pos_mask": "pos", "b1": "b1"}
    return pd.DataFrame({name: _entropy_after(frame, 5, arm) for name, arm in arms.items()})


def c7b_positives(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy after 5 iterations as ever more weight is on positives."""
    arms = {"mean": "mean", "neg_mask": "neg", "b0": "b0"}
    return pd.DataFrame({name: _entropy_after(frame, 5, arm) for name, arm in arms.items()})


def c8a(frame: pd.DataFrame) -> pd.Series:
    """Success at the end, NEG-MASK minus QAE."""
    return _success(frame, "neg") - _success(frame, "quantile")


def c8b(frame: pd.DataFrame) -> pd.Series:
    """Success at the end, QAE minus POS-MASK."""
    return _success(frame, "quantile") - _success(frame, "pos")


def c8b_gate(frame: pd.DataFrame) -> pd.Series:
    """Success at the end, permuted gate minus POS-MASK."""
    return _success(frame, "random_gate") - _success(frame, "pos")


def c8c(frame: pd.DataFrame) -> pd.Series:
    """Success at the end, POS-MASK minus NEG-MASK at the narrow clip range."""
    return _success(frame, "pos", NARROW) - _success(frame, "neg", NARROW)


def c8c_wide(frame: pd.DataFrame) -> pd.Series:
    """The same at the wide clip range."""
    return _success(frame, "pos") - _success(frame, "neg")


def c8d(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean entropy over training, POS-MASK minus NEG-MASK at both clip ranges."""
    ranges = (EPSILON_HIGH, NARROW)
    return pd.DataFrame(
        {f"eps_high={e:.2f}": _mean_entropy(frame, "pos", e) - _mean_entropy(frame, "neg", e) for e in ranges}
    )


def c8d_random(frame: pd.DataFrame) -> pd.Series:
    """Mean entropy over training, mean baseline minus its randomly masked form."""
    return _mean_entropy(frame, "mean") - _mean_entropy(frame, "sparse_mean")


def c9(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@1, QAE minus mean on Clip-Higher."""
    return _gain(frame, "main", "clip_higher", "pass_at_1", "quantile")


def c9_gate(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@1, permuted gate minus mean on Clip-Higher."""
    return _gain(frame, "main", "clip_higher", "pass_at_1", "random_gate")


def c9_pass16(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@16, QAE minus mean on Clip-Higher."""
    return _gain(frame, "main", "clip_higher", "pass_at_16", "quantile")


def c9_clip_cov(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@1, QAE minus mean on Clip-Cov."""
    return _gain(frame, "bases", "clip_cov", "pass_at_1", "quantile")


def c9_kl_cov(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@1, QAE minus mean on KL-Cov."""
    return _gain(frame, "bases", "kl_cov", "pass_at_1", "quantile")


def c9_gspo(frame: pd.DataFrame) -> pd.Series:
    """Held-out pass@1, QAE minus mean on GSPO."""
    return _gain(frame, "bases", "gspo", "pass_at_1", "quantile")


def c10(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at the end, QAE at the default range minus mean at each range."""
    return _over_ranges(frame, "quantile")


def c10_gate(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with a permuted gate in QAE's place."""
    return _over_ranges(frame, "random_gate")


def c11(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy minus the mean baseline's, training average and end, relative to the latter's mean drop."""
    drop = c11_drop(frame).mean()
    reference = _small_steps(frame, "mean")
    columns = {}
    for name in ("quantile", "b0"):
        part = _small_steps(frame, name)
        columns[f"{name}, average"] = (average(part) - average(reference)) / drop
        columns[f"{name}, end"] = (final(part) - final(reference)) / drop
    return pd.DataFrame(columns)


def c11_drop(frame: pd.DataFrame) -> pd.Series:
    """Entropy at the start minus at the end, mean baseline, small steps."""
    reference = _small_steps(frame, "mean")
    return after(reference, 0) - final(reference)


def audit_cells(_frame: pd.DataFrame) -> Errors:
    """Reported count of improved pass@1 cells of Table 2 minus the recomputed one."""
    card = load_card("qae")
    block = card.tables["table2"].reported
    columns = [index for index, name in enumerate(block.columns) if name.endswith("p@1")]
    improved = sum(
        float(cells[index] or 0) > float(block.rows[name.removesuffix(" + QAE")][index] or 0)
        for name, cells in block.rows.items()
        if name.endswith(" + QAE")
        for index in columns
    )
    return np.array([_number(card.claims["audit_cells"].reported) - improved])


def audit_relative(_frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed relative changes (percentage points): Table 1, then the headline."""
    card = load_card("qae")
    scores = card.tables["table1"].reported.rows
    reference = float(scores["mean, eps_high=0.28"][0] or 0)
    pairs = [(score, reference, change) for score, change in scores.values() if change is not None]
    block = card.tables["table2"].reported
    column = block.columns.index("AIME24 p@1")
    base, method = (block.rows[f"8B Clip-Higher{suffix}"][column] for suffix in ("", " + QAE"))
    pairs.append((method, base, card.claims["c9_headline"].reported))
    return np.array(
        [_number(str(change)) - 100 * (float(new) / float(old) - 1) for new, old, change in pairs]
    )


def audit_possible(_frame: pd.DataFrame) -> Errors:
    """Distance of each reported pass@1 to the nearest average of 0/1 scores (percentage points)."""
    card = load_card("qae")
    samples = int(card.hyperparameters["evaluation_samples"].value or 0)
    return np.array(
        [abs(score - round(score / 100 * n) * 100 / n) for score, n in _reported_pass_at_1(card, samples)]
    )


def _reported_pass_at_1(card: Card, samples: int) -> list[tuple[float, int]]:
    """Every reported pass@1 with the number of samples behind it."""
    found = []
    for table in (card.tables["table1"].reported, card.tables["table2"].reported):
        for index, column in enumerate(table.columns):
            if column.endswith(("pass@1", "p@1")):
                questions = next(n for prefix, n in QUESTIONS.items() if column.startswith(prefix))
                found += [(float(cells[index] or 0), questions * samples) for cells in table.rows.values()]
    return found


def _number(text: str) -> float:
    """First number of a text."""
    match = re.search(r"[-+]?\d+(\.\d+)?", text)
    if match is None:
        raise StudyError(f"the card reports '{text}' where an audit needs a number")
    return float(match.group())


def _theory(frame: pd.DataFrame, analysis: str, *names: str) -> Errors:
    return values(frame, "theory", *names, analysis=analysis)


def _batches(frame: pd.DataFrame, name: str, baseline: str) -> pd.Series:
    """A series of every tabular run with a baseline, all K, clip ranges and gradient norms."""
    sweeps = [f"tabular_{mix}" for mix in MIXES]
    part = frame[frame["sweep"].isin(sweeps) & (frame["baseline"] == baseline) & (frame["name"] == name)]
    index = ["sweep", "k", "epsilon_high", "matched_grad_norm", "seed", "step"]
    return part.astype({"sweep": str, "k": float}).set_index(index)["value"].sort_index()


def _early_entropy(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    arms = {f"k{round(10 * k):02d}": tabular(frame, "entropy", "broad", baseline, k=k) for k in K_SWEEP}
    return pd.DataFrame({name: average(part, share=0.25) for name, part in arms.items()})


def _entropy_after(frame: pd.DataFrame, iterations: int, baseline: str) -> pd.Series:
    values = after(tabular(frame, "entropy", "hard", baseline), iterations)
    if values.empty:
        raise StudyError(f"this claim reads the entropy after {iterations} iterations; the run was shorter")
    return values


def _mean_entropy(frame: pd.DataFrame, baseline: str, epsilon_high: float = EPSILON_HIGH) -> pd.Series:
    return average(tabular(frame, "entropy", "hard", baseline, epsilon_high=epsilon_high))


def _success(frame: pd.DataFrame, baseline: str, epsilon_high: float = EPSILON_HIGH) -> pd.Series:
    return final(tabular(frame, "success", "hard", baseline, epsilon_high=epsilon_high))


def _over_ranges(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    method = _success(frame, baseline)
    return pd.DataFrame(
        {f"eps_high={e:.2f}": method - _success(frame, "mean", e) for e in EPSILON_HIGH_SWEEP}
    )


def _small_steps(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    return rows(frame, "tabular_small_steps", "entropy", baseline=baseline, optimizer="sgd")


def _gain(frame: pd.DataFrame, sweep: str, base: str, metric: str, baseline: str) -> pd.Series:
    name = f"final/{metric}/all"
    return scalar(frame, sweep, name, baseline, base=base) - scalar(frame, sweep, name, "mean", base=base)
