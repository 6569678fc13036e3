"""Holds a trainer that differs from stock TRL to its options: each changes its run, or is refused."""

from __future__ import annotations

from typing import Any

from tests.common.rl.options import SILENT
from tests.common.rl.sweep import Build, Outcome, differs, outcome, settings

_RUNS: dict[tuple[Build, str], Outcome] = {}


def check_heeded(build: Build, field: str, at: int) -> str | None:
    """An option is refused at construction, by name, or the run differs from the one without it.

    Returns:
        The refusal, None without one.

    Raises:
        AssertionError: the option was ignored, or ended the run with an error that stock TRL does not have.
    """
    ours = outcome(build, **settings(field, at))
    if ours.error is not None and not ours.built:
        return ours.error
    if field not in SILENT:
        without = _run(build, {name: value for name, value in settings(field, at).items() if name != field})
        assert differs(ours, without), f"{field} was ignored"
    return None


def _run(build: Build, given: dict[str, Any]) -> Outcome:
    key = (build, repr({name: type(value) if name in ("model", "data", "evaluated", "tokenizer") else value
                        for name, value in sorted(given.items())}))  # fmt: skip
    if key not in _RUNS:
        _RUNS[key] = outcome(build, **given)
    return _RUNS[key]
