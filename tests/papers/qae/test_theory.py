"""Entry points of tier A: what they find, that a mutant turns them red, and that they repeat exactly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from common.study.jobs import Job, Record
from papers.qae.runs import theory
from papers.qae.runs.theory import bandits, expand, sequence_groups, sequence_log_ratios

TABULAR = {"draws": 60, "vocabulary": 5, "length": 2, "copies": 2, "noise": 0.5, "k": 0.4}
TABULAR |= {"epsilon_low": 0.2, "epsilon_high": 0.28}
CONFIGS = {
    "threshold_switch": {"max_group": 10, "grid": 20},
    "linear_mismatches": {"max_group": 32, "grid": 5},
    "objective_rewriting": TABULAR,
    "on_policy_gradients": TABULAR,
    "entropy_safety": {"draws": 100, "arms": 50, "points": 11, "step_size": 1e-4},
    "weight_curves": {"k": 0.4, "points": 50},
    "expected_coefficients": {"group_size": 16, "k": 0.4, "points": 20},
    "zero_advantage_share": {"k": 0.4, "points": 50},
}


def run(name: str, seed: int = 0, **changes) -> Record:
    job = Job("theory", {}, f"papers.qae.runs.theory:{name}", CONFIGS[name] | changes, (seed,))
    return job.function()(job, Path("unused"))


def columns(record: Record, *names: str) -> list[np.ndarray]:
    return [record.series[name][0] for name in names]


@pytest.mark.parametrize("name", CONFIGS)
def test_records_repeat_bit_for_bit_and_have_one_row(name):
    first, second = run(name), run(name)
    assert first.frame((0,)).equals(second.frame((0,)))
    assert all(values.shape[0] == 1 for values in (*first.scalars.values(), *first.series.values()))


@pytest.mark.parametrize("name", ["objective_rewriting", "on_policy_gradients", "entropy_safety"])
def test_seed_draws_the_random_instances(name):
    assert not run(name, seed=0).frame((0,)).equals(run(name, seed=1).frame((0,)))


def test_threshold_switch_is_exact():
    record = run("threshold_switch")
    assert record.scalars["instances"][0] == 19 * sum(size + 1 for size in range(2, 11))
    sizes, levels, baseline, advantage = columns(
        record, "group_size", "k", "baseline_error", "advantage_error"
    )
    assert len(sizes) == 9 * 19
    assert set(sizes) == set(range(2, 11))
    assert levels[:19] == pytest.approx(np.arange(1, 20) / 20)
    assert (baseline == 0).all()
    assert advantage.max() < 1e-14


def test_threshold_switch_sees_a_wrong_quantile(monkeypatch):
    def floored(rewards, size, k):
        return rewards.view(-1, size).sort(dim=1).values[:, min(int(k * size), size - 1)]

    monkeypatch.setattr(theory, "quantile_baseline", floored)
    assert run("threshold_switch").series["baseline_error"].max() == 1


def test_linear_mismatches_are_those_of_the_sheet():
    record = run("linear_mismatches")
    names = ("k", "group_size", "wrong", "linear", "inverted_cdf")
    mismatches = {
        (round(k, 2), int(size)): (int(wrong), round(linear, 9), exact)
        for k, size, wrong, linear, exact in zip(*columns(record, *names), strict=True)
    }
    expected = {
        (0.2, 4): (1, 0.6, 0), (0.2, 8): (2, 0.4, 0), (0.2, 32): (7, 0.2, 0),
        (0.4, 4): (2, 0.2, 0), (0.4, 8): (3, 0.8, 1), (0.4, 32): (13, 0.4, 0),
        (0.6, 4): (2, 0.8, 1), (0.6, 8): (5, 0.2, 0), (0.6, 32): (19, 0.6, 1),
        (0.8, 4): (3, 0.4, 1), (0.8, 8): (6, 0.6, 1), (0.8, 32): (25, 0.8, 1),
    }  # fmt: skip
    assert {key: value for key, value in mismatches.items() if key[1] in (4, 8, 16, 32)} == expected
    assert record.scalars["mismatches"][0] == len(mismatches)
    assert record.scalars["most_per_pair"][0] == 1


def test_rewritten_objectives_equal_the_surrogate():
    record = run("objective_rewriting")
    for objective in ("mean", "quantile", "pos", "neg"):
        for suffix in ("clipped", "unclipped"):
            (error,) = columns(record, f"{objective}_{suffix}")
            assert error.shape == (60 + 24,)
            assert error.max() < 1e-13
    assert record.scalars["clipped_low"][0] > 0.05
    assert record.scalars["clipped_high"][0] > 0.05
    assert 0.6 in record.series["success_rate"]  # the switch point of K = 0.4


def test_rewriting_fails_for_other_weights(monkeypatch):
    right = theory.objective_weights
    monkeypatch.setattr(theory, "objective_weights", lambda p, k, mask="none": right(p, k and 0.5, mask))
    record = run("objective_rewriting")
    assert record.series["quantile_clipped"].max() > 1e-3
    assert record.series["mean_clipped"].max() < 1e-13


def test_rewriting_fails_for_symmetric_clipping(monkeypatch):
    right = theory.clipped_surrogate
    monkeypatch.setattr(
        theory, "clipped_surrogate", lambda ratio, adv, low, high: right(ratio, adv, low, low)
    )
    record = run("objective_rewriting")
    assert record.series["quantile_clipped"].max() > 1e-4
    assert record.series["quantile_unclipped"].max() < 1e-13


def test_on_policy_gradients_coincide_only_at_the_true_success_rate():
    """Fact 2 of the sheet."""
    difference, gradient, sampled = columns(
        run("on_policy_gradients"), "difference", "gradient", "sampled_difference"
    )
    assert difference.max() < 1e-14
    assert gradient.min() > 1e-3
    assert np.median(sampled) > 1e-2


def test_entropy_safety_holds_for_the_uncentred_update_only():
    """Fact 1 of the sheet."""
    record = run("entropy_safety")
    for name in ("increment", "first_order_increment", "uncentred_spread"):
        assert record.series[name].min() > 0
    assert record.series["centred_spread"].max() < 1e-14
    assert record.series["uncentred_spread"].max() > 1e-6
    assert record.series["identity_error"].max() < 1e-8
    assert record.series["bound_error"].max() < 1e-16


def test_entropy_safety_sees_a_centred_closed_form(monkeypatch):
    right = theory.entropy_change
    monkeypatch.setattr(
        theory, "entropy_change", lambda p, r, b, s: right(p, r - (p * r).sum(-1, True), 0 * b, s)
    )
    record = run("entropy_safety")
    assert record.series["first_order_increment"].max() <= 0
    assert record.series["identity_error"].max() > 1e-4


def test_weight_curves_are_figure_four():
    record = run("weight_curves")
    p, mean, positive, negative = columns(
        record, "p", "mean_positive", "quantile_positive", "quantile_negative"
    )
    assert mean == pytest.approx(np.sqrt(p * (1 - p)))
    hard = np.arange(1, 50) <= 30
    assert positive == pytest.approx(np.where(hard, np.sqrt(p / (1 - p)), 0))
    assert negative == pytest.approx(np.where(hard, 0, np.sqrt((1 - p) / p)))
    assert record.series["error"].max() < 1e-14


def test_expected_coefficients_are_those_of_the_sheet():
    """Fact 3 of the sheet; its 0.101 for b = 1 at p = 0.05 is 0.10049, rounded twice."""
    record = run("expected_coefficients")
    table = {
        round(p, 2): row
        for p, *row in zip(*columns(record, "p", "mean", "quantile", "b0", "b1"), strict=True)
    }
    assert np.round(table[0.05], 3).tolist() == [0.163, 0.172, 0.172, 0.100]
    assert np.round(table[0.5], 3).tolist() == [0.967, 0.869, 1.037, 1.037]
    assert np.round(table[0.95], 3).tolist() == [3.104, 3.275, 1.909, 3.275]


def test_expected_coefficient_is_a_monte_carlo_average():
    """Independent route: sampled groups, g+ = 1 and g- = -p / (1 - p)."""
    p, size = 0.3, 8
    correct = np.random.default_rng(0).binomial(size, p, size=200_000)
    correct = np.where(correct == size, 0, correct)  # groups without contrast contribute nothing
    std = np.sqrt(correct * (size - correct)) / size
    coefficient = np.where(correct * 10 <= 6 * size, correct, (size - correct) * p / (1 - p))
    update = np.divide(coefficient, size * std, out=np.zeros(len(std)), where=std > 0)
    record = run("expected_coefficients", group_size=size, points=10)
    error = 4 * update.std() / math.sqrt(len(update))
    assert record.series["quantile"][0, 2] == pytest.approx(update.mean(), abs=error)


def test_coefficients_of_large_groups_agree():
    """The on-policy gradients coincide in the limit: the b = 0 coefficient tends to sqrt(p / (1 - p))."""
    record = run("expected_coefficients", group_size=512, points=4)
    for name in ("mean", "quantile", "b0", "b1"):
        assert record.series[name][0] == pytest.approx([math.sqrt(1 / 3), 1, math.sqrt(3)], rel=0.01)


@pytest.mark.parametrize("k", [0.2, 0.4, 0.6, 0.8])
def test_zero_advantage_share_is_the_minority_side(k):
    record = run("zero_advantage_share", k=k)
    p, share = columns(record, "p", "zero_share")
    assert p == pytest.approx((np.arange(50) + 0.5) / 50)
    assert share == pytest.approx(np.where(p <= 1 - k, 1 - p, p))
    assert record.scalars["uniform_average"][0] == pytest.approx(0.5 + k * (1 - k))


def test_instances_are_what_they_claim():
    rng = np.random.default_rng(0)
    counts, correct = sequence_groups(rng, 50, 9, 3)
    assert counts.shape == correct.shape == (50 + 8, 9)
    assert (counts.sum(dim=1) == 27).all()
    assert counts.min() >= 1
    assert correct.sum(dim=1).min() == 1
    assert correct.sum(dim=1).max() == 8
    assert expand(counts, counts[:, :, None].double()).shape == (58, 27, 1)
    logits, rewards = bandits(rng, 10, 6)
    assert rewards[0].sum() == 0
    assert rewards[1].sum() == 6
    assert logits[2].abs().max() < 0.1


def test_log_ratios_belong_to_the_policy_of_the_counts():
    """Both policies normalise over sequences, and an unchanged one has ratio 1."""
    counts, _ = sequence_groups(np.random.default_rng(0), 5, 8, 3)
    shapes = [(len(counts), 2**t, 2) for t in range(3)]
    still = sequence_log_ratios(counts, [torch.zeros(shape, dtype=torch.float64) for shape in shapes])
    assert still.abs().max() < 1e-15
    generator = torch.Generator().manual_seed(0)
    changes = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    ratio = sequence_log_ratios(counts, changes).sum(dim=2).exp()
    total = (ratio * counts / counts.sum(dim=1, keepdim=True)).sum(dim=1)
    torch.testing.assert_close(total, torch.ones_like(total))
    first = counts.reshape(len(counts), 2, 4).sum(dim=2).double()
    old = first / first.sum(dim=1, keepdim=True)
    new = (old.log() + changes[0][:, 0]).softmax(dim=1)
    expected = (new / old).log().repeat_interleave(4, dim=1)
    torch.testing.assert_close(sequence_log_ratios(counts, changes)[:, :, 0], expected)
