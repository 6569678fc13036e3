"""GRESO's probabilities, and the filters' batches: what is kept, what is counted."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from common.study.jobs import Job
from common.tabular.objective import collect
from common.tabular.start import streams
from papers.rl_zvp.runs.filtering import (
    Feed,
    GresoSampler,
    fill,
    refill_size,
    simulate,
    skip_probability,
    training_batch,
)
from papers.rl_zvp.runs.tabular import Setting, draw_start

SMALL = Setting(
    mix="hard", arm="ds", alpha=0.1, prompts=8, group_size=4, iterations=5, inner_steps=2,
    learning_rate=0.05, epsilon_low=0.2, epsilon_high=0.28, vocabulary=5, length=3, sigma_shared=1.0,
    sigma_private=0.5,
)  # fmt: skip


def feed(seed: int, prompts: int = 8) -> Feed:
    _, sampling, order = streams(seed)
    return Feed(prompts, order, sampling)


def filled(seed: int, greso: GresoSampler | None = None):
    start = draw_start(replace(SMALL, mix="easy").world(), (seed,))
    snapshot = start.policy.evaluate()
    return snapshot, fill(snapshot, start, feed(seed), SMALL.group_size, greso)


def test_skip_probabilities_by_hand():
    found = skip_probability(np.array([0, 1, 2, 7]), 0.5)
    np.testing.assert_allclose(found, [0.0, 0.5, 0.75, 0.99])
    np.testing.assert_allclose(skip_probability(np.array([1, 60]), 0.95), [0.05, 1 - 0.95**60])


def test_traces_count_the_most_recent_visits_only():
    sampler, prompts = GresoSampler(3), np.arange(3)
    for means in ([1.0, 0.0, 0.5], [0.98, 0.11, 0.0], [0.97, 0.0, 0.0]):
        sampler.observe(prompts, np.array(means))
    assert sampler.easy_runs.tolist() == [0, 0, 0]
    assert sampler.hard_runs.tolist() == [0, 3, 2]
    sampler.observe(np.array([0]), np.array([1.0]))
    assert sampler.easy_runs.tolist() == [1, 0, 0]
    easy, hard = sampler.skip_probabilities(prompts)
    np.testing.assert_allclose(easy, [0.5, 0.0, 0.0])
    np.testing.assert_allclose(hard, [0.0, 0.875, 0.75])


def test_the_two_tests_use_their_own_numbers():
    sampler = GresoSampler(2)
    sampler.easy_runs[:], sampler.hard_runs[:] = [1, 0], [0, 1]
    skips = sampler.skips(np.arange(2), np.array([[0.49, 0.0], [0.0, 0.49]]))
    assert skips.tolist() == [True, True]
    assert sampler.skips(np.arange(2), np.array([[0.51, 0.0], [0.0, 0.51]])).tolist() == [False, False]


def test_exploration_follows_the_shares():
    sampler = GresoSampler(1)
    sampler.adapt(np.array([1.0] + [0.5] * 11))  # 1/12 easy: too many; no hard ones
    assert (sampler.explore_easy, sampler.explore_hard) == pytest.approx((0.49, 0.51))
    sampler.adapt(np.array([0.0, 0.0] + [0.5] * 10))  # 1/6 hard: too many
    assert (sampler.explore_easy, sampler.explore_hard) == pytest.approx((0.50, 0.50))
    for _ in range(100):
        sampler.adapt(np.array([0.0]))
    assert (sampler.explore_easy, sampler.explore_hard) == pytest.approx((0.95, 0.05))


def test_refills_have_a_quarter_in_reserve():
    assert refill_size(16, 0.5, largest=64, smallest=8) == 40
    assert refill_size(1, 0.0, largest=64, smallest=8) == 8
    assert refill_size(60, 0.9, largest=64, smallest=8) == 64
    assert refill_size(60, 1.0, largest=64, smallest=8) == 64


def test_a_feed_gives_every_prompt_once_an_epoch():
    source = feed(0)
    taken = [source.take(3).tolist() for _ in range(6)]
    assert [len(part) for part in taken] == [3, 3, 2, 3, 3, 2]
    for epoch in (taken[:3], taken[3:]):
        assert sorted(prompt for part in epoch for prompt in part) == list(range(8))
    assert source.epoch == 2


@pytest.mark.parametrize("greso", [False, True])
def test_a_batch_holds_mixed_groups_only_and_counts_every_rollout(greso):
    for seed in range(5):
        _, batch = filled(seed, GresoSampler(8) if greso else None)
        assert batch.size == 8
        for item, kept in zip(batch.rounds, batch.kept, strict=True):
            assert not kept[~item.mixed].any()
        assert len(batch.means) == sum(len(item.drawn) for item in batch.rounds)
        assert batch.size <= batch.used <= len(batch.means)
        mixed = np.concatenate([item.mixed for item in batch.rounds])
        assert mixed[: batch.used].sum() == batch.size
        if not greso:
            assert all(len(item.drawn) == 8 for item in batch.rounds)


def test_the_surrogate_is_the_token_mean_over_the_kept_groups():
    """Against a sum over the kept groups, one by one, in numpy."""
    snapshot, batch = filled(1)
    rollout, advantages, counted = training_batch(batch)
    surrogate = collect(rollout, advantages, counted, snapshot)
    tokens = batch.size * SMALL.group_size * SMALL.length
    positive = negative = 0.0
    for item, kept in zip(batch.rounds, batch.kept, strict=True):
        for prompt in item.drawn[kept]:
            rewards = item.rollout.rewards[0, prompt]
            scores = (rewards - rewards.mean()) / rewards.std()
            positive += SMALL.length * scores[scores > 0].sum() / tokens
            negative += SMALL.length * scores[scores < 0].sum() / tokens
    assert surrogate.positive.sum() == pytest.approx(positive)
    assert surrogate.negative.sum() == pytest.approx(negative)


@pytest.mark.parametrize("arm", ["ds", "greso"])
def test_a_seed_does_not_depend_on_its_company(arm, tmp_path):
    setting = asdict(replace(SMALL, arm=arm))
    both, alone = (
        simulate(Job("f", {}, "papers.rl_zvp.runs.filtering:simulate", setting, seeds), tmp_path)
        for seeds in ((3, 4), (4,))
    )
    for name, values in {**alone.series, **alone.scalars}.items():
        np.testing.assert_array_equal({**both.series, **both.scalars}[name][1:], values)
    assert both.series["rollouts"].shape == (2, SMALL.iterations + 1)
    steps = np.diff(both.series["rollouts"], axis=1)
    assert (steps >= both.series["kept"] * SMALL.group_size).all()


def test_an_unknown_filter_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="unknown filter 'dapo'; choose ds or greso"):
        simulate(Job("f", {}, "", asdict(replace(SMALL, arm="dapo")), (0,)), tmp_path)
