"""The target of the three domains, trained at the size of a test, and what is measured of it."""

import pytest
import torch

from common.tasks.tridomain import DOMAINS, warm_start
from common.tasks.tridomain.evaluation import domain_means, heldout, heldout_prefixes, learnt
from common.tasks.tridomain.warm_start import TargetRecipe, load, texts, tokenizer

RECIPE = TargetRecipe(layers=2, hidden=32, ffn=32, steps=2, batch=4)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))


def test_the_target_is_trained_once_and_stays_still(monkeypatch):
    first = load(RECIPE)
    monkeypatch.setattr(warm_start, "train", lambda recipe: pytest.fail("trained twice"))
    again = load(RECIPE)
    assert all((a == b).all() for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(weight.requires_grad for weight in again.parameters())


def test_what_it_has_learnt_counts_answers_only():
    values = learnt(load(RECIPE), 2)
    assert all(0.0 <= values[f"accuracy/{domain}"] <= 1.0 for domain in DOMAINS)
    assert values["verified/math"] == 0.0  # two steps teach no arithmetic


def test_heldout_prefixes_lie_in_answers_of_every_domain():
    prefixes = heldout_prefixes(2, 3)
    assert [name for part in prefixes for name in part.domains] == [d for d in DOMAINS for _ in range(6)]
    supervised = {
        tuple(row.ids[0].tolist()): row.supervised for row in (texts([item]) for item in heldout(2))
    }
    for part in prefixes:
        for row in part.rows():
            ids = tuple(row.ids[0][row.ids[0] != tokenizer().pad_token_id].tolist())
            assert row.roots.shape == (1, 3)
            assert supervised[ids].gather(1, row.roots).all()


def test_means_weigh_domains_equally():
    parts = [
        (["chat", "chat", "math"], {"tau": torch.tensor([1.0, 3.0, 5.0])}),
        (["code"], {"tau": torch.tensor([8.0])}),
    ]
    assert domain_means(parts) == {"tau/chat": 2.0, "tau/code": 8.0, "tau/math": 5.0, "tau/all": 5.0}
