"""The seam over TRL's DPO trainer."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from dataclasses import dataclass

import pytest
import torch
from trl import DPOConfig, DPOTrainer

from common.preference.dpo import PairTrainer
from common.rl.testing import assert_bitwise, timeless_log, weights
from tests.common.preference.pairs import pocket_pairs, preference_trainer


@dataclass
class Kept(DPOConfig):
    """Columns reach the collator."""

    remove_unused_columns: bool = False


class Weighted(PairTrainer):
    """Adds the weighted log-probability of the chosen responses, and remembers what it was given."""

    extra_columns = ("weight",)

    def has_extra_loss(self):
        return True

    def extra_loss(self, chosen, rejected, columns):
        self.seen = chosen.detach(), rejected.detach(), columns["weight"]
        return (columns["weight"] * chosen).mean()


class Undefined(PairTrainer):
    def has_extra_loss(self):
        return True


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_without_a_term_it_is_trls_bit_for_bit(tmp_path):
    runs = [preference_trainer(kind, DPOConfig, tmp_path, max_steps=5) for kind in (DPOTrainer, PairTrainer)]
    for trainer in runs:
        trainer.train()
    assert_bitwise(weights(runs[0]), weights(runs[1]))
    assert timeless_log(runs[0]) == timeless_log(runs[1])


def test_the_term_gets_the_policys_log_probabilities_and_its_columns_once(tmp_path):
    data = pocket_pairs(weight=[float(row) for row in range(12)])
    trainer = preference_trainer(Weighted, Kept, tmp_path, data, max_steps=1)
    plain = preference_trainer(DPOTrainer, DPOConfig, tmp_path, max_steps=1)
    batch, stock = next(iter(trainer.get_train_dataloader())), next(iter(plain.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model.train(), dict(batch))
    chosen, _, weight = trainer.seen
    torch.testing.assert_close(weight, batch["weight"])
    wanted = plain.compute_loss(plain.model.train(), stock) + (weight * chosen).mean()
    torch.testing.assert_close(loss, wanted)
    assert "weight" in batch
    assert not trainer.model._forward_hooks


def test_pairs_without_the_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Weighted needs the columns \['weight'\]"):
        preference_trainer(Weighted, Kept, tmp_path)


def test_a_term_that_is_not_defined_says_so(tmp_path):
    with pytest.raises(NotImplementedError, match="defines none"):
        preference_trainer(Undefined, DPOConfig, tmp_path, max_steps=1).train()
