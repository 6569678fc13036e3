"""Replace by the paper's title and arXiv number; what a practitioner imports loads on first use."""

from importlib import import_module
from typing import Any

__all__ = ["reward_variance"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers._template.method"), name)
    raise AttributeError(f"module 'papers._template' has no attribute '{name}'")
