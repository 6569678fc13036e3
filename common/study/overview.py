"""One row a paper, from its highest committed profile: the root README's table, the site's first page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.study.card import PROFILES, Card, list_papers, load_card
from common.study.errors import StudyError
from common.study.ledger import Entries, effect_text, integrity, state_of, table_row
from common.study.marks import are_placed, between
from common.study.paths import front_page, is_committed, results_root
from common.study.stored import UnreadableError, read_claims

MARKS = ("<!-- papers -->", "<!-- /papers -->")
HEAD = ("paper", "what came out", "verdict", "effect", "the paper's", "premises", "profile", "n")
NOTHING = "-"


@dataclass(frozen=True)
class Row:
    """What stands in the row of a paper.

    Attributes:
        card: Its card.
        profile: The profile that the row is from; empty without committed results.
        content: ``claims.json`` of that profile; empty if it cannot be read.
        gap: Why there is no content; empty if there is.
    """

    card: Card
    profile: str
    content: Mapping[str, Any]
    gap: str = ""

    @property
    def claims(self) -> Entries:
        """Entry of every claim, in the order of the card."""
        claims: Entries = self.content.get("claims", {})
        return {name: claims[name] for name in _ordered(claims, self.card.claims)}

    @property
    def premises(self) -> Mapping[str, Mapping[str, Any]]:
        """State of every premise, in the order of the card."""
        states: Mapping[str, Mapping[str, Any]] = self.content.get("premises", {})
        return {
            name: {**states[name], "state": state_of(states[name])}
            for name in _ordered(states, self.card.premises)
        }

    @property
    def primary(self) -> Mapping[str, Any]:
        """Entry of the primary claim; empty if there is none."""
        return next((entry for entry in self.claims.values() if entry["primary"]), {})

    @property
    def learned(self) -> list[str]:
        """The sentences on what was learned: the paper's, ours, the consequence; empty if there are none."""
        return list(self.content.get("learned", []))

    @property
    def finding(self) -> str:
        """What came out, in one sentence; the claim that was tested where nobody has written it."""
        if len(self.learned) > 1:
            return self.learned[1]
        return self.gap or (f"Tested: {self.primary['statement']}" if self.primary else NOTHING)

    @property
    def verdict(self) -> str:
        """The primary claim's verdict as a word."""
        return self.primary.get("word") or self.primary.get("verdict", NOTHING)

    @property
    def effect(self) -> str:
        """The primary claim's effect with its interval."""
        return effect_text(self.primary) or NOTHING

    @property
    def reported(self) -> str:
        """The paper's number for it."""
        return self.primary.get("reported") or NOTHING

    @property
    def n(self) -> str:
        """Seeds that decided it."""
        return str(self.primary.get("n") or NOTHING)

    @property
    def met(self) -> str:
        """How many premises are met, of how many that this profile measures."""
        measured = [item for item in self.premises.values() if item["state"] != "not measured"]
        met = sum(item["state"] == "met" for item in measured)
        return f"{met} of {len(measured)}" if measured else NOTHING

    @property
    def specific(self) -> str:
        """Whether the primary claim's effect exceeds its controls'; nothing where no effect was found."""
        if self.primary.get("verdict") == "not specific":
            return "no"
        sampled = self.primary.get("verdict") == "reproduced" and self.primary.get("controls")
        return "yes" if sampled else NOTHING

    @property
    def integrity(self) -> str:
        """How many audits and identities hold, of how many that were checked."""
        holding, checked, _ = integrity(self.claims)
        return f"{holding} of {checked}" if checked else NOTHING


def _ordered(names: Iterable[str], card: Iterable[str]) -> list[str]:
    """Names as the card orders them; those that it no longer has come last."""
    place = {name: index for index, name in enumerate(card)}
    return sorted(names, key=lambda name: place.get(name, len(place)))


def rows() -> Iterator[Row]:
    """The row of every paper, in the order of their names; studies of our own come last."""
    for card in sorted(map(load_card, list_papers()), key=lambda card: card.kind != "paper"):
        folder = highest(committed(card.slug))
        yield row_at(card, folder.name) if folder else Row(card, "", {}, "No results are committed yet.")


def row_at(card: Card, profile: str) -> Row:
    """The row of a paper by its results at one profile."""
    try:
        return Row(card, profile, read_claims(results_root() / card.slug / profile))
    except UnreadableError as error:
        return Row(card, profile, {}, f"The results cannot be read: {error.message}")


def committed(slug: str) -> list[Path]:
    """Folders of the committed results of a paper."""
    return [path for path in sorted((results_root() / slug).glob("*")) if is_committed(path.name)]


def highest(folders: Iterable[Path]) -> Path | None:
    """The results folder of the highest profile; None if there is none."""
    known = [path for path in folders if path.name in PROFILES]
    return max(known, key=lambda path: PROFILES.index(path.name), default=None)


def markdown() -> str:
    """The rows as a GitHub table."""
    lines = [table_row(HEAD), table_row(["---"] * len(HEAD))]
    for row in rows():
        cells = (_name(row.card), row.finding, row.verdict, row.effect, row.reported, row.met)
        words = [" ".join(cell.split()) for cell in (*cells, row.profile or NOTHING, row.n)]
        lines.append(table_row(words))
    return "\n".join(lines)


def _name(card: Card) -> str:
    source = f", [{card.arxiv}](https://arxiv.org/abs/{card.arxiv})" if card.arxiv else ""
    return f"[{card.slug}](papers/{card.slug}/README.md): {card.title}{source}"


def require_marks() -> None:
    """Refuse a root README without a place for the table.

    Raises:
        StudyError: the README is missing, is not UTF-8, or does not hold each of the two marks once.
    """
    if not are_placed(_text(), MARKS):
        raise StudyError(
            f"README.md needs one line {MARKS[0]} and after it one line {MARKS[1]}: "
            "the table of papers is generated between them"
        )


def update_readme() -> None:
    """Put today's rows into the root README.

    Raises:
        StudyError: see `require_marks`.
    """
    require_marks()
    front_page().write_text(between(_text(), MARKS, markdown()), encoding="utf-8")


def problems() -> list[str]:
    """What is wrong with the table of the root README: no place for it, or not the one of claims.json."""
    try:
        require_marks()
    except StudyError as error:
        return [error.message]
    same = between(_text(), MARKS, markdown()) == _text()
    return [] if same else ["README.md: its table of papers is not the one of claims.json"]


def _text() -> str:
    try:
        return front_page().read_text(encoding="utf-8") if front_page().is_file() else ""
    except UnicodeDecodeError as error:
        raise StudyError(f"README.md is not UTF-8 ({error}); save it as UTF-8") from error
