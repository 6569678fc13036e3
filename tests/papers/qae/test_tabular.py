"""Tier B of QAE: every baseline of the sheet through the shared advantage code."""

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.study.jobs import Job
from common.tabular.objective import Rollout
from papers.qae.runs.tabular import BASELINES, advantage_rule, gate_series, simulate

SMALL = {
    "mix": "broad", "baseline": "quantile", "k": 0.4, "epsilon_low": 0.2, "epsilon_high": 0.28,
    "inner_steps": 3, "optimizer": "adam", "learning_rate": 0.1, "iterations": 6, "prompts": 6,
    "group_size": 8, "vocabulary": 4, "length": 3, "sigma_shared": 0.8, "sigma_private": 0.5,
    "matched_grad_norm": False,
}  # fmt: skip


def series(seeds: tuple[int, ...], tmp_path: Path, **changes: Any) -> dict[str, np.ndarray]:
    record = simulate(Job("b", {}, "papers.qae.runs.tabular:simulate", SMALL | changes, seeds), tmp_path)
    record.frame(seeds)  # raises on a wrong shape
    return {**record.series, **record.scalars}


def rollout(rewards: np.ndarray, seed: int = 0) -> Rollout:
    tokens = np.zeros((*rewards.shape, 1), dtype=int)
    noise = np.random.default_rng(seed).random(rewards.shape)
    return Rollout(tokens, tokens, tokens.astype(float), rewards, noise)


def expected(correct: bool, p: float, baseline: str, k: float) -> float:
    """The sheet's table of regimes, written out for one response of a mixed group."""
    hard = p <= 1 - k + 1e-12
    switch = 0.0 if hard else 1.0
    b = {
        "mean": p,
        "quantile": switch,
        "b0": 0.0,
        "b1": 1.0,
        "inverted": 1.0 - switch,
        "pos": switch if correct else 1.0,  # all negatives stay
        "neg": 0.0 if correct else switch,  # all positives stay
    }
    return (correct - b[baseline]) / sqrt(p * (1 - p))


@pytest.mark.parametrize("baseline", ["mean", "quantile", "b0", "b1", "pos", "neg", "inverted"])
@pytest.mark.parametrize("k", [0.2, 0.4, 0.6, 0.8])
def test_rules_follow_the_table_of_regimes(baseline: str, k: float) -> None:
    size = 10
    rewards = np.stack([np.arange(size) < c for c in range(size + 1)]).astype(float)
    advantages = advantage_rule(baseline, k)(rollout(np.stack([rewards, rewards[::-1]])))
    np.testing.assert_array_equal(advantages[0], advantages[1, ::-1])
    assert (advantages[0, [0, size]] == 0.0).all()
    for c in range(1, size):
        for g in range(size):
            want = expected(g < c, c / size, baseline, k)
            assert advantages[0, c, g] == pytest.approx(want, abs=1e-12), (c, g)


def test_random_gate_keeps_the_gate_frequency_and_depends_on_its_own_seed_only() -> None:
    generator = np.random.default_rng(4)
    rewards = (generator.random((3, 40, 8)) < generator.random((3, 40, 1))).astype(float)
    gate, plain = (advantage_rule(name, 0.4)(rollout(rewards)) for name in ("random_gate", "quantile"))
    easy_groups = [(values < 0).any(axis=-1).sum(axis=-1) for values in (gate, plain)]
    np.testing.assert_array_equal(*easy_groups)
    assert (gate != plain).any(axis=(1, 2)).all()
    batch = rollout(rewards)
    last = Rollout(
        *(getattr(batch, name)[2:] for name in ("nodes", "tokens", "entropies", "rewards", "noise"))
    )
    np.testing.assert_array_equal(advantage_rule("random_gate", 0.4)(last)[0], gate[2])


def test_sparse_mean_drops_four_fifths_of_the_mean_baselines_responses() -> None:
    rewards = np.tile([1.0, 0.0, 0.0, 0.0], (2, 3000, 1))
    sparse, mean = (advantage_rule(name, 0.4)(rollout(rewards)) for name in ("sparse_mean", "mean"))
    unmasked = sparse != 0.0
    np.testing.assert_array_equal(sparse[unmasked], mean[unmasked])
    assert unmasked.mean() == pytest.approx(0.2, abs=0.015)


def test_gate_series_on_hand_made_counts() -> None:
    counts = np.array(
        [[[0, 1, 6, 7, 10], [0, 10, 10, 0, 0]]]
    )  # K=0.4, G=10: 6 correct is the last hard count
    values = gate_series(counts, 10, 0.4)
    np.testing.assert_allclose(values["hard_groups"], [[2 / 3, np.nan]])
    np.testing.assert_allclose(values["share_zero_predicted"], [[(9 + 4 + 7) / 30, np.nan]])
    np.testing.assert_array_equal(values["group_counts"], [[4, 1, 0, 0, 0, 0, 1, 1, 0, 0, 3]])


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_runs_and_a_seed_is_blind_to_its_company(baseline: str, tmp_path: Path) -> None:
    together, alone = (series(seeds, tmp_path, baseline=baseline) for seeds in ((3, 8, 5), (8,)))
    for name, value in alone.items():
        np.testing.assert_array_equal(value[0], together[name][1], err_msg=name)
    assert together["entropy"].shape == together["success"].shape == (3, 7)
    assert together["share_zero"].shape == (3, 6)
    assert together["pass_at_16"].shape == together["clip_low"].shape == (3,)
    assert together["group_counts"].shape == (3, 9)
    assert (together["group_counts"].sum(axis=1) == 6 * 6).all()


def test_measured_zero_share_is_the_predicted_one_under_eq_4_and_nought_under_the_mean(
    tmp_path: Path,
) -> None:
    for k in (0.2, 0.4, 0.8):
        values = series((0, 1, 2), tmp_path, k=k)
        np.testing.assert_allclose(values["share_zero"], values["share_zero_predicted"], rtol=1e-14)
    mean = series((0, 1, 2), tmp_path, baseline="mean")
    assert np.nanmax(mean["share_zero"]) == 0.0
    assert np.nanmin(mean["share_zero_predicted"]) > 0.0


def test_matched_norm_equals_the_mean_baselines_norm_on_the_same_batch(tmp_path: Path) -> None:
    first = {"inner_steps": 1, "iterations": 1}
    mean = series((0, 1), tmp_path, **first, baseline="mean")
    own, matched = (series((0, 1), tmp_path, **first, matched_grad_norm=on) for on in (False, True))
    np.testing.assert_allclose(matched["grad_norm"], mean["grad_norm"], rtol=1e-10)
    assert (own["grad_norm"] != mean["grad_norm"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix": "easy"}, "unknown mix 'easy'; choose one of hard, broad"),
        ({"baseline": "median"}, "unknown baseline 'median'"),
        ({"optimizer": "adamw"}, "unknown optimizer 'adamw'"),
        ({"k": 40.0, "baseline": "mean"}, "outside"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        series((0,), tmp_path, **change)
