"""A short training in the real game: what a job records, and that it is the same in every run."""

from dataclasses import asdict

import numpy as np
import pytest

from common.study.assets import missing, reason
from common.study.jobs import Job
from common.tasks.text_games.simulators import RUNTIME, TEXTWORLD
from common.tasks.text_games.training import Search, train

LACKING = missing([*RUNTIME, TEXTWORLD])
pytestmark = [pytest.mark.skipif(bool(LACKING), reason=reason(LACKING)), pytest.mark.slow]
SMALL = Search(steps=2, episodes=4, inner=1, imitation=4, seen=4, unseen=2)


def run(folder, **changes):
    config = {**asdict(SMALL), "trainer": "common.agents.trainer:AgentTrainer", "logged": "", **changes}
    return train(Job("text_game", {}, "", config, (0,)), folder)


def test_a_job_records_success_and_entropy_and_repeats_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    first, again = (run(tmp_path / name) for name in ("a", "b"))
    assert set(first.series) == {"success", "entropy"}
    assert all(values.shape == (1, 2) for values in first.series.values())
    assert 1.0 < first.series["entropy"][0, 0] < np.log(30)
    for name, values in first.series.items():
        np.testing.assert_array_equal(values, again.series[name])
    np.testing.assert_array_equal(first.scalars["unseen"], again.scalars["unseen"])
    epo = {"trainer": "papers.epo.trainer:EPOTrainer", "logged": "epo/outside", "epo_alpha": 0.1}
    outside = run(tmp_path / "c", **epo).series["epo/outside"][0]
    assert np.isnan(outside[0])
    assert 0 <= outside[1] <= 1
