"""The study's configuration: the paper's values, and sweeps that the card can ask for."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure, leaves
from common.study.errors import StudyError
from common.tasks.math_answers.training import evaluation_sources
from papers.qae.experiment import LONG, MIX, ONE_GPU, PROFILES, Config, jobs, numbers

CARD = load_card("qae")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_sweep_of_the_card_has_jobs(profile):
    sweeps = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() - sweeps == {"laptop": {"rates", "long"}, "paper": {"rates"}}.get(profile, set())
    assert sweeps <= CARD.needs()


def test_desk_adds_the_long_runs_and_keeps_the_jobs_of_laptop():
    plans = {name: jobs(configure(Config, PROFILES, name), CARD.seeds.judged) for name in ("laptop", "desk")}
    long = [job for job in plans["desk"] if job not in plans["laptop"]]
    assert [job for job in plans["desk"] if job in plans["laptop"]] == plans["laptop"]
    assert {job.sweep for job in long} == {"rates", "long"}
    assert {job.config["mix"] for job in long} == {MIX}
    for sweep, part in (("rates", "grid"), ("long", "long")):
        some = [job for job in long if job.sweep == sweep]
        rates = {job.config["learning_rate"] for job in some}
        assert rates == {job.labels["learning_rate"] for job in some}
        assert rates == set(numbers(LONG[f"{part}.learning_rates"]))


@pytest.mark.parametrize("profile", ["laptop", "desk"])
def test_judged_profiles_use_judged_seeds_only(profile):
    planned = jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)
    used = {seed for job in planned if job.labels.get("purpose") != "search" for seed in job.seeds}
    assert used <= set(CARD.seeds.judged)
    assert profile == "laptop" or used == set(CARD.seeds.judged)


def test_seeds_of_a_run_take_turns_among_three_warm_starts():
    pocket = [
        job for job in jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged) if job.sweep == "main"
    ]
    folders = {job.inputs[0].rsplit("/", 1)[0] for job in pocket}
    assert folders == {f"common/models/pocket/opchain-{index}" for index in range(3)}


def test_a_model_at_the_gpu_profile_brings_mathematics_for_one_gpu():
    plain = configure(Config, PROFILES, "gpu")
    swapped = configure(Config, PROFILES, "gpu", {"model": "Qwen/Qwen3-0.6B-Base"})
    changed = {name for name in leaves(Config) if swapped.value(name) != plain.value(name)}
    assert plain.run.task == "opchain"
    assert changed == {"run.model", *ONE_GPU}
    assert {name: swapped.value(name) for name in ONE_GPU} == ONE_GPU
    assert set(evaluation_sources(swapped.run.evaluation_sets)) == {
        "AIME25",
        "AIME24",
        "AMC23",
        "MATH500",
    }


def test_what_the_user_set_stands_beside_a_model():
    changes = {"model": "a/b", "batch": "64", "evaluation_sets": "mine=mine.jsonl", "main_seeds": "4"}
    swapped = configure(Config, PROFILES, "gpu", changes)
    run = swapped.run
    assert (run.batch, run.evaluation_sets, swapped.main_seeds) == (64, "mine=mine.jsonl", 4)
    assert run.max_response == ONE_GPU["run.max_response"]


def test_a_pocket_model_cannot_do_mathematics():
    with pytest.raises(StudyError, match="set MODEL"):
        configure(Config, PROFILES, "laptop", {"task": "math"})


def test_the_paper_profile_is_untouched_by_the_rule():
    model = "Qwen/Qwen3-14B-Base"
    assert configure(Config, PROFILES, "paper", {"model": model}) == Config().changed({"run.model": model})
