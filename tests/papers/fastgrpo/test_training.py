"""The loops at their smallest, for real: arms, observers, variants, replay; measurements without training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.speculative.generate import Generation, Stats
from common.tasks.ladder.warm_start import encode, load, policy_folder
from papers.fastgrpo import grid
from papers.fastgrpo.experiment import PROFILES, Config, jobs
from papers.fastgrpo.report.measures import DRAFTS, NAMES, PARTS
from papers.fastgrpo.runs.observers import shuffled
from papers.fastgrpo.runs.replay import arms, replay
from papers.fastgrpo.runs.training import arguments, recipe, train, training_items

TINY = Config(**PROFILES["smoke"] | {"draws": 5})


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path_factory.getbasetemp() / "shared" / "store"))


def job(sweep: str, **labels: str):
    return next(
        each
        for each in jobs(TINY, (1,))
        if each.sweep == sweep and all(each.labels[key] == value for key, value in labels.items())
    )


def test_the_methods_loop_records_everything(tmp_path):
    record = train(job("loops", arm="fast"), tmp_path)
    assert {f"replay/{arm}/{name}" for arm in NAMES for name in ("seconds", "tokens", "tau")} <= set(
        record.scalars
    )
    for name in (*PARTS, "wall", "reward", "length", "tau"):
        assert record.series[name].shape == (1, TINY.iterations)
        assert np.isfinite(record.series[name]).all()
    parts = sum(record.series[name] for name in PARTS)
    np.testing.assert_allclose(parts, record.series["wall"], rtol=1e-6)
    for draft in DRAFTS:
        assert record.series[f"acceptance/{draft}"].shape == (1, TINY.iterations)
        assert (record.series[f"acceptance/{draft}"] >= 1).all()
    first = {draft: record.series[f"acceptance/{draft}"][0, 0] for draft in DRAFTS}
    assert len({first[draft] for draft in ("online", "frozen", "used")}) == 1  # nothing has been learned yet
    assert first["generic"] == first["generic_frozen"] != first["online"]


@pytest.mark.parametrize("arm", ["et", "vanilla"])
def test_plain_loops_have_no_draft(arm, tmp_path):
    record = train(job("loops", arm=arm), tmp_path)
    assert (record.series["tau"] == 1).all()
    assert (record.series["learn"] == 0).all()
    assert not any(name.startswith(("acceptance", "replay")) for name in (*record.series, *record.scalars))


def test_what_does_not_depend_on_the_clock_is_the_same_twice(tmp_path):
    first, second = (train(job("loops", arm="fast"), tmp_path / str(run)) for run in range(2))
    for name in ("reward", "length", "tau", "draft_loss", "acceptance/online", "acceptance/scratch"):
        np.testing.assert_array_equal(first.series[name], second.series[name], err_msg=name)
    for name in ("heldout/accuracy", "replay/fast/tokens", "replay/et/tokens"):
        assert first.scalars[name] == second.scalars[name]


@pytest.mark.parametrize("variant", ["dapo", "gpg"])
def test_other_objectives_are_accelerated_too(variant, tmp_path):
    record = train(job("variants", variant=variant), tmp_path)
    assert {f"replay/{arm}/seconds" for arm in ("vanilla", "et", "fast")} <= set(record.scalars)


def test_a_replay_adds_up_its_rounds(tmp_path):
    """The same arms over two rounds of prompts; every round starts with another arm."""
    config = job("loops", arm="fast").config
    model = load(policy_folder(recipe(config)))
    chosen = {name: arms(config["c_peak"])[name] for name in ("et", "vanilla")}
    prompts = [encode(item.prompt) for item in training_items(config, 3)[:4]]
    rounds = [prompts[:2], prompts[2:]]
    both = replay(chosen, model, {}, rounds, samples=2, seed=0, longest=12)
    one = replay(chosen, model, {}, rounds[:1], samples=2, seed=0, longest=12)
    for name in chosen:
        assert 0 < one[f"{name}/tokens"] < both[f"{name}/tokens"] <= 8 * 12
        assert one[f"{name}/cycles"] <= 12 < both[f"{name}/cycles"] <= 2 * 12
        assert both[f"{name}/tau"] == 1.0
        assert both[f"{name}/seconds"] > 0
    assert both["et/predicted"] > 0


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
    chosen = [job(name, arm=name) for name in ("profile", "static", "still")]
    profile, static, still = (each.function()(each, tmp_path) for each in chosen)
    timed = [name for name in profile.scalars if name.startswith(("seconds", "throughput"))]
    assert min(float(profile.scalars[name][0]) for name in timed) > 0
    assert profile.scalars["regret/plain"] >= 0
    assert profile.scalars["regret/static"] <= 1
    assert {f"speed/{rows}/rule" for rows in grid.BATCHES} <= set(static.scalars)
    assert still.series["acceptance/frozen"].shape == (1, TINY.iterations)


def test_the_settings_of_a_job_are_the_configuration():
    config = dict(job("loops", arm="et").config)
    assert {name: config[name] for name in ("prompts", "c_peak")} == {
        name: TINY.model_dump()[name] for name in ("prompts", "c_peak")
    }
