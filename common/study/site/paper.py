"""What the page of a paper at one profile shows, read from the committed results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from common.study.artefacts import side_by_side
from common.study.card import PROFILES, Artefact, Card, Table
from common.study.entries import Figure
from common.study.errors import StudyError
from common.study.frame import TABLE_COLUMNS
from common.study.ledger import Entries, folded
from common.study.status import sources
from common.study.stored import Manifest, UnreadableError, read_csv, read_manifest


@dataclass(frozen=True)
class Shown:
    """A table or figure of the card on the page.

    Attributes:
        name: Its id.
        entry: Its entry in the card.
        files: Name to path, relative to the page, of what these results have of it.
        point: The computed sentence on a figure.
        body: A table as HTML.
        reason: Why these results lack it; empty if they have it.
    """

    name: str
    entry: Artefact
    files: Mapping[str, str]
    point: str = ""
    body: Markup | None = None
    reason: str = ""


def figures(card: Card, folder: Path) -> list[Shown]:
    """Every figure of the card; first the one that the primary claim's sweeps feed."""
    points = _points(folder)
    shown = [_figure(name, entry, folder, points) for name, entry in card.figures.items()]
    needs = {need for claim in card.claims.values() if claim.primary for need in claim.needs}
    first = next((item for item in shown if not item.reason and needs & {*item.entry.needs}), None)
    return sorted(shown, key=lambda item: item is not first)


def _figure(name: str, entry: Figure, folder: Path, points: Mapping[str, str]) -> Shown:
    files = _files(folder, "figures", name, ("png", "svg", "csv"))
    reason = "" if "png" in files else _absence(entry, folder.name)
    return Shown(name, entry, files, point=points.get(name, ""), reason=reason)


def _points(folder: Path) -> dict[str, str]:
    """The sentences above the figures; none where the results are older than they."""
    path = folder / "figures" / "points.json"
    try:
        points: dict[str, str] = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError:
        return {}
    return points


def tables(card: Card, folder: Path) -> list[Shown]:
    """Every table of the card: the paper's block beside ours, or alone."""
    return [_table(name, entry, folder) for name, entry in card.tables.items()]


def _table(name: str, entry: Table, folder: Path) -> Shown:
    files = _files(folder, "tables", name, ("csv",))
    block, reason = None, ""
    try:
        block = read_csv(folder / "tables" / f"{name}.csv", tuple(TABLE_COLUMNS)) if files else None
    except UnreadableError as error:
        reason = error.message
    if block is None:
        reason = reason or _absence(entry, folder.name)
    if block is None and not entry.reported.rows:
        return Shown(name, entry, files, reason=reason)
    wide = side_by_side(entry, block)
    wide.index.name = None
    body = Markup(wide.to_html(border=0, escape=True))
    return Shown(name, entry, files, body=body, reason=reason)


def _files(folder: Path, kind: str, name: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    paths = {suffix: f"{kind}/{name}.{suffix}" for suffix in suffixes}
    return {suffix: path for suffix, path in paths.items() if (folder / path).is_file()}


def _absence(entry: Artefact, profile: str) -> str:
    """Why results of a profile lack a table or figure."""
    if entry.absent:
        return entry.absent
    higher = profile in PROFILES and PROFILES.index(entry.profile) > PROFILES.index(profile)
    return f"needs PROFILE={entry.profile}" if higher else "these results do not have it"


@dataclass(frozen=True)
class Line:
    """A claim of the ledger with its controls."""

    name: str
    entry: Mapping[str, Any]
    controls: list[tuple[str, Mapping[str, Any]]]


def ledger(claims: Entries) -> list[Line]:
    """Claims in reading order, each with its controls."""
    return [
        Line(name, claims[name], [(row, claims[row]) for row in controls])
        for name, controls in folded(claims)
    ]


def gaps(content: Mapping[str, Any], shown: list[Shown]) -> Iterator[str]:
    """What these results lack because they are older than it, a sentence each."""
    if "learned" not in content:
        yield "These results are older than the sentences on what was learned, premises and nested controls."
    elif not content["learned"]:
        yield "Nobody has written yet what was learned."
    if any(not item.reason and not item.point for item in shown):
        yield "These results are older than the sentence that stands above a figure."


@dataclass(frozen=True)
class Origin:
    """Where results come from.

    Attributes:
        minutes: Wall time on all cores of the machine, in minutes; empty if it is not known.
        freshness: Whether today's code and machine would make the same records.
        facts: Label and text of what the manifest says.
    """

    minutes: str
    freshness: str
    facts: list[tuple[str, str]]


def origin(slug: str, folder: Path) -> Origin:
    """What the manifest of a results folder says; one that cannot be read is said to be so."""
    try:
        manifest = read_manifest(folder)
    except UnreadableError as error:
        return Origin("-", "unknown", [("manifest", error.message)])
    return Origin(_minutes(manifest), _freshness(slug, manifest), list(_facts(manifest)))


def _freshness(slug: str, manifest: Manifest) -> str:
    try:
        return sources(slug, manifest)
    except StudyError as error:
        return f"cannot tell: {error.message}"


def _minutes(manifest: Manifest) -> str:
    seconds, cores = manifest["total"].get("core_seconds"), _machine(manifest).get("cores")
    return f"{seconds / cores / 60:.1f} on {cores} cores" if seconds is not None and cores else "-"


def _machine(manifest: Manifest) -> Mapping[str, Any]:
    machine: Mapping[str, Any] = dict(manifest).get("machine") or {}  # type: ignore[assignment]
    return machine


def _facts(manifest: Manifest) -> Iterator[tuple[str, str]]:
    content: Mapping[str, Any] = dict(manifest)
    machine, total = _machine(manifest), manifest["total"]
    seeds = manifest["seeds"]
    changed = ", with uncommitted changes" if content.get("dirty") else ""
    yield "commit", f"{content.get('commit') or 'unknown'}{changed}"
    yield (
        "machine",
        ", ".join(str(machine[name]) for name in ("processor", "gpu", "system") if machine.get(name)),
    )
    yield "cores and memory", f"{machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB"
    yield "seeds", f"{len(seeds)}: {', '.join(map(str, seeds))}"
    yield "jobs", str(total.get("jobs", len(manifest["jobs"])))
    yield "core seconds", f"{total.get('core_seconds', '?')}"
    yield "peak memory of a job", f"{total.get('peak_memory_mib', '?')} MiB"
    yield "network", str(content.get("network") or "unknown")
    environment = manifest["environment"]
    versions = ", ".join(f"{name} {text}" for name, text in environment.get("versions", {}).items())
    yield "versions", f"Python {environment.get('python', '?')}, {versions}"
