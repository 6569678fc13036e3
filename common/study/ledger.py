"""Verdicts as people read them: terminal table, JSON, Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from common.study.card import Claim
from common.study.paths import is_committed, results_root
from common.study.stored import UnreadableError, read_claims
from common.study.study import Study
from common.study.verdicts import Verdict

COLOURS = {"reproduced": "green", "contradicted": "red", "inconclusive": "yellow", "untested": "dim"}
CONTROL_WORDS = {
    "reproduced": "shows the effect",
    "contradicted": "shows the opposite",
    "inconclusive": "shows no effect",
}
UNREADABLE = "cannot be read"
EXACT_CONTROL_WORDS = {"reproduced": "holds too", "contradicted": "does not hold"}


def word(claim: Claim, verdict: Verdict) -> str:
    """The verdict as a word; a control row says what it shows instead, it has nothing to reproduce."""
    if claim.role == "claim" or claim.test is None:
        return verdict.verdict
    words = EXACT_CONTROL_WORDS if claim.test.kind == "exact" else CONTROL_WORDS
    return words.get(verdict.verdict, verdict.verdict)


def claims_json(study: Study, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Content of claims.json: one entry per claim with verdict, evidence and test-block hash."""
    claims = study.card.claims
    entries = {
        name: {
            "statement": claims[name].statement,
            "place": claims[name].place,
            "reported": claims[name].reported,
            "kind": claims[name].kind,
            "role": claims[name].role,
            "primary": claims[name].primary,
            "test": claims[name].test_hash(),
            **verdict.as_dict(),
        }
        for name, verdict in verdicts.items()
    }
    return {
        "paper": study.card.slug,
        "profile": study.profile,
        "exploratory": study.exploratory,
        "claims": entries,
    }


def counts(verdicts: Mapping[str, Verdict], claims: Mapping[str, Claim]) -> str:
    """Number of claims by verdict, controls left out, e.g. ``9 reproduced, 2 inconclusive``."""
    tally: Counter[str] = Counter(
        verdict.verdict for name, verdict in verdicts.items() if claims[name].role == "claim"
    )
    return ", ".join(f"{tally[outcome]} {outcome}" for outcome in COLOURS if tally[outcome]) or "no claims"


def terminal(study: Study, verdicts: Mapping[str, Verdict]) -> Table:
    """The ledger as a table for the terminal."""
    mark = " (exploratory)" if study.exploratory else ""
    title = f"{study.card.slug} at {study.profile}{mark}: {counts(verdicts, study.card.claims)}"
    table = Table(title=title, caption="* primary claim, † control", expand=True)
    table.add_column("id", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", ratio=1)
    table.add_column("evidence", ratio=1)
    for name, verdict in verdicts.items():
        claim = study.card.claims[name]
        control = claim.role == "control"
        colour = "cyan" if control else COLOURS[verdict.verdict]
        head = f"{name}{'*' if claim.primary else ''}{'†' if control else ''}"
        table.add_row(head, Text(word(claim, verdict), style=colour), claim.statement, verdict.reason)
    return table


def frame(study: Study, verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """The ledger as a frame for notebooks and READMEs."""
    claims = study.card.claims
    rows = [
        {
            "id": f"{name}*" if claims[name].primary else name,
            "kind": f"{claims[name].kind}, control" if claims[name].role == "control" else claims[name].kind,
            "claim": claims[name].statement,
            "reported": claims[name].reported,
            "verdict": word(claims[name], verdict),
            "evidence": verdict.reason,
        }
        for name, verdict in verdicts.items()
    ]
    columns = ["id", "kind", "claim", "reported", "verdict", "evidence"]
    return pd.DataFrame(rows, columns=columns).set_index("id")


def committed() -> pd.DataFrame:
    """Every claim of every committed result: a row per paper, profile and claim, no two profiles merged.

    Results whose claims are missing or damaged are one row that says so.
    """
    rows: list[Mapping[str, Any]] = []
    folders = [path for path in sorted(results_root().glob("*/*")) if path.is_dir()]
    for folder in filter(lambda path: is_committed(path.name), folders):
        place = {"paper": folder.parent.name, "profile": folder.name}
        try:
            claims = read_claims(folder)["claims"]
            rows += [{**place, "id": name, **entry} for name, entry in claims.items()]
        except UnreadableError as error:
            damage = {"id": "-", "kind": "-", "role": "claim", "verdict": UNREADABLE, "reason": error.message}
            rows.append({**place, "statement": "", "reported": "", **damage})
    columns = ["paper", "profile", "id", "kind", "role", "verdict", "statement", "reported", "reason"]
    return pd.DataFrame(rows, columns=columns)


MARKS = ("<!-- verdicts -->", "<!-- /verdicts -->")


def table_row(cells: Iterable[object]) -> str:
    """A row of a GitHub table; a bar inside a cell, as of an absolute value, does not end it."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def readme(text: str, claims: Mapping[str, Mapping[str, Any]], profile: str) -> str:
    """A paper's README with the table between its marks replaced by these verdicts.

    Args:
        text: The README; without both marks it comes back as it is.
        claims: Entries of ``claims.json`` by id.
        profile: Where the verdicts are from.
    """
    before, opened, rest = text.partition(MARKS[0])
    _, closed, after = rest.partition(MARKS[1])
    if not opened or not closed:
        return text
    lines = [f"Verdicts at `{profile}` (generated):", "", "| claim | what | verdict |", "|---|---|---|"]
    for name, entry in claims.items():
        if entry["role"] == "claim":
            head = f"{name}*" if entry["primary"] else name
            lines.append(table_row((head, entry["statement"], entry["verdict"])))
    table = "\n".join(lines)
    return f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{after}"
