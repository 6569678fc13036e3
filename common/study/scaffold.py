"""`make new PAPER=<slug>`: a copy of ``papers/_template``, complete in shape and honest in content."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

from common.study.card import TEMPLATE
from common.study.errors import StudyError
from common.study.paths import ROOT, papers_root

NOT_SOURCE = ("__pycache__", ".ipynb_checkpoints")


def scaffold(slug: str) -> list[Path]:
    """Copy the template and its tests under the name of a new paper; returns the files written.

    Raises:
        StudyError: the slug cannot name a paper; see `check_name`.
    """
    check_name(slug)
    tests = ROOT / "tests" / "papers"
    return [*_copy(papers_root() / TEMPLATE, papers_root() / slug), *_copy(tests / TEMPLATE, tests / slug)]


def _copy(source: Path, target: Path) -> list[Path]:
    """Every text file of a folder, with the template's name replaced by the target's."""
    written = []
    for path in sorted(source.rglob("*")):
        if path.is_file() and not set(path.parts) & set(NOT_SOURCE):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8").replace(TEMPLATE, target.name)
            copy.write_text(text, encoding="utf-8")
            written.append(copy)
    return written


def check_name(slug: str) -> None:
    """Refuse a name that Python, the command line or the file system would take for something else.

    Raises:
        StudyError: no lower-case name, a word of Python or of the command line, or a module or paper exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise StudyError(f"'{slug}' cannot name a paper: use lower-case letters, digits and _, e.g. my_paper")
    if slug == "all":
        raise StudyError("'all' cannot name a paper: PAPER=all means every paper; choose another name")
    if keyword.iskeyword(slug):
        raise StudyError(f"'{slug}' cannot name a paper: it is a word of Python; choose e.g. {slug}_paper")
    for path in papers_root().iterdir():
        if path.name.casefold() == slug:
            raise StudyError(f"papers/{path.name} exists already; choose another name or edit it")
    if find_spec(slug) is not None:
        raise StudyError(f"'{slug}' cannot name a paper: a module has that name; choose e.g. {slug}_paper")
