import json
from dataclasses import replace
from itertools import islice

import pytest
import torch

from common.models.pocket import build_tokenizer, load_pocket
from common.models.recipe import IGNORED, ModelShape, build_model, next_token_loss
from common.tasks.opchain import BOS, EOS, PAD, VOCABULARY, Corruption, Item, warm_start
from common.tasks.opchain.warm_start import WarmstartConfig, batches

TINY = WarmstartConfig(model=ModelShape(hidden=16, layers=1, heads=2, ffn=16), steps=4, batch=8, warmup=2)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(VOCABULARY, PAD, BOS, EOS)


def test_labels_are_the_completion_only(tokenizer):
    ids, labels = next(batches(TINY, tokenizer, seed=0))
    for row, target in zip(ids.tolist(), labels.tolist(), strict=True):
        words = [VOCABULARY[token] for token in row if token != 0]
        start = words.index("=") + 1
        item = Item.from_prompt(" ".join(words[:start]))
        assert item.split == "train"
        assert words[-1] == EOS
        assert target[:start] == [IGNORED] * start
        assert target[start : len(words)] == row[start : len(words)]
        assert set(target[len(words) :]) <= {IGNORED}


def test_batches_depend_on_the_seed_and_move_on(tokenizer):
    first, again, other = (list(islice(batches(TINY, tokenizer, seed), 2)) for seed in (0, 0, 1))
    assert torch.equal(first[1][0], again[1][0])
    assert not any(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in ((first[0][0], first[1][0]), (first[0][0], other[0][0]))
    )


def test_the_loss_equals_a_per_token_sum_without_padding(tokenizer):
    model = build_model(TINY.model, tokenizer, 0)
    ids, labels = next(batches(TINY, tokenizer, seed=0))
    losses = []
    for row, target in zip(ids, labels, strict=True):
        length = int((row != 0).sum())
        log_p = torch.log_softmax(model(input_ids=row[None, :length]).logits[0].double(), -1)
        losses += [-log_p[t - 1, row[t]] for t in range(length) if target[t] != IGNORED]
    assert next_token_loss(model, ids, labels).item() == pytest.approx(
        (sum(losses) / len(losses)).item(), rel=1e-5
    )


def test_training_is_deterministic_and_learns():
    config = replace(TINY, steps=40, batch=16, learning_rate=1e-2)
    first, _, losses = warm_start.warm_start(config, seed=0)
    again, _, _ = warm_start.warm_start(config, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert losses[-1] < 0.75 * losses[0]
    assert not first.training


def test_a_clean_policy_is_measured_against_clean_traces(tokenizer):
    """Rates beside each other: an untrained model passes nothing, clean traces everything on E and M."""
    model = build_model(TINY.model, tokenizer, 0).eval()
    clean = Corruption(add=0, subtract=0, multiply=0)
    card = warm_start.measure(model, tokenizer, clean, samples=1)
    assert card["traces_exact"]["E"] == card["traces_exact"]["M"] == 1.0
    assert card["policy"]["all"] < 0.05


def test_a_build_leaves_a_loadable_checkpoint_with_its_card(tmp_path):
    card = warm_start.build(TINY, seed=5, folder=tmp_path / "opchain-5")
    model, _ = load_pocket(tmp_path / "opchain-5")
    expected, _, _ = warm_start.warm_start(TINY, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    written = json.loads((tmp_path / "opchain-5" / "card.json").read_text())
    assert written["data_seed"] == 5
    assert written["recipe"]["noise"]["multiply"] == 0.2
    assert set(written["pass_rates"]["policy"]) == {"E", "M", "H", "X", "all"}
    assert written["pass_rates"] == card["pass_rates"]
