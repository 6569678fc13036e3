"""Stages and arms on a tiny random policy: what is trained on what, and with which weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.preference.losses import weighted_nll
from common.tasks.countdown import BOS, DONE, END_HINT, EOS, HINT, PAD, VOCABULARY, Question
from common.tasks.countdown.evaluation import Solver, solve
from common.tasks.countdown.training import (
    Demonstration,
    Row,
    Sampled,
    demonstrated,
    leaks,
    token_log_probs,
    train,
)
from papers.variational_reasoning.experiment import PROFILES, Config, jobs
from papers.variational_reasoning.runs import proposals, training
from papers.variational_reasoning.runs.proposals import World
from papers.variational_reasoning.runs.training import ARMS, rows_of, weighted, weights_of

QUESTION = Question((7, 5, 4), 33)
ROWS = [
    Row(QUESTION.text, f"7 * 4 = 28 5 28 + 5 = 33 ok {DONE} ( 7 * 4 ) + 5 {EOS}", weight) for weight in (1, 3)
]


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))


def solver(seed=0):
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128, tied=True)
    return Solver(build_model(shape, tokenizer, seed), tokenizer)


@pytest.fixture
def job():
    return next(each for each in jobs(Config().changed(PROFILES["smoke"]), [0]) if each.sweep == "ablations")


def sampled(accuracy, ratios=None):
    """Two traces of a question for each pair of accuracies."""
    right = np.array(accuracy)[..., None] > np.arange(4) / 4
    shape = right.shape[:2]
    proposal = np.full(shape, -20.0)
    raw = np.zeros(shape) if ratios is None else np.array(ratios)
    return Sampled(
        [Demonstration(QUESTION, f"demo {DONE}", "reference")] * shape[0],
        [["first", "second"]] * shape[0],
        np.full(shape, 10),
        proposal + raw,
        proposal,
        right,
        [["found", "reference"]] * shape[0],
        np.array([[-1.0, -9.0]] * shape[0]),
        np.full(shape[0], 8),
    )


def test_weights_follow_ratio_and_accuracy():
    own = sampled([[0.5, 1.0], [1.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 10 * np.log(3)], [0.0, 0.0]])
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(weights_of(own, ARMS["acc"], rng), [[1 / 3, 2 / 3], [0.25, 0.75], [0, 0]])
    np.testing.assert_allclose(weights_of(own, ARMS["single"], rng), [[0, 1], [0, 1], [0, 0]])
    np.testing.assert_allclose(weights_of(own, ARMS["k1"], rng), [[1, 0], [1, 0], [0, 0]])
    np.testing.assert_allclose(weights_of(own, ARMS["uniform"], rng), np.full((3, 2), 0.5))
    shuffled = weights_of(own, ARMS["shuffled"], rng)
    np.testing.assert_allclose(np.sort(shuffled), [[1 / 3, 2 / 3], [0.25, 0.75], [0, 0]])
    likely = weights_of(own, ARMS["lik"], rng)[0]
    assert likely[0] == pytest.approx(1 / (1 + np.exp(-8)))


def test_a_question_without_a_usable_trace_keeps_its_demonstration():
    own = sampled([[0.5, 0.0], [0.0, 0.0]])
    rows = weighted(own, weights_of(own, ARMS["acc"], np.random.default_rng(0)), "acc")
    assert [row.completion for row in rows] == [f"first found {EOS}", f"demo {DONE} reference {EOS}"]
    assert {row.weight for row in rows} == {1.0}
    kept = weighted(own, np.full((2, 2), 0.5), "lik")
    assert {row.completion.split()[1] for row in kept} == {"reference"}


def test_the_hint_is_in_the_prompt_of_the_proposal_alone():
    own = Demonstration(QUESTION, f"demo {DONE}", "7 * 4 + 5")
    plain, hinted = demonstrated([own])[0].prompt, demonstrated([own], hinted=True)[0].prompt
    assert not {HINT, END_HINT} & set(plain.split())
    assert f"{HINT} 7 * 4 + 5 {END_HINT}" in hinted


def test_log_probabilities_are_those_of_the_model_whatever_the_company():
    own = solver()
    texts = [
        (QUESTION.text, f"7 * 4 = 28 ok {DONE}", f"7 {EOS}"),
        (QUESTION.text, DONE, f"( 7 * 4 ) + 5 {EOS}"),
    ]
    both = own.log_probs(texts)
    assert both.shape == (2, 2)
    words = own.tokenizer.get_vocab()
    for row, found in zip(texts, both, strict=True):
        ids = torch.tensor([[words[word] for text in row for word in text.split()]])
        scores = own.model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        start = len(row[0].split()) - 1
        trace = len(row[1].split())
        np.testing.assert_allclose(found[0], scores[start : start + trace].sum().item(), rtol=1e-5)
        np.testing.assert_allclose(found[1], scores[start + trace :].sum().item(), rtol=1e-5)


def test_the_loop_has_the_loss_of_the_weighted_trainer():
    own = solver()
    words = own.tokenizer.get_vocab()
    ids = [[[words[word] for word in text.split()] for text in (row.prompt, row.completion)] for row in ROWS]
    scores, tokens = token_log_probs(own, ids)
    length = len(ids[0][1])
    assert int(tokens) == 2 * length
    wanted = weighted_nll(scores, torch.tensor([1.0, 3.0]), 2.0 * length)
    curves = train(own, ROWS, steps=1, batch=2, learning_rate=1e-3, seed=0)
    assert curves["loss"][0] == pytest.approx(wanted.item(), rel=1e-5)
    assert len(curves["norm"]) == 1


def test_norms_are_those_before_the_clip():
    own = solver()
    heavy = [replace(row, weight=1000.0) for row in ROWS]
    curves = train(own, heavy, steps=3, batch=2, learning_rate=1e-3, seed=0)
    assert len(curves["norm"]) == 3
    assert min(curves["norm"]) > 1.0


def test_every_arm_trains_and_is_measured(job):
    record = training.ablations(job, None)
    assert [labels["arm"] for labels, _ in record.parts] == str(job.config["arms"]).split()
    for labels, part in record.parts:
        assert 0 <= part.scalars["accuracy"][0] <= 1
        assert part.series["loss"].shape == part.series["norm"].shape == (1, 2)
        assert ("pass@4/hard" in part.scalars) == (labels["arm"] in ("sft", "acc", "uniform"))


def test_weights_have_a_mean_of_one_in_every_arm(job):
    world = World(job)
    for arm in ARMS.values():
        assert np.mean([row.weight for row in rows_of(world, arm)]) == pytest.approx(1.0)


def test_the_main_job_diagnoses_its_traces(job):
    record = training.main(replace(job, config={**job.config, "arms": "sft acc"}), None)
    assert [labels["arm"] for labels, _ in record.parts] == ["base", "sft", "acc"]
    assert not record.parts[0][1].series
    for name in ("verified", "verified_prior", "unequal", "length_raw", "length_control", "slope"):
        assert name in record.scalars
    assert record.series["raw_ratio"].shape == record.series["token_ratio"].shape == (1, training.BINS)


def test_the_same_seed_gives_the_same_traces(job):
    first, second = (World(job).sampled("hint") for _ in range(2))
    assert first.traces == second.traces
    np.testing.assert_array_equal(first.log_policy, second.log_policy)


def test_the_reverse_kl_trains_the_proposal(job):
    settings = {"reverse_steps": 1, "reverse_questions": 2, "reverse_traces": 2, "reverse_rate": 1e-3}
    record = proposals.reverse(replace(job, config={**job.config, **settings}), None)
    assert [labels["arm"] for labels, _ in record.parts] == ["forward", "reverse", "wrong"]
    assert all(np.isfinite(part.scalars["entropy"][0]) for _, part in record.parts)


def test_a_leak_is_a_trace_without_a_search():
    own = sampled([[1.0, 0.0]])
    alone = f"7 * 4 = 28 5 28 + 5 = 33 ok {DONE}"
    searched = f"7 + 5 = 12 4 12 + 4 = 16 no {alone}"
    hollow = f"7 * 4 = 29 5 28 + 5 = 33 ok {DONE}"
    for traces, wanted in (((alone, searched), [True, False]), ((hollow, hollow), [True, False])):
        assert leaks(replace(own, traces=[list(traces)])) == wanted


def test_responses_to_held_out_questions_are_verified():
    solved = solve(solver(), [QUESTION], 3, 1.0, 0)
    assert solved.correct.shape == solved.lengths.shape == (1, 3)
    assert solved.rate(hard=True) == solved.rate()
