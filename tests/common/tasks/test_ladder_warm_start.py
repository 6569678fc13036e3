"""Tokens, batches and training of the ladder policy."""

import itertools

import pytest
import torch

from common.models.recipe import IGNORED, ModelShape, build_model
from common.tasks import ladder
from common.tasks.ladder import Item, LadderConfig, TraceLaw, warm_start
from common.tasks.ladder.warm_start import PolicyRecipe, decode, encode, tokenizer


@pytest.mark.parametrize("text", ["<bos>sum:a7b3c9=", "7+b3=10;10+c9=19;ans 19<eos>"])
def test_one_token_a_character_and_back(text):
    ids = encode(text)
    assert decode(ids) == text
    assert tokenizer().decode(ids) == text
    assert len(ids) == len(text.replace("<bos>", "B").replace("<eos>", "E"))
    assert [ladder.VOCABULARY[token] for token in ids.tolist()] == tokenizer().convert_ids_to_tokens(ids)


def test_labels_are_the_response_and_nothing_else():
    for batch in itertools.islice(warm_start.batches(TraceLaw(), LadderConfig(seed=1), 4), 3):
        for ids, labels in zip(*batch, strict=True):
            supervised = labels != IGNORED
            text = decode(ids[ids != tokenizer().pad_token_id])
            prompt, response = text.split("=", 1)
            assert decode(labels[supervised]) == response
            assert response.endswith(ladder.EOS)
            assert Item.from_prompt(f"{prompt}=").split == "train"


def test_a_few_steps_lower_the_loss_and_the_seed_fixes_the_weights():
    shape = ModelShape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=64, context=256, tied=True)
    recipe = PolicyRecipe(shape, steps=30, batch=4, learning_rate=5e-3)
    first, second = warm_start.train(recipe), warm_start.train(recipe)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    batch = next(warm_start.batches(recipe.law, LadderConfig(seed=9), 16))
    with torch.no_grad():
        before = warm_start.next_token_loss(build_model(shape, tokenizer(), 0), *batch)
        after = warm_start.next_token_loss(first, *batch)
    assert after < before - 1
