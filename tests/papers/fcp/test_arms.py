"""Offline data, the composition corpus, and a whole job at the smallest size: deterministic, seed by seed."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.judge.critic import Critique
from common.models.pocket import load_policy
from common.models.recipe import ModelShape
from papers.fcp import train
from papers.fcp.arith import Attributes, Item
from papers.fcp.arms import Pair, Watching, one_right_one_wrong, pools, score_token
from papers.fcp.base import BaseConfig
from papers.fcp.experiment import PROFILES, Config, training_jobs
from papers.fcp.words import LENGTH_WORDS, OPAQUE, VOCABULARY, ArithCritic


def pair(correct=True, concise=True, score=10, summary="right"):
    found = Attributes(correct, True, concise, False)
    return Pair(Item((1, 2)), "# 3", Critique("", "", summary, score), found)


def test_mixed_questions_give_one_right_and_one_wrong_response_and_others_are_dropped():
    right, wrong = pair(), pair(correct=False)
    chosen = one_right_one_wrong([[right, right], [wrong], [wrong, right, right], []])
    assert chosen == [right, wrong]


def test_pools_keep_high_scores_and_the_second_has_no_words_on_length():
    pairs = [pair(summary="right concise"), pair(summary="right"), pair(score=8, summary="wrong")]
    every, plain = pools(pairs)
    assert (every.texts, plain.texts) == (["right concise", "right"], ["right"])
    assert not {word for text in plain.texts for word in text.split()} & LENGTH_WORDS


def test_a_score_has_a_token_of_its_own():
    assert [score_token(pair(score=score).critique) for score in (0, 10)] == [OPAQUE[0], OPAQUE[10]]


def test_attributes_exclude_each_other_in_the_composition_corpus():
    rng = np.random.default_rng(0)
    pairs = [pair(c, s) for c, s in rng.integers(2, size=(4000, 2)).astype(bool)]
    corpus = train.exclusive(pairs, rng)
    for cell, share in train.MIX.items():
        found = np.mean([(p.attributes.correct, p.attributes.concise) == cell for p in corpus])
        assert found == pytest.approx(share, abs=0.01)


def test_watching_averages_rollouts_by_round():
    watching = Watching(ArithCritic(0))
    for response in ("# 3", "# 4", "1 + 2 = 3 # 3", "# 3"):
        watching("1 + 2 =", response, "3")
    curves = watching.curves(2)
    assert curves["accuracy"].tolist() == [0.5, 1.0]
    assert curves["length"].tolist() == [3.0, (8 + 3) / 2]
    assert curves["score"][1] == pytest.approx((10 + 8) / 20)


@pytest.fixture
def tiny():
    """The `main` job of seed 0 at the smallest size."""
    torch.set_num_threads(1)
    small = {
        **PROFILES["smoke"],
        "offline_prompts": 24,
        "rounds": 1,
        "online_prompts": 4,
        "evaluation_prompts": 4,
    }
    jobs = training_jobs(Config(**small), (0,))
    return {job.sweep: replace(job, config={**job.config, "controls": False}) for job in jobs}


def test_a_job_is_a_function_of_configuration_and_seed(tiny, tmp_path):
    first, again = (train.main(tiny["main"], tmp_path / str(index)) for index in range(2))
    assert first.scalars.keys() == again.scalars.keys()
    assert all(np.array_equal(v, again.scalars[name], equal_nan=True) for name, v in first.scalars.items())
    assert all(np.array_equal(first.series[name], again.series[name]) for name in first.series)
    assert {"base/accuracy", "fcp/greedy", "fcp@has code/code", "grpo/score"} <= set(first.scalars)
    assert first.series["bootstrap/curve/accuracy"].shape == (1, 1)
    assert first.series["bootstrap/curve/loss"].shape == (1, 4)


def test_conditions_ask_for_what_they_say_and_the_base_is_never_trained_in_place(tiny, tmp_path):
    bench = train.Bench(tiny["main"], tmp_path)
    assert all(set(text.split()) & {"wrong", "mistaken"} for text in bench.under("fully negative"))
    assert all(len(text.split()) == 4 for text in bench.under("fully positive"))
    before = {name: value.clone() for name, value in bench.policy()[0].state_dict().items()}
    bench.fit(bench.pairs, [pair.critique.summary for pair in bench.pairs])
    assert all(torch.equal(value, before[name]) for name, value in bench.policy()[0].state_dict().items())


def test_a_larger_base_policy_is_trained_once_and_kept(monkeypatch, tmp_path):
    small = BaseConfig(ModelShape(hidden=16, layers=1, heads=2, ffn=16), steps=2, batch=4)
    monkeypatch.setattr(train, "SCRATCH", small)
    monkeypatch.setattr(train, "store_root", lambda: tmp_path / "store")
    first = train.base_path("scratch", 4)
    monkeypatch.setattr("papers.fcp.base.train_base", None)
    assert train.base_path("scratch", 1) == first
    model, tokenizer = load_policy(first)
    assert model.config.hidden_size == 16
    assert len(tokenizer) == len(VOCABULARY)
    assert train.base_path("pocket", 4) == "verbal-arith-1"
