"""Exact checks have no error, the table learns and clogs, and every arm is a configuration."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch

from common.study.configuration import configure
from common.study.errors import StudyError
from common.study.jobs import Job
from papers.deeptravel.experiment import PROFILES, Config, jobs
from papers.deeptravel.method import ReplayBuffer, density, supplied
from papers.deeptravel.runs import tabular, theory
from papers.deeptravel.runs.training import ARMS, arguments, train

SMOKE, DESK = (configure(Config, PROFILES, profile) for profile in ("smoke", "desk"))


def simulated(arm, seeds=(0, 1, 2), **config):
    job = Job("replay", {}, "", {"regime": "typical", "batches": 60, **config, "arm": arm}, seeds)
    return tabular.simulate(job, None).series


def test_the_early_exit_and_the_closed_forms_have_no_error():
    series = theory.reward(Job("theory", {}, "", {"draws": 300}, (0,)), None).series
    assert not series["reward"].any()
    assert not series["count"].any()
    np.testing.assert_array_equal(series["made"] + series["gated"] + series["stopped"], 4)
    assert 0.2 < series["passed"].mean() < 0.8
    assert series["stopped"].sum() > 0
    found = theory.groups(Job("theory", {}, "", {"group": 4}, (0,)), None).series
    assert max(np.abs(values).max() for values in found.values()) < 1e-12


@pytest.mark.parametrize(("stream", "sign"), [("tail", 1), ("middling", -1)])
def test_a_process_is_as_the_closed_form_says(stream, sign):
    config = {"stream": stream, "kind": "failures", "batches": 600, "queries": 16, "group": 8}
    config |= {"every": 2, "share": 0.5, "tries": 6}
    found = theory.steady(Job("process", {}, "", config, (0, 1)), None).scalars
    assert (sign * found["change"] > 0).all()
    assert np.abs(found["error"]).max() < 0.03
    assert 0.05 < found["replayed"].mean() <= 0.25
    assert found["wasted"].max() < 0.02


def test_the_table_learns_and_a_group_of_equal_rewards_moves_nothing():
    series = simulated("grpo")
    assert (series["overall"][:, -1] > series["overall"][:, 0]).all()
    assert not series["replayed"].any()
    table = tabular.Table(tabular.Training(replay=""), 0)
    table.logits[:] = 50.0
    before = table.logits.copy()
    assert table.step(0)["silent"] == 1.0
    np.testing.assert_array_equal(table.logits, before)


def test_arms_of_a_seed_have_the_same_queries_and_as_many_rollouts():
    tables = [tabular.Table(tabular.Training(replay=replay), 3) for replay in ("", "failures", "random")]
    for other in tables[1:]:
        np.testing.assert_array_equal(tables[0].logits, other.logits)
    shapes = {simulated(arm)["hard"].shape for arm in tabular.ARMS}
    assert shapes == {(3, 60)}


def test_without_eviction_unsolvable_queries_fill_the_buffer():
    sizes = {}
    for tries in (0, 6):
        buffer, dice = ReplayBuffer(tries=tries), np.random.default_rng(0)
        for query in range(400):
            for asked in (query, *buffer.draw(8, dice)):
                buffer.update(asked, 0.0)
        sizes[tries] = len(buffer.items)
    assert sizes == {0: 400, 6: pytest.approx(4, abs=4)}


def test_a_stream_of_solved_queries_has_next_to_nothing_to_replay():
    shares = {
        name: supplied(theory.GRID, density(theory.STREAMS[name], theory.GRID)) for name in theory.STREAMS
    }
    assert shares["solved"] < 0.01 < 0.1 < shares["tail"] < shares["hopeless"]


@pytest.mark.parametrize(
    "config", [{"arm": "other", "regime": "typical"}, {"arm": "grpo", "regime": "other"}]
)
def test_an_unknown_arm_or_regime_is_refused(config):
    with pytest.raises(StudyError, match="other"):
        tabular.simulate(Job("replay", {}, "", config, (0,)), None)


def test_every_arm_is_a_configuration(tmp_path):
    listed = jobs(DESK.changed({"seeds": 1, "arms": ",".join(ARMS)}), (0,))
    trained = {job.labels["arm"]: job for job in listed if job.sweep == "training"}
    assert set(trained) == set(ARMS)
    assert {job.labels["arm"] for job in listed if job.sweep == "drawn"} == {
        "product",
        "trajectory",
        "permuted",
    }
    assert all(job.assets == ("tau2_airline",) for job in trained.values())
    made = {arm: arguments(job.config, 0, tmp_path) for arm, job in trained.items()}
    assert made["product"].rarl_replay == made["flaky"].rarl_replay == ""
    assert made["trajectory"].rarl_reward == "trajectory"
    assert made["rarl"].rarl_replay == "failures"
    assert made["dapo"].epsilon_high == 0.28
    plain, other = (trained[arm].config for arm in ("product", "shuffled"))
    assert {name for name in plain if plain[name] != other[name]} == {"arm"}
    with pytest.raises(StudyError, match="arm"):
        train(Job("training", {}, "", {**plain, "arm": "reinforce"}, (0,)), tmp_path)


def test_smoke_needs_no_asset_and_a_run_tells_what_the_report_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    torch.set_num_threads(1)
    listed = jobs(SMOKE, (0,))
    assert not any(job.assets for job in listed)
    job = next(job for job in listed if job.sweep == "training")
    record = job.function()(job, tmp_path)
    assert {"final/pass", "final/cool/pass", "final/turn/hotel"} <= set(record.scalars)
    assert record.series["curve/pass"].shape == (1, 2)
    assert record.series["trajectory"].shape == record.series["gated"].shape == (1, 2)
    assert record.series["sample/before"].shape[1] > 5
