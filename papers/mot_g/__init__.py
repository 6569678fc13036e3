"""Reasoning with mixtures of tokens, MoT-G (arXiv:2509.21482); torch loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Mixing": "method",
    "MoTGConfig": "method",
    "MoTGTrainer": "method",
    "Thinking": "method",
    "dirichlet_diversity": "exact",
    "mixture_log_prob": "method",
    "mixture_step": "method",
    "surrogate_gradient": "exact",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.mot_g.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.mot_g' has no attribute '{name}'")
