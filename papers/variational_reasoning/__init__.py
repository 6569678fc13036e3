"""Variational reasoning (arXiv:2509.22637): traces as latent variables; torch loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "PosteriorTrainer": "trainer",
    "VariationalConfig": "trainer",
    "VariationalReasoningTrainer": "trainer",
    "answer_scores": "method",
    "effective_size": "method",
    "iwae_bound": "method",
    "trace_weights": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.variational_reasoning.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.variational_reasoning' has no attribute '{name}'")
