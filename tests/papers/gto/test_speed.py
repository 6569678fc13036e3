"""Wall-clock and the target's check, end to end at the size of a test."""

import pytest

from common.tasks.tridomain import warm_start
from papers.gto.experiment import PROFILES, Config, jobs, speed_jobs
from papers.gto.report.measures import DECODERS
from papers.gto.runs import check, drafts, speed


@pytest.fixture
def small(monkeypatch, tmp_path) -> Config:
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    drafts.target_for.cache_clear()
    sizes = {"speed_seeds": 1, "prompts": 2, "tokens": 8, "repeats": 1, "target_hidden": 32, "target_ffn": 32}
    return Config(**PROFILES["smoke"] | sizes)


@pytest.mark.slow
def test_every_arm_is_timed_in_the_same_engine(small):
    (job,) = speed_jobs(small, (0,))
    values = {name: value[0] for name, value in speed.measure(job, None).scalars.items()}
    for temperature in (0, 1):
        assert values[f"sr{temperature}/vanilla/all"] == 1.0
        assert values[f"tau{temperature}/vanilla/all"] == 1.0
        for arm in DECODERS:
            assert values[f"speed{temperature}/{arm}/all"] > 0
            assert 1.0 <= values[f"tau{temperature}/{arm}/all"] <= 8.0
    assert min(values["latency/gto_step"], values["latency/token_step"]) > 0


def test_totals_are_sums_of_medians():
    rounds = [[speed._Timing(1.0, 4, 2), speed._Timing(5.0, 6, 3)], [speed._Timing(3.0, 4, 2)] * 2]
    assert speed._totals(rounds) == speed._Timing(2.0 + 4.0, 4 + 5, 2 + 2.5)


def test_the_check_of_the_target_counts_answers_only(small):
    job = next(job for job in jobs(small, (0,)) if job.sweep == "target")
    values = {name: value[0] for name, value in check.target(job, None).scalars.items()}
    assert all(0.0 <= values[f"accuracy/{domain}"] <= 1.0 for domain in ("chat", "code", "math"))
    assert values["verified/math"] == 0.0  # four steps teach no arithmetic


def test_the_target_is_trained_once_and_on_answers_only(small, monkeypatch):
    recipe = warm_start.TargetRecipe(layers=2, hidden=32, ffn=32, steps=2, batch=4)
    first = warm_start.load(recipe)
    monkeypatch.setattr(warm_start, "train", lambda recipe: pytest.fail("trained twice"))
    again = warm_start.load(recipe)
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in again.parameters())
