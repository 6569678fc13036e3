"""Corpora, examples and models of the optimisation problems, at a size that tests can afford."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.models.pocket import load_pocket
from common.models.recipe import IGNORED, ModelShape, Policy
from common.tasks.or_models import END, EOS, STEPS, VOCABULARY
from common.tasks.or_models.evaluation import (
    Trials,
    complete,
    correct_steps,
    judge_all,
    solve_all,
    solved,
)
from common.tasks.or_models.formulation import formulations
from common.tasks.or_models.verification import is_lucky, reward
from common.tasks.or_models.warm_start import (
    CONTEXT,
    MAX_CRITIQUE,
    PREFIX,
    WHOLE,
    Corpus,
    Recipe,
    batches,
    completion,
    example,
    noisy,
    solutions,
    trained,
    verdicts,
    warm_start,
)

SHAPE = ModelShape(hidden=16, layers=1, heads=2, ffn=16, context=CONTEXT)
TINY = Recipe(model=SHAPE, corpus=Corpus(size=24), steps=3, batch=8, warmup=1)


def words(ids):
    return [VOCABULARY[token] for token in ids]


def test_a_verified_corpus_holds_no_wrong_outcome_and_some_luck():
    kept = [(item, text.split()) for item, text, _ in solutions(Corpus(size=150), 0)]
    assert all(reward(text, item) for item, text in kept)
    assert 0.15 < np.mean([is_lucky(text, item) for item, text in kept]) < 0.45
    assert {item.scenario for item, _ in kept} == {0, 1}


def test_an_unverified_corpus_keeps_all_its_errors_and_dial_none_leaves_no_luck_behind_verification():
    raw = [reward(text.split(), item) for item, text, _ in solutions(Corpus(150, verified=False), 0)]
    assert 0.4 < np.mean(raw) < 0.8
    clean = [is_lucky(text.split(), item) for item, text, _ in solutions(Corpus(150, dial="none"), 0)]
    assert np.mean(clean) < 0.02


def test_a_corpus_depends_on_its_seed_alone():
    texts = [[text for _, text, _ in solutions(Corpus(size=20), seed)] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_labels_are_what_is_written_or_the_verdicts_at_the_ends_of_steps():
    item, text, rng = next(solutions(Corpus(rate=0.0), 3))
    one = example("policy", item, text, 0.0, rng)
    assert words(token for token in one.labels if token != IGNORED) == text.split()
    whole = example("whole", item, text, 0.0, rng)
    said = words(token for token in whole.labels if token != IGNORED)
    assert said.count("CORRECT") == STEPS
    assert said[-1] == EOS
    assert len(said) <= MAX_CRITIQUE
    prefix = verdicts(item.prompt, text, [True, False] * 3)
    places = [place for place, label in enumerate(prefix.labels) if label != IGNORED]
    assert [words(prefix.ids)[place - 1] for place in places] == [END] * STEPS
    assert words(prefix.labels[place] for place in places) == ["CORRECT", "INCORRECT"] * 3


def test_noise_turns_its_share_of_the_verdicts_round():
    rng = np.random.default_rng(0)
    reasons = (None, "parameters", None, None, "constraints", None)
    turned = [noisy(reasons, 0.25, rng) for _ in range(500)]
    different = np.mean([[a != b for a, b in zip(row, reasons, strict=True)] for row in turned])
    assert 0.22 < different < 0.28
    assert noisy(reasons, 0.0, rng) == reasons
    assert noisy(reasons, 1.0, rng)[:2] == ("reading", None)


def test_batches_pass_through_the_corpus_and_fit_their_context():
    rows = [completion(item.prompt, text) for item, text, _ in solutions(TINY.corpus, 0)]
    data = batches(rows, 8, 0)
    seen = torch.cat([ids.sum(dim=1) for ids, _ in (next(data) for _ in range(3))])
    assert sorted(seen.tolist()) == sorted(sum(row.ids) for row in rows)
    with pytest.raises(ValueError, match="fewer than a batch"):
        next(batches(rows, 99, 0))


@pytest.fixture(scope="module")
def policy():
    return warm_start(TINY, 0)


def test_a_trained_model_is_kept_and_is_the_one_that_was_trained(policy, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    folder = trained(TINY, 3)
    assert trained(TINY, 0) == folder
    kept, _ = load_pocket(folder)
    for ours, theirs in zip(policy.model.parameters(), kept.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("recipe", [WHOLE, PREFIX])
def test_verifiers_train_by_the_same_recipe(recipe):
    small = replace(recipe, model=SHAPE, corpus=replace(recipe.corpus, size=8), steps=1, batch=8)
    assert isinstance(warm_start(small, 1), Policy)


def test_any_text_of_an_untrained_model_is_judged(policy):
    items = [item for item, _, _ in solutions(Corpus(size=2), 5)]
    found = solve_all(policy, items, 2, 1.0, seed=0)
    assert [one.item for one in found] == [items[0], items[0], items[1], items[1]]
    assert found == solve_all(policy, items, 2, 1.0, seed=0)
    critiques = judge_all(policy, [one.item.prompt for one in found], [one.text for one in found])
    assert all(len(text.split()) <= MAX_CRITIQUE for text in critiques)
    assert complete(policy, [items[0].prompt], 4, 0.0, 0) == complete(policy, [items[0].prompt], 4, 0.0, 1)


def test_a_prefix_verifier_does_not_see_what_comes_later(policy):
    item, text, _ = next(solutions(Corpus(rate=0.0), 3))
    steps = text.split(END)
    changed = END.join([*steps[:3], *[" <step> max "] * 3, f" {EOS}"])
    chances = correct_steps(policy, [item.prompt] * 3, [text, changed, EOS])
    np.testing.assert_allclose(chances[0, :3], chances[1, :3], atol=1e-6)
    assert np.isfinite(chances[:2]).all()
    assert np.isnan(chances[2]).all()


def test_a_right_solution_is_clean_and_a_lucky_one_is_not():
    item = next(solutions(Corpus(), 0))[0]
    right = solved(item, formulations(item)[0].text)
    assert right.is_right
    assert right.is_clean
    assert not right.is_lucky
    lucky = next(one for one in (solved(i, t) for i, t, _ in solutions(Corpus(), 0)) if not one.is_clean)
    assert lucky.is_lucky


def test_trials_are_what_they_are_called():
    trials = Trials.of("usual", 6, (0, 1), 3)
    assert all(one.is_clean and one.is_right for one in trials.solutions["clean"])
    assert all(one.is_lucky for one in trials.solutions["lucky"])
    assert not any(one.is_right for one in trials.solutions["wrong"])
    assert trials == Trials.of("usual", 6, (0, 1), 3)
