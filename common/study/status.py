"""State of the results on disk: current or older than the sources, and what they say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.study import ledger
from common.study.errors import StudyError
from common.study.keys import environment, job_key
from common.study.paths import EXAMPLE, results_root
from common.study.stored import Manifest, read_claims, read_manifest
from common.study.study import Study
from common.study.verdicts import Verdict


def rows(slug: str) -> Iterator[tuple[str, str, str, str]]:
    """(paper, folder, state of sources, verdict counts) of every results folder of a paper.

    A folder whose files are missing or damaged has the reason in the place of its verdicts.
    """
    folders = sorted(
        path for path in (results_root() / slug).glob("[!.]*") if path.is_dir() and path.name != EXAMPLE
    )
    if not folders:
        yield slug, "-", "-", "nothing run yet"
    for folder in folders:
        try:
            manifest = read_manifest(folder)
            yield slug, folder.name, sources(slug, manifest), _verdicts(slug, folder)
        except StudyError as error:
            yield slug, folder.name, ledger.UNREADABLE, error.message


def sources(slug: str, manifest: Manifest) -> str:
    """Whether the code and the machine of today would make the same records: current, or why not."""
    if manifest["overrides"]:
        return "exploratory"
    study = Study(slug, manifest["profile"])
    stored = {job["key"] for job in manifest["jobs"]}
    if manifest["environment"] != environment():
        return "other machine or versions"
    return "current" if stored == {job_key(job) for job in study.every_job} else "older"


def _verdicts(slug: str, folder: Path) -> str:
    claims = read_claims(folder)["claims"]
    known = Study(slug, "smoke").card.claims
    verdicts = {name: Verdict(name, entry["verdict"], "") for name, entry in claims.items() if name in known}
    return ledger.counts(verdicts, known)
