"""The zoo: budgets read off by hand, objectives that are what their names say, keys that stay."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from common.rl.run import Run
from common.rl.testing import rollout_of
from common.study.card import load_card
from common.study.configuration import configure
from common.study.keys import job_key
from papers.zoo import report
from papers.zoo.experiment import OBJECTIVES, PROFILES, WAITING, Config, Objective, jobs
from papers.zoo.method import DrGRPOTrainer
from papers.zoo.runs.methods import METHODS
from papers.zoo.runs.training import build, cost

SEEDS = load_card("zoo").seeds.development
SMOKE = configure(Config, PROFILES, "smoke")


def series(name, values, objective, seed, sweep="train"):
    steps = pd.array([pd.NA] if np.isscalar(values) else range(len(values)), dtype="Int32")
    values = [values] if np.isscalar(values) else values
    return pd.DataFrame(
        {"sweep": sweep, "objective": objective, "seed": seed, "name": name, "step": steps, "value": values}
    )


def make_frame(seeds=(0, 1, 2)):
    """Every objective gains a point a batch; DAPO draws two batches an iteration, and GSPO is slow."""
    parts = []
    for objective in OBJECTIVES:
        for seed in seeds:
            at = np.array([0.0, 2.0, 4.0])
            rise = 0.1 + 0.01 * seed + 0.01 * at
            values = {"curve/iteration": at, "curve/pass_at_1": rise, "curve/pass_at_16": rise + 0.3}
            values |= {name: np.full(4, 0.5) for name in ("reward", "entropy", "share_zero", "length")}
            if objective == "dapo":
                values["rollouts_generated"] = np.full(4, 200.0)
            parts += [series(name, list(curve), objective, seed) for name, curve in values.items()]
            parts.append(series("batch", 100.0, objective, seed))
    for objective in OBJECTIVES:
        pace = 2.0 if objective == "gspo" else 1.0
        parts += [series("seconds", pace, objective, seed, "cost") for seed in seeds]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def frame():
    return make_frame()


def test_equal_rollouts_make_dynamic_sampling_pay_for_what_it_drops(frame):
    scores = report.at_equal("rollouts", frame)
    np.testing.assert_allclose(scores["grpo"], [0.14, 0.15, 0.16])
    np.testing.assert_allclose(scores["dapo"], [0.12, 0.13, 0.14])
    np.testing.assert_allclose(scores["gspo"], scores["grpo"])


def test_equal_time_reads_a_slow_objective_earlier(frame):
    scores = report.at_equal("time", frame)
    np.testing.assert_allclose(scores["gspo"], [0.12, 0.13, 0.14])
    np.testing.assert_allclose(scores["dapo"], scores["grpo"])
    np.testing.assert_allclose(report.at_equal("time", frame, "pass@16")["gspo"], scores["gspo"] + 0.3)


def test_the_questions_are_differences_by_seed(frame):
    np.testing.assert_allclose(report.CLAIMS["z1"](frame)["grpo"], 0.04)
    np.testing.assert_allclose(report.CLAIMS["z1"](frame)["dapo"], 0.02)
    np.testing.assert_allclose(report.CLAIMS["z2"](frame).drop(columns="dapo"), 0.0, atol=1e-15)
    np.testing.assert_allclose(report.CLAIMS["z4"](frame), -0.02)
    np.testing.assert_allclose(report.CLAIMS["z3"](frame)["gspo"], -0.02)


def test_premises_read_the_warm_start_grpo_and_what_dapo_draws(frame):
    np.testing.assert_allclose(report.PREMISES["headroom"](frame), [0.1, 0.11, 0.12])
    np.testing.assert_allclose(report.PREMISES["grpo_learns"](frame), 0.04)
    np.testing.assert_allclose(report.PREMISES["dapo_drops"](frame), 2.0)


def test_costs_are_relative_to_the_reference(frame):
    cells = report.TABLES["table2"](frame).set_index(["row", "column"])["mean"]
    assert cells["DAPO", "rollouts per iteration"] == 200
    assert cells["GSPO", "time, GRPO = 1"] == 2


def test_an_objective_that_waits_is_timed_and_not_trained():
    every = jobs(SMOKE, SEEDS)
    assert not {job.labels.get("objective") for job in every} & set(WAITING)
    (timing,) = (job for job in every if job.sweep == "cost")
    assert set(json.loads(timing.config["objectives"])) == {*OBJECTIVES, *WAITING}


def test_a_new_objective_leaves_the_records_of_the_others_alone(monkeypatch):
    def keys():
        return {
            job.labels["objective"]: job_key(job) for job in jobs(SMOKE, SEEDS[:1]) if job.sweep == "train"
        }

    before = keys()
    monkeypatch.setitem(OBJECTIVES, "new", replace(OBJECTIVES["grpo"], arguments={"epsilon": 0.1}))
    after = keys()
    assert after.pop("new") not in before.values()
    assert after == before
    assert len(set(before.values())) == len(before)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_arms_differ_in_their_objective_only(name, tmp_path):
    """Everything that is not named in the table of objectives equals GRPO's."""
    arms = {job.labels["objective"]: job for job in jobs(SMOKE, SEEDS[:1]) if job.sweep == "train"}
    own, reference = (
        build(arms[arm].config, Run.read(arms[arm].config), 0, tmp_path)[1].to_dict()
        for arm in (name, "grpo")
    )
    different = {key for key in reference if own[key] != reference[key]}
    allowed = {*OBJECTIVES[name].arguments, *OBJECTIVES["grpo"].arguments, "delta", "logging_dir"}
    if OBJECTIVES[name].optimizer_steps:
        allowed |= {"per_device_train_batch_size", "steps_per_generation", "max_steps", "logging_steps"}
    assert different <= allowed
    for key, value in OBJECTIVES[name].arguments.items():
        assert own[key] == value


