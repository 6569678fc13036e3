"""Speculative rollouts sized by concurrency, FastGRPO (arXiv:2509.21792); the trainer loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["FastGRPOConfig", "FastGRPOTrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.fastgrpo.method"), name)
    raise AttributeError(f"module 'papers.fastgrpo' has no attribute '{name}'")
