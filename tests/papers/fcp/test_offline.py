"""Offline data by hand; training without padding against padded batches."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from common.judge.critic import Critique
from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.models.special_tokens import add_special_tokens
from common.tasks.verbal_arith import BOS, EOS, PAD, Attributes, Item, stream
from common.tasks.verbal_arith.words import LENGTH_WORDS, VOCABULARY, ArithCritic
from papers.fcp.method import FEEDBACK_TOKENS
from papers.fcp.runs import offline
from papers.fcp.runs.offline import MIX, Pair, exclusive, one_right_one_wrong, pools

SETTINGS = {"offline_batch": 8, "offline_epochs": 2, "offline_learning_rate": 2e-3, "offline_warmup": 0.1}


def pair(correct=True, concise=True, score=10, summary="right"):
    attributes = Attributes(correct, True, concise, False)
    return Pair(Item((1, 2)), "# 3", Critique("", "", summary, score), attributes)


def test_mixed_questions_give_one_right_and_one_wrong_response_and_others_are_dropped():
    right, wrong = pair(), pair(correct=False)
    groups = [[right, right], [wrong], [wrong, right, right], []]
    assert one_right_one_wrong(groups) == [right, wrong]


def test_pools_keep_high_scores_and_the_second_has_no_words_on_length():
    pairs = [pair(summary="right concise"), pair(summary="right"), pair(score=8, summary="wrong")]
    every, plain = pools(pairs)
    assert (every.texts, plain.texts) == (["right concise", "right"], ["right"])
    assert not {word for text in plain.texts for word in text.split()} & LENGTH_WORDS


def test_attributes_exclude_each_other_in_the_composition_corpus():
    rng = np.random.default_rng(0)
    pairs = [pair(c, s) for c, s in rng.integers(2, size=(4000, 2)).astype(bool)]
    corpus = exclusive(pairs, rng)
    for cell, share in MIX.items():
        own = np.mean([(p.attributes.correct, p.attributes.concise) == cell for p in corpus])
        assert own == pytest.approx(share, abs=0.01)


def rows(count: int) -> Iterator[tuple[str, str, str]]:
    source, critic = stream(0), ArithCritic(0)
    for _ in range(count):
        item, response = next(source)
        yield item.question, f" {response}", critic(item.question, response, "").summary


def test_training_without_padding_is_that_of_padded_batches(monkeypatch, tmp_path):
    """Weights after ten steps agree up to rounding."""
    torch.set_num_threads(1)
    prompts, completions, critiques = zip(*rows(40), strict=True)
    data = {"prompt": prompts, "completion": completions, "critique": critiques}

    def trained(padding_free):
        monkeypatch.setattr(offline, "PADDING_FREE", padding_free)
        tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
        model = build_model(ModelShape(hidden=16, layers=2, heads=2, ffn=32), tokenizer, 0)
        add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, 0)
        offline.train_offline(model, tokenizer, data, SETTINGS, 0, tmp_path)
        return np.concatenate([value.detach().numpy().ravel() for value in model.parameters()])

    assert np.abs(trained(True) - trained(False)).max() < 1e-4
