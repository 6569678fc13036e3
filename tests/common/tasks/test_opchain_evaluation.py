import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.tasks import opchain
from common.tasks.opchain import BOS, EOS, PAD, VOCABULARY, OpChainConfig, reward
from common.tasks.opchain.evaluation import evaluate, high_entropy_positions


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(VOCABULARY, PAD, BOS, EOS)


@pytest.fixture(scope="module")
def policy(tokenizer):
    """Random weights, pushed towards ``<ans> digit <eos>`` so that some completions are right."""
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=16), tokenizer, 0).eval()
    table = torch.full((len(VOCABULARY), len(VOCABULARY)), -9.0)
    digits = [VOCABULARY.index(str(value)) for value in range(11)]
    table[VOCABULARY.index("="), VOCABULARY.index("<ans>")] = 9.0
    table[VOCABULARY.index("<ans>"), digits] = 9.0
    table[digits, VOCABULARY.index(EOS)] = 9.0
    last = {}
    model.register_forward_pre_hook(
        lambda _, __, inputs: last.update(ids=inputs["input_ids"]), with_kwargs=True
    )
    model.lm_head.register_forward_hook(lambda _, __, output: table[last["ids"][:, -output.shape[1] :]])
    return model


def test_counts_equal_the_verifier_row_by_row(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=20))
    result = evaluate(policy, tokenizer, items, samples=30, temperature=1.0, seed=0)
    counts = np.zeros(20, dtype=int)
    for row, (ids, mask) in enumerate(zip(result.ids, result.mask, strict=True)):
        counts[row // 30] += reward([VOCABULARY[token] for token in ids[mask]], items[row // 30])
    np.testing.assert_array_equal(result.correct, counts)
    assert counts.sum() / 600 == pytest.approx(1 / 11, abs=0.04)
    assert (result.lengths == 3).all()
    assert result.lengths.shape == (20, 30)


def test_entropies_belong_to_the_sampled_tokens(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=3))
    result = evaluate(policy, tokenizer, items, samples=4, temperature=1.0, seed=0)
    expected = np.tile([0.0, np.log(11), 0.0], (12, 1))
    np.testing.assert_allclose(result.entropies, expected, atol=1e-4)


def test_pass_at_k_by_level(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=20))
    result = evaluate(policy, tokenizer, items, samples=8, temperature=1.0, seed=0)
    assert set(result.pass_at(1)) == {"E", "M", "H", "X", "all"}
    hard = [count / 8 for count, item in zip(result.correct, items, strict=True) if item.level == "H"]
    assert result.pass_at(1)["H"] == pytest.approx(np.mean(hard))
    assert result.pass_at(8)["all"] == pytest.approx(np.mean(result.correct > 0))
    assert result.pass_at(1)["all"] == pytest.approx(result.correct.mean() / 8)


def test_levels_that_do_not_occur_are_absent(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=4, mix=(1.0, 0.0, 0.0, 0.0)))
    assert set(evaluate(policy, tokenizer, items, 2, 1.0, 0).pass_at(1)) == {"E", "all"}


def test_the_seed_decides(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=10))
    first, again, other = (evaluate(policy, tokenizer, items, 8, 1.0, seed).ids for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_truncated_completions_earn_nothing(policy, tokenizer):
    items = opchain.items(OpChainConfig(size=10))
    result = evaluate(policy, tokenizer, items, samples=8, temperature=1.0, seed=0, max_new_tokens=2)
    assert result.correct.sum() == 0


def test_nothing_to_evaluate(policy, tokenizer):
    with pytest.raises(ValueError, match="at least one item"):
        evaluate(policy, tokenizer, [], 1, 1.0, 0)


def test_high_entropy_positions_by_hand():
    entropies = np.array([[0.1, 0.9, 0.5], [0.8, 7.0, 7.0]])  # the last two are padding
    mask = np.array([[True, True, True], [True, False, False]])
    chosen = high_entropy_positions(entropies, mask, share=0.5)
    np.testing.assert_array_equal(chosen, [[False, True, False], [True, False, False]])
    assert high_entropy_positions(entropies, mask, share=1.0).sum() == 4
    tied = high_entropy_positions(np.zeros((1, 5)), np.ones((1, 5), dtype=bool), share=0.4)
    np.testing.assert_array_equal(tied, [[True, True, False, False, False]])
    with pytest.raises(ValueError, match="share"):
        high_entropy_positions(entropies, mask, share=20)