def test_dr_grpo_divides_by_nothing(tmp_path):
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, float("nan"), 1.0, 0.0, 0.0])
    rollout = rollout_of(rewards, 4, local=slice(4, 12))
    found = DrGRPOTrainer.advantages(object.__new__(DrGRPOTrainer), rewards, rollout)
    torch.testing.assert_close(found, torch.tensor([0, 0, 0, 0, 0, 2 / 3, -1 / 3, -1 / 3]))


def test_the_study_trains_as_many_optimizer_steps_as_an_objective_asks_for():
    gspo = next(job for job in jobs(Config(), SEEDS) if job.labels.get("objective") == "gspo")
    assert Run.read(gspo.config).optimizer_steps == OBJECTIVES["gspo"].optimizer_steps == 4
    assert Config().run.optimizer_steps == 8


def test_an_objective_is_its_method_with_its_arguments(tmp_path):
    assert {objective.method for objective in {**OBJECTIVES, **WAITING}.values()} == set(METHODS)
    objective = Objective("X", "", "group", {"epsilon": 0.15})
    run = SMOKE.run
    method, args = build({**run.model_dump(), **objective.changes(run.batch)}, run, 0, tmp_path)
    assert (method.trainer.__name__, args.epsilon, args.optimizer_steps_per_rollout) == (
        "GroupTrainer",
        0.15,
        2,
    )


def test_rounds_of_the_timing_begin_with_another_objective_each(monkeypatch, tmp_path):
    """Every objective is timed once a round, and its seconds stand in its own rows."""
    visits = []

    def clock(run, timed, seed, workspace, trainer, args):
        visits.append(workspace.name)
        return float(len(visits))

    for name, method in METHODS.items():
        monkeypatch.setitem(METHODS, name, replace(method, seconds_per_batch=clock))
    job = next(job for job in jobs(SMOKE.changed({"cost_seeds": 2}), SEEDS) if job.sweep == "cost")
    frame = cost(job, tmp_path).frame(job.seeds)
    names = [*OBJECTIVES, *WAITING]
    order = [*names, *names[1:], names[0]]
    assert visits == [f"{place // len(names)}-{name}" for place, name in enumerate(order)]
    timed = frame[frame["seed"] == job.seeds[1]].set_index("objective")["value"]
    assert (timed[names[1]], timed[names[0]]) == (10.0, 18.0)
