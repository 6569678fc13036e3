"""Verdicts as data: rows for people, ``claims.json``, counts, the sentences on what was learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table
from rich.text import Text

from common.study.card import Card
from common.study.entries import OUTCOMES, Claim
from common.study.marks import between
from common.study.paths import is_committed, results_root
from common.study.premises import Check
from common.study.stored import UnreadableError, read_claims
from common.study.study import Study
from common.study.verdicts import Verdict

COLOURS = {
    "reproduced": "green",
    "not specific": "dark_orange",
    "no effect": "blue",
    "contradicted": "red",
    "cannot tell": "magenta",
    "inconclusive": "yellow",
    "untested": "dim",
}
STATES = {"met": "green", "not met": "magenta", "not measured": "dim"}
ANSWERS = {"met": "yes", "not met": "**no**", "not measured": "not measured"}
CONTROL_WORDS = {
    "reproduced": "shows the effect",
    "contradicted": "shows the opposite",
    "no effect": "shows no effect",
    "inconclusive": "undecided",
}
EXACT_CONTROL_WORDS = {"reproduced": "holds too", "contradicted": "does not hold"}
UNREADABLE = "cannot be read"
NUMBER = ".3g"


def word(claim: Claim, verdict: Verdict) -> str:
    """The verdict as a word; a control row says what it shows instead, it has nothing to reproduce."""
    if claim.role == "control" and claim.test is not None:
        words = EXACT_CONTROL_WORDS if claim.test.kind == "exact" else CONTROL_WORDS
        return words.get(verdict.verdict, verdict.verdict)
    if claim.own_instance and verdict.verdict == "reproduced":
        return "holds on our instance"
    return verdict.verdict


def is_integrity(claim: Claim) -> bool:
    """An audit of the paper's numbers or an identity of ours: one line together, where they hold."""
    exact = claim.test is not None and claim.test.kind == "exact"
    return claim.role == "claim" and (claim.kind == "audit" or (claim.ours and exact))


Entries = Mapping[str, Mapping[str, Any]]
"""Claim id to its entry in ``claims.json``."""


def entries(card: Card, verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, Any]]:
    """Entry of every judged claim: what the card says, verdict and evidence, hash of its test block."""
    found = {}
    for name, verdict in verdicts.items():
        claim = card.claims[name]
        found[name] = {
            **claim.model_dump(include={"statement", "place", "reported", "effect", "kind", "role", "ours"}),
            "primary": claim.primary,
            "controls": card.controls(name),
            "premises": list(claim.premises),
            "word": word(claim, verdict),
            "integrity": is_integrity(claim),
            "smallest_effect": claim.smallest_effect,
            "test": claim.test_hash(),
            **verdict.as_dict(),
        }
    return found


def folded(claims: Entries) -> list[tuple[str, list[str]]]:
    """Claims in reading order, each with its controls: the primary first, then as they stand.

    Integrity rows are left out (see `checks`); a control that no claim names stands by itself, as all do in
    results that are older than nested controls.
    """
    nested = {row for entry in claims.values() for row in entry.get("controls", ())} | set(checks(claims))
    heads = [name for name in claims if name not in nested]
    heads.sort(key=lambda name: not claims[name]["primary"])
    return [(name, [row for row in claims[name].get("controls", ()) if row in claims]) for name in heads]


def checks(claims: Entries) -> dict[str, Mapping[str, Any]]:
    """Audits of the paper's numbers, and identities of ours."""
    return {name: entry for name, entry in claims.items() if entry.get("integrity")}


def integrity(claims: Entries) -> tuple[int, int, list[str]]:
    """(audits and identities that hold, how many were checked, ids of those that do not)."""
    verdicts = {name: entry["verdict"] for name, entry in checks(claims).items()}
    failed = [name for name, outcome in verdicts.items() if outcome not in ("reproduced", "untested")]
    checked = sum(outcome != "untested" for outcome in verdicts.values())
    return checked - len(failed), checked, failed


