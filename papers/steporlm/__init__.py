"""StepORLM, generative process supervision for operations research (arXiv:2509.22558); loads on first use."""

from importlib import import_module
from typing import Any

_PLACES = {
    "StepORLMConfig": "trainer",
    "StepORLMTrainer": "trainer",
    "CoEvolution": "method",
    "Rules": "method",
    "weighted_dpo": "method",
}
__all__ = ["CoEvolution", "Rules", "StepORLMConfig", "StepORLMTrainer", "weighted_dpo"]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"papers.steporlm.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'papers.steporlm' has no attribute '{name}'")
