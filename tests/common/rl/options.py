"""The table of all fields of `GRPOConfig`: how each is exercised, or why no run can show it.

`tests.common.rl.sweep` holds a trainer to it. Fields that stand in neither part are those of transformers'
`TrainingArguments` that no code of ours names.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3ForCausalLM

from common.models.recipe import ModelShape, build_model
from common.rl.testing import pocket_prompts, pocket_tokenizer
from tests.common.rl.scoring_calls import pocket_experts

VLLM = (
    "vllm_mode",
    "vllm_model_impl",
    "vllm_enable_sleep_mode",
    "vllm_structured_outputs_regex",
    "vllm_server_base_url",
    "vllm_server_host",
    "vllm_server_port",
    "vllm_server_timeout",
    "vllm_group_port",
    "vllm_gpu_memory_utilization",
    "vllm_max_model_length",
    "vllm_tensor_parallel_size",
    "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min",
    "vllm_importance_sampling_cap",
)

SHORT: dict[str, Any] = {
    "max_steps": 3,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "steps_per_generation": 2,
    "learning_rate": 3e-2,
}
"""Three optimizer steps, two on the first rollout batch: the second one has an importance ratio."""


def pocket_policy() -> Qwen3ForCausalLM:
    """The policy of `pocket_trainer`."""
    return build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), pocket_tokenizer(), seed=0)


def dropping_policy() -> GPT2LMHeadModel:
    """A policy with layers of dropout."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=64, n_embd=16, n_layer=1, n_head=2, **ends))


def half_policy() -> Qwen3ForCausalLM:
    """The same in bfloat16."""
    return pocket_policy().to(torch.bfloat16)


@cache
def _kept_folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def saved_policy() -> str:
    """A folder that holds it."""
    folder = Path(_kept_folder().name) / "policy"
    pocket_policy().save_pretrained(folder)
    pocket_tokenizer().save_pretrained(folder)
    return str(folder)


def conversations() -> Dataset:
    """The prompts of `pocket_prompts` as messages."""
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": row["prompt"].removeprefix("<bos> ")}]}
            for row in pocket_prompts()
        ]
    )


def chat_tokenizer() -> Any:
    """A tokenizer whose chat template knows one option, `opening`."""
    tokenizer = pocket_tokenizer()
    tokenizer.chat_template = (
        "<bos> {{ opening | default('w1') }}{% for message in messages %} {{ message.content }}{% endfor %}"
    )
    return tokenizer


