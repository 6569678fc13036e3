"""Entropy-regularised policy optimisation of agents, EPO (arXiv:2509.22576); torch loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Corridor": "method",
    "EPOConfig": "trainer",
    "EPOTrainer": "trainer",
    "beta_schedule": "method",
    "epo_loss": "method",
    "net_entropy_coefficient": "method",
    "smoothing_penalty": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.epo.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.epo' has no attribute '{name}'")