def claims_json(
    study: Study, verdicts: Mapping[str, Verdict], premises: Mapping[str, Check]
) -> dict[str, Any]:
    """Content of claims.json: per claim verdict, evidence and hash of its test block; premises; findings."""
    card = study.card
    states = {
        name: {"statement": card.premises[name].statement, **state.as_dict()}
        for name, state in premises.items()
    }
    return {
        "paper": card.slug,
        "profile": study.profile,
        "exploratory": study.exploratory,
        "learned": learned(card, verdicts, premises),
        "premises": states,
        "claims": entries(card, verdicts),
    }


def counts(verdicts: Mapping[str, Verdict], claims: Mapping[str, Claim]) -> str:
    """Number of claims by verdict, controls left out, e.g. ``9 reproduced, 2 inconclusive``."""
    tally: Counter[str] = Counter(
        verdict.verdict for name, verdict in verdicts.items() if claims[name].role == "claim"
    )
    return ", ".join(f"{tally[outcome]} {outcome}" for outcome in OUTCOMES if tally[outcome]) or "no claims"


@dataclass(frozen=True)
class _Quoted:
    """A claim or premise inside a sentence: formats as its estimate with its interval."""

    estimate: float
    low: float
    high: float
    n: int
    verdict: str = ""
    reported: str = ""

    def __format__(self, spec: str) -> str:
        middle, *ends = (format(number, spec or NUMBER) for number in (self.estimate, self.low, self.high))
        return middle if not np.isfinite(self.low) else f"{middle} [{', '.join(ends)}]"


def learned(card: Card, verdicts: Mapping[str, Verdict], premises: Mapping[str, Check]) -> list[str]:
    """The card's sentences with the numbers of this run, without those that rest on what it did not test.

    A sentence that rests on a verdict which this run does not give says so.
    """
    quoted = {
        name: _Quoted(item.estimate, item.low, item.high, item.n, item.verdict, card.claims[name].reported)
        for name, item in verdicts.items()
    }
    quoted |= {name: _Quoted(*state.value) for name, state in premises.items()}
    lines = []
    for sentence in card.learned:
        here = {name: verdicts[name].verdict if name in verdicts else "untested" for name in sentence.rests}
        moved = {name: word for name, word in here.items() if word != sentence.rests[name]}
        if "untested" in moved.values() or not sentence.quoted() <= quoted.keys():
            continue
        said = ", ".join(f"{name} is {word}" for name, word in moved.items())
        lines.append(sentence.text.format_map(quoted) + (f" (In this run {said}.)" if moved else ""))
    return lines


