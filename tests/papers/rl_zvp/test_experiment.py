"""The study's configuration: the paper's values, sweeps that the card can ask for, equal budgets."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure
from papers.rl_zvp.experiment import PROFILES, Config, jobs

CARD = load_card("rl_zvp")


def test_the_papers_rollouts_and_steps():
    config = Config()
    run, hard = config.run, config.hard
    assert run.iterations * run.batch == 172_032
    assert run.iterations * run.batch // run.mini_batch == 672
    assert hard.iterations * hard.batch == 540_672
    assert hard.iterations * hard.batch // hard.mini_batch == 1056


@pytest.mark.parametrize("profile", PROFILES)
def test_every_sweep_of_the_card_has_jobs_at_every_profile_but_the_long_one_at_laptop(profile):
    sweeps = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() - sweeps == ({"proofs"} if profile == "laptop" else set())


@pytest.mark.parametrize("profile", ["laptop", "desk"])
def test_judged_profiles_use_judged_seeds_only(profile):
    judged = jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)
    assert {seed for job in judged for seed in job.seeds} == set(CARD.seeds.judged)
    assert len({(job.sweep, *job.labels.values(), job.seeds) for job in judged}) == len(judged)


@pytest.mark.parametrize("profile", PROFILES)
def test_arms_of_a_sweep_have_equal_budgets_and_seeds(profile):
    differs = {"arm", "alpha", "curve_samples"}
    plans = {}
    for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged):
        if job.sweep == "theory":
            continue
        own = differs | ({"zvp_alpha", "learning_rate"} if job.sweep == "proofs" else set())
        config = {name: value for name, value in job.config.items() if name not in own}
        if job.labels["arm"] == "ds" and job.sweep != "filters":
            assert config.pop("generation_rounds") == 2
            config |= {"generation_rounds": 1, "iterations": 2 * config["iterations"]}
        plans.setdefault((job.sweep, job.labels["mix"], *job.seeds), []).append(config)
    for plan in plans.values():
        assert all(config == plan[0] for config in plan)


def test_a_model_of_the_users_own_brings_mathematics_and_the_papers_nucleus():
    changes = {"model": "Qwen/Qwen3-0.6B-Base", "run.max_response": "2048"}
    config = configure(Config, PROFILES, "gpu", changes)
    assert (config.run.task, config.run.evaluation_top_p, config.run.max_response) == ("math", 0.7, 2048)
    trained = [job for job in jobs(config, (0,)) if "dataset" in job.config]
    datasets = {job.sweep: job.config["dataset"] for job in trained}
    assert datasets == {"easy": config.run.dataset, "proofs": config.hard.dataset}
    assert {job.config["task"] for job in trained} == {"math"}
    assert {job.config["learning_rate"] for job in trained} == {config.run.learning_rate}
