"""Jobs and their budgets, recipes, Phase I and Phase II end to end at the size of a test."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure
from common.study.errors import StudyError
from papers.gto.experiment import PROFILES, Config, jobs
from papers.gto.report.measures import DECODERS
from papers.gto.runs import training
from papers.gto.runs.training import read_recipe

CARD = load_card("gto")
LAPTOP = configure(Config, PROFILES, "laptop")
TRAINED = ("main", "inits", "aggregators", "sizes", "debias")


@pytest.mark.parametrize(("profile", "left_out"), [("laptop", {"real", "real_speed"}), ("gpu", set())])
def test_every_sweep_of_the_card_has_jobs(profile, left_out):
    sweeps = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() - sweeps == left_out
    assert sweeps <= CARD.needs()


def test_the_papers_own_scale_is_an_error_that_says_what_to_do():
    with pytest.raises(StudyError, match="GTOTrainer with a model of your own"):
        jobs(Config(), CARD.seeds.judged)


def test_judged_seeds_only_and_no_job_twice():
    every = jobs(LAPTOP, CARD.seeds.judged)
    assert {seed for job in every for seed in job.seeds} <= set(CARD.seeds.judged)
    assert len({(job.sweep, *job.labels.values(), job.seeds) for job in every}) == len(every)


def test_arms_train_on_as_many_prefixes_and_steps_from_the_same_draft():
    plans: dict = {}
    for job in jobs(LAPTOP, CARD.seeds.judged):
        if job.sweep not in TRAINED or job.config["arm"] == "untuned":
            continue
        recipe = read_recipe(job.config, job.seeds[0])
        if recipe.omega:
            prefixes = recipe.batch * recipe.groups * recipe.group_size
            plans.setdefault(recipe.draft, []).append((prefixes, recipe.steps, recipe.learning_rate))
        elif job.config["arm"] == "continual":
            plans.setdefault(recipe.draft, []).append((32, recipe.steps, LAPTOP.tuning.learning_rate))
    assert plans
    assert all(len(set(plan)) == 1 for plan in plans.values())


def test_recipes_survive_the_way_through_a_jobs_configuration():
    job = next(job for job in jobs(LAPTOP, (7,)) if job.config.get("arm") == "flipped")
    recipe = read_recipe(job.config, 7)
    assert (recipe.control, recipe.draft.seed, recipe.draft.kind) == ("flipped", 7, "eagle3")
    assert recipe.draft.target.layers == LAPTOP.target.layers


def test_seeds_share_warm_starts_and_nothing_else():
    desk = Config().changed(PROFILES["desk"])
    own = [job for job in jobs(desk, CARD.seeds.judged) if job.labels.get("arm") == "gto"]
    recipes = [read_recipe(job.config, job.seeds[0]) for job in own]
    assert len({recipe.seed for recipe in recipes}) == len(recipes) == desk.seeds.main
    assert len({recipe.draft.seed for recipe in recipes}) == desk.draft.warm_starts
    assert {recipe.draft.seed for recipe in recipes}.isdisjoint(CARD.seeds.development)
    assert {recipe.seed for recipe in recipes}.isdisjoint(CARD.seeds.judged[: desk.seeds.first])


@pytest.fixture
def small(monkeypatch, tmp_path) -> dict:
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    training.target_for.cache_clear()
    sizes = {"target.steps": 2, "target.hidden": 32, "target.ffn": 32, "speed.prompts": 2, "speed.tokens": 8}
    config = Config().changed(PROFILES["smoke"] | sizes | {"speed.repeats": 1, "seeds.speed": 1})
    sweeps = ("main", "oracle", "target", "speed")
    return {job.labels.get("arm", job.sweep): job for job in jobs(config, (0,)) if job.sweep in sweeps}


def test_phase_one_and_two_end_to_end(small):
    records = {
        arm: small[arm].function()(small[arm], None) for arm in ("untuned", "gto", "continual", "oracle")
    }
    for record in records.values():
        assert 1.0 <= record.scalars["tau1/all"][0] <= 4.0
    assert records["gto"].series["grad_norm"].shape == (1, 2)
    assert "reward" not in records["continual"].series
    again = small["gto"].function()(small["gto"], None)
    assert again.scalars == records["gto"].scalars  # from the weights on disk


def test_the_target_is_measured(small):
    values = small["target"].function()(small["target"], None).scalars
    assert values["parameters"] > 0
    assert 0.0 <= values["accuracy/math"] <= 1.0


@pytest.mark.slow
def test_every_arm_is_timed_in_the_same_engine(small, tmp_path):
    record = small["speed"].function()(small["speed"], tmp_path)
    arms = {labels["arm"]: part.scalars for labels, part in record.parts}
    assert set(arms) == set(DECODERS)
    for temperature in (0, 1):
        assert arms["vanilla"][f"sr{temperature}/all"] == 1.0
        assert arms["vanilla"][f"tau{temperature}/all"] == 1.0
        for values in arms.values():
            assert values[f"speed{temperature}/all"] > 0
            assert 1.0 <= values[f"tau{temperature}/all"] <= 8.0
