"""Configurations: the paper's values with their place, and profiles as differences from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.study.errors import StudyError, unknown

T = TypeVar("T")


def paper(value: Any, place: str) -> Any:
    """Dataclass field whose default is the paper's value, with the place that states it.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     learning_rate: float = paper(1e-6, "App. B.1")
    """
    return dataclasses.field(default=value, metadata={"value": value, "place": place})


def paper_values(config: type) -> dict[str, tuple[Any, str]]:
    """Name to (value, place) of every field declared with `paper`."""
    return {
        field.name: (field.metadata["value"], field.metadata["place"])
        for field in dataclasses.fields(config)
        if "place" in field.metadata
    }


def configure(
    config: type[T],
    profiles: Mapping[str, Mapping[str, Any]],
    profile: str,
    overrides: Mapping[str, str] | None = None,
) -> T:
    """The configuration of a profile, with overrides typed by the user.

    Args:
        config: Frozen dataclass whose defaults are the paper's values.
        profiles: Profile name to the fields it changes.
        profile: The profile asked for.
        overrides: Field name to text, e.g. ``{"tabular_iterations": "10"}``.

    Raises:
        StudyError: unknown profile or field, or text that does not fit the field's type.
    """
    if profile not in profiles:
        raise unknown("profile", profile, profiles)
    types = get_type_hints(config)
    changes = dict(profiles[profile])
    for name in changes:
        if name not in types:
            raise unknown(f"parameter in profile '{profile}'", name, types)
    for name, text in (overrides or {}).items():
        if name not in types:
            raise unknown("parameter", name, types)
        changes[name] = _parse(name, text, types[name])
    return config(**changes)


def _parse(name: str, text: str, kind: Any) -> Any:
    """Read `text` as `kind`; strict, so that 1.5 is no int and 'ten' no number."""
    try:
        return TypeAdapter(kind, config=ConfigDict(extra="forbid")).validate_strings(text)
    except ValidationError as error:
        expected = getattr(kind, "__name__", str(kind))
        reason = error.errors()[0]["msg"]
        raise StudyError(f"parameter '{name}' expects {expected}, got '{text}': {reason}") from error
