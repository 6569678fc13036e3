"""The lock is what it says: exact probabilities against all histories and against play."""

from itertools import product

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from common.agents.episodes import Codec, Rules, World
from common.agents.lockstep import play
from common.models.recipe import ModelShape, build_model
from common.rl.rollout import derived_generator
from common.rl.testing import pocket_tokenizer
from common.tasks.cascade_lock import (
    CascadeLock,
    Lock,
    advance,
    combinations,
    stage_probabilities,
    success_probability,
)

LOCK = Lock()
COMBINATIONS = combinations(LOCK, 3)


def right_turn(env, action=0):
    """The turn that opens a stage, with the action's symbol moved by some places."""
    place = env.stage % env.lock.classes
    act = (env.combinations.actions[env.task, place] + action) % env.lock.symbols
    return [*env.combinations.form[env.task], act]


@pytest.mark.parametrize(("accuracy", "share"), [(0.25, 0.019), (0.28, 0.041), (0.5, 0.69)])
def test_success_at_a_fixed_accuracy(accuracy, share):
    assert success_probability(LOCK, np.full(3, accuracy)) == pytest.approx(share, rel=0.02)


unit = st.floats(0, 1)


@given(st.tuples(unit, unit), unit, unit, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_probabilities_are_those_of_all_histories(accuracy, formed, slip, turns):
    lock = Lock(stages=3, turns=turns, classes=2, slip=slip)
    ends = np.zeros(lock.stages + 1)
    for history in product(("lost", "right", "shut", "wrong"), repeat=turns):
        stage, weight = 0, 1.0
        for turn in history:
            if stage == lock.stages:
                weight *= 0.25  # an open lock: every history counts once
                continue
            chance = accuracy[stage % 2]
            weight *= {
                "lost": 1 - formed,
                "right": formed * chance,
                "shut": formed * (1 - chance) * slip,
                "wrong": formed * (1 - chance) * (1 - slip),
            }[turn]
            stage += (turn == "right") - (turn == "shut" and stage > 0)
        ends[stage] += weight
    computed = stage_probabilities(lock, np.array(accuracy), formed)
    np.testing.assert_allclose(computed[-1], ends, atol=1e-12)
    np.testing.assert_allclose(computed.sum(axis=1), 1, atol=1e-12)


def test_play_has_the_exact_probabilities():
    lock, tries = Lock(stages=4, turns=10), 3000
    env = CascadeLock(combinations(lock, 0), lock)
    policy, wins = np.random.default_rng(7), 0
    env.reset(seed=1)
    for _ in range(tries):
        env.reset()
        over = False
        while not over:
            turn = right_turn(env, action=0 if policy.random() < 0.4 else 1)
            if policy.random() < 0.1:
                turn[0] += 1
            _, reward, terminated, truncated, _ = env.step(turn)
            over = terminated or truncated
            wins += reward
    exact = success_probability(lock, np.full(3, 0.4), 0.9)
    assert abs(wins / tries - exact) < 4 * (exact * (1 - exact) / tries) ** 0.5


def test_right_turns_open_it_and_only_the_last_one_is_rewarded():
    env = CascadeLock(COMBINATIONS)
    env.reset(seed=0)
    steps = [env.step(right_turn(env)) for _ in range(10)]
    assert [reward for _, reward, *_ in steps] == [0.0] * 9 + [1.0]
    assert [terminated for _, _, terminated, _, _ in steps] == [False] * 9 + [True]
    assert [observation[1] for observation, *_ in steps] == list(range(1, 11))
    with pytest.raises(RuntimeError, match="the episode is over"):
        env.step([0, 0, 0, 0])


@pytest.mark.parametrize("turn", [[], [0], [0] * 5, [-1] * 4, [99] * 4])
def test_what_is_no_action_loses_the_turn(turn):
    env = CascadeLock(COMBINATIONS)
    env.reset(seed=0)
    for _ in range(4):
        env.step(right_turn(env))
    observation, reward, *_, info = env.step(turn)
    assert (observation[1], reward, info["formed"]) == (4, 0.0, False)


def test_wrong_form_loses_the_turn_also_with_the_right_action():
    env = CascadeLock(COMBINATIONS)
    env.reset(seed=0)
    form = right_turn(env)
    form[1] = (form[1] + 1) % 8
    assert env.step(form)[0][1] == 0


def test_a_wrong_action_shuts_at_most_one_stage_with_the_probability_of_a_slip():
    stages = np.array([0, 3, 3, 3, 3])
    formed, right = np.array([True, True, True, False, True]), np.array([False, False, False, False, True])
    slips = np.array([True, True, False, True, True])
    assert advance(stages, formed, right, slips).tolist() == [0, 2, 3, 3, 4]


def test_the_turns_run_out():
    env = CascadeLock(COMBINATIONS)
    env.reset(seed=0)
    steps = [env.step([0, 0, 0]) for _ in range(30)]
    assert [truncated for *_, truncated, _ in steps] == [False] * 29 + [True]


def test_stages_of_a_class_need_the_same_action_and_tasks_have_their_own():
    assert COMBINATIONS.actions.shape == (8, 3)
    assert len({tuple(row) for row in np.hstack(COMBINATIONS).tolist()}) == 8
    assert np.array_equal(combinations(LOCK, 3).actions, COMBINATIONS.actions)
    assert not np.array_equal(combinations(LOCK, 4).actions, COMBINATIONS.actions)


def test_a_seed_decides_task_and_slips_and_an_option_the_task():
    env = CascadeLock(COMBINATIONS)

    def history(seed):
        env.reset(seed=seed)
        return [env.step(right_turn(env, action=turn % 2))[0].tolist() for turn in range(12)]

    assert history(5) == history(5)
    assert len({str(history(seed)) for seed in range(20)}) > 10
    assert env.reset(seed=0, options={"task": 6})[0].tolist() == [6, 0]


def test_it_is_an_environment_of_gymnasium():
    check_env(CascadeLock(COMBINATIONS), skip_render_check=True)


@pytest.mark.parametrize("change", [{"symbols": 1}, {"slip": 1.1}, {"turns": 0}])
def test_impossible_locks_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Lock(**change)


def test_a_language_model_plays_it():
    tokenizer = pocket_tokenizer()
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=256), tokenizer, seed=0)
    codec = Codec(
        observation=lambda seen: [11 + int(seen[0]), 20 + int(seen[1])],
        action=lambda ids: [token - 3 for token in ids],
    )
    rules = Rules(ends=(), turns=30, turn_tokens=4, context=200, memory=1)
    worlds = [World(lambda: CascadeLock(COMBINATIONS), seed) for seed in range(6)]
    played = play(model, worlds, codec, rules, [derived_generator(seed) for seed in range(6)])
    assert {each.outcome for each in played} == {"truncated"}
    assert all(len(each.turns) == 30 for each in played)
    assert {len(turn.action) for each in played for turn in each.turns} == {4}
    assert torch.tensor([each.reward for each in played]).sum() == 0
