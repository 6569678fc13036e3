"""Group Tree Optimization, GTO (arXiv:2509.22134); the trainer loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["GTOConfig", "GTOTrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.gto.method"), name)
    raise AttributeError(f"module 'papers.gto' has no attribute '{name}'")
