"""Efficient online exploration for RLHF (arXiv:2509.22633); the torch loss loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["optimistic_dpo_loss"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.rlhf_exploration.method"), name)
    raise AttributeError(f"module 'papers.rlhf_exploration' has no attribute '{name}'")
