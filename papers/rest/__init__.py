"""Token weights by region for policies that call tools, ResT (arXiv:2509.21826); torch loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ResTConfig": "method",
    "ResTTrainer": "method",
    "Weighting": "method",
    "optimal_weights": "method",
    "scheduled_reward": "method",
    "token_weights": "method",
    "variance_bound": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.rest.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.rest' has no attribute '{name}'")
