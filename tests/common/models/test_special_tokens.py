"""New tokens: ids, sizes, and embeddings with the moments of the old ones."""

import pytest
import torch

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.models.special_tokens import add_special_tokens, gaussian_like

WORDS = ("<pad>", "<bos>", "<eos>", *(f"w{index}" for index in range(9)))


@pytest.fixture
def policy():
    tokenizer = build_tokenizer(WORDS, "<pad>", "<bos>", "<eos>")
    return build_model(ModelShape(hidden=8, layers=1, heads=2, ffn=8), tokenizer, 0), tokenizer


def test_draws_have_mean_and_covariance_of_the_rows():
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    rows = rows * torch.tensor([1.0, 3.0, 0.0]) + torch.tensor([5.0, 0.0, -1.0])
    drawn = gaussian_like(rows, 60_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(dim=0), rows.mean(dim=0), atol=0.05)
    assert torch.allclose(drawn.T.cov(correction=0), rows.T.cov(correction=0), atol=0.12)
    assert drawn[:, 2].std() < 1e-6  # a singular covariance stays singular


def test_tokens_are_whole_words_with_rows_of_their_own(policy):
    model, tokenizer = policy
    before = [
        part.weight.detach().clone() for part in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    ids = add_special_tokens(model, tokenizer, ("<EF>", "</EF>"), seed=0)
    assert ids == [12, 13]
    assert tokenizer("<EF>w1 w2</EF>w3 <eos>")["input_ids"] == [12, 4, 5, 13, 6, 2]
    for part, old in zip((model.get_input_embeddings(), model.get_output_embeddings()), before, strict=True):
        assert torch.equal(part.weight[:12], old)
        assert part.weight.shape == (14, 8)
        assert part.weight[12:].std() > 0
    assert model.config.vocab_size == 14
    assert tokenizer.decode([4, 12, 2], skip_special_tokens=True) == "w1"


def test_a_second_call_changes_nothing_and_the_seed_decides(policy):
    model, tokenizer = policy
    ids = add_special_tokens(model, tokenizer, ("<EF>",), seed=0)
    weight = model.get_input_embeddings().weight.detach().clone()
    assert add_special_tokens(model, tokenizer, ("<EF>",), seed=1) == ids
    assert torch.equal(model.get_input_embeddings().weight, weight)
    other = build_model(ModelShape(hidden=8, layers=1, heads=2, ffn=8), build_tokenizer(WORDS, *WORDS[:3]), 0)
    add_special_tokens(other, build_tokenizer(WORDS, *WORDS[:3]), ("<EF>",), seed=1)
    assert not torch.equal(other.get_input_embeddings().weight[12], weight[12])


def test_spare_rows_of_a_model_are_used_first(policy):
    model, tokenizer = policy
    model.resize_token_embeddings(20, mean_resizing=False)
    add_special_tokens(model, tokenizer, ("<EF>",), seed=0)
    assert model.get_input_embeddings().weight.shape[0] == 20
