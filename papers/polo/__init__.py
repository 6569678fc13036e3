"""POLO and PGPO, lead optimisation over several turns (arXiv:2509.21737); the trainer loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["Elites", "PGPOConfig", "PGPOTrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.polo.method"), name)
    raise AttributeError(f"module 'papers.polo' has no attribute '{name}'")