def two_lengths(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward of many values."""
    return [len(ids) / 7 for ids in completion_ids]


def two_prompts() -> Dataset:
    """Rows to evaluate on."""
    return pocket_prompts(2)


_EVALUATED = {"evaluated": two_prompts, "eval_strategy": "steps", "eval_steps": 1}
_REFERENCE = {"model": saved_policy, "beta": 0.5}
_SYNCED = {**_REFERENCE, "sync_ref_model": True, "ref_model_sync_steps": 1}
_ADAPTIVE = {"use_adaptive_entropy": True, "entropy_coef": 0.5, "entropy_target": 9.0, "max_steps": 4}
_ADAPTIVE_DOWN = {**_ADAPTIVE, "entropy_target": 0.01}
_TWO_FUNCTIONS = {"reward": [two_lengths, two_lengths]}
_VESPO = {"loss_type": "vespo", "max_steps": 4}
_SAPO = {"loss_type": "sapo", "max_steps": 4}
_SAVED = {"save_strategy": "steps", "save_steps": 2}

CASES: dict[str, tuple[dict[str, Any], ...]] = {
    # policy and reference
    "model_init_kwargs": ({"model": saved_policy, "model_init_kwargs": {"dtype": "bfloat16"}},),
    "router_aux_loss_coef": ({"model": pocket_experts, "router_aux_loss_coef": 3.0},),
    "disable_dropout": ({"model": dropping_policy, "disable_dropout": False},),
    "cast_lm_head_to_fp32": ({"model": half_policy, "cast_lm_head_to_fp32": True},),
    "beta": (_REFERENCE,),
    "use_bias_correction_kl": ({**_REFERENCE, "use_bias_correction_kl": False},),
    "sync_ref_model": (_SYNCED,),
    "ref_model_mixup_alpha": ({**_SYNCED, "ref_model_mixup_alpha": 0.1},),
    "ref_model_sync_steps": ({**_SYNCED, "ref_model_sync_steps": 2},),
    # sampling
    "num_generations": ({"num_generations": 2},),
    "num_generations_eval": tuple({**_EVALUATED, "num_generations_eval": size} for size in (1, 2)),
    "max_completion_length": ({"max_completion_length": 3},),
    "shuffle_dataset": ({"shuffle_dataset": False},),
    "pad_to_multiple_of": ({"pad_to_multiple_of": 16},),
    "generation_batch_size": ({"generation_batch_size": 8, "steps_per_generation": None},),
    "steps_per_generation": ({"steps_per_generation": 1}, {"steps_per_generation": 3}),
    "temperature": ({"temperature": 0.5},),
    "top_p": ({"top_p": 0.5},),
    "top_k": ({"top_k": 3},),
    "min_p": ({"min_p": 0.9},),
    "repetition_penalty": ({"repetition_penalty": 3.0},),
    "generation_kwargs": ({"generation_kwargs": {"min_new_tokens": 6}},),
    "chat_template_kwargs": (
        {
            "data": conversations,
            "tokenizer": chat_tokenizer,
            "chat_template_kwargs": {"opening": "w2 w3"},
        },
    ),
    "cache_implementation": ({"cache_implementation": "no such cache"},),
    "use_vllm": ({"use_vllm": True},),
    "use_transformers_continuous_batching": (
        {
            "use_transformers_continuous_batching": True,
            "transformers_continuous_batching_config": {"num_blocks": 16, "max_batch_tokens": 64},
        },
    ),
    "mask_truncated_completions": ({"mask_truncated_completions": True},),
    # rewards
    "reward_weights": ({**_TWO_FUNCTIONS, "reward_weights": [1.0, 0.5]},),
    "multi_objective_aggregation": ({**_TWO_FUNCTIONS, "multi_objective_aggregation": "normalize_then_sum"},),
    "scale_rewards": ({"scale_rewards": "batch"}, {"scale_rewards": "none"}),
    # loss
    "num_iterations": ({"num_iterations": 2},),
    "epsilon": ({"epsilon": 1e-3},),
    "epsilon_high": ({"epsilon_high": 1e-3},),
    "delta": ({"delta": 1.0},),
    "importance_sampling_level": ({"importance_sampling_level": "sequence"},),
    "loss_type": tuple(
        {"loss_type": name} for name in ("grpo", "bnpo", "dr_grpo", "luspo", "cispo", "sapo", "vespo")
    ),
    "sapo_temperature_neg": ({**_SAPO, "sapo_temperature_neg": 5.0},),
    "sapo_temperature_pos": ({**_SAPO, "sapo_temperature_pos": 5.0},),
    **{name: ({**_VESPO, name: 0.5},) for name in ("vespo_k_pos", "vespo_k_neg")},
    **{name: ({**_VESPO, name: 0.5},) for name in ("vespo_lambda_pos", "vespo_lambda_neg")},
    "off_policy_mask_threshold": ({"off_policy_mask_threshold": -1.0},),
    "top_entropy_quantile": ({"top_entropy_quantile": 0.3},),
    "entropy_coef": ({"entropy_coef": 0.5},),
    "use_adaptive_entropy": (_ADAPTIVE,),
    "entropy_target": (_ADAPTIVE,),
    "entropy_coef_delta": ({**_ADAPTIVE, "entropy_coef_delta": 0.3},),
    "entropy_coef_max": ({**_ADAPTIVE, "entropy_coef_max": 0.501},),
    "entropy_coef_min": ({**_ADAPTIVE_DOWN, "entropy_coef_min": 0.499},),
    # log
    "log_completions": ({"log_completions": True},),
    "num_completions_to_print": ({"log_completions": True, "num_completions_to_print": 1},),
    # of transformers, where code of ours names them
    "output_dir": ({},),
    "max_steps": ({"max_steps": 2},),
    "seed": ({"seed": 7},),
    "per_device_train_batch_size": ({"per_device_train_batch_size": 8},),
    "per_device_eval_batch_size": ({**_EVALUATED, "per_device_eval_batch_size": 4},),
    "eval_on_start": ({**_EVALUATED, "eval_on_start": True},),
    "gradient_accumulation_steps": ({"gradient_accumulation_steps": 2},),
    "gradient_checkpointing": ({"gradient_checkpointing": True},),
    "gradient_checkpointing_kwargs": (
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    ),
    "learning_rate": ({"learning_rate": 1e-3},),
    "max_grad_norm": ({"max_grad_norm": 0.01},),
    "optim": ({"optim": "sgd"},),
    "save_strategy": (_SAVED,),
    "save_total_limit": ({**_SAVED, "save_steps": 1, "save_total_limit": 1},),
    "save_only_model": ({**_SAVED, "save_only_model": True},),
    "ignore_data_skip": ({"ignore_data_skip": True},),
    "resume_from_checkpoint": ({"resume_from_checkpoint": None},),
}
"""Settings of `pocket_trainer` that exercise a field; what has to be built is given as a function."""

SILENT = frozenset(
    {
        "output_dir",
        "gradient_checkpointing",
        "gradient_checkpointing_kwargs",
        "ignore_data_skip",
        "resume_from_checkpoint",
        "num_completions_to_print",
    }
)
"""Exercised fields that leave no trace in what is compared; with them equality alone is asked for."""

LOGGED = frozenset(
    {
        "entropy_coef_min",
        "log_completions",
        "per_device_eval_batch_size",
        "save_only_model",
        "save_strategy",
        "save_total_limit",
    }
)
"""Exercised fields that show in log or files only; all others move the weights."""

_VLLM = "needs vLLM, which is refused or absent as a whole: `use_vllm` is exercised"
UNREACHED: dict[str, str] = {
    "trust_remote_code": "acts on code that comes with a hub model only",
    "ds3_gather_for_generation": "DeepSpeed",
    "max_tool_calling_iterations": "acts in TRL's loop of tool calls, which needs a model that calls tools",
    "transformers_continuous_batching_config": "`use_transformers_continuous_batching` is exercised",
    "use_transformers_paged": "the old name of `use_transformers_continuous_batching`",
    "log_multimodal": "pictures in a table of the log",
    "log_unique_prompts": "a table on a tracking server",
    "log_completions_hub_repo": "an upload",
    **dict.fromkeys(VLLM, _VLLM),
}
"""Fields of TRL that a run on a CPU without network cannot show; no code of ours may name them."""
