"""Tabular agents on the cascade lock."""

import numpy as np
import pytest

from common.study.errors import StudyError
from common.tasks.cascade_lock import Lock, combinations, success_probability
from common.tasks.lock_episodes import action_rows, form_rows, roll_out, warm_start


@pytest.mark.parametrize("regime", ["plain", "decoy"])
def test_the_lock_opens_as_often_as_dynamic_programming_says(regime):
    lock = Lock()
    keys = combinations(lock, 0)
    table = np.exp(warm_start(lock, keys, regime, right=0.4))
    np.testing.assert_allclose(table.sum(-1), 1.0)
    episodes = roll_out(table, lock, keys, 8000, np.random.default_rng(0))
    chances = table[action_rows(lock), keys.actions][0]
    exact = success_probability(lock, chances, float(table[form_rows(lock), keys.form].prod(-1)[0]))
    spread = (exact * (1 - exact) / 8000) ** 0.5
    assert abs(episodes.success.mean() - exact) < 4 * spread


def test_episodes_end_when_the_lock_opens_or_the_turns_are_over():
    lock = Lock()
    keys = combinations(lock, 1)
    sure = np.exp(warm_start(lock, keys, "plain", right=0.9999))
    episodes = roll_out(sure, lock, keys, 16, np.random.default_rng(0))
    played = episodes.alive.sum(0)
    assert (played[episodes.success] >= lock.stages).all()
    assert (played[~episodes.success] == lock.turns).all()


def test_an_unknown_regime_is_refused():
    lock = Lock()
    with pytest.raises(StudyError, match="regime"):
        warm_start(lock, combinations(lock, 0), "plane", right=0.3)
