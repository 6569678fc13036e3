"""Check committed results: fields and files against card and code, everything computed against the values.

What this cannot prove is that the values were measured: whoever edits ``values.parquet`` and makes the rest
again from it, manifest included, leaves results that are consistent. Only a rerun tells.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from textwrap import shorten
from typing import Any

import pandas as pd

from common.study import overview
from common.study.artefacts import Artefacts
from common.study.card import list_papers
from common.study.comparison import differing_fields
from common.study.errors import StudyError
from common.study.keys import file_hash
from common.study.ledger import readme
from common.study.notebook import parameters
from common.study.paths import is_committed, results_root
from common.study.provenance import claim_hashes, last_commit, newer, tracked
from common.study.recomputed import (
    differing_outputs,
    differing_pictures,
    differing_reports,
    expected_files,
    recompute,
)
from common.study.replay import cells_hash, injected, own_cells
from common.study.results import readme_text, require_marks
from common.study.rows import misfits, row_counts
from common.study.stored import (
    Manifest,
    UnreadableError,
    read_claims,
    read_manifest,
    read_notebook,
    read_values,
    require_file,
)
from common.study.study import Study

SHOWN = 5
NOT_PROVED = (
    "consistent is not measured: values, times, machine and commit are as recorded, and the card's tests and "
    "seeds as they are today (git log shows since when); make reproduce measures the values again"
)


@dataclass
class Findings:
    """What is wrong with results and what could not be compared, a line each; `empty`: there are none."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    empty: bool = False

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.problems:
            return f"{len(self.problems)} problem(s)"
        return "no results yet" if self.empty else "consistent"


def verify_paper(slug: str, profile: str = "") -> Iterator[tuple[str, Findings]]:
    """Findings by place: every committed profile of a paper, and its README.

    A profile is expected to have results if its folder is there, if the README shows its verdicts, or if the
    checked-out commit holds it. A paper without any is new: no README shows verdicts of it, and no commit
    ever held results.

    Args:
        slug: Paper.
        profile: Name of one results folder, also an untracked one such as ``laptop.local``; empty for all.
    """
    base = results_root() / slug
    present = {path.name for path in base.glob("*") if path.is_dir()}
    shown = _shown_profiles(slug)
    committed = sorted(filter(is_committed, {*present, *shown, *tracked(base)}))
    for name in [profile] if profile else committed:
        yield f"{slug}/{name}", _verify_folder(slug, base / name, name in shown)
    if not committed and not profile:
        yield slug, Findings(_never_committed(base), empty=True)
    problems = _readme_problems(slug, [base / name for name in committed]) if committed else []
    if problems:
        yield f"papers/{slug}/README.md", Findings(problems)


def verify_whole() -> Iterator[tuple[str, Findings]]:
    """What is of no one paper: folders of results that belong to none, and the table of the root README."""
    wrong = overview.problems()
    if wrong:
        yield "README.md", Findings(wrong)
    for path in sorted(results_root().glob("[!.]*")):
        if path.name not in list_papers():
            yield path.name, Findings([f"{path.name}: no paper has this name; remove it"])


def _verify_folder(slug: str, folder: Path, shown: bool) -> Findings:
    if not folder.is_dir():
        source = f"papers/{slug}/README.md shows its verdicts" if shown else "the checked-out commit holds it"
        return Findings(
            [f"{folder.name}: no such results, but {source}; restore them or run make reproduce UPDATE=1"]
        )
    if folder.name == "smoke":
        return Findings(["smoke: results of this profile are never committed; remove the folder"])
    try:
        return verify(_as_it_ran(slug, folder), folder)
    except StudyError as error:
        return Findings([error.message])


def _as_it_ran(slug: str, folder: Path) -> Study:
    """The study of a folder with the assets that its run had, whatever this machine has."""
    study = Study(slug, folder.name.removesuffix(".local"))
    study.lacking = frozenset()
    with suppress(StudyError):  # a damaged manifest is named where it is checked
        study.lacking = frozenset(read_manifest(folder).get("lacking", ()))
    return study


def _never_committed(base: Path) -> list[str]:
    commit = last_commit(base)
    if commit is None:
        return []
    return [
        f"no committed results, but commit {commit} touched them; restore them or run make reproduce UPDATE=1"
    ]


