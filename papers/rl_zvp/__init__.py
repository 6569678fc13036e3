"""RL with zero-variance prompts, RL-ZVP (arXiv:2509.21880); the trainer loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["RLZVPConfig", "RLZVPTrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.rl_zvp.method"), name)
    raise AttributeError(f"module 'papers.rl_zvp' has no attribute '{name}'")
