"""Quantile Advantage Estimation (arXiv:2509.22611); the trainer loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["QAEConfig", "QAETrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.qae.method"), name)
    raise AttributeError(f"module 'papers.qae' has no attribute '{name}'")