def _shown_profiles(slug: str) -> list[str]:
    """Profiles that the README names above a verdict table; none if it cannot be read."""
    with suppress(StudyError):  # a damaged README is named where its table is compared
        return re.findall(r"^Verdicts at `([^`]+)` \(generated\):", readme_text(slug), re.MULTILINE)
    return []


def _readme_problems(slug: str, folders: Sequence[Path]) -> list[str]:
    """A verdict table that is missing, edited by hand or older than the results."""
    try:
        require_marks(slug)
        shown = overview.highest(folders)
        claims = read_claims(shown) if shown else None
    except UnreadableError:  # damage is the folder's finding
        return []
    except StudyError as error:
        return [error.message]
    text = readme_text(slug)
    if shown and claims and readme(text, claims, shown.name) == text:
        return []
    return ["README.md: its verdict table is not the one of claims.json"]


def verify(study: Study, folder: Path) -> Findings:
    """Check one results folder.

    Returns:
        Problems: files that the card does not give or that are missing; fields of the manifest and of
        ``claims.json`` that are not what card, code and values give; tables, data twins, pictures and
        notebook outputs that differ from those made again from ``values.parquet``. Newer code is no problem:
        pictures and outputs that it would make otherwise are notes.
    """
    findings = Findings()
    names = expected_files(Artefacts(study))
    findings.problems += _file_problems(folder, names)
    manifest = None
    with _noting_damage(findings):
        manifest = read_manifest(folder)
        _check_manifest(study, manifest, folder, names, findings)
    with _noting_damage(findings):
        _check_cells(study, folder, manifest, findings)
    with _noting_damage(findings):
        _check_values(study, read_values(folder / "values.parquet"), folder, manifest, findings)
    return Findings(list(dict.fromkeys(findings.problems)), findings.notes)


@contextmanager
def _noting_damage(findings: Findings) -> Iterator[None]:
    """What cannot be read or made ends one check and not the others."""
    try:
        yield
    except StudyError as error:
        findings.problems.append(error.message)


