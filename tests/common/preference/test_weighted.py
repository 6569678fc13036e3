"""The weighted trainers against TRL's, and against the equations on their own log-probabilities."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset
from torch.nn import functional
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from common.preference.weighted import (
    WeightedDPOConfig,
    WeightedDPOTrainer,
    WeightedSFTConfig,
    WeightedSFTTrainer,
)
from common.rl.testing import assert_bitwise, pocket_tokenizer, timeless_log, weights
from tests.common.preference.pairs import PLAIN, pocket_pairs, pocket_policy, preference_trainer

ONES = [1.0] * 12
UNDROPPED = {name: value for name, value in PLAIN.items() if name != "disable_dropout"}
MIXED = [(row % 4) / 3 for row in range(12)]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weighted_dpo(tmp_path, values=MIXED, **fields):
    return preference_trainer(
        WeightedDPOTrainer, WeightedDPOConfig, tmp_path, pocket_pairs(weight=values), **fields
    )


def demonstrations(**columns):
    pairs = pocket_pairs()
    return Dataset.from_dict({"prompt": pairs["prompt"], "completion": pairs["chosen"]} | columns)


def sft(kind, config, tmp_path, data, **fields):
    return kind(
        pocket_policy(),
        args=config(**{**UNDROPPED, "output_dir": str(tmp_path), **fields}),
        train_dataset=data,
        processing_class=pocket_tokenizer(),
    )


@pytest.mark.parametrize(
    "fields", [{}, {"gradient_accumulation_steps": 2}, {"precompute_ref_log_probs": True}]
)
def test_dpo_with_weights_of_one_is_trls_bit_for_bit(tmp_path, fields):
    ours = weighted_dpo(tmp_path, ONES, max_steps=5, **fields)
    stock = preference_trainer(DPOTrainer, DPOConfig, tmp_path, max_steps=5, **fields)
    for trainer in (ours, stock):
        trainer.train()
    assert_bitwise(weights(ours), weights(stock))
    assert timeless_log(ours) == timeless_log(stock)


@pytest.mark.parametrize("reference_free", [False, True])
def test_the_loss_is_the_equation_on_the_policys_log_probabilities(tmp_path, reference_free):
    trainer = weighted_dpo(tmp_path, max_steps=1, beta=0.7, reference_free=reference_free)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter += 0.05  # away from the reference
    batch = next(iter(trainer.get_train_dataloader()))
    loss = trainer.compute_loss(trainer.model.train(), dict(batch))
    reference = pocket_policy()

    def log_probs(model):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        scores = torch.log_softmax(logits, -1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        return (scores * batch["completion_mask"][:, 1:]).sum(1).chunk(2)

    margin = torch.sub(*log_probs(trainer.model))
    if not reference_free:
        margin = margin - torch.sub(*log_probs(reference))
    wanted = (batch["weight"] * -functional.logsigmoid(0.7 * margin)).mean()
    torch.testing.assert_close(loss, wanted)


def test_reference_free_there_is_no_reference_in_memory_and_no_second_pass(tmp_path):
    trainer = weighted_dpo(tmp_path, ONES, max_steps=3, reference_free=True)
    assert trainer.ref_model is None
    trainer.train()
    assert trainer.state.global_step == 3
    assert not trainer.model._forward_hooks


def test_reference_free_no_reference_has_to_be_given(tmp_path):
    config = WeightedDPOConfig(**{**PLAIN, "output_dir": str(tmp_path), "reference_free": True})
    trainer = WeightedDPOTrainer(
        pocket_policy(),
        args=config,
        train_dataset=pocket_pairs(weight=ONES),
        processing_class=pocket_tokenizer(),
    )
    assert trainer.ref_model is None


def test_a_pair_of_weight_zero_teaches_nothing(tmp_path):
    trainer = weighted_dpo(tmp_path, [0.0] * 12, max_steps=2)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    assert_bitwise(before, trainer.model.state_dict())


def test_evaluation_without_weights_is_trls(tmp_path):
    ours = weighted_dpo(tmp_path, max_steps=1)
    stock = preference_trainer(DPOTrainer, DPOConfig, tmp_path, max_steps=1)
    losses = [trainer.evaluate(pocket_pairs())["eval_loss"] for trainer in (ours, stock)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "fields", [{"loss_type": ["ipo"]}, {"f_divergence_type": "js_divergence"}, {"use_weighting": True}]
)
def test_another_loss_is_refused(tmp_path, fields):
    with pytest.raises(ValueError, match="weighted DPO is DPO"):
        weighted_dpo(tmp_path, **fields)


def test_data_without_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="WeightedDPOTrainer needs the column 'weight'"):
        preference_trainer(WeightedDPOTrainer, WeightedDPOConfig, tmp_path)
    with pytest.raises(ValueError, match="WeightedSFTTrainer needs the column 'weight'"):
        sft(WeightedSFTTrainer, WeightedSFTConfig, tmp_path, demonstrations())


@pytest.mark.parametrize(
    "fields", [{}, {"gradient_accumulation_steps": 2}, {"per_device_train_batch_size": 5}]
)
def test_sft_with_weights_of_one_is_trls_bit_for_bit(tmp_path, fields):
    ours = sft(
        WeightedSFTTrainer, WeightedSFTConfig, tmp_path, demonstrations(weight=ONES), max_steps=5, **fields
    )
    stock = sft(SFTTrainer, SFTConfig, tmp_path, demonstrations(), max_steps=5, **fields)
    for trainer in (ours, stock):
        trainer.train()
    assert_bitwise(weights(ours), weights(stock))
    assert timeless_log(ours) == timeless_log(stock)


def test_sft_with_a_constant_divides_by_it(tmp_path):
    data = demonstrations(weight=MIXED)
    trainer = sft(WeightedSFTTrainer, WeightedSFTConfig, tmp_path, data, max_steps=1, constant_length=3.0)
    batch = next(iter(trainer.get_train_dataloader()))
    logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    losses = functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), batch["labels"][:, 1:], ignore_index=-100, reduction="none"
    )
    wanted = (losses.sum(1) * batch["weight"]).sum() / (3.0 * len(losses))
    loss = trainer.compute_loss(trainer.model.train(), dict(batch))
    torch.testing.assert_close(loss, wanted)
    twice = sft(
        *(WeightedSFTTrainer, WeightedSFTConfig, tmp_path, data),
        **{"max_steps": 1, "constant_length": 3.0, "gradient_accumulation_steps": 2},
    )
    loss = twice.compute_loss(twice.model.train(), dict(batch), num_items_in_batch=torch.tensor(9))
    torch.testing.assert_close(loss, wanted / 2)


@pytest.mark.parametrize("fields", [{"packing": True}, {"padding_free": True}, {"loss_type": "dft"}])
def test_sft_without_a_row_per_sequence_is_refused(tmp_path, fields):
    with pytest.raises(ValueError, match="a row per sequence"):
        sft(WeightedSFTTrainer, WeightedSFTConfig, tmp_path, demonstrations(weight=ONES), **fields)
