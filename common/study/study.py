"""A study: one paper at one profile, with its jobs, records and reports.

The command line, the notebooks, `verify` and a cluster all go through this one object.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from common.study import assets
from common.study.card import PROFILES, Artefact, Card, Claim, Premise, load_card
from common.study.configuration import configure
from common.study.errors import StudyError, unknown
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.models import CONVERTERS, model_path, prepare_model
from common.study.paths import ROOT, papers_root, results_root, store_root
from common.study.report import Report
from common.study.runner import Plan, plan, run
from common.study.store import Store
from common.study.worker import Limits

OFFLINE_PROFILES = ("smoke", "laptop", "desk")


@dataclass(frozen=True)
class Options:
    """What a user may change about a run.

    Attributes:
        seeds: ``"3"`` for the first three of the list, ``"5,8"`` for these; empty for the profile's own.
        only: Ids of tables, figures and claims to restrict the run to.
        model: Hub id, folder or asset (``smollm2``) that replaces the profile's model.
        parameters: Configuration fields to override, as text.
        workers: Worker processes; does not change a record. 0 means one a core, or one with a GPU.
        backend: joblib backend, ``loky`` or ``ray``.
    """

    seeds: str = ""
    only: tuple[str, ...] = ()
    model: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    workers: int = 0
    backend: str = "loky"

    def changes(self) -> dict[str, Any]:
        """The overrides that make a run exploratory."""
        given = {
            "seeds": self.seeds,
            "only": sorted(self.only),
            "model": self.model,
            "parameters": dict(self.parameters),
        }
        return {name: value for name, value in given.items() if value}


class Study:
    """One paper at one profile.

    Attributes:
        lacking: Assets that are not there; jobs that need one and have no record are left out, and what needs
            those is untested.

    Raises:
        StudyError: unknown paper, profile, parameter or id, or a seed list that cannot be read.
    """

    def __init__(self, slug: str, profile: str, options: Options | None = None) -> None:
        self.options = options or Options()
        self.card: Card = load_card(slug)
        self.profile = profile
        parameters = dict(self.options.parameters)
        if self.options.model:
            parameters["model"] = model_path(self.options.model)
        self.config = configure(self.experiment.Config, self.experiment.PROFILES, profile, parameters)
        self.seeds = _choose_seeds(self.card, profile, self.options.seeds)
        self.needs = self.card.needs(self.options.only)
        self._check_sweeps()
        self.store = Store(store_root())
        self.lacking = assets.missing()

    @cached_property
    def experiment(self) -> ModuleType:
        """The paper's ``experiment`` module: Config, PROFILES, jobs."""
        return importlib.import_module(f"papers.{self.card.slug}.experiment")

    @cached_property
    def report(self) -> Report:
        """The paper's report: its tables, figures and claims by id."""
        return Report(importlib.import_module(f"papers.{self.card.slug}.report"))

    @cached_property
    def every_job(self) -> list[Job]:
        """Jobs of the sweeps that the selected tables, figures and claims need."""
        jobs: list[Job] = self.experiment.jobs(self.config, self.seeds)
        return [job for job in jobs if job.sweep in self.needs]

    @property
    def jobs(self) -> list[Job]:
        """Those of them that can run with the assets that are there, or have run."""
        return [job for job in self.every_job if not self.lacked([job])]

    def lacked(self, jobs: Sequence[Job]) -> list[str]:
        """Assets for want of which some of these jobs are left out."""
        waiting = [job for job in jobs if not self.lacking.isdisjoint(job.assets)]
        names = {name for job in waiting if not self.store.has(job_key(job)) for name in job.assets}
        return sorted(names & self.lacking)

    def _check_sweeps(self) -> None:
        """Every sweep that the card names has jobs at some profile; a misspelt one would stay untested."""
        wanted, known = self.card.needs(), set[str]()
        for profile in sorted(self.experiment.PROFILES, key=lambda name: name != self.profile):
            if wanted <= known:
                return
            known |= self._sweeps(profile)
        for name, entry in self.card.entries().items():
            for sweep in entry.needs:
                if sweep not in known:
                    raise unknown(
                        "sweep", sweep, known, f"papers/{self.card.slug}/paper.yaml: needs of {name}"
                    )

    def _sweeps(self, profile: str) -> set[str]:
        """Sweeps of a profile as it stands; a profile that cannot run has none."""
        config = configure(self.experiment.Config, self.experiment.PROFILES, profile)
        with suppress(StudyError):
            return {job.sweep for job in self.experiment.jobs(config, self.card.seeds.judged)}
        return set()

    @property
    def exploratory(self) -> bool:
        """True if overrides make this another experiment than the card's."""
        return bool(self.options.changes())

    @property
    def name(self) -> str:
        """Folder name of this run below ``results/<slug>/``, without the suffix ``.local``."""
        if not self.exploratory:
            return self.profile
        digest = hashlib.sha256(json.dumps(self.options.changes(), sort_keys=True).encode()).hexdigest()
        return f"{self.profile}+{digest[:8]}"

    @property
    def committed(self) -> Path:
        """Folder of the tracked results of this profile."""
        return results_root() / self.card.slug / self.profile

    @property
    def notebook(self) -> Path:
        """``reproduce.ipynb`` beside the card, or the notebook that the card names."""
        own = papers_root() / self.card.slug / "reproduce.ipynb"
        return ROOT / self.card.notebook if self.card.notebook else own

    @property
    def workers(self) -> int:
        """Worker processes: as the user said, else one a core, or one where jobs share a GPU."""
        default = (os.cpu_count() or 1) if self.profile in OFFLINE_PROFILES else 1
        return self.options.workers or default

    def plan(self) -> Plan:
        """Jobs by key, pending ones first by expected time (from the committed manifest)."""
        return plan(self.jobs, self.store, past_seconds(self.committed))

    def run(self) -> Plan:
        """Compute missing records; returns the plan as it was before.

        Raises:
            StudyError: a profile that needs a GPU or network it does not find, or jobs that failed.
        """
        require_machine(self.profile, self.options.model)
        work = self.plan()
        bounds = getattr(self.experiment, "LIMITS", {}).get(self.profile, {})
        limits = Limits(offline=self.profile in OFFLINE_PROFILES, **bounds)
        run(work, self.store, self.workers, limits, self.options.backend)
        return work

    def frame(self) -> pd.DataFrame:
        """All records as one tidy frame: sweep, labels, seed, name, step, value.

        Follows the order of the jobs, so it does not depend on which worker finished first.
        """
        return tidy([labelled(job, self.store.read(job_key(job))) for job in self.jobs])

    def available(self, entry: Artefact | Premise | Claim) -> str:
        """Empty if the entry can be made from this run, else the reason why not."""
        if isinstance(entry, Artefact) and entry.absent:
            return entry.absent
        if isinstance(entry, Claim) and entry.untested:
            return entry.untested
        if not entry.needs:  # an audit: it reads the card, which is there at every profile
            return ""
        if PROFILES.index(entry.profile) > PROFILES.index(self.profile):
            return f"needs PROFILE={entry.profile}"
        lacked = self.lacked([job for job in self.every_job if job.sweep in entry.needs])
        if lacked:
            return assets.reason(lacked)
        missing = sorted(set(entry.needs) - {job.sweep for job in self.jobs})
        return f"sweeps not in this run: {', '.join(missing)}" if missing else ""


