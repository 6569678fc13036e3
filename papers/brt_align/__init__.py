"""Latent reachability for language models, BRT-Align (arXiv:2509.21528); torch loads on first use."""

from importlib import import_module
from typing import Any

_HOMES = {
    "BRTConfig": "method",
    "LeastRestrictiveFilter": "method",
    "REControl": "method",
    "RuntimeMonitor": "method",
    "SafetyPolytope": "method",
    "SafetyValueModel": "method",
    "fit_value": "method",
    "lead_time_bound": "method",
    "reachability_targets": "method",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"papers.brt_align.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'papers.brt_align' has no attribute '{name}'")
