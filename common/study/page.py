"""What a notebook shows of a study's findings: sentences, premises and the ledger, as HTML and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from common.study import ledger
from common.study.card import Card
from common.study.premises import Check, bound
from common.study.verdicts import Verdict

HUES = {
    "reproduced": "#1b7f4d",
    "not specific": "#b35c00",
    "no effect": "#2f6db3",
    "contradicted": "#b3261e",
    "cannot tell": "#7b3fa0",
    "inconclusive": "#8a6d00",
    "untested": "#6b6b6b",
}
"""Colour of each verdict, dark enough for white letters."""
PREMISES = {
    "met": HUES["reproduced"],
    "not met": HUES["cannot tell"],
    "not measured": HUES["untested"],
}
"""Colour of each state of a premise."""
CELL = "text-align:left;vertical-align:top;white-space:normal;padding:.3em .6em"
FAINT = "color:#666;font-size:90%"


@dataclass(frozen=True)
class Shown:
    """One output of a cell: HTML where it can be shown, else text."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def sentences(lines: Sequence[str]) -> Shown:
    """What was learned, a paragraph each."""
    if not lines:
        note = "This run lacks the claims that the paper's findings rest on."
        return Shown(note, f'<p style="{FAINT}">{note}</p>')
    return Shown("\n\n".join(lines), "".join(f"<p>{escape(line)}</p>" for line in lines))


def premises(card: Card, checks: Mapping[str, Check]) -> Shown:
    """Premises with their values, thresholds and the claims that hang on them."""
    if not checks:
        note = "No claim of this paper rests on a premise."
        return Shown(note, f'<p style="{FAINT}">{note}</p>')
    rows, lines = [], []
    for name, state in checks.items():
        claims = ", ".join(claim for claim, row in card.claims.items() if name in row.premises)
        entry = card.premises[name]
        value = "" if pd.isna(state.value.estimate) else f"{state.value.estimate:.3g}"
        shown = chip(state.state, PREMISES[state.state])
        rows.append((shown, escape(entry.statement), value, escape(bound(entry.test)), claims))
        lines.append(f"{state.state:12} {name}: {entry.statement} {state.reason}")
    return Shown("\n".join(lines), _table(("premise", "", "value", "wanted", "claims"), rows))


def findings(card: Card, verdicts: Mapping[str, Verdict]) -> Shown:
    """The ledger: primary first, controls folded under their claim, integrity in one row, nothing cut."""
    claims = ledger.entries(card, verdicts)
    rows = [_row(claims, name, controls) for name, controls in ledger.folded(claims)]
    holding, checked, failed = ledger.integrity(claims)
    if checked:
        hue = HUES["reproduced" if not failed else "contradicted"]
        which = f"do not hold: {', '.join(failed)}" if failed else ""
        what = "Audits of the paper's numbers and identities that hold."
        rows.append((chip(f"{holding} of {checked}", hue), f"<b>integrity</b> {what}", "", "", escape(which)))
    head = ("verdict", "claim", "effect", "the paper's", "evidence")
    with pd.option_context("display.max_colwidth", None, "display.width", 160, "display.max_rows", None):
        text = repr(ledger.rows(claims)[["verdict", "evidence"]])
    return Shown(text, _table(head, rows))


def _row(claims: ledger.Entries, name: str, controls: Sequence[str]) -> tuple[str, ...]:
    entry = claims[name]
    star = "*" if entry["primary"] else ""
    place = f'<div style="{FAINT}">{escape(entry["kind"])}, {escape(entry["place"])}</div>'
    statement = f"<b>{name}{star}</b> {escape(entry['statement'])}{place}"
    evidence = escape(entry["reason"]) + "".join(_fold(claims, controls))
    shown = chip(entry["word"], HUES[entry["verdict"]])
    return shown, statement, escape(ledger.effect_text(entry)), escape(entry["reported"]), evidence


def _fold(claims: ledger.Entries, controls: Sequence[str]) -> Iterable[str]:
    if controls:
        yield "<details><summary>controls</summary>"
        for row in controls:
            statement, reason = escape(claims[row]["statement"]), escape(claims[row]["reason"])
            yield f"<div><b>{row}</b> {claims[row]['word']}: {statement} {reason}</div>"
        yield "</details>"


def chip(word: str, colour: str) -> str:
    """A word on its colour."""
    style = f"background:{colour};color:#fff;padding:.1em .5em;border-radius:.6em;white-space:nowrap"
    return f'<span style="{style}">{escape(word)}</span>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells that are HTML already."""
    top = "".join(f'<th style="{CELL}">{name}</th>' for name in head)
    body = "".join(f"<tr>{''.join(f'<td style={CELL!r}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
