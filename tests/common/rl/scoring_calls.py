"""The arguments of every scoring call of a trainer, and tiny models that need more of them than text does."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from trl import GRPOTrainer

from common.rl.testing import pocket_tokenizer

Call = dict[str, Any]

MULTIMODAL: dict[str, Any] = {
    "pixel_values": torch.arange(32.0).reshape(8, 4),
    "image_grid_thw": torch.tensor([[1, 2, 2], [1, 2, 2]]),
    "num_images": [1, 0, 1, 0],
    "pixel_attention_mask": torch.ones(4, 2, 2),
    "spatial_shapes": torch.tensor([[2, 2]] * 4),
    "num_tiles": [1, 0, 1, 0],
    "image_sizes": torch.tensor([[2, 2]] * 4),
    "token_type_ids": torch.zeros(4, 5, dtype=torch.long),
    "mm_token_type_ids": torch.zeros(4, 5, dtype=torch.long),
    "image_position_ids": torch.zeros(4, 2, dtype=torch.long),
}
"""What TRL's batches of four rows may hold beside text, as plausible shapes for `update_batch`."""


def update_batch(**more: Any) -> dict[str, Any]:
    """A micro-batch of four rows, prompts of two and completions of three tokens, as TRL buffers it."""
    return {
        "prompt_ids": torch.tensor([[0, 1], [1, 4], [1, 5], [1, 6]]),
        "prompt_mask": torch.tensor([[0, 1], [1, 1], [1, 1], [1, 1]]),
        "completion_ids": torch.tensor([[7, 8, 2], [9, 2, 0], [5, 6, 7], [4, 4, 2]]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 1]]),
        "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5]),
        "num_items_in_batch": torch.tensor(11),
        **more,
    }


@contextmanager
def recorded_calls(withheld: Container[str] = frozenset(MULTIMODAL)) -> Iterator[list[Call]]:
    """The named arguments of each call that reaches TRL's scoring, without the model.

    Args:
        withheld: Names that are recorded and kept from the forward, for text policies that cannot use them.
    """
    calls: list[Call] = []
    score = GRPOTrainer._get_per_token_logps_and_entropies

    def record(trainer, model, input_ids, attention_mask, logits_to_keep, *rest, **named):
        assert not rest, "the options of a scoring call are passed by name"
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "logits_to_keep": logits_to_keep}
        calls.append({**given, **named})
        shown = {name: value for name, value in named.items() if name not in withheld}
        return score(trainer, model, **given, **shown)

    with patch.object(GRPOTrainer, "_get_per_token_logps_and_entropies", record):
        yield calls


def assert_same_calls(ours: list[Call], theirs: list[Call]) -> None:
    """Equal in number, and each with the same names and the same values; a missing name counts as None.

    Raises:
        AssertionError: naming the first argument that differs.
    """
    assert len(ours) == len(theirs), f"{len(ours)} calls instead of {len(theirs)}"
    for our, their in zip(ours, theirs, strict=True):
        for name in sorted(our.keys() | their.keys()):
            left, right = our.get(name), their.get(name)
            same = torch.equal(left, right) if torch.is_tensor(left) and torch.is_tensor(right) else None
            assert same if same is not None else left == right, f"{name}: {left} instead of {right}"


def pocket_experts(seed: int = 0) -> Qwen3MoeForCausalLM:
    """A mixture of four experts with a router loss, on the vocabulary of `pocket_tokenizer`."""
    torch.manual_seed(seed)
    tokenizer = pocket_tokenizer()
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            moe_intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            router_aux_loss_coef=0.5,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
