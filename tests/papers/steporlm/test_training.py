"""The rounds on pocket models at their smallest, whole and stopped."""

from dataclasses import replace

import numpy as np
import pytest

from common.preference.critique import Critique, parse
from common.study.configuration import configure
from common.tasks.or_models import OrModelsConfig, items
from common.tasks.or_models.critiques import critique, spell_out
from common.tasks.or_models.evaluation import compact, solved
from common.tasks.or_models.formulation import formulations
from common.tasks.or_models.warm_start import trained
from papers.steporlm.experiment import ARMS, PROFILES, Config, loop_jobs
from papers.steporlm.runs.training import PocketLearners, load, recipe, rows_of, train

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    return next(loop_jobs(configure(Config, PROFILES, "smoke"), (0,)))


def test_the_smallest_loop_measures_everything_and_repeats(job, tmp_path):
    arms = {"full": job.config["arms"]["full"] | {"picks": "own"}, "outcome": ARMS["outcome"]}
    job = replace(job, config=job.config | {"arms": arms})
    ((_, record), (labels, other)) = train(job, tmp_path / "one").parts
    ((_, again), _) = train(job, tmp_path / "one").parts  # reads the rounds that are there
    assert labels == {"arm": "outcome"}
    for name, value in {**record.scalars, **record.series}.items():
        np.testing.assert_array_equal(value, {**again.scalars, **again.series}[name])
    assert record.series["pass_at_1"].shape == (1, 2)
    assert {f"best/{name}" for name in ("none", "majority", "final", "oracle")} <= set(record.scalars)
    for name, value in other.series.items():  # one start, a verifier that stays as it was, and Rule 1 alone
        if name in record.series and not name.startswith(("rule", "rollouts", "kept", "length")):
            np.testing.assert_array_equal(value[:, 0], record.series[name][:, 0])
    assert (np.diff(other.series["accept_clean"]) == 0).all()
    assert not other.scalars
    assert not other.series["rule_2"].any()
    models = tmp_path / "one" / "full" / "rounds" / "round-000" / "models"
    assert {path.name for path in models.iterdir()} == {"policy", "critic"}


def test_pairs_train_the_policy_by_trl_and_a_solution_that_was_cut_off_ends(job, tmp_path):
    config = {**job.config, "learning_rate": 1e-2}
    problems = items(OrModelsConfig(size=2))
    learners = PocketLearners(config, 0, problems)
    start = trained(recipe(config, "policy"), 0)
    text = formulations(problems[0])[0].text
    pair = {"problem": 0, "chosen": text, "rejected": "<step> mix max", "weight": 0.5}
    learners.train_policy(0, start, [pair] * 4, tmp_path / "policy")
    before, after = load(start), load(tmp_path / "policy")
    moved = [
        (one - other).abs().max().item()
        for one, other in zip(before.model.parameters(), after.model.parameters(), strict=True)
    ]
    assert max(moved) > 1e-4
    assert not (tmp_path / "scratch").exists()


def test_controls_shuffle_or_know_the_critiques():
    problems = items(OrModelsConfig(size=3))
    rows = rows_of([solved(item, formulations(item)[0].text) for item in problems], 1)
    learners = PocketLearners({"verdicts": "oracle"}, 0, problems)
    said = learners.judge(0, None, rows)
    assert all(text == spell_out(critique([None] * 6).split()) for text in said)


def test_a_critique_goes_through_words_and_back():
    short = critique([None, "parameters", None, "objective", None, "program"])
    assert compact(spell_out(short.split())) == short
    bare = "STEP 1 CORRECT STEP 2 INCORRECT <eos>"  # of a solution that was cut off
    assert compact(spell_out(bare.split())) == bare


def test_a_critique_with_a_step_that_has_no_number_teaches_the_rest():
    stutter = "STEP 1 CORRECT STEP STEP 2 INCORRECT parameters STEP <eos>"
    said = spell_out(stutter.split())
    assert isinstance(parse(said, 2), Critique)  # so the filter keeps it
    assert compact(said) == "STEP 1 CORRECT STEP 2 INCORRECT parameters <eos>"
    with pytest.raises(ValueError, match="nothing to judge"):
        compact("STEP : CORRECT")
