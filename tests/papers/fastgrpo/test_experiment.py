"""The study's configuration: the official code's values, sweeps that the card can ask for, equal arms."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure, paper_values
from common.study.errors import StudyError
from papers.fastgrpo.experiment import PROFILES, Config, jobs

CARD = load_card("fastgrpo")


def test_the_paper_profile_is_the_table_transcribed_in_the_card():
    config = configure(Config, PROFILES, "paper")
    declared = paper_values(Config)
    assert set(CARD.hyperparameters) == set(declared)
    for name, sourced in CARD.hyperparameters.items():
        assert getattr(config, name) == sourced.value
        assert declared[name] == (sourced.value, sourced.place)


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_sweep_of_the_card_has_jobs(profile):
    found = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() == found


def test_judged_profiles_use_judged_seeds_only():
    found = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    assert {seed for job in found for seed in job.seeds} == set(CARD.seeds.judged)
    assert len({(job.sweep, *job.labels.values(), job.seeds) for job in found}) == len(found)


def test_loops_differ_in_how_completions_are_sampled():
    found = [job for job in jobs(Config(**PROFILES["laptop"]), (7,)) if job.sweep == "loops"]
    by_arm = {job.labels["arm"]: dict(job.config) for job in found}
    assert set(by_arm) == {"fast", "et", "vanilla"}
    apart = {"arm", "observe", "replay", "iterations", "evaluation_prompts"}
    for config in by_arm.values():
        assert {key: config[key] for key in config if key not in apart} == {
            key: by_arm["fast"][key] for key in config if key not in apart
        }
    assert by_arm["et"]["iterations"] == by_arm["fast"]["iterations"]


def test_a_loop_without_iterations_is_refused():
    with pytest.raises(StudyError, match="iterations, every and prompts"):
        Config(iterations=0)
