"""Configurations: the paper's values with their place, in named groups; profiles are differences from them.

A field of a group has a dotted name, ``run.batch``, in profiles as on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from common.study.errors import StudyError, unknown


class Settings(BaseModel):
    """Base of a configuration and of its groups: typed, unknown names are mistakes, nothing changes later.

    Example:
        >>> class Theory(Settings):
        ...     draws: int = 1000
        >>> class Config(Settings):
        ...     learning_rate: float = paper(1e-6, "App. B.1")
        ...     theory: Theory = Theory()
        >>> Config().changed({"theory.draws": 10}).theory.draws
        10
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy in which the fields of these dotted names have other values.

        Raises:
            StudyError: a name that is no field, or a value of another type.
        """
        known = leaves(type(self))
        for name in changes:
            if name not in known:
                raise unknown("parameter", name, known)
        own = {name: value for name, value in changes.items() if "." not in name}
        groups: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            group, _, rest = name.partition(".")
            if rest:
                groups.setdefault(group, {})[rest] = value
        parts = {group: getattr(self, group).changed(rest) for group, rest in groups.items()}
        try:
            return type(self)(**{**dict(self), **own, **parts})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise StudyError(f"parameter '{place}' cannot be {first['input']!r}: {first['msg']}") from error

    def value(self, name: str) -> Any:
        """The value of a dotted name."""
        return attrgetter(name)(self)

    def flat(self) -> dict[str, Any]:
        """Dotted name to value of everything that can be set."""
        return {name: self.value(name) for name in leaves(type(self))}

    def resolved(self) -> Self:
        """The configuration that runs; a study whose fields depend on each other fills them in here."""
        return self


T = TypeVar("T", bound=Settings)


def paper(value: Any, place: str) -> Any:
    """Field of `Settings` whose default is the paper's value, with the place that states it."""
    return Field(default=value, json_schema_extra={"place": place})


def leaves(config: type[Settings]) -> dict[str, Any]:
    """Dotted name to field of everything that can be set."""
    found: dict[str, Any] = {}
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            found |= {f"{name}.{rest}": inner for rest, inner in leaves(kind).items()}
        else:
            found[name] = field
    return found


def paper_values(config: type[Settings]) -> dict[str, tuple[Any, str]]:
    """Dotted name to (value, place) of every field declared with `paper`."""
    return {
        name: (field.default, field.json_schema_extra["place"])
        for name, field in leaves(config).items()
        if field.json_schema_extra
    }


def configure(
    config: type[T],
    profiles: Mapping[str, Mapping[str, Any]],
    profile: str,
    overrides: Mapping[str, str] | None = None,
) -> T:
    """The configuration of a profile, with overrides typed by the user.

    Args:
        config: Settings whose defaults are the paper's values.
        profiles: Profile name to the fields it changes.
        profile: The profile asked for.
        overrides: Field name to text, e.g. ``{"tabular.iterations": "10"}``; the last part of the name is
            enough where no other group has such a field.

    Raises:
        StudyError: unknown profile or field, or text that does not fit the field's type.
    """
    if profile not in profiles:
        raise unknown("profile", profile, profiles)
    known = leaves(config)
    changes = dict(profiles[profile])
    for name in changes:
        if name not in known:
            raise unknown(f"parameter in profile '{profile}'", name, known)
    for given, text in (overrides or {}).items():
        name = _full_name(given, known)
        changes[name] = _parse(name, text, known[name].annotation)
    return config().changed(changes).resolved()


def _full_name(given: str, known: Mapping[str, Any]) -> str:
    """The dotted name that the user means."""
    if given in known:
        return given
    fitting = [name for name in known if name.endswith(f".{given}")]
    if not fitting:
        raise unknown("parameter", given, known)
    if len(fitting) > 1:
        raise StudyError(f"parameter '{given}' stands in several groups; write {' or '.join(fitting)}")
    return fitting[0]


def _parse(name: str, text: str, kind: Any) -> Any:
    """Read `text` as `kind`; strict, so that 1.5 is no int and 'ten' no number."""
    try:
        return TypeAdapter(kind).validate_strings(text)
    except ValidationError as error:
        expected = getattr(kind, "__name__", str(kind))
        reason = error.errors()[0]["msg"]
        raise StudyError(f"parameter '{name}' expects {expected}, got '{text}': {reason}") from error
