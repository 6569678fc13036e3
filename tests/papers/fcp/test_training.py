"""A whole job at the smallest size: deterministic, seed by seed."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from dataclasses import replace

import pytest
import torch

from common.models.pocket import load_policy
from common.models.recipe import ModelShape
from common.tasks.verbal_arith.warm_start import BaseConfig
from common.tasks.verbal_arith.words import VOCABULARY, ArithCritic
from papers.fcp.experiment import PROFILES, Config, training_jobs
from papers.fcp.runs import training
from papers.fcp.runs.online import RecordingCritic


def test_the_recording_critic_averages_rollouts_by_round():
    critic = RecordingCritic(ArithCritic(0))
    for response in ("# 3", "# 4", "1 + 2 = 3 # 3", "# 3"):
        critic("1 + 2 =", response, "3")
    curves = critic.curves(2)
    assert curves["accuracy"].tolist() == [0.5, 1.0]
    assert curves["length"].tolist() == [3.0, (8 + 3) / 2]
    assert curves["score"][1] == pytest.approx((10 + 8) / 20)


@pytest.fixture
def tiny():
    """The `main` job of seed 0 at the smallest size."""
    torch.set_num_threads(1)
    small = {
        **PROFILES["smoke"],
        "offline.prompts": 24,
        "online.rounds": 1,
        "online.prompts": 4,
        "evaluation_prompts": 4,
    }
    jobs = training_jobs(Config().changed(small), (0,))
    return {job.sweep: replace(job, config={**job.config, "controls": False}) for job in jobs}


def test_a_job_is_a_function_of_configuration_and_seed(tiny, tmp_path):
    first, again = (training.main(tiny["main"], tmp_path / str(index)).frame((0,)) for index in range(2))
    assert first.equals(again)
    arms = first.groupby(["arm", "condition", "name"])["value"]
    online = {"bootstrap", "self-distillation", "grpo"}
    assert set(first["arm"].dropna()) == {"base", "fcp", "fcp without condition", "rft", *online}
    assert {("base", "own", "accuracy"), ("fcp", "own", "greedy"), ("fcp", "has code", "code")} <= set(
        arms.groups
    )
    assert len(arms.get_group(("bootstrap", "own", "curve/accuracy"))) == 1
    assert len(arms.get_group(("bootstrap", "own", "curve/loss"))) == 4


def test_conditions_ask_for_what_they_say_and_the_base_is_never_trained_in_place(tiny, tmp_path):
    bench = training.Bench(tiny["main"], tmp_path)
    assert all(set(text.split()) & {"wrong", "mistaken"} for text in bench.critiques("fully negative"))
    assert all(len(text.split()) == 4 for text in bench.critiques("fully positive"))
    before = {name: value.clone() for name, value in bench.policy()[0].state_dict().items()}
    bench.fit(bench.pairs, bench.summaries)
    assert all(torch.equal(value, before[name]) for name, value in bench.policy()[0].state_dict().items())


def test_a_larger_base_policy_is_trained_once_and_kept(monkeypatch, tmp_path):
    small = BaseConfig(ModelShape(hidden=16, layers=1, heads=2, ffn=16), steps=2, batch=4)
    monkeypatch.setattr(training, "SCRATCH", small)
    monkeypatch.setattr("common.models.recipe.store_root", lambda: tmp_path / "store")
    first = training.base_path("scratch", 4)
    monkeypatch.setattr("common.tasks.verbal_arith.warm_start.train_base", None)
    assert training.base_path("scratch", 1) == first
    model, tokenizer = load_policy(first)
    assert model.config.hidden_size == 16
    assert len(tokenizer) == len(VOCABULARY)
    assert training.base_path("pocket", 4) == "verbal-arith-1"
