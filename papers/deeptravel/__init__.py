"""DeepTravel, travel planners that learn to call tools (arXiv:2509.21842); the trainer loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "HierarchicalReward": "method",
    "RARLConfig": "trainer",
    "RARLTrainer": "trainer",
    "ReplayBuffer": "method",
    "admitted": "method",
    "informative": "method",
    "replayed_density": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.deeptravel.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.deeptravel' has no attribute '{name}'")