def _file_problems(folder: Path, names: set[str]) -> list[str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    present = {path.relative_to(folder) for path in paths}
    extra = sorted(str(path) for path in present if str(path) not in names and not _hidden(path))
    problems = [f"{name}: not a file of these results" for name in extra]
    for name in sorted(names):
        try:
            require_file(folder / name)
        except UnreadableError as error:
            problems.append(f"{folder.joinpath(name).parent.relative_to(folder) / error.message}")
    return problems


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _check_manifest(
    study: Study, manifest: Manifest, folder: Path, names: set[str], findings: Findings
) -> None:
    content: dict[str, Any] = dict(manifest)
    config = study.config.flat()
    renamed = set(config) ^ set(manifest["configuration"])
    expected = {
        "paper": study.card.slug,
        "profile": study.profile,
        "overrides": study.options.changes(),
        "seeds": list(study.seeds),
        "configuration": json.loads(json.dumps(config)),
        "total": _total(manifest),
    }
    for place, then, now in differing_fields(expected, {name: content[name] for name in expected}):
        line = f"manifest.json: {place} is {_short(then)}; expected {_short(now)}"
        if place.startswith("configuration.") and place.removeprefix("configuration.") in renamed:
            findings.notes.append(f"{line}: the code got or lost this field after the run")
        else:
            findings.problems.append(line)
    findings.problems += _claim_problems(claim_hashes(study.card), manifest["claims"])
    findings.problems += _job_problems(study, manifest)
    hashes = manifest["files"]
    for name in sorted((names | set(hashes)) - {"manifest.json"}):
        if name not in hashes or name not in names:
            findings.problems.append(f"manifest.json: files.{name} is only on one side")
        elif (folder / name).is_file() and file_hash(folder / name) != hashes[name]:
            findings.problems.append(f"{name}: differs from what the manifest recorded")


def _total(manifest: Manifest) -> dict[str, float | None]:
    """What the manifest's total has to be by its jobs."""
    jobs = {job["key"]: job for job in manifest["jobs"]}.values()
    peaks = [job["peak_memory_mib"] for job in jobs if job["peak_memory_mib"] is not None]
    seconds = sum(job["seconds"] or 0.0 for job in jobs)
    return {"jobs": len(jobs), "core_seconds": round(seconds, 1), "peak_memory_mib": max(peaks, default=None)}


def _claim_problems(now: dict[str, str], then: dict[str, str]) -> Iterator[str]:
    for name in sorted({*now, *then}):
        if name not in then:
            yield f"claims.{name}: the card got it after the run; run again"
        elif name not in now:
            yield f"manifest.json: claims.{name} is no claim of the card"
        elif now[name] != then[name]:
            yield f"claims.{name}: its test block changed after the run; run again or restore the card"


def _job_problems(study: Study, manifest: Manifest) -> Iterator[str]:
    now, then = Counter(job.describe() for job in study.jobs), Counter(job["job"] for job in manifest["jobs"])
    for name in [*(now - then), *(then - now)][:SHOWN]:
        yield f"manifest.json: jobs: '{name}' is there {then[name]} times; expected {now[name]}"


def _check_cells(study: Study, folder: Path, manifest: Manifest | None, findings: Findings) -> None:
    """The executed notebook holds the cells of the paper's own one, and its parameters are this run's."""
    executed, source = read_notebook(folder / "reproduce.ipynb"), read_notebook(study.notebook)
    recorded = manifest.get("notebook") if manifest else None
    if injected(executed) != [parameters(study)]:
        findings.problems.append(f"reproduce.ipynb: its injected parameters are not {parameters(study)}")
    if recorded is not None and cells_hash(executed) != recorded:
        findings.problems.append(
            "reproduce.ipynb: its cells are not those that ran (manifest.json: notebook)"
        )
    if cells_hash(executed) != cells_hash(source):
        pairs = zip_longest(own_cells(executed), own_cells(source))
        index = next((i for i, (one, other) in enumerate(pairs) if _text(one) != _text(other)), 0)
        line = f"reproduce.ipynb: cell {index} is not that of {study.notebook.name}"
        if recorded == cells_hash(source):
            findings.problems.append(line)
        else:
            findings.notes.append(f"{line}, which may be newer: cells that only one has are not compared")


def _text(cell: Any) -> tuple[str, str] | None:
    return cell and (cell.cell_type, cell.source)


def _check_values(
    study: Study, frame: pd.DataFrame, folder: Path, manifest: Manifest | None, findings: Findings
) -> None:
    """The rows are those of the jobs, and everything made from them is what the folder holds."""
    wrong = misfits(frame, study.jobs, manifest.get("parts") if manifest else None)
    if wrong:
        findings.problems += [f"values.parquet: {line}" for line in wrong]
        findings.notes.append(
            "not compared: tables, figures, claims and notebook, which these values cannot give"
        )
        return
    if manifest is not None:
        findings.problems += _row_problems(study, frame, manifest)
    with tempfile.TemporaryDirectory() as scratch:
        fresh = recompute(Artefacts(study, frame), Path(scratch))
        findings.problems += differing_reports(fresh, folder)
        places = list(differing_pictures(fresh, folder))
        with _noting_damage(findings):
            places += differing_outputs(fresh, folder / "reproduce.ipynb")
    changed = newer(study, manifest) if manifest else []
    if places and changed:
        findings.notes.append(f"not compared, made by older code ({', '.join(changed)}): {_some(places)}")
    else:
        findings.problems += [f"{place} is not what the values give" for place in places]


def _row_problems(study: Study, frame: pd.DataFrame, manifest: Manifest) -> Iterator[str]:
    recorded = Counter({(job["job"], job["rows"]): 1 for job in manifest["jobs"] if "rows" in job})
    counts = row_counts(frame, study.jobs, manifest.get("parts", {}))
    for job, rows in zip(study.jobs, counts, strict=True):
        if recorded and (job.describe(), rows) not in recorded:
            yield f"values.parquet: job {job.describe()} has {rows} rows; manifest.json (jobs) says otherwise"


def _some(places: Sequence[str]) -> str:
    more = len(places) - SHOWN
    return "; ".join(places[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _short(value: Any) -> str:
    return shorten(repr(value), 80, placeholder=" …")
