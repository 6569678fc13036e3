"""A reference keeps its weights, also where a trainer has wrapped the policy's forward."""

import copy
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from common.models.frozen import frozen_copy


def policy() -> Qwen3ForCausalLM:
    """A small one whose `forward` is wrapped as trainers do it, by a closure over the method."""
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=11,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=4,
        )
    ).train()
    inner = model.forward

    def wrapped(*given: Any, **named: Any) -> Any:
        return inner(*given, **named)

    model.forward = wrapped
    return model


def test_a_copy_answers_with_the_weights_that_it_was_made_of() -> None:
    ids = torch.arange(6)[None]
    model = policy()
    state = torch.random.get_rng_state()
    frozen, shared = frozen_copy(model), copy.deepcopy(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    before = model.eval()(input_ids=ids).logits
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    assert torch.equal(frozen(input_ids=ids).logits, before)
    assert not frozen.training
    assert not any(weight.requires_grad for weight in frozen.parameters())
    assert torch.equal(shared(input_ids=ids).logits, model(input_ids=ids).logits)  # why no deep copy
