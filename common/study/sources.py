"""The repository's source: which modules a module reaches by Python's rules of import, and what they say."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from common.study.errors import StudyError
from common.study.paths import ROOT

PACKAGES = ("common", "papers", "tests")
OUTSIDE = ("common.study", "common.plotting")
_IDENTIFIER = r"[^\W\d]\w*"
_DOTTED = re.compile(rf"\.*{_IDENTIFIER}(\.{_IDENTIFIER})*")


@dataclass(frozen=True)
class Text:
    """What a source file says; relative names keep their leading dots.

    Attributes:
        syntax: Its syntax tree without comments and docstrings.
        named: Names that it imports, at any depth, and dotted names that its strings spell.
        deferred: Names that a package imports only when one of its attributes is used.
    """

    syntax: str
    named: frozenset[str]
    deferred: frozenset[str]


@dataclass(frozen=True)
class Module:
    """A module of the repository.

    Attributes:
        path: Its file.
        is_package: Whether that is the ``__init__.py`` of a package.
        package: Where its relative imports start.
        text: What the file says.
    """

    path: Path
    is_package: bool
    package: str
    text: Text


class Sources:
    """The repository's modules as they are on disk, each file read once, when it is first asked for."""

    def __init__(self) -> None:
        self._finders: dict[str, FileFinder] = {}
        self._specs: dict[str, ModuleSpec | None] = {}
        self._modules: dict[str, Module | None] = {}
        self._hashes: dict[str, str] = {}

    def module(self, name: str) -> Module | None:
        """The module that Python would load by a dotted name; None for a folder without code, or nothing.

        Raises:
            StudyError: its file is no Python.
        """
        if name not in self._modules:
            spec = self._spec(name)
            self._modules[name] = _read(name, spec) if spec and spec.origin else None
        return self._modules[name]

    def reachable(self, *modules: str) -> dict[str, Module]:
        """What these modules import, directly or not, themselves included (also inside functions).

        What a package imports on the first use of an attribute counts where somebody may use one: where the
        package is imported by name or something that is no module is imported from it.
        """
        reached: dict[str, Module] = {}
        met: set[tuple[str, bool]] = set()
        waiting = [(module, True) for module in modules]
        while waiting:
            name, used = waiting.pop()
            if (name, used) in met or name.partition(".")[0] not in PACKAGES or is_outside(name):
                continue
            met.add((name, used))
            waiting.append((name.rpartition(".")[0], self._spec(name) is None))
            if module := self.module(name):
                reached[name] = module
                mentioned = module.text.named | (module.text.deferred if used else frozenset())
                waiting.extend((_absolute(mention, module.package), True) for mention in mentioned)
        return reached

    def hash(self, module: str) -> str:
        """Hash of the syntax trees of everything that a module reaches in the repository."""
        if module not in self._hashes:
            reached = self.reachable(module)
            trees = {name: reached[name].text.syntax for name in sorted(reached)}
            self._hashes[module] = hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:24]
        return self._hashes[module]

    def _spec(self, name: str) -> ModuleSpec | None:
        if name not in self._specs:
            parent, _, last = name.rpartition(".")
            above = self._spec(parent) if parent else None
            below = above.submodule_search_locations if above else None
            folders = [str(ROOT)] if name in PACKAGES else below or []
            specs = (self._finder(folder).find_spec(last) for folder in folders)
            self._specs[name] = next((spec for spec in specs if spec), None)
        return self._specs[name]

    def _finder(self, folder: str) -> FileFinder:
        if folder not in self._finders:
            self._finders[folder] = FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))
        return self._finders[folder]


def is_outside(module: str) -> bool:
    """True for modules that draw, judge or run but make no numbers: `OUTSIDE` and what lies below them."""
    return any(module == name or module.startswith(f"{name}.") for name in OUTSIDE)


def syntax(tree: ast.AST) -> str:
    """`ast.dump` as Python 3.11 writes it, so that equal code has equal hashes under every later version.

    Python 3.12 gave functions and classes type parameters, and 3.13 leaves empty lists out.
    """
    complete: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **complete).replace(", type_params=[]", "")


@cache
def parse_text(source: bytes, is_package: bool) -> Text:
    """Parse a source file; remembered by content, so that only a changed file costs time."""
    tree = ast.parse(source)
    _drop_docstrings(tree)
    late = [node for node in tree.body if is_package and getattr(node, "name", "") == "__getattr__"]
    soon = [node for node in tree.body if node not in late]
    deferred = set(_names(late))
    if is_package:  # lazy_loader.attach and the like name submodules without their package
        deferred |= {f".{text}" for text in _strings([tree]) if not text.startswith(".")}
    return Text(syntax(tree), frozenset(_names(soon)), frozenset(deferred))


def _read(name: str, spec: ModuleSpec) -> Module:
    path = Path(str(spec.origin))
    is_package = spec.submodule_search_locations is not None
    try:
        text = parse_text(path.read_bytes(), is_package)
    except SyntaxError as error:
        raise StudyError(f"{path}, line {error.lineno}: {error.msg}") from error
    package = name if is_package else name.rpartition(".")[0]
    return Module(path, is_package, package, text)


def _names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Names of imports, with ``package.attribute`` for what is imported from a package; dotted strings."""
    for node in (child for top in nodes for child in ast.walk(top)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                yield from (".".join(parts[: depth + 1]) for depth in range(len(parts)))
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield base
            yield from (f"{base}.{alias.name}" if node.module else base + alias.name for alias in node.names)
    yield from (text for text in _strings(nodes) if "." in text)


def _strings(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Strings that could name a module, as ``import_module`` or ``module:attribute`` takes them."""
    for node in (child for top in nodes for child in ast.walk(top)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            if _DOTTED.fullmatch(name):
                yield name


def _absolute(name: str, package: str) -> str:
    try:
        return resolve_name(name, package)
    except ImportError:  # above the top-level package, where Python refuses too
        return ""


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]
