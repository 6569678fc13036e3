"""Source code as notebooks show it: the module is the source, the notebook cannot disagree with it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def lines_of(function: Callable[..., Any]) -> str:
    """Source of a function without docstring and notes to linters: the lines that are the equation."""
    source = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef)
    first, lines = definition.body[0], [line.partition("  # noqa")[0] for line in source.splitlines()]
    if ast.get_docstring(definition) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)
