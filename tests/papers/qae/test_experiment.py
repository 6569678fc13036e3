"""The study's configuration: the paper's values, and sweeps that the card can ask for."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure, paper_values
from papers.qae.experiment import PROFILES, Config, jobs

CARD = load_card("qae")


def test_the_paper_profile_is_the_table_transcribed_in_the_card():
    config = configure(Config, PROFILES, "paper")
    declared = paper_values(Config)
    assert {name for name in CARD.hyperparameters if name in declared} == set(CARD.hyperparameters)
    for name, sourced in CARD.hyperparameters.items():
        assert getattr(config, name) == sourced.value
        assert declared[name] == (sourced.value, sourced.place)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_sweep_of_the_card_has_jobs_at_every_profile(profile):
    found = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() == found


def test_judged_profiles_use_judged_seeds_only():
    used = {
        seed for job in jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged) for seed in job.seeds
    }
    assert used == set(CARD.seeds.judged)


def test_seeds_of_a_run_take_turns_among_three_warm_starts():
    pocket = [
        job for job in jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged) if job.sweep == "main"
    ]
    folders = {job.inputs[0].rsplit("/", 1)[0] for job in pocket}
    assert folders == {f"common/models/pocket/opchain-{index}" for index in range(3)}