def terminal(study: Study, verdicts: Mapping[str, Verdict], premises: Mapping[str, Check]) -> Table:
    """The ledger as a table for the terminal: premises, claims with their controls, integrity in one row."""
    mark = " (exploratory)" if study.exploratory else ""
    title = f"{study.card.slug} at {study.profile}{mark}: {counts(verdicts, study.card.claims)}"
    table = Table(title=title, caption="* primary claim, † control", expand=True)
    table.add_column("id", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", ratio=1)
    table.add_column("evidence", ratio=1)
    for name, state in premises.items():
        word = Text(state.state, STATES[state.state])
        table.add_row(name, word, f"Premise: {study.card.premises[name].statement}", state.reason)
    claims = entries(study.card, verdicts)
    for row in (row for name, controls in folded(claims) for row in (name, *controls)):
        entry = claims[row]
        control = entry["role"] == "control"
        colour = "cyan" if control else COLOURS[entry["verdict"]]
        head = f"{row}{'*' if entry['primary'] else ''}{'†' if control else ''}"
        table.add_row(head, Text(entry["word"], style=colour), entry["statement"], entry["reason"])
    holding, checked, failed = integrity(claims)
    if checked:
        which = f"not: {', '.join(failed)}" if failed else ""
        table.add_row("integrity", f"{holding} of {checked}", "Audits and identities that hold", which)
    return table


def rows(claims: Entries) -> pd.DataFrame:
    """The ledger as a frame, controls under their claim, integrity rows last."""
    order = [row for name, controls in folded(claims) for row in (name, *controls)]
    order += [name for name in claims if name not in order]
    content = [
        {
            "id": f"{name}*" if claims[name]["primary"] else name,
            "kind": claims[name]["kind"] + (", control" if claims[name]["role"] == "control" else ""),
            "claim": claims[name]["statement"],
            "reported": claims[name]["reported"],
            "verdict": claims[name]["word"],
            "evidence": claims[name]["reason"],
        }
        for name in order
    ]
    columns = ["id", "kind", "claim", "reported", "verdict", "evidence"]
    return pd.DataFrame(content, columns=columns).set_index("id")


def committed() -> pd.DataFrame:
    """Every claim of every committed result: a row per paper, profile and claim, no two profiles merged.

    Results whose claims are missing or damaged are one row that says so.
    """
    found: list[Mapping[str, Any]] = []
    folders = [path for path in sorted(results_root().glob("*/*")) if path.is_dir()]
    for folder in filter(lambda path: is_committed(path.name), folders):
        place = {"paper": folder.parent.name, "profile": folder.name}
        try:
            claims = read_claims(folder)["claims"]
            found += [{**place, "id": name, **entry} for name, entry in claims.items()]
        except UnreadableError as error:
            damage = {"id": "-", "kind": "-", "role": "claim", "verdict": UNREADABLE, "reason": error.message}
            found.append({**place, "statement": "", "reported": "", **damage})
    columns = ["paper", "profile", "id", "kind", "role", "verdict", "statement", "reported", "reason"]
    return pd.DataFrame(found, columns=columns)


MARKS = ("<!-- verdicts -->", "<!-- /verdicts -->")


def table_row(cells: Iterable[object]) -> str:
    """A row of a GitHub table; a bar inside a cell, as of an absolute value, does not end it."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def effect_text(entry: Mapping[str, Any]) -> str:
    """Estimate and interval of an entry of ``claims.json``, e.g. ``0.012 [-0.003, 0.027]``."""
    if entry.get("estimate") is None or entry.get("integrity"):
        return ""
    low, high = (np.nan if entry.get(end) is None else entry[end] for end in ("low", "high"))
    return f"{_Quoted(entry['estimate'], low, high, entry['n'])}"


def readme(text: str, content: Mapping[str, Any], profile: str) -> str:
    """A paper's README with what stands between its marks replaced by these findings and verdicts.

    Args:
        text: The README; without both marks it comes back as it is.
        content: ``claims.json``.
        profile: Where the verdicts are from.
    """
    lines = [*_learned_lines(content.get("learned", [])), f"Verdicts at `{profile}` (generated):", ""]
    lines += [*_premise_lines(content.get("premises", {})), *_claim_lines(content["claims"])]
    return between(text, MARKS, "\n".join(lines))


def _learned_lines(sentences: Sequence[str]) -> list[str]:
    return ["**What we learned.** " + " ".join(sentences), ""] if sentences else []


def state_of(premise: Mapping[str, Any]) -> str:
    """State of a premise in ``claims.json``, also of results from before "not measured" was a word."""
    return str(premise.get("state") or ("met" if premise.get("met") else "not met"))


def _premise_lines(premises: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not premises:
        return []
    head = ["| premise | what | met | value |", "|---|---|---|---|"]
    states = [
        table_row((name, item["statement"], ANSWERS[state_of(item)], item["reason"]))
        for name, item in premises.items()
    ]
    return [*head, *states, ""]


def _claim_lines(claims: Entries) -> list[str]:
    """The verdict table: primary first, no controls, integrity in one row."""
    lines = ["| claim | what | verdict | effect | the paper's |", "|---|---|---|---|---|"]
    for name, _ in folded(claims):
        entry = claims[name]
        if entry["role"] == "claim":
            head = f"{name}*" if entry["primary"] else name
            cells = (head, entry["statement"], entry["word"], effect_text(entry), entry["reported"])
            lines.append(table_row(cells))
    holding, checked, _ = integrity(claims)
    if checked:
        what = "Audits of the paper's numbers and identities that hold."
        lines.append(table_row(("integrity", what, f"{holding} of {checked}", "", "")))
    return lines
