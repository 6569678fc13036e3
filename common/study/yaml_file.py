"""YAML files that a person wrote: read safely, and wrong ones named by file and line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from common.study.errors import StudyError

MERGE = "tag:yaml.org,2002:merge"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, without its habit of letting the second of two equal keys win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in getattr(node, "value", ()) if key.tag != MERGE]
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        seen = set()
        for key in own:
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key '{name}' stands twice in one block; keep one", problem_mark=key.start_mark
                )
            seen.add(name)
        return mapping


def read_yaml(path: Path, name: str) -> Any:
    """Content of a YAML file.

    Args:
        path: The file.
        name: What an error calls it.

    Raises:
        StudyError: not UTF-8, not YAML, or a key twice in one block; names the line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, dates that are none
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = re.sub(r"\s+", " ", str(getattr(error, "problem", None) or error))
        raise StudyError(f"{name}{line}: not valid YAML: {problem}") from error
