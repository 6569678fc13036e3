"""Measures on small numbers, arms of the sweeps, and `reprise score`."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from common.rl.testing import rollout_of
from common.study.card import load_card
from common.study.cli import cli
from common.study.errors import StudyError
from common.study.jobs import Job
from common.tasks.toolcall.warm_start import DATA_SEEDS
from papers.rest import experiment, report
from papers.rest.runs import training


def frame(sweep, **arms):
    """Scalars and series by arm and name, one seed."""
    parts = [
        pd.DataFrame(
            {
                "sweep": sweep,
                "arm": arm,
                "seed": 0,
                "name": name,
                "step": pd.array(range(len(values)) if len(values) > 1 else [pd.NA], dtype="Int32"),
                "value": np.asarray(values, dtype=float),
            }
        )
        for arm, named in arms.items()
        for name, values in named.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_base_policies_of_the_study_are_the_committed_ones():
    assert len(DATA_SEEDS) == experiment.STARTS


def test_dialogues_are_the_mean_over_their_kinds():
    shares = {
        f"final/pass_at_1/{kind}": [share] for kind, share in zip(report.TURNS, (0, 1, 1, 0), strict=True)
    }
    assert report.dialogues(frame("training", grpo=shares), "grpo")[0] == 0.5


def test_a_trend_is_not_rough():
    trend, noise = np.linspace(1, 0, 30), 0.1 * (-1.0) ** np.arange(30)
    own = frame("training", code={"entropy": trend + 1e-3 * noise}, grpo={"entropy": trend + noise})
    assert report.roughness(own, "code")[0] < report.roughness(own, "grpo")[0] - 3


def test_a_signal_that_is_not_there_has_no_logarithm():
    own = pd.concat(
        frame("frozen", x={"snr": [value]}).assign(weights=name)
        for name, value in {"uniform": -0.1, "inverse": 0.2}.items()
    )
    assert np.isnan(report.log_snr(own, "uniform")[0])
    assert report.log_snr(own, "inverse")[0] == pytest.approx(np.log(0.2))


def test_every_arm_has_a_name_and_a_recipe():
    assert set(report.NAMES) == set(training.ARMS) == {*experiment.COMPARED, *experiment.FURTHER}


def test_profiles_run_what_they_say():
    seeds = load_card("rest").seeds.judged
    config = experiment.Config().changed(experiment.PROFILES["laptop"])
    sweeps = pd.Series([job.sweep for job in experiment.jobs(config, seeds)]).value_counts()
    assert sweeps.to_dict() == {"training": 100, "frozen": 20, "theory": 3}
    desk = experiment.Config().changed(experiment.PROFILES["desk"])
    assert sum(job.sweep == "published" for job in experiment.jobs(desk, seeds)) == 10


@pytest.mark.parametrize("name", training.ARMS)
def test_an_arm_makes_its_configuration(name, tmp_path):
    arm = training.ARMS[name]
    run = experiment.Config().changed(experiment.PROFILES["laptop"] | {"run.kl_coefficient": arm.kl}).run
    made = training.arguments(run, arm, 0, tmp_path)
    assert made.weighting == arm.weighting
    assert made.row_skipping == (made.beta == 0.0)
    assert made.loss_type == ("dr_grpo" if arm.centred else "bnpo")


def test_advantages_of_dr_grpo_keep_the_scale_of_rewards():
    rewards = torch.tensor([1.0, 3.0, 0.0, float("nan")])
    centred = training.CentredTrainer.advantages(None, rewards, rollout_of(rewards, 2))
    assert centred.tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_an_unknown_arm_is_named(tmp_path):
    with pytest.raises(StudyError, match="arm 'cod'"):
        training.train(Job("training", {}, "x", {"arm": "cod"}, (0,)), tmp_path)


def test_answers_are_scored_from_the_command_line(tmp_path):
    benchmark, answers = tmp_path / "level-1.json", tmp_path / "answers.jsonl"
    benchmark.write_text(json.dumps([{"user": "u", "answer": [{"name": "f", "parameters": {"a": 1}}]}] * 2))
    answers.write_text('{"result": "f(a=1)"}\n{"result": "__import__(\'os\').system(\'true\')"}')
    arguments = ["score", "rest", "--benchmark", str(benchmark), "--answers", str(answers)]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    head, _, fault = done.output.splitlines()
    assert head.endswith("of 2 questions right, 1 unreadable")
    assert fault.startswith("line 2 (2): ")
    benchmark.write_text("{")
    broken = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(broken.exception, StudyError)
    assert "line 1: no JSON" in str(broken.exception)
