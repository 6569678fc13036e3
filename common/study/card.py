"""The card of a paper: its citation, reported numbers and claims, checked before anything runs.

A card is data a person transcribed. Whatever is wrong with it is reported with file, field and fix.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from common.study.controls import expand
from common.study.entries import (
    PROFILES,
    Artefact,
    Cell,
    Claim,
    Figure,
    Id,
    Model,
    Premise,
    Profile,
    Sentence,
    Table,
    Test,
)
from common.study.errors import StudyError, unknown
from common.study.paths import papers_root
from common.study.yaml_file import read_yaml

__all__ = [
    "PROFILES",
    "Artefact",
    "Card",
    "Cell",
    "Claim",
    "Premise",
    "Profile",
    "Table",
    "Test",
    "list_papers",
    "load_card",
    "parse_card",
]


TEMPLATE = "_template"
"""The folder that `make new` copies: a card like any other, but no paper."""


class Seeds(Model):
    """Seeds that verdicts are judged on, and those used while developing; the two never meet."""

    judged: tuple[int, ...] = Field(min_length=1)
    development: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _disjoint(self) -> Seeds:
        shared = sorted(set(self.judged) & set(self.development))
        if shared:
            raise ValueError(
                f"judged and development seeds share {shared}; choose judged seeds nobody has looked at"
            )
        if len(set(self.judged)) < len(self.judged):
            raise ValueError("judged seeds repeat; list each once")
        return self


class Card(Model):
    """A paper as this repository sees it; one per folder, in ``paper.yaml``.

    A ``study`` is our own question across papers: it has no arXiv id, and alone may import papers.
    """

    slug: str = Field(pattern=r"^_?[a-z][a-z0-9_]*$")
    kind: Literal["paper", "study"] = "paper"
    title: str
    authors: tuple[str, ...] = Field(min_length=1)
    arxiv: str = Field(default="", pattern=r"^(\d{4}\.\d{5})?$")
    year: int
    bibtex: str
    code: str | None = None
    extra: str | None = None
    notebook: str = ""
    summary: str
    tuning: str
    stand_ins: tuple[str, ...]
    seeds: Seeds
    tables: dict[Id, Table] = Field(default_factory=dict)
    figures: dict[Id, Figure] = Field(default_factory=dict)
    premises: dict[Id, Premise] = Field(default_factory=dict)
    claims: dict[Id, Claim] = Field(min_length=1)
    learned: tuple[Sentence, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, content: Any) -> Any:
        claims = content.get("claims") if isinstance(content, Mapping) else None
        return {**content, "claims": expand(claims)} if isinstance(claims, Mapping) else content

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        if (self.kind == "paper") != bool(self.arxiv):
            raise ValueError("a paper has its arXiv id in 'arxiv'; a study of our own (kind: study) has none")
        twice = [name for name, count in Counter(self.ids()).items() if count > 1]
        if twice:
            raise ValueError(
                f"id '{twice[0]}' stands twice among tables, figures, premises and claims; rename one"
            )
        primary = [name for name, claim in self.claims.items() if claim.primary]
        if len(primary) > 1:
            raise ValueError(f"one primary claim per paper; found {primary}")
        if len(self.learned) not in (0, 3):
            raise ValueError(f"'learned' has three sentences or none; found {len(self.learned)}")
        for sentence in self.learned:
            _check_names("learned: rests", sentence.rests, self.claims, "a claim")
            quotable = {**self.premises, **self.claims}
            _check_names("learned: text quotes", sentence.quoted(), quotable, "a claim or premise")
        for name, claim in self.claims.items():
            _check_names(f"claims.{name}.of", filter(None, [claim.of]), self.claims, "a claim")
            _check_names(f"claims.{name}.premises", claim.premises, self.premises, "a premise")
            if claim.control is None:
                continue
            control = self.claims.get(claim.control)
            if control is None or control.role != "control":
                raise ValueError(
                    f"claims.{name}.control '{claim.control}' is not a claim row with role: control"
                )
            _check_comparable(name, claim, control)
        return self

    def ids(self) -> list[str]:
        """Ids of every table, figure, premise and claim, in the order of the card."""
        return [*self.tables, *self.figures, *self.premises, *self.claims]

    def entries(self) -> dict[str, Artefact | Premise | Claim]:
        """Every table, figure, premise and claim by id."""
        return {**self.tables, **self.figures, **self.premises, **self.claims}

    def controls(self, name: str) -> list[str]:
        """The rows that a claim's effect has to exceed: its `control` and those that are `of` it."""
        own = filter(None, [self.claims[name].control])
        return list(dict.fromkeys([*own, *(row for row, claim in self.claims.items() if claim.of == name)]))

    def needs(self, only: tuple[str, ...] = ()) -> set[str]:
        """Sweeps needed for the selected ids (all of them by default).

        Raises:
            StudyError: an id is not in the card.
        """
        chosen: set[str] = set()
        entries = self.entries()
        for name in only or self.ids():
            if name not in entries:
                where = f"make list PAPER={self.slug}"
                raise unknown("table, figure, premise or claim", name, entries, where)
            chosen.update(entries[name].needs)
            if name in self.claims:
                for other in (*self.controls(name), *self.claims[name].premises):
                    chosen.update(entries[other].needs)
        return chosen


def _check_names(place: str, names: Iterable[str], known: Mapping[str, Any], what: str) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{place} '{name}' is not {what}")


def _check_comparable(name: str, claim: Claim, control: Claim) -> None:
    """A claim's effect can exceed its control's only if both are effects, or both are identities."""
    kinds = [entry.test.kind for entry in (claim, control) if entry.test]
    if "within" in kinds:
        raise ValueError(
            f"claims.{name}: a 'within' test has no effect that could exceed a control's; drop 'control'"
        )
    if len(kinds) < 2 or ("exact" in kinds and set(kinds) != {"exact"}):
        kind = "an exact" if kinds[0] == "exact" else "a sampled"
        raise ValueError(
            f"claims.{name}: its control '{claim.control}' needs {kind} test as well, to be compared with it"
        )


def list_papers() -> list[str]:
    """Slugs of all papers that have a card, sorted; a name that begins with _ is no paper."""
    return sorted(path.parent.name for path in papers_root().glob("[a-z]*/paper.yaml"))


def load_card(slug: str) -> Card:
    """Load and check ``papers/<slug>/paper.yaml``.

    Raises:
        StudyError: no such paper, unreadable YAML, or a wrong or missing field; names file, field and fix.
    """
    if slug not in (*list_papers(), TEMPLATE):
        raise unknown("paper", slug, list_papers(), "make list")
    return parse_card(papers_root() / slug / "paper.yaml")


def parse_card(path: Path) -> Card:
    """Load one card file; see `load_card`."""
    name = f"{path.parent.parent.name}/{path.parent.name}/{path.name}"
    content = read_yaml(path, name)
    try:
        card = Card.model_validate(content)
    except ValidationError as error:
        raise StudyError("\n".join(_explain(name, problem) for problem in error.errors())) from error
    if card.slug != path.parent.name:
        raise StudyError(
            f"{name}: field 'slug' is '{card.slug}'; it has to be the folder's name '{path.parent.name}'"
        )
    return card


def _explain(name: str, problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"]) or "card"
    fixes = {
        "missing": "required field is missing; add it",
        "extra_forbidden": "unknown field; remove it or correct its spelling",
    }
    message = fixes.get(problem["type"], problem["msg"].removeprefix("Value error, "))
    return f"{name}: field '{field}': {message}"
