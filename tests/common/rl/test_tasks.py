"""Tasks by name: those of the repository, a class of anybody's own, and what is neither."""

import pytest

from common.rl.config import GroupConfig
from common.rl.harness import policy_path, shared_arguments, train_arm
from common.rl.run import TASKS
from common.rl.tasks import load_task, task_class
from common.rl.trainer import GroupTrainer
from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.keys import covered, job_key
from common.study.sources import Sources
from tests.common.rl import runs, toy_task

ECHO = "tests.common.rl.toy_task:Echo"
RUN = runs.RUN.changed(
    {
        "model": "random",
        "task": ECHO,
        "learning_rate": 0.01,
        "batch": 16,
        "mini_batch": 8,
        "group_size": 4,
        "max_response": 2,
        "iterations": 2,
        "training_prompts": 0,
        "evaluation_samples": 4,
        "curve_samples": 0,
        "evaluation_prompts": 0,
        "scoring_batch": 16,
    }
)


def test_a_task_of_ones_own_trains_with_its_own_policy(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_task.Echo, "folder", tmp_path)
    args = GroupConfig(**shared_arguments(RUN, 0, tmp_path / "work"), loss_type="dapo")
    record = train_arm(RUN, 0, tmp_path / "work", GroupTrainer, args)
    assert record.series["reward"].shape == (1, 2)
    assert record.scalars["final/pass_at_1/all"] == [0.5]


def test_models_are_the_tasks_own_or_what_they_are_called():
    run = RUN.changed({"task": "opchain", "model": "pocket"})
    assert [policy_path(run, seed) for seed in (0, 4)] == ["opchain-0", "opchain-1"]
    assert policy_path(run.changed({"model": "some/model"}), 0) == "some/model"
    assert policy_path(run.changed({"task": "math"}), 0) == "pocket"


def test_every_short_name_is_a_class():
    assert {name: task_class(RUN.changed({"task": name})).__name__ for name in TASKS} == {
        "opchain": "OpChain",
        "math": "Math",
    }


@pytest.mark.parametrize("task", [*TASKS, ECHO])
def test_the_source_of_the_task_is_in_the_key_of_a_job(task):
    run = RUN.changed({"task": task})
    job = Job("main", {}, "common.rl.harness:train_arm", run.model_dump(), (0,), modules=run.modules)
    assert run.task_entry.partition(":")[0] in covered(job, Sources())


def test_unknown_tasks_are_clear_errors():
    with pytest.raises(StudyError, match=r"unknown task 'opchian', did you mean 'opchain'\?.*module:Class"):
        load_task(RUN.changed({"task": "opchian"}), 0, None)
    with pytest.raises(AttributeError, match="no attribute 'Ecko'"):
        load_task(RUN.changed({"task": "tests.common.rl.toy_task:Ecko"}), 0, None)
    missing = RUN.changed({"task": "nowhere.task:Task"})
    job = Job("main", {}, "common.rl.harness:train_arm", {}, (0,), modules=missing.modules)
    with pytest.raises(StudyError, match=r"names nowhere\.task, which is no module of this repository"):
        job_key(job)
