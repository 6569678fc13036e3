"""The reward's early exit, its controls, the buffer, and the closed form of what replay does."""

import numpy as np
import pytest

from common.rl.advantages import mean_advantages
from common.tasks.travel import Plan, Query
from common.tasks.travel.verification import Verdict, feasible, judge, supported
from papers.deeptravel.method import (
    HierarchicalReward,
    ReplayBuffer,
    admitted,
    aggregated,
    evicted,
    expected_replays,
    flipped,
    informative,
    replayed_density,
    rewards_of,
    turn_calls,
)

QUERY = Query(0, "ATL", "BOS", sights=1, cap=3)
TEXT = " ".join(Plan(("O1", 2, 4), ("R0", 8, 9), ("T2", 3), (("V0", 5),)).words)


def reward_of(trajectory, turns, **options):
    """A reward whose verifiers say these things."""
    return HierarchicalReward(lambda *_: trajectory, lambda part, *_: turns[part], **options)


@pytest.mark.parametrize("trajectory", [True, False])
@pytest.mark.parametrize("turns", [(1, 1, 1, 1), (0, 1, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (0, 0, 0, 0)])
def test_the_early_exit_changes_no_reward_and_asks_no_more_than_it_must(trajectory, turns):
    turns = tuple(map(bool, turns))
    early, full = reward_of(trajectory, turns), reward_of(trajectory, turns, early_exit=False)
    whole = full(QUERY, TEXT, {})
    assert early(QUERY, TEXT, {}).reward == whole.reward == float(trajectory and all(turns))
    assert full.calls == {"trajectory": 1, "turn": 4}
    first = turns.index(False) + 1 if False in turns else 4
    assert early.calls["turn"] == turn_calls(whole) == (first if trajectory else 0)


def test_the_mean_over_turns_still_needs_the_trajectory_and_asks_all():
    reward = reward_of(True, (True, False, True, True), aggregation="mean")
    assert reward(QUERY, TEXT, {}).reward == 0.75
    assert reward.calls["turn"] == 4
    assert reward_of(False, (True,) * 4, aggregation="mean")(QUERY, TEXT, {}).reward == 0.0
    assert aggregated(True, (True, False), "mean") == 0.5


def test_with_the_sandboxes_verifiers_it_is_their_judge():
    seen = {
        QUERY.calls[0]: {"O1": (2, 4)},
        QUERY.calls[1]: {"R0": (8, 9)},
        QUERY.calls[2]: {"T2": (3,)},
        QUERY.calls[3]: {"V0": (5, 8)},
    }
    reward = HierarchicalReward(feasible, supported, early_exit=False)
    for text in (TEXT, TEXT.replace("P3", "P4"), TEXT.replace("H9", "H10"), "no itinerary"):
        assert reward(QUERY, text, seen) == judge(QUERY, text, seen)
    assert HierarchicalReward()(QUERY, "no itinerary", seen).reward == 0.0


def test_a_noisy_judge_is_wrong_at_its_rate():
    noisy = flipped(lambda: True, 0.05, np.random.default_rng(0))
    assert 0.02 < np.mean([not noisy() for _ in range(2000)]) < 0.08


VERDICTS = [
    Verdict(float(trajectory and all(turns)), trajectory, turns, True)
    for trajectory, turns in zip(
        [True, True, True, False, True, False, True, True] * 4,
        [(True,) * 4, (True, False, True, True), (True,) * 4, (True,) * 4] * 8,
        strict=True,
    )
]


@pytest.mark.parametrize("kind", ["permuted", "shuffled"])
def test_a_control_carries_as_many_rewards_as_the_product(kind):
    product = rewards_of(VERDICTS, "product", 8, np.random.default_rng(0))
    other = rewards_of(VERDICTS, kind, 8, np.random.default_rng(0))
    assert product.tolist() == [verdict.reward for verdict in VERDICTS]
    assert other.sum() == product.sum()
    assert (other != product).any()
    passed = np.array([verdict.trajectory for verdict in VERDICTS])
    if kind == "permuted":
        assert not other[~passed].any()
    else:
        np.testing.assert_array_equal(other.reshape(-1, 8).sum(1), product.reshape(-1, 8).sum(1))


def test_the_parts_of_the_reward():
    rewards = {
        kind: rewards_of(VERDICTS, kind, 8, np.random.default_rng(0))
        for kind in ("trajectory", "turn", "mean")
    }
    assert rewards["trajectory"][:4].tolist() == [1, 1, 1, 0]
    assert rewards["turn"][:4].tolist() == [1, 0, 1, 1]
    assert rewards["mean"][:4].tolist() == [1, 0.75, 1, 0]


def test_a_group_of_equal_rewards_gives_exactly_nothing():
    import torch

    for value in (0.0, 0.75, 1.0):
        assert mean_advantages(torch.full((8,), value), 8).abs().max() == 0


def test_failures_come_in_leave_when_solved_and_after_their_tries():
    buffer = ReplayBuffer(tries=3)
    buffer.update("easy", 0.125)
    buffer.update("hard", 0.0)
    buffer.update("hopeless", 0.0)
    assert list(buffer.items) == ["hard", "hopeless"]
    buffer.update("hard", 0.25)
    buffer.update("hopeless", 0.0)
    buffer.update("hard", 0.5)
    assert buffer.items == {"hopeless": 1}
    for _ in range(2):
        buffer.update("hopeless", 0.0)
    assert not buffer.items


def test_the_oldest_leave_duplicates_collapse_and_a_draw_is_of_different_queries():
    buffer = ReplayBuffer(kind="random", capacity=3, tries=0)
    for query in (1, 2, 3, 3, 4):
        buffer.update(query, 0.5)
    assert list(buffer.items) == [2, 3, 4]
    assert sorted(buffer.draw(9, np.random.default_rng(0))) == [2, 3, 4]
    assert ReplayBuffer().draw(2, np.random.default_rng(0)) == []
    copy = ReplayBuffer(kind="random")
    copy.load_state_dict(buffer.state_dict())
    assert list(copy.items.items()) == list(buffer.items.items())


def test_what_was_solved_can_be_replayed_instead():
    buffer = ReplayBuffer(kind="solved")
    buffer.update("failed", 0.0)
    buffer.update("solved", 1.0)
    assert list(buffer.items) == ["solved"]


GRID = np.linspace(0, 1, 4001)[1:-1]


@pytest.mark.parametrize(
    ("law", "stream", "replays"),
    [
        ((5, 0.5), 0.39, 0.91),
        ((8, 1), 0.50, 0.96),
        ((20, 1), 0.29, 0.93),
        ((1, 1), 0.78, 0.45),
        ((1, 20), 0.29, 0.22),
    ],
)
def test_replay_pays_where_most_is_solved_and_costs_in_the_middle(law, stream, replays):
    density = GRID ** (law[0] - 1) * (1 - GRID) ** (law[1] - 1)
    density /= density.sum()
    assert density @ informative(GRID) == pytest.approx(stream, abs=0.02)
    assert replayed_density(GRID, density) @ informative(GRID) == pytest.approx(replays, abs=0.02)


def test_ends_of_the_closed_forms():
    ends = np.array([0.0, 1.0])
    assert informative(ends).tolist() == [0, 0]
    assert admitted(ends).tolist() == [1, 0]
    assert evicted(ends).tolist() == [0, 1]
    assert expected_replays(ends).tolist() == [6, 1]
    assert informative(np.array([0.5]))[0] == pytest.approx(1 - 2 * 0.5**8)
    assert admitted(np.array([0.3]))[0] == pytest.approx(0.7**8)
