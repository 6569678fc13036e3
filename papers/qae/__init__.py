"""Quantile Advantage Estimation (arXiv:2509.22611); the names of `papers.qae.method` load on first use."""

from typing import Any


def __getattr__(name: str) -> Any:
    from papers.qae import method

    if name not in method.__all__:
        raise AttributeError(f"module 'papers.qae' has no attribute '{name}'")
    return getattr(method, name)
