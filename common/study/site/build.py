"""Write the site: a row a paper, a page per paper and profile, its notebook, its configuration."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from common.study import overview
from common.study.card import PROFILES
from common.study.errors import StudyError
from common.study.ledger import checks, effect_text
from common.study.overview import Row
from common.study.page import HUES, PREMISES
from common.study.paths import EXAMPLE, results_root
from common.study.site import notebook, paper
from common.study.site.axis import axis
from common.study.site.reference import code, reference
from common.study.stored import UnreadableError
from common.study.study import Study

SIGN = '<meta name="generator" content="reprise site">'
"""Stands in every page: a folder whose first page lacks it was not written here and is not replaced."""
RECORDS = ("manifest.json", "claims.json", "values.parquet")
WORDS = {
    "reproduced": "The effect is there and exceeds that of its controls.",
    "not specific": "The effect is there, and a control may show it too.",
    "no effect": "An effect of the size that would matter is excluded.",
    "contradicted": "There is a significant effect the other way.",
    "cannot tell": "A premise is not met: the run does not show what the method cures.",
    "inconclusive": "None of these; the evidence names the seeds that would decide.",
    "untested": "Needs a profile or an asset that has not run.",
}


@dataclass(frozen=True)
class Entry:
    """A row of the first page.

    Attributes:
        row: What was found.
        page: Address of the paper's page.
        origin: Where its results come from; None without results.
        real: The paper's example was run on a real model.
    """

    row: Row
    page: str
    origin: paper.Origin | None
    real: bool


def build(target: Path) -> Path:
    """Write the site of all committed results.

    Args:
        target: Folder that it replaces; it has to be empty, absent, or an earlier site.

    Returns:
        The first page.

    Raises:
        StudyError: something else stands there.
    """
    check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=target.parent) as scratch:
        staging = Path(scratch) / "site"
        staging.mkdir()
        _write_all(staging)
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    return target / "index.html"


def check_replaceable(target: Path) -> None:
    """Refuse to replace what is no site.

    Raises:
        StudyError: a file stands there, or a folder with something else in it.
    """
    index = target / "index.html"
    is_site = index.is_file() and SIGN in index.read_text(encoding="utf-8", errors="replace")
    if target.exists() and not is_site and not (target.is_dir() and not any(target.iterdir())):
        raise StudyError(f"{target} is neither empty nor an earlier site; name another folder with --out")


def _write_all(folder: Path) -> None:
    pages = environment()
    shutil.copy(Path(__file__).parent / "templates" / "style.css", folder)
    entries = [_write_paper(pages, folder, row) for row in overview.rows()]
    _write(pages, "index.html", folder / "index.html", root="", entries=entries, words=WORDS)


def environment() -> Environment:
    """The templates; every text is escaped, and a name that a page lacks is an error."""
    pages = Environment(
        loader=PackageLoader("common.study.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["code"] = code
    pages.globals.update(hues=HUES, premise_hues=PREMISES, axis=axis, effect_text=effect_text)
    return pages


def _write(pages: Environment, template: str, path: Path, **context: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pages.get_template(template).render(context), encoding="utf-8")


def _write_paper(pages: Environment, site: Path, row: Row) -> Entry:
    """All pages of a paper: one per committed profile, notebooks and the configuration."""
    slug = row.card.slug
    profiles = [path.name for path in overview.committed(slug) if path.name in PROFILES]
    real = _copy_example(site, slug)
    origin = None
    for profile in profiles:
        shown = row if profile == row.profile else overview.row_at(row.card, profile)
        others = [name for name in profiles if name != profile]
        found = _write_profile(pages, site, shown, others=others, real=real)
        origin = found if profile == row.profile else origin
    page = f"{row.profile}/index.html" if profiles else ""
    study = Study(slug, "smoke")
    parameters = reference(study.experiment.Config, study.experiment.PROFILES)
    where = site / slug / "configuration.html"
    _write(pages, "configuration.html", where, root="../", card=row.card, page=page, parameters=parameters)
    return Entry(row, f"{slug}/{page or 'configuration.html'}", origin, bool(real))


def _copy_example(site: Path, slug: str) -> list[str]:
    """Copy what the run of the README's example on a real model left; the names of its files."""
    folder = results_root() / slug / EXAMPLE
    if not folder.is_dir():
        return []
    shutil.copytree(folder, site / slug / EXAMPLE, ignore=shutil.ignore_patterns(".*"))
    return sorted(path.name for path in (site / slug / EXAMPLE).iterdir() if path.is_file())


def _write_profile(pages: Environment, site: Path, row: Row, **context: Any) -> paper.Origin:
    """The page of a paper at one profile, beside a copy of its committed files."""
    folder = results_root() / row.card.slug / row.profile
    target = site / row.card.slug / row.profile
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns(".*"))
    context |= {**_content(row, folder), "root": "../../", "card": row.card, "row": row}
    context["has_notebook"] = _write_notebook(pages, row, target)
    _write(pages, "paper.html", target / "index.html", **context)
    origin: paper.Origin = context["origin"]
    return origin


def _content(row: Row, folder: Path) -> dict[str, Any]:
    figures, tables = paper.figures(row.card, folder), paper.tables(row.card, folder)
    return {
        "figures": [item for item in figures if not item.reason],
        "tables": [item for item in tables if not item.reason],
        "absent": [
            (kind, item)
            for kind, items in (("figure", figures), ("table", tables))
            for item in items
            if item.reason
        ],
        "ledger": paper.ledger(row.claims),
        "integrity": list(checks(row.claims).items()),
        "gaps": list(paper.gaps(row.content, figures)) if row.content else [],
        "origin": paper.origin(row.card.slug, folder),
        "records": [name for name in RECORDS if (folder / name).is_file()],
    }


def _write_notebook(pages: Environment, row: Row, target: Path) -> bool:
    """The executed notebook as a page; False where there is none that can be read."""
    try:
        body: Markup = notebook.body(target / "reproduce.ipynb")
    except UnreadableError:
        return False
    context: Mapping[str, Any] = {"card": row.card, "profile": row.profile, "body": body}
    _write(pages, "notebook.html", target / "notebook.html", root="../../", **context)
    return True
