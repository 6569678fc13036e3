"""Efficient online exploration for RLHF (arXiv:2509.22633); trainer and torch loss load on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ExplorationDPOConfig": "trainer",
    "ExplorationDPOTrainer": "trainer",
    "optimistic_dpo_loss": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.rlhf_exploration.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.rlhf_exploration' has no attribute '{name}'")
