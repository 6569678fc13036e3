"""A policy as it is now, for a reference that stays."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel


def frozen_copy(policy: PreTrainedModel) -> PreTrainedModel:
    """The weights of a policy in a model of their own, without gradients, for evaluation.

    Not a deep copy: a trainer wraps the policy's `forward` in a function that a deep copy would share, so
    that the copy would answer with the weights of the policy, whatever they have become.
    """
    with torch.random.fork_rng(devices=[]):  # weights are drawn, then replaced
        twin = type(policy)(policy.config).to(device=policy.device, dtype=policy.dtype)  # type: ignore[call-arg]
    twin.load_state_dict(policy.state_dict())
    return twin.requires_grad_(False).eval()
