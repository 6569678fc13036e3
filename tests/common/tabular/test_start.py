"""Starting policies and correct sets."""

import numpy as np

from common.tabular.start import World, draw_start, streams

WORLD = World(
    vocabulary=4, length=3, prompts=200, sigma_shared=2.0, sigma_private=0.5, rates=(0.001, 0.1, 0.5)
)


def test_draws_follow_the_world() -> None:
    start = draw_start(WORLD, (3,))
    sizes = start.targets.correct.sum(axis=-1)
    assert set(sizes.ravel()) == {1, 6, 32}  # at least one; round(6.4); half of 64
    assert all(40 < (sizes == size).sum() < 95 for size in (1, 6, 32))
    assert abs(start.policy.private.std() - 0.5) < 0.02
    assert abs(start.policy.shared.std() - 2.0) < 0.4
    frequency = start.targets.correct[0][sizes[0] == 32].mean(axis=0)
    assert 0.2 < frequency.min() < frequency.max() < 0.8  # every sequence can be correct


def test_a_seed_draws_the_same_start_in_any_company() -> None:
    alone, together = draw_start(WORLD, (7,)), draw_start(WORLD, (4, 7, 9))
    np.testing.assert_array_equal(alone.policy.shared[:, 0], together.policy.shared[:, 1])
    np.testing.assert_array_equal(alone.policy.private[:, 0], together.policy.private[:, 1])
    np.testing.assert_array_equal(alone.targets.correct[0], together.targets.correct[1])
    assert (together.policy.shared[:, 0] != together.policy.shared[:, 1]).all()


def test_streams_of_a_seed_and_of_its_neighbour_differ() -> None:
    first = [generator.random(4) for seed in (0, 1) for generator in streams(seed)]
    assert len({tuple(values) for values in first}) == 6
