"""Offline data by hand; packed rows: every sequence once, and the training of a padded batch."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.judge.critic import Critique
from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED, ModelShape, build_model
from common.models.special_tokens import add_special_tokens
from common.tasks.verbal_arith import BOS, EOS, PAD, Attributes, Item, stream
from common.tasks.verbal_arith.words import LENGTH_WORDS, VOCABULARY, ArithCritic
from papers.fcp.method import FEEDBACK_TOKENS
from papers.fcp.runs import offline
from papers.fcp.runs.offline import MIX, PackedRows, Pair, exclusive, one_right_one_wrong, pools, shared_rows

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


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 12))
def test_every_sequence_stands_in_one_row_and_rows_are_even(lengths, rows):
    places = shared_rows(lengths, rows)
    assert sorted(place for row in places for place in row) == list(range(len(lengths)))
    assert len(places) == min(rows, len(lengths))
    widths = [sum(lengths[place] for place in row) for row in places]
    assert max(widths) - min(widths) <= max(lengths)


def test_a_batch_by_hand():
    examples = [
        {"input_ids": [5, 6], "labels": [IGNORED, 6]},
        {"input_ids": [7, 8, 9], "labels": [IGNORED, IGNORED, 9]},
        {"input_ids": [4], "labels": [IGNORED]},
    ]
    packed = PackedRows(0)(examples)
    assert packed["input_ids"].tolist() == [[7, 8, 9], [5, 6, 4]]
    assert packed["labels"].tolist() == [[IGNORED, IGNORED, 9], [IGNORED, 6, IGNORED]]
    assert packed["position_ids"].tolist() == [[0, 1, 2], [0, 1, 0]]
    assert PackedRows(0)(examples[:2])["input_ids"].tolist() == [[7, 8, 9, 5, 6]]
    assert PackedRows(3)([*examples, examples[1]])["input_ids"].tolist() == [[7, 8, 9, 5, 6], [7, 8, 9, 4, 3]]


def rows(count: int) -> Iterator[tuple[str, str, str]]:
    source, critic = stream(0), ArithCritic(0)
    for _ in range(count):
        item, response = next(source)
        yield item.question, f" {response}", critic(item.question, response, "").summary


@pytest.mark.parametrize("packed", [True, False])
def test_training_is_that_of_padded_batches(monkeypatch, tmp_path, packed):
    """Weights after ten steps agree with the padded ones up to rounding; if positions run on they do not."""
    torch.set_num_threads(1)
    prompts, completions, critiques = zip(*rows(40), strict=True)
    data = {"prompt": prompts, "completion": completions, "critique": critiques}

    def trained(collator):
        monkeypatch.setattr(offline, "PackedRows", collator)
        tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
        model = build_model(ModelShape(hidden=16, layers=2, heads=2, ffn=32), tokenizer, 0)
        add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, 0)
        offline.train_offline(model, tokenizer, data, SETTINGS, 0, tmp_path)
        return np.concatenate([value.detach().numpy().ravel() for value in model.parameters()])

    def running_on(pad_id):
        def collate(examples):
            batch = PackedRows(pad_id)(examples)
            width = batch["input_ids"].shape[1]
            return {**batch, "position_ids": torch.arange(width).expand_as(batch["input_ids"])}

        return collate

    padded = trained(lambda _: None)
    distance = np.abs(trained(PackedRows if packed else running_on) - padded).max()
    assert (distance < 1e-4) == packed, distance
