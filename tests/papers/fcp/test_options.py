"""All fields of `GRPOConfig` on the online trainer, and those of `SFTConfig` on the offline one."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from dataclasses import fields

import pytest
import torch
from datasets import Dataset
from transformers import TrainingArguments
from trl import GRPOConfig, SFTConfig, SFTTrainer

from common.judge.critic import Critique
from common.judge.pool import FeedbackPool
from common.rl.config import OF_POLICY_LOSS
from common.rl.testing import NEUTRAL, assert_bitwise, pocket_prompts, pocket_tokenizer, weights
from papers.fcp import method
from papers.fcp.method import FCPBootstrapTrainer, FCPConfig, FCPOfflineTrainer
from tests.common.rl.options import CASES, pocket_policy
from tests.common.rl.sweep import check_heeded, check_inherited, parametrised

THROUGH = {
    "use_bias_correction_kl": "beta",
    "sync_ref_model": "beta",
    "ref_model_mixup_alpha": "beta",
    "ref_model_sync_steps": "beta",
    "sapo_temperature_neg": "loss_type",
    "sapo_temperature_pos": "loss_type",
    "vespo_k_pos": "loss_type",
    "vespo_k_neg": "loss_type",
    "vespo_lambda_pos": "loss_type",
    "vespo_lambda_neg": "loss_type",
    "entropy_target": "use_adaptive_entropy",
    "entropy_coef_delta": "use_adaptive_entropy",
    "entropy_coef_max": "use_adaptive_entropy",
    "entropy_coef_min": "use_adaptive_entropy",
}
"""Fields that do nothing without another one, which is refused."""
ELSE = {
    "scale_rewards": "scale_rewards",
    "multi_objective_aggregation": "multi_objective_aggregation",
    "reward_weights": "Number of reward weights",  # the critic is one function
    "use_vllm": "vllm_importance_sampling_correction",
    "cache_implementation": "cache_implementation",  # as in TRL: there is no such cache
}
"""What else is refused, and how the message names it."""


@pytest.fixture(autouse=True)
def _words_of_the_pocket_tokenizer(monkeypatch):
    """Feedback tokens that every policy of the sweep has."""
    torch.set_num_threads(1)
    monkeypatch.setattr(method, "OPEN", "w25 ")
    monkeypatch.setattr(method, "CLOSE", " w26 ")


def critic(question: str, response: str, reference: str) -> Critique:
    """Words and scores that depend on the response's length."""
    assert reference == "w1"
    return Critique("", "", f"w{len(response.split())}", len(response.split()))


def online(output_dir, model=None, data=None, evaluated=None, tokenizer=None, reward=None, **given):
    """As `pocket_trainer`, with a critic in the place of rewards."""
    data, evaluated = (
        rows and rows.add_column("reference", ["w1"] * len(rows))
        for rows in (data or pocket_prompts(), evaluated)
    )
    return FCPBootstrapTrainer(
        pocket_policy() if model is None else model,
        critic,
        FeedbackPool([Critique("", "", "w20", 10), Critique("", "", "w21 w22", 10)]),
        FCPConfig(**{**NEUTRAL, "output_dir": str(output_dir), **given}),
        data,
        eval_dataset=evaluated,
        processing_class=pocket_tokenizer() if tokenizer is None else tokenizer,
    )


@parametrised
def test_an_option_changes_the_run_or_is_refused(field, at):
    refusal = check_heeded(online, field, at)
    name = THROUGH.get(field, field)
    if name in OF_POLICY_LOSS or name in ELSE:
        assert refusal is not None, f"{name} was to be refused"
        assert ELSE.get(name, name) in refusal
    else:
        assert refusal is None


def test_every_field_of_grpos_loss_is_swept():
    """Those of `GroupConfig` are refused in `test_drop_in`."""
    assert set(OF_POLICY_LOSS) & GRPOConfig.__dataclass_fields__.keys() <= CASES.keys()
    check_inherited(FCPBootstrapTrainer, FCPConfig)


# --- offline: whatever the option, the run is stock TRL's on rows written out by hand

PROMPTS, CRITIQUES = [f"w{row} w{row + 1}" for row in range(8)], ["w20", "w21 w22"] * 4
COMPLETIONS = ["".join(f" w{row + at}" for at in range(1, 2 + row % 3)) for row in range(8)]
SFT = {
    "model_init_kwargs": None,
    "router_aux_loss_coef": None,
    "max_length": 5,
    "truncation_mode": "keep_end",
    "shuffle_dataset": True,
    "packing": True,
    "packing_strategy": "wrapped",
    "padding_free": True,
    "pad_to_multiple_of": 8,
    "eval_packing": True,
    "completion_only_loss": False,
    "assistant_only_loss": True,
    "loss_type": "dft",
    "pad_token": "w27",
    "dataset_num_proc": 1,
    "dataset_kwargs": {"skip_prepare_dataset": True},
    "learning_rate": 1e-4,
    "gradient_checkpointing": True,
}
ELSEWHERE = {
    "trust_remote_code",  # of a model from the hub
    "chat_template_path",  # of another model
    "dataset_text_field",  # of rows without prompts
    "activation_offloading",  # to the memory of an accelerator's host
    "eos_token",  # written behind a word without a space, where the pocket tokenizer needs one
}
"""Fields that no run of a pocket policy can show."""


def offline(kind, prompts, folder, **given):
    """Weights and losses after two steps, or the error."""
    columns = {"prompt": prompts, "completion": COMPLETIONS}
    if kind is FCPOfflineTrainer:
        columns["critique"] = CRITIQUES
    rows = Dataset.from_dict(columns)
    names = ("use_cpu", "bf16", "gradient_checkpointing", "report_to", "save_strategy", "disable_tqdm")
    shared = {"max_steps": 2, "max_length": None, "per_device_train_batch_size": 4, "logging_steps": 1}
    neutral = {name: NEUTRAL[name] for name in names}
    try:
        args = SFTConfig(str(folder), **{**neutral, **shared, **given})
        trainer = kind(pocket_policy(), args, None, rows, rows, processing_class=pocket_tokenizer())
        trainer.train()
        return weights(trainer), trainer.evaluate()["eval_loss"]
    except (ValueError, KeyError) as error:
        return {}, str(error)


@pytest.mark.parametrize("field", SFT)
def test_the_offline_run_is_trls_on_rows_with_the_critique_in_front(tmp_path, field):
    given = {} if SFT[field] is None else {field: SFT[field]}
    if field == "truncation_mode":
        given["max_length"] = 5
    by_hand = [method.conditioned(*row) for row in zip(PROMPTS, CRITIQUES, strict=True)]
    ours, our_loss = offline(FCPOfflineTrainer, PROMPTS, tmp_path, **given)
    theirs, their_loss = offline(SFTTrainer, by_hand, tmp_path, **given)
    assert_bitwise(ours, theirs)
    assert our_loss == their_loss


def test_every_field_of_sft_is_swept():
    inherited = {field.name for field in fields(TrainingArguments)}
    assert {field.name for field in fields(SFTConfig)} - inherited <= SFT.keys() | ELSEWHERE
