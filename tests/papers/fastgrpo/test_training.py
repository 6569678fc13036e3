"""The loops at their smallest, for real: arms, observers, variants, replay; measurements without training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from common.speculative.generate import Generation, Stats
from common.study.jobs import Record
from common.tasks.ladder.warm_start import encode, load, policy_folder
from papers.fastgrpo.experiment import PROFILES, Config, jobs
from papers.fastgrpo.report.measures import DRAFTS, NAMES, PARTS
from papers.fastgrpo.runs.drafts import recipe, replay, replay_arms, shuffled, training_items
from papers.fastgrpo.runs.training import arguments, train

TINY = Config().changed(PROFILES["smoke"] | {"draws": 5})


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path_factory.getbasetemp() / "shared" / "store"))


def by(record: Record, label: str) -> dict[Any, Record]:
    """The parts of a record that a column tells apart."""
    return {labels[label]: part for labels, part in record.parts if label in labels}


def job(sweep: str, **labels: str):
    return next(
        each
        for each in jobs(TINY, (1,))
        if each.sweep == sweep and all(each.labels[key] == value for key, value in labels.items())
    )


def test_the_methods_loop_records_everything(tmp_path):
    record = train(job("loops", arm="fast"), tmp_path)
    arms, drafts = by(record, "replayed"), by(record, "draft")
    assert set(arms) == set(NAMES)
    assert all(
        {f"replay/{name}" for name in ("seconds", "tokens", "tau")} <= set(arms[arm].scalars) for arm in arms
    )
    for name in (*PARTS, "iteration", "reward", "length", "tau"):
        assert record.series[name].shape == (1, TINY.loop.iterations)
        assert np.isfinite(record.series[name]).all()
    parts = sum(record.series[name] for name in PARTS)
    np.testing.assert_allclose(parts, record.series["iteration"], rtol=1e-6)
    assert set(drafts) == set(DRAFTS)
    curves = {draft: part.series["acceptance"] for draft, part in drafts.items()}
    for curve in curves.values():
        assert curve.shape == (1, TINY.loop.iterations)
        assert (curve >= 1).all()
    first = {draft: curve[0, 0] for draft, curve in curves.items()}
    assert len({first[draft] for draft in ("online", "frozen", "used")}) == 1  # nothing has been learned yet
    assert first["generic"] == first["generic_frozen"] != first["online"]


@pytest.mark.parametrize("arm", ["et", "vanilla"])
def test_plain_loops_have_no_draft(arm, tmp_path):
    record = train(job("loops", arm=arm), tmp_path)
    assert (record.series["tau"] == 1).all()
    assert (record.series["learn"] == 0).all()
    assert not record.parts


def test_what_does_not_depend_on_the_clock_is_the_same_twice(tmp_path):
    first, second = (train(job("loops", arm="fast"), tmp_path / str(run)) for run in range(2))
    for name in ("reward", "length", "tau", "draft_loss"):
        np.testing.assert_array_equal(first.series[name], second.series[name], err_msg=name)
    for draft in ("online", "scratch"):
        curves = (by(record, "draft")[draft].series["acceptance"] for record in (first, second))
        np.testing.assert_array_equal(*curves, err_msg=draft)
    assert first.scalars["heldout/accuracy"] == second.scalars["heldout/accuracy"]
    for arm in ("fast", "et"):
        ours, theirs = (by(record, "replayed")[arm].scalars["replay/tokens"] for record in (first, second))
        assert ours == theirs


@pytest.mark.parametrize("variant", ["dapo", "gpg"])
def test_other_objectives_are_accelerated_too(variant, tmp_path):
    record = train(job("variants", variant=variant), tmp_path)
    assert set(by(record, "replayed")) == {"vanilla", "et", "fast"}


def test_a_replay_adds_up_its_rounds(tmp_path):
    """The same arms over two rounds of prompts; every round starts with another arm."""
    config = job("loops", arm="fast").config
    model = load(policy_folder(recipe(config)))
    arms = {name: replay_arms(config["c_peak"])[name] for name in ("et", "vanilla")}
    prompts = [encode(item.prompt) for item in training_items(config, 3)[:4]]
    rounds = [prompts[:2], prompts[2:]]
    both = replay(arms, model, {}, rounds, samples=2, seed=0, longest=12)
    one = replay(arms, model, {}, rounds[:1], samples=2, seed=0, longest=12)
    for name in arms:
        assert 0 < one[name]["tokens"] < both[name]["tokens"] <= 8 * 12
        assert one[name]["cycles"] <= 12 < both[name]["cycles"] <= 2 * 12
        assert both[name]["tau"] == 1.0
        assert both[name]["seconds"] > 0
    assert both["et"]["predicted"] > 0


def test_arms_differ_in_sampling_only(tmp_path):
    found = {
        arm: arguments(job("loops", arm=arm).config, 0, tmp_path).to_dict()
        for arm in ("fast", "et", "vanilla")
    }
    for args in found.values():
        different = {name for name, value in args.items() if value != found["fast"][name]}
        assert different <= {"speculation", "early_termination"}


def test_shuffled_features_are_a_permutation():
    features = [torch.arange(10.0)[:, None], torch.arange(4.0)[:, None]]
    found = shuffled(Generation([], Stats(), features), seed=1)
    for row, original in zip(found.features, features, strict=True):
        assert not torch.equal(row, original)
        assert torch.equal(row.sort(dim=0).values, original)


def test_measurements_without_training(tmp_path):
    entries = [job(name, arm=name) for name in ("profile", "static", "still")]
    profile, static, still = (each.function()(each, tmp_path) for each in entries)
    times = [value for _, part in profile.parts for name, value in part.scalars.items() if name == "seconds"]
    assert min(times) > 0
    regrets = {name: part.scalars["regret"] for name, part in by(profile, "schedule").items()}
    assert regrets["plain"] >= 0
    assert regrets["static"] <= 1
    assert {(labels["rows"], labels["schedule"]) for labels, _ in static.parts} >= {
        (1, "rule"),
        (64, "plain"),
    }
    assert by(still, "draft")["frozen"].series["acceptance"].shape == (1, TINY.loop.iterations)


def test_the_settings_of_a_job_are_the_configuration():
    config = job("loops", arm="et").config
    assert config["prompts"] == TINY.loop.prompts
    assert config["c_peak"] == TINY.schedule.c_peak