def labelled(job: Job, values: pd.DataFrame) -> pd.DataFrame:
    """Values of a record with the columns of its job.

    Raises:
        StudyError: both have a column of one name.
    """
    twice = sorted(set(values.columns) & {"sweep", *job.labels})
    if twice:
        raise StudyError(f"{job.describe()}: its labels and its record both have a column '{twice[0]}'")
    return values.assign(sweep=job.sweep, **job.labels)


def tidy(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate job frames; text columns become categories, the value comes last."""
    fixed = ["seed", "name", "step", "value"]
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["sweep", *fixed])
    labels = [column for column in frame.columns if column not in ("sweep", *fixed)]
    frame = frame[["sweep", *labels, *fixed]]
    text = [column for column in ("sweep", *labels, "name") if frame[column].dtype.kind not in "biufc"]
    return frame.astype(dict.fromkeys(text, "category"))


def past_seconds(folder: Path) -> dict[str, float]:
    """Seconds by job description from a results folder's manifest; empty if there is none."""
    try:
        jobs = json.loads((folder / "manifest.json").read_bytes())["jobs"]
        return {job["job"]: job["seconds"] for job in jobs if job["seconds"] is not None}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def require_machine(profile: str, model: str) -> None:
    """Check that this machine can run a profile, choose its device, and make the folder of an asset's model.

    Raises:
        StudyError: a GPU, the model hub or an asset is needed and not there.
    """
    if model in CONVERTERS:
        model = str(prepare_model(model))
    elif model and profile in OFFLINE_PROFILES:
        raise StudyError(
            f"MODEL={model} needs PROFILE=gpu or paper: '{profile}' is offline by design; MODEL="
            f"{'|'.join(CONVERTERS)} runs there"
        )
    if profile in OFFLINE_PROFILES:
        return
    missing = []
    if shutil.which("nvidia-smi") is None:
        missing.append("no NVIDIA GPU was found")
    if (profile == "paper" or model) and not Path(model or "?").exists() and not hub_reachable():
        missing.append("the model hub cannot be reached (network, or HF_ENDPOINT)")
    if missing:
        raise StudyError(f"PROFILE={profile} cannot run here: {' and '.join(missing)}; use PROFILE=laptop")
    os.environ.setdefault("REPRISE_DEVICE", "cuda")


def hub_reachable(timeout: float = 5.0) -> bool:
    """True if the model hub (``HF_ENDPOINT``) accepts a connection."""
    from huggingface_hub.constants import ENDPOINT

    address = urlsplit(ENDPOINT)
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), timeout).close()
    except OSError:
        return False
    return True


def parse_parameters(text: str) -> dict[str, str]:
    """``"a=1 b=x"`` as a dict.

    Raises:
        StudyError: a part without an equals sign, or a name given twice.
    """
    pairs = [part.partition("=") for part in text.split()]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise StudyError(f"parameter '{wrong[0]}' has no value; write {wrong[0]}=VALUE")
    names = [name for name, _, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise StudyError(f"parameter '{twice[0]}' is given twice; give it once")
    return {name: value for name, _, value in pairs}


def _choose_seeds(card: Card, profile: str, text: str) -> tuple[int, ...]:
    """Judged seeds from `laptop` on, development seeds at `smoke`; or what the user asked for."""
    known = card.seeds.development if profile == "smoke" else card.seeds.judged
    if not text:
        return known
    try:
        numbers = tuple(int(part) for part in text.rstrip(",").split(","))
    except ValueError as error:
        raise StudyError(
            f"SEEDS='{text}' is no count and no list; give e.g. SEEDS=3 or SEEDS=5,8,13"
        ) from error
    twice = next((seed for seed in numbers if numbers.count(seed) > 1), None)
    if twice is not None:
        raise StudyError(f"SEEDS={text}: seed {twice} stands twice and would count twice; give each once")
    if len(numbers) > 1 or text.endswith(","):
        return numbers
    if not 1 <= numbers[0] <= len(known):
        raise StudyError(
            f"SEEDS={text}: the card has {len(known)} seeds for this profile; give 1 to {len(known)}"
        )
    return known[: numbers[0]]
