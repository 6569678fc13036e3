"""The manifest: where a result comes from, in enough detail to argue about it."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from common.study.card import Card, Claim, Premise
from common.study.isolation import NOT_USED
from common.study.keys import environment, job_key, source_hash
from common.study.paths import ROOT, papers_root
from common.study.store import Cost
from common.study.stored import Manifest
from common.study.study import Study

RENDERING = (
    "plotting/*.py",
    "statistics.py",
    "study/artefacts.py",
    "study/audits.py",
    "study/evidence.py",
    "study/frame.py",
    "study/ledger.py",
    "study/notebook.py",
    "study/page.py",
    "study/premises.py",
    "study/report.py",
    "study/verdicts.py",
)


def manifest(study: Study) -> dict[str, Any]:
    """Everything about a run but its numbers."""
    costs = [(job, key, study.store.cost(key)) for job, key in ((job, job_key(job)) for job in study.jobs)]
    distinct = {key: cost for _, key, cost in costs if cost is not None}
    return {
        "paper": study.card.slug,
        "profile": study.profile,
        "overrides": study.options.changes(),
        "configuration": study.config.flat(),
        "seeds": list(study.seeds),
        **origin(),
        "card": _digest(papers_root() / study.card.slug / "paper.yaml"),
        "lock": _digest(ROOT / "requirements.lock"),
        "report": source_hash(f"papers.{study.card.slug}.report"),
        "rendering": rendering(),
        "claims": claim_hashes(study.card),
        "environment": environment(),
        "machine": machine(),
        "sandbox": sandbox_levels(distinct.values()),
        "network": ", ".join(sorted({cost.network for cost in distinct.values()})),
        "jobs": [
            {
                "job": job.describe(),
                "key": key,
                "seconds": cost.seconds if cost else None,
                "peak_memory_mib": cost.peak_memory if cost else None,
                **({"restored": cost.restored} if cost and cost.restored else {}),
            }
            for job, key, cost in costs
        ],
        **({"lacking": lacking} if (lacking := study.lacked(study.every_job)) else {}),
        "total": {
            "jobs": len({key for _, key, _ in costs}),
            "core_seconds": round(sum(cost.seconds for cost in distinct.values()), 1),
            "peak_memory_mib": max((cost.peak_memory for cost in distinct.values()), default=None),
        },
    }


def sandbox_levels(costs: Iterable[Cost]) -> str:
    """The levels at which jobs ran generated code."""
    return ", ".join(sorted({cost.sandbox for cost in costs} - {NOT_USED})) or NOT_USED


def claim_hashes(card: Card) -> dict[str, str]:
    """Id of a premise or claim to the hash of its test block."""
    entries: dict[str, Premise | Claim] = {**card.premises, **card.claims}
    return {name: entry.test_hash() for name, entry in entries.items()}


def rendering() -> dict[str, str]:
    """Hash of the shared code that summarises, draws and prints, and the libraries that it does so with."""
    digest = hashlib.sha256()
    for part in RENDERING:
        for path in sorted((ROOT / "common").glob(part)):
            digest.update(path.read_bytes())
    libraries = {name: version(name) for name in ("matplotlib", "pandas")}
    return {"code": digest.hexdigest()[:24], **libraries}


def newer(study: Study, stored: Manifest) -> list[str]:
    """What the stored results were drawn and printed with that is another one today; empty if nothing is."""
    card = _digest(papers_root() / study.card.slug / "paper.yaml")
    report = source_hash(f"papers.{study.card.slug}.report")
    pairs = {
        "card": (stored["card"], card),
        "report": (stored["report"], report),
        "rendering": (stored.get("rendering"), rendering()),
    }
    return [name for name, (then, now) in pairs.items() if then != now]


def last_commit(folder: Path) -> str | None:
    """The last commit that touched anything below `folder`; None if none did or this is no git checkout."""
    return _git("log", "-1", "--format=%h", "--", str(folder))


def tracked(folder: Path) -> list[str]:
    """Names of the folders in `folder` that the checked-out commit holds."""
    paths = (_git("ls-tree", "-d", "--name-only", "HEAD", f"{folder}/") or "").splitlines()
    return [Path(path).name for path in paths]


def origin() -> dict[str, Any]:
    """The checked-out commit, and a hash of what differs from it."""
    return {"commit": _git("rev-parse", "HEAD"), "dirty": _dirty()}


def machine() -> dict[str, Any]:
    """The processor, memory and accelerator of this machine."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "gpu": _run("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "blas_core_type": os.environ.get("OPENBLAS_CORETYPE"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _dirty() -> str | None:
    """Hash of uncommitted changes to tracked source; None if there are none or this is no git checkout."""
    difference = _git("diff", "HEAD", "--", "common", "papers", "requirements.lock")
    return hashlib.sha256(difference.encode()).hexdigest()[:16] if difference else None


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _git(*arguments: str) -> str | None:
    return _run("git", "-C", str(ROOT), *arguments)


def _run(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
