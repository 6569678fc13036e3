"""Where things are: found from the package, never from the caller's directory."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def store_root() -> Path:
    """Folder of records; ``REPRISE_STORE`` moves it."""
    return Path(os.environ.get("REPRISE_STORE", ROOT / ".reprise" / "store")).absolute()


def results_root() -> Path:
    """Folder of results; ``REPRISE_RESULTS`` moves it."""
    return Path(os.environ.get("REPRISE_RESULTS", ROOT / "results")).absolute()


def papers_root() -> Path:
    """Folder with one package per paper."""
    return ROOT / "papers"


def is_committed(folder: str) -> bool:
    """True for the name of a tracked results folder; those of other runs have a suffix."""
    return not folder.startswith(".") and not folder.endswith(".local") and "+" not in folder
