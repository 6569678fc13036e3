"""Jobs at a size that tests can afford: exact checks, budgets, resumed oracle counts, arms, measures."""

from __future__ import annotations

import copy
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import pytest
import rdkit
import torch

from common.rl import testing
from common.study.configuration import configure
from common.study.errors import StudyError
from common.tasks.molecules import warm_start
from common.tasks.molecules.warm_start import Recipe, Setting
from papers.polo.experiment import PROFILES, Config, jobs, theory_jobs, training_jobs
from papers.polo.method import Elites
from papers.polo.report import against, path, rise
from papers.polo.runs import training as runs
from papers.polo.runs.search import optimise
from papers.polo.runs.training import ARMS, StudyTrainer, arguments, build

CONFIG = configure(Config, PROFILES, "smoke")
SETTING = Setting(
    "templates", "logp", train_leads=2, test_leads=2, hardness=0, budget=150, rdkit=rdkit.__version__
)


@pytest.fixture(scope="module")
def policy():
    """Writes admissible edits now and then: enough for oracle calls."""
    torch.set_num_threads(1)
    return warm_start.train(
        Recipe(SETTING, turns=3, demonstrations=40, sft_steps=80, sft_rate=1e-2, hidden=32, layers=1), seed=0
    )


@pytest.mark.parametrize("job", list(theory_jobs(CONFIG, (0,))), ids=lambda job: job.labels["analysis"])
def test_exact_checks_have_no_error(job, tmp_path):
    series = job.function()(job, tmp_path).series
    for name in {"distinct", "ties", "uncapped", "outside", "sign", "closed_form"} & set(series):
        assert np.abs(series[name]).max() < 1e-10
    if "capped" in series and job.labels["analysis"] == "invariance":
        assert 0 < series["capped"].mean() < 1


def test_every_arm_is_a_configuration_and_versions_are_in_the_jobs(tmp_path):
    desk = configure(Config, PROFILES, "desk")
    assert set(desk.arms.split(",")) <= set(ARMS)
    listed = jobs(desk.changed({"seeds": 1}), (0,))
    trained = {job.labels["arm"]: job for job in listed if job.sweep == "training"}
    assert len(trained) == 8
    assert all(job.config["rdkit"] == rdkit.__version__ for job in trained.values())
    assert arguments(trained["ppo"].config, 0, tmp_path).pgpo_weight == 0
    assert arguments(trained["shuffle"].config, 0, tmp_path).pgpo_shuffled
    many = arguments(trained["single"].config, 0, tmp_path)
    assert (
        many.per_device_train_batch_size
        == 5 * arguments(trained["ppo"].config, 0, tmp_path).per_device_train_batch_size
    )
    with pytest.raises(StudyError, match="arm"):
        arguments({**trained["ppo"].config, "arm": "grpo"}, 0, tmp_path)


def test_no_lead_costs_more_than_its_budget(policy):
    model, words = policy.model, policy.tokenizer
    leads, bench = SETTING.leads("test"), SETTING.bench(4)
    progress = optimise(model, words, SETTING, leads, bench, 2, Elites(), 0)
    for each, lead in zip(progress, leads, strict=True):
        assert len(each.curve) == bench.assay(lead.smiles).calls <= 4


def training(folder, policy, arm="pgpo", **changes):
    """The trainer of a small run of four rollout batches."""
    smoke = configure(Config, PROFILES, "smoke").changed({"run.iterations": 4, "objective.entropy_coef": 0.0})
    (job,) = (job for job in training_jobs(smoke, (0,)) if job.labels["arm"] == arm)
    config = {**job.config, "save_every": 4, **changes}
    return build(config, 0, folder, copy.deepcopy(policy.model), policy.tokenizer, [])


def test_a_run_that_was_cut_pays_for_each_molecule_once(tmp_path, policy):
    whole = training(tmp_path / "whole", policy)
    whole.train()
    cut = training(tmp_path / "cut", policy)
    cut.args.max_steps = 4
    cut.train()
    paid = cut.bench.calls
    resumed = training(tmp_path / "cut", policy)
    resumed.train(resume_from_checkpoint=True)
    assert 0 < paid < resumed.bench.calls
    assert resumed.bench.state == whole.bench.state
    calls = [
        [entry["oracle/calls"] for entry in testing.timeless_log(each) if "reward" in entry]
        for each in (resumed, whole)
    ]
    assert calls[0] == calls[1]
    assert calls[0] == sorted(calls[0])


class Summed(StudyTrainer):
    """Compares both parts of the gradient with the one that the optimizer sees."""

    def _gradient(self, objective):
        part = super()._gradient(objective)
        self.parts = [*getattr(self, "parts", []), part]
        return part

    def training_step(self, *args, **others):
        loss = super().training_step(*args, **others)
        if not hasattr(self, "seen"):
            weights = [weight for weight in self.model.parameters() if weight.requires_grad]
            self.seen = torch.cat([weight.grad.flatten() for weight in weights])
        return loss


def test_the_gradients_that_are_compared_add_up_to_the_optimizers(tmp_path, policy, monkeypatch):
    monkeypatch.setattr(runs, "StudyTrainer", Summed)
    trainer = training(tmp_path, policy)
    trainer.args.max_steps = 1
    trainer.train()
    torch.testing.assert_close(trainer.parts[0] + trainer.parts[1], trainer.seen, rtol=1e-4, atol=1e-6)
    assert trainer.parts[1].norm() > 0


@pytest.mark.parametrize("arm", ["ppo", "pgpo"])
def test_small_batches_give_the_gradient_of_the_whole(arm, tmp_path, policy, monkeypatch):
    monkeypatch.setattr(runs, "StudyTrainer", Summed)
    gradients = []
    for small in ({"micro_batch_tokens": 128, "micro_batch_gap": 4}, {}):
        monkeypatch.setattr(runs, "SMALL", small)
        trainer = training(tmp_path / str(len(small)), policy, arm)
        trainer.args.max_steps = 1
        trainer.train()
        gradients.append(trainer.seen)
    assert gradients[1].norm() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def frame_of(rows, **labels):
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "value"]).assign(sweep="training", **labels)


def test_the_primary_measure_is_defined_where_nothing_was_gained():
    rows = [("ppo", 1, pd.NA, 0.0), ("pgpo", 1, pd.NA, 0.05), ("ppo", 2, pd.NA, 0.1), ("pgpo", 2, pd.NA, 0.1)]
    frame = frame_of(rows, name="final/gain")
    assert against(frame, "pgpo", "ppo").tolist() == pytest.approx([0.05, 0.0])


def test_a_rise_is_of_the_last_quarter_over_the_first():
    frame = frame_of([("ppo", 1, step, float(step)) for step in range(8)], name="reward")
    assert rise(frame, "ppo").tolist() == [6.0]
    assert rise(frame[frame["step"] < 2], "ppo").tolist() == [1.0]


def test_a_path_is_read_back_from_letters():
    texts = {"path/0": "Cc1ccccc1", "path/1": "COc1ccccc1"}
    parts = [
        frame_of([("pgpo", 1, step, ord(letter)) for step, letter in enumerate(text)], name=name)
        for name, text in texts.items()
    ]
    parts.append(frame_of([("pgpo", 1, 0, 0.0), ("pgpo", 1, 1, 7.0)], name="path/calls"))
    twin = path(pd.concat(parts, ignore_index=True))
    assert twin["smiles"].tolist() == list(texts.values())
    assert twin["calls"].tolist() == [0, 7]
    assert twin["similarity"].iloc[0] == 1.0
    assert twin["qed"].between(0, 1).all()
