"""Where things are: found from the package, never from the caller's directory."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = "example"  # the folder beside a paper's results that holds the run of its README's example


def store_root() -> Path:
    """Folder of records; ``REPRISE_STORE`` moves it."""
    return _place("REPRISE_STORE", ".reprise/store")


def results_root() -> Path:
    """Folder of results; ``REPRISE_RESULTS`` moves it."""
    return _place("REPRISE_RESULTS", "results")


def is_committed(folder: str) -> bool:
    """True if a results folder of this name is that of a profile and tracked: no local or exploratory run,
    nothing staged."""
    return not (folder.startswith(".") or folder.endswith(".local") or "+" in folder or folder == EXAMPLE)


def papers_root() -> Path:
    """Folder with one package per paper."""
    return ROOT / "papers"


def front_page() -> Path:
    """The README of the repository."""
    return ROOT / "README.md"


def _place(variable: str, default: str) -> Path:
    """A folder from the environment; a relative one starts at the root of the repository.

    The command line, its workers and a notebook run in different directories and have to mean the same.
    """
    return ROOT / (os.environ.get(variable) or default)
