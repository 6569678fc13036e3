"""Jobs of BRT-Align: the exact checks, one seed of monitors and controls, and the real model's path."""

import numpy as np
import pytest
import torch

from common.models import pretrained
from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, Policy, build_model
from common.models.subject import Subject
from common.study.errors import StudyError
from common.study.example import execute
from common.study.jobs import Job
from common.tasks.dark_turns import Openings
from papers.brt_align import experiment
from papers.brt_align.experiment import GAMMAS, PROFILES, RADII, Config
from papers.brt_align.runs import detection, rollouts, steering, theory

SMALL = {
    "subject": "hazard",
    "model": "delayed-hazard-0",
    "escape": 0.3,
    "layers": [3, 4],
    "train": 80,
    "validation": 40,
    "test": 60,
    "epochs": 2,
}


def job(**config) -> Job:
    return Job("sweep", {}, "module:entry", {**SMALL, **config}, (0,))


def parts(record) -> dict[str, dict[str, float]]:
    """Scalars by arm."""
    return {labels["arm"]: {k: v[0] for k, v in part.scalars.items()} for labels, part in record.parts}


@pytest.mark.parametrize("name", ["facts", "law"])
def test_the_recursion_and_its_law_hold_on_random_margins(name, tmp_path):
    record = getattr(theory, name)(Job("theory", {}, "", {"draws": 60}, (3,)), tmp_path)
    assert {len(values[0]) for values in record.series.values()} == {60}
    assert max(np.abs(values).max() for values in record.series.values()) < 1e-10


def test_the_language_has_the_lead_of_the_law_and_a_way_out(tmp_path):
    record = theory.language(Job("theory", {}, "", {"gammas": list(GAMMAS)}, (3,)), tmp_path)
    for name in ("risk", "exit", "lead", "average"):
        assert np.abs(record.series[name]).max() < 1e-10, name
    assert record.series["lead"].shape == (1, 4000 * len(GAMMAS))
    greedy, chance, best = (record.series[name][0] for name in ("greedy", "chance", "best"))
    assert (greedy == 1).all()
    assert (np.diff(chance[:15]) <= 0).all()
    assert (best[0], best[1], best[4]) == (1.0, 1.0, 0.0)


def test_monitors_of_one_seed_are_judged_by_the_same_prompts(tmp_path):
    arms = ["rl", "recontrol", "sap", "bag", "prompt", "time", "shuffled"]
    record = detection.detect(job(arms=arms, gammas=[0.9]), tmp_path)
    found = parts(record)
    assert list(found) == [*arms, "exact"]
    assert {labels["gamma"] for labels, _ in record.parts} == {0.9}
    assert {numbers["bound"] for numbers in found.values()} == {6.0}
    assert found["exact"]["auroc"] > 0.6
    assert 0.1 < record.scalars["rate"][0] < 0.9
    assert record.scalars["legal"][0] > 0.9
    again = detection.detect(job(arms=["rl"], gammas=[0.9]), tmp_path)
    assert parts(again)["rl"] == found["rl"]
    with pytest.raises(StudyError, match="monitor 'rll'"):
        detection.detect(job(arms=["rll"], gammas=[0.9]), tmp_path)


def test_controls_of_one_seed_share_a_radius_or_choose_their_own(tmp_path):
    arms = ["rl", "recontrol", "random", "always"]
    config = {"arms": arms, "gamma": 0.93, "radii": [0.1, 1.0], "tuning": 10, "test": 20}
    record = steering.steer(job(**config), tmp_path)
    found = parts(record)
    assert found["rl"]["radius"] == found["random"]["radius"] == found["always"]["radius"]
    assert {numbers["untouched"] for numbers in found.values()} == {0.0}
    assert found["always"]["acted"] >= found["rl"]["acted"]
    series = {labels["arm"]: set(part.series) for labels, part in record.parts}
    assert series["rl"] == series["recontrol"] == {"tuning_unsafe", "tuning_intact"}
    assert series["random"] == set()
    with pytest.raises(StudyError, match="control 'rll'"):
        steering.steer(job(**config | {"arms": ["rll"]}), tmp_path)


def test_the_clock_times_every_arm(tmp_path):
    config = {"arms": ["recontrol"], "gamma": 0.93, "radii": [0.5], "rounds": 1}
    config |= {"train": 30, "validation": 4, "test": 4}
    found = parts(steering.speed(job(**config), tmp_path))
    assert set(found) == {"none", "recording", "recontrol", "rl_30"}
    assert found["recontrol"]["tokens"] < found["none"]["tokens"]


def reader(given, layers: int) -> Policy:
    """An untrained model that knows the words of some openings."""
    vocabulary = ["<pad>", "<bos>", "<eos>", *sorted({word for own in given for word in own.text.split()})]
    words = build_tokenizer(vocabulary, *vocabulary[:3])
    shape = ModelShape(hidden=16, layers=layers, heads=2, ffn=16, context=64)
    return Policy(build_model(shape, words, 0), words)


def test_the_example_of_the_readme_runs_as_it_stands(monkeypatch):
    tiny = reader(Openings().prompts(200, np.random.default_rng(0)), 21)
    monkeypatch.setattr(pretrained, "load_smollm2", lambda: (tiny.model, tiny.tokenizer))
    made = execute("brt_align", {})
    assert made["steered"].ids.shape[0] == 8
    assert {"acted", "moved"} <= set(made["steered"].log)


def test_rollouts_of_the_real_model_are_recorded_once_and_split_by_seed(tmp_path, monkeypatch):
    tiny = Subject(
        reader(Openings().prompts(8, np.random.default_rng(0xB27)), 2), Openings(), 4, (1, 2), batch=3
    )
    asked = []
    monkeypatch.setattr(rollouts, "smollm2", lambda layers, tokens: asked.append((layers, tokens)) or tiny)
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    sizes = {"train": 4, "validation": 2, "test": 2, "pool": 8, "tokens": 4, "layers": [1, 2]}
    config = {**SMALL, "subject": "stories", **sizes}
    first, second = (rollouts.prepared(Job("s", {}, "", config, (seed,)))[1] for seed in (0, 1))
    assert len(asked) == 3  # to record, and for each subject
    assert [len(part.given) for part in first] == [4, 2, 2]
    assert first[0].given != second[0].given
    assert first[0].hidden[1].dtype == torch.float16


def test_the_study_names_what_its_jobs_run():
    assert set(experiment.MONITORS) | {"time"} == set(detection.DETECTORS)
    assert set(experiment.CONTROLS) == set(steering.CONTROLS)
    assert next(iter(experiment.CONTROLS)) == "rl"
    listed = experiment.jobs(Config().changed(PROFILES["laptop"]), range(18000, 18012))
    assert len(listed) == 3 + 5 * 12
    steered = [own for own in listed if own.sweep == "steering"]
    assert {own.config["model"] for own in steered} == {f"delayed-hazard-{n}" for n in range(3)}
    assert all(own.config["radii"] == list(RADII) for own in steered)
    assert all(
        f"common/models/pocket/{own.config['model']}/model.safetensors" in own.inputs for own in steered
    )
    desk = experiment.jobs(Config().changed(PROFILES["desk"]), range(18000, 18012))
    assert {own.sweep for own in desk} - {own.sweep for own in listed} == {"stories", "turns", "real_speed"}
    assert {own.assets for own in desk} == {(), ("smollm2",)}
