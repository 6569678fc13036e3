"""Reasoning with mixtures of tokens, MoT-G (arXiv:2509.21482); torch loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["Mixing", "MoTGConfig", "MoTGTrainer", "Thinking", "mixture_log_prob", "mixture_step"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.mot_g.method"), name)
    raise AttributeError(f"module 'papers.mot_g' has no attribute '{name}'")
