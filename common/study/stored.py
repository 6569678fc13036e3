"""Files of a results folder, read with one clear reason where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypeVar

import nbformat
import pandas as pd
import pyarrow
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from common.study.entries import Outcome
from common.study.errors import StudyError

VALUE_COLUMNS = ("seed", "name", "step", "value")
_OPEN = ConfigDict(extra="allow", strict=True)
T = TypeVar("T")


class UnreadableError(StudyError):
    """A committed file that is missing or damaged; the text is ``<file>: <reason>``."""


@with_config(_OPEN)
class ClaimEntry(TypedDict):
    """What every entry of ``claims.json`` has."""

    statement: str
    kind: str
    role: str
    primary: bool
    reported: str
    verdict: Outcome
    reason: str


@with_config(_OPEN)
class Claims(TypedDict):
    """``claims.json``."""

    paper: str
    profile: str
    exploratory: bool
    claims: dict[str, ClaimEntry]


@with_config(_OPEN)
class JobEntry(TypedDict):
    """One job of the manifest; `rows` is how many of ``values.parquet`` are its own.

    `restored` is the commit of the results that a record came from which this run did not compute.
    """

    job: str
    key: str
    seconds: float | None
    peak_memory_mib: float | None
    rows: NotRequired[int]
    restored: NotRequired[str]


@with_config(_OPEN)
class Manifest(TypedDict):
    """What other code reads of ``manifest.json``.

    `rendering` (code and libraries that draw and print), `notebook` (hash of the cells that ran) and `parts`
    (columns that records bring themselves, by sweep) are missing from results that are older than they;
    `lacking` (assets for want of which jobs did not run) from results that had all.
    """

    paper: str
    profile: str
    overrides: dict[str, Any]
    configuration: dict[str, Any]
    seeds: list[int]
    card: str | None
    report: str
    claims: dict[str, str]
    environment: dict[str, Any]
    jobs: list[JobEntry]
    lacking: NotRequired[list[str]]
    total: dict[str, Any]
    files: dict[str, str]
    rendering: NotRequired[dict[str, str]]
    notebook: NotRequired[str]
    parts: NotRequired[dict[str, list[str]]]


def read_manifest(folder: Path) -> Manifest:
    """Manifest of a results folder.

    Raises:
        UnreadableError: it is missing, no JSON, or lacks a field.
    """
    return _json(folder / "manifest.json", TypeAdapter(Manifest))


def read_claims(folder: Path) -> Claims:
    """Content of a results folder's ``claims.json``.

    Raises:
        UnreadableError: it is missing, no JSON, or lacks a field.
    """
    return _json(folder / "claims.json", TypeAdapter(Claims))


def read_values(path: Path) -> pd.DataFrame:
    """Values of a results folder.

    Raises:
        UnreadableError: the file is missing, no parquet, or lacks a column.
    """
    require_file(path)
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UnreadableError(f"{path.name}: no whole parquet file ({_line(error)})") from error
    missing = [column for column in ("sweep", *VALUE_COLUMNS) if column not in frame]
    if missing:
        raise UnreadableError(f"{path.name}: has no column {', '.join(missing)}")
    return frame


def read_csv(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table or data twin; `columns` are those that it has to have.

    Raises:
        UnreadableError: the file is missing, no CSV, or lacks a column.
    """
    require_file(path)
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path.name}: no whole CSV file ({_line(error)})") from error
    missing = [column for column in columns if column not in frame]
    if missing:
        raise UnreadableError(f"{path.name}: has no column {', '.join(missing)}")
    return frame


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook, checked against nbformat's schema.

    Raises:
        UnreadableError: the file is missing or no notebook.
    """
    text = _text(path)
    try:
        nbformat.validate(_parse(text))
        return nbformat.reads(text, as_version=4)
    except (ValueError, TypeError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise UnreadableError(f"{path.name}: no notebook ({_line(error)})") from error


def _json(path: Path, schema: TypeAdapter[T]) -> T:
    text = _text(path)
    try:
        return schema.validate_python(_parse(text))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"]) or "content"
        raise UnreadableError(f"{path.name}: field '{field}': {problem['msg']}") from error
    except ValueError as error:
        raise UnreadableError(f"{path.name}: not valid JSON ({_line(error)})") from error


def _parse(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A second value of a key would hide the first one from every reader but a person."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key '{next(name for name in names if names.count(name) > 1)}' stands twice")
    return content


def _text(path: Path) -> str:
    require_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path.name}: {_line(error)}") from error


def require_file(path: Path) -> None:
    """Refuse a place without a file.

    Raises:
        UnreadableError: nothing is there, or a folder.
    """
    if path.is_dir():
        raise UnreadableError(f"{path.name}: a folder stands where the file has to be")
    if not path.is_file():
        raise UnreadableError(f"{path.name}: missing")


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
