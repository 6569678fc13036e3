"""Notices when TRL or transformers changes code that the trainers override or lean on.

`RECORDED` holds a digest of each such function, of its syntax tree without comments and docstrings. After an
upgrade, read what changed in the functions that `drifted` names, run the tests, then record the digests of
`current_digests` again.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import textwrap
from typing import Any

from common.study.sources import syntax

RECORDED: dict[str, str] = {
    "trl.trainer.grpo_trainer:GRPOTrainer.__init__": "e80f4531b23e94bd",
    "trl.trainer.grpo_trainer:GRPOTrainer._calculate_rewards": "998e876701979003",
    "trl.trainer.grpo_trainer:GRPOTrainer._compute_loss": "a0773aa2fda0f039",
    "trl.trainer.grpo_trainer:GRPOTrainer._generate": "5b18ab8db4bdecbb",
    "trl.trainer.grpo_trainer:GRPOTrainer._generate_and_score_completions": "eb8ae2f174e2d691",
    "trl.trainer.grpo_trainer:GRPOTrainer._generate_single_turn": "90c129d19460f820",
    "trl.trainer.grpo_trainer:GRPOTrainer._get_per_token_logps_and_entropies": "2e6159c321ddcea5",
    "trl.trainer.grpo_trainer:GRPOTrainer._get_train_sampler": "24989c3c435510f7",
    "trl.trainer.grpo_trainer:GRPOTrainer._load_optimizer_and_scheduler": "15c2ddb9d080e7a2",
    "trl.trainer.grpo_trainer:GRPOTrainer._prepare_inputs": "5af3fd0e05863c70",
    "trl.trainer.grpo_trainer:GRPOTrainer._save_checkpoint": "a7d3627bdf466faf",
    "trl.trainer.grpo_trainer:GRPOTrainer.compute_loss": "a5f41069a320ec30",
    "trl.trainer.grpo_trainer:GRPOTrainer.get_train_dataloader": "534e46c599bddcd8",
    "trl.trainer.grpo_trainer:GRPOTrainer.log": "7a4cbe0beed7f04f",
    "trl.trainer.grpo_trainer:GRPOTrainer.training_step": "7898429a45709229",
    "trl.trainer.dpo_trainer:DPOTrainer._compute_loss": "e1e96899b3b07d10",
    "trl.trainer.dpo_trainer:DPOTrainer._prepare_dataset": "a67b11aa59bef925",
    "trl.trainer.dpo_trainer:DPOTrainer.compute_loss": "94e5290d0a4b0f1f",
    "trl.trainer.sft_trainer:SFTTrainer.compute_loss": "337f03c9d4c0dfe1",
    "trl.trainer.sft_trainer:SFTTrainer.evaluate": "beb7d45d5e3869b9",
    "trl.models.utils:disable_gradient_checkpointing": "9c82bc838b92ad2a",
    "trl.trainer.utils:RepeatSampler": "1aeff045afcd5057",
    "trl.trainer.utils:add_fused_lm_head": "98cfecf0df8da9a4",
    "trl.trainer.utils:nanstd": "7c2c94f6129c8244",
    "trl.trainer.utils:pad": "7464f724753841fb",
    "trl.trainer.utils:shuffle_sequence_dict": "7d5325581be6b27a",
    "trl.trainer.utils:split_tensor_dict": "d3852040537b7d42",
    "trl.trainer.base_trainer:_BaseTrainer._send_telemetry": "a18d9b71ba4f462b",
    "transformers.trainer:Trainer._get_train_sampler": "81dedadd91b7ce70",
    "transformers.trainer:Trainer._inner_training_loop": "b7ac72154d4999e0",
    "transformers.trainer:Trainer._init_training_state": "137161816263496c",
    "transformers.trainer:Trainer._load_optimizer_and_scheduler": "438469b64cc968f9",
    "transformers.trainer:Trainer._load_rng_state": "e78bc317a558e1bd",
    "transformers.trainer:Trainer._run_epoch": "316c414802ce77ec",
    "transformers.trainer:Trainer._save": "17c35b825e85d9c3",
    "transformers.trainer:Trainer._save_checkpoint": "dea980298717048a",
    "transformers.trainer:Trainer._save_optimizer_and_scheduler": "2305ff67d11137d1",
    "transformers.trainer:Trainer._set_signature_columns_if_needed": "dcd72fc7a07e7a8e",
    "transformers.trainer:Trainer.compute_loss": "d9c92ed76645a17a",
    "transformers.trainer:Trainer.evaluate": "cb05c569d3924a83",
    "transformers.trainer:Trainer.prediction_step": "2ddee8fb17909635",
    "transformers.core_model_loading:revert_weight_conversion": "7250cf613045bcbd",
    "trl.trainer.base_trainer:_BaseTrainer.create_model_card": "1e539ccd6f9dec9d",
    "transformers.trainer:Trainer._load_from_checkpoint": "40f3bcb1fd40e99b",
    "transformers.trainer:Trainer.save_model": "371e1f0ad756f17a",
    "transformers.trainer:Trainer.train": "ba108812aef548cd",
}


def drifted() -> list[str]:
    """One line for each function that differs from what the seam was written for, empty if none does."""
    lines = []
    for name, digest in RECORDED.items():
        try:
            current = digest_of(name)
        except AttributeError:
            lines.append(f"{name} is gone")
            continue
        if current != digest:
            lines.append(f"{name} has changed (recorded {digest}, now {current})")
    return lines


def current_digests() -> dict[str, str]:
    """`RECORDED` as it would read for the installed versions."""
    return {name: digest_of(name) for name in RECORDED}


def digest_of(name: str) -> str:
    """Digest of the function or class ``module:qualified.name``.

    Raises:
        AttributeError: there is no such thing any more.
    """
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return source_digest(inspect.getsource(inspect.unwrap(found)))


def source_digest(source: str) -> str:
    """Digest of Python source that comments, docstrings and layout do not change."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(syntax(tree).encode()).hexdigest()[:16]
