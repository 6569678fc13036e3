"""GRESO's probabilities, and the filters' batches: what is trained on, what is counted."""

import numpy as np
import pytest

from common.tabular.filtering import Batch, Feed, GresoSampler, fill, refill_size, skip_probability
from common.tabular.start import World, draw_start, streams

WORLD = World(vocabulary=5, length=3, prompts=8, sigma_shared=1.0, sigma_private=0.5, rates=(0.3, 0.6, 0.9))


def feed(seed: int, prompts: int = 8) -> Feed:
    _, sampling, order = streams(seed)
    return Feed(prompts, order, sampling)


def filled(seed: int, greso: GresoSampler | None = None) -> Batch:
    start = draw_start(WORLD, (seed,))
    return fill(start.policy.evaluate(), start, feed(seed), 4, greso)


def test_skip_probabilities_by_hand():
    np.testing.assert_allclose(skip_probability(np.array([0, 1, 2, 7]), 0.5), [0.0, 0.5, 0.75, 0.99])
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
    parts = [source.take(3).tolist() for _ in range(6)]
    assert [len(part) for part in parts] == [3, 3, 2, 3, 3, 2]
    for epoch in (parts[:3], parts[3:]):
        assert sorted(prompt for part in epoch for prompt in part) == list(range(8))
    assert source.epoch == 2


@pytest.mark.parametrize("greso", [False, True])
def test_a_batch_trains_on_mixed_groups_only_and_counts_every_rollout(greso):
    for seed in range(5):
        batch = filled(seed, GresoSampler(8) if greso else None)
        assert batch.size == 8
        mixed = [item.rollout.mixed[0, item.prompts] for item in batch.rounds]
        for item, both in zip(batch.rounds, mixed, strict=True):
            assert not item.trained[~both].any()
        assert len(batch.means) == sum(len(item.prompts) for item in batch.rounds)
        assert batch.size <= batch.used <= len(batch.means)
        assert np.concatenate(mixed)[: batch.used].sum() == batch.size
        assert batch.zero_variance == pytest.approx(1 - np.concatenate(mixed).mean())
        if not greso:
            assert all(len(item.prompts) == 8 for item in batch.rounds)


def test_an_empty_batch_has_no_share():
    assert np.isnan(Batch([]).zero_variance)
    assert Batch([]).size == Batch([]).used == 0
