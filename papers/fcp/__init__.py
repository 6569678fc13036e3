"""Feedback-conditional policies (arXiv:2509.22638); the trainers load on first use."""

from importlib import import_module
from typing import Any

__all__ = ["FCPBootstrapTrainer", "FCPConfig", "FCPOfflineTrainer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("papers.fcp.method"), name)
    raise AttributeError(f"module 'papers.fcp' has no attribute '{name}'")
