"""State of the results on disk: current or older than the sources, and what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from common.study import ledger
from common.study.errors import StudyError
from common.study.keys import environment, job_key
from common.study.paths import results_root
from common.study.study import Study
from common.study.verdicts import Verdict
from common.study.verify import read_manifest


def rows(slug: str) -> Iterator[tuple[str, str, str, str]]:
    """(paper, folder, state of sources, verdict counts) of every results folder of a paper."""
    folders = sorted(path.parent for path in (results_root() / slug).glob("*/manifest.json"))
    if not folders:
        yield slug, "-", "-", "nothing run yet"
    for folder in folders:
        yield slug, folder.name, _sources(slug, folder), _verdicts(slug, folder)


def _sources(slug: str, folder: Path) -> str:
    manifest = read_manifest(folder)
    if manifest["overrides"]:
        return "exploratory"
    study = Study(slug, manifest["profile"])
    stored = {job["key"] for job in manifest["jobs"]}
    if manifest["environment"] != environment():
        return "other machine or versions"
    return "current" if stored == {job_key(job) for job in study.jobs} else "older"


def _verdicts(slug: str, folder: Path) -> str:
    try:
        claims = json.loads((folder / "claims.json").read_bytes())["claims"]
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(
            f"{folder}/claims.json cannot be read ({error}); run make reproduce PAPER={slug}"
        ) from error
    known = Study(slug, "smoke").card.claims
    verdicts = {name: Verdict(name, entry["verdict"], "") for name, entry in claims.items() if name in known}
    return ledger.counts(verdicts, known)
