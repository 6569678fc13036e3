"""The reference of a configuration: each field with its default, the paper's value, its docstring's line."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from common.study.configuration import Settings, leaves, paper_values

_CODE = re.compile(r"``?([^`]+)``?")
_FIELD = re.compile(r"^    (\w+): (.*)$")


@dataclass(frozen=True)
class Parameter:
    """One field.

    Attributes:
        name: Dotted, as in ``SET="run.batch=64"``.
        meaning: From the docstring of its group; empty if that says nothing.
        default: Its default.
        paper: The paper's value, empty where the paper does not say.
        place: Where the paper says it.
        profiles: Profile to its value there, for those that change it.
    """

    name: str
    meaning: str
    default: str
    paper: str
    place: str
    profiles: Mapping[str, str]


def reference(config: type[Settings], profiles: Mapping[str, Mapping[str, Any]]) -> list[Parameter]:
    """Every field of a configuration, in its order."""
    stated, texts = paper_values(config), meanings(config)
    defaults = config()
    found = []
    for name in leaves(config):
        value, place = stated.get(name, ("", ""))
        changed = {profile: str(fields[name]) for profile, fields in profiles.items() if name in fields}
        meaning, default = texts.get(name, ""), str(defaults.value(name))
        found.append(Parameter(name, meaning, default, str(value), place, changed))
    return found


def meanings(config: type[Settings]) -> dict[str, str]:
    """Dotted name to the line that the docstrings have on it; a subclass inherits its parents' lines.

    A field of a group that has no line of its own gets the first one of its group.
    """
    own: dict[str, str] = {}
    for parent in reversed(config.__mro__):
        own |= attributes(parent.__dict__.get("__doc__") or "")
    found: dict[str, str] = {}
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Settings):
            group = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
            lines = dict.fromkeys(leaves(kind), group) | meanings(kind)
            found |= {f"{name}.{rest}": text for rest, text in lines.items()}
        elif name in own:
            found[name] = own[name]
    return found


def code(text: str) -> Markup:
    """A docstring's text with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def attributes(docstring: str) -> dict[str, str]:
    """Name to text of the section ``Attributes:`` of a docstring."""
    _, _, section = inspect.cleandoc(docstring).partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        match = _FIELD.match(line)
        if match:
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        elif line.strip():
            break
    return found
