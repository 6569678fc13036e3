"""A small repository of its own for tests that run the command line: the engine plus one toy paper."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from common.study.card import TEMPLATE
from common.study.paths import ROOT
from tests import forks

CARD = """
slug: toy
title: Toy
authors: [A. Uthor]
arxiv: "2509.00000"
year: 2025
bibtex: "@misc{toy}"
summary: A toy.
tuning: none
stand_ins: []
seeds: {judged: [100, 101, 102, 103, 104, 105], development: [0, 1, 2]}
tables:
  table1:
    title: A table
    source: paper, Table 1
    needs: [noise]
    ours: toy task
    reported: {columns: [score], rows: {Method: [1.5], Other: [2.5]}}
    counterparts: {Method: method}
figures:
  fig1: {title: A figure, source: "paper, Fig. 1", needs: [noise], reported: {mean: 1.0}}
  fig2: {title: Not here, source: "paper, Fig. 2", absent: needs a hub model}
premises:
  moves: {statement: The method moves., metric: score, needs: [noise], test: {greater: 1.0}}
claims:
  exact1:
    {statement: Zero is zero., place: Eq. 1, kind: theorem, metric: error, needs: [noise],
     test: {exact: 1.0e-9, enumeration: true}}
  up:
    {statement: The method is above zero., place: Table 1, kind: trend, metric: score, needs: [noise],
     test: {greater: 0.0}, smallest_effect: 0.5, control: placebo, primary: true, premises: [moves]}
  placebo:
    {statement: The placebo is above zero., place: ours, kind: trend, role: control, metric: score,
     needs: [noise], test: {greater: 0.0}, smallest_effect: 0.5}
  large: {statement: It is large., place: Sec. 5, kind: headline, untested: needs a cluster, profile: paper}
learned:
  - {text: The paper says that it moves., rests: {up: reproduced}}
  - {text: "Here it moves by {up:.1f}.", rests: {up: reproduced}}
  - {text: A placebo does not., rests: {up: reproduced, exact1: reproduced}}
"""

EXPERIMENT = '''
import os
import time
from pathlib import Path

import numpy as np

from common.study.configuration import Settings
from common.study.jobs import Job, Record


class Config(Settings):
    steps: int = 3
    model: str = "pocket"


PROFILES = {"smoke": {"steps": 2}, "laptop": {}, "gpu": {}, "paper": {}}
ENTRY = "papers.toy.experiment:draw"
LIMITS = {"laptop": {"seconds": float(os.environ.get("TOY_LIMIT", 600))}}


def jobs(config, seeds):
    return [
        Job("noise", {"arm": arm}, ENTRY, {"steps": config.steps, "shift": shift}, (seed,))
        for arm, shift in (("method", 2.0), ("placebo", 0.0))
        for seed in seeds
    ]


def draw(job, workspace):
    """Mean of normal draws; each step leaves a checkpoint, and a fault can be asked for by file."""
    fault = Path(os.environ.get("TOY_FAULT", "/nonexistent"))
    done = workspace / "steps"
    start = int(done.read_text()) if done.exists() else 0
    for step in range(start, job.config["steps"]):
        done.write_text(str(step + 1))
        try:
            what = fault.read_text()
        except FileNotFoundError:  # no fault, or the other worker has just taken it
            continue
        if what == "die once":
            fault.unlink(missing_ok=True)
            os._exit(9)
        if what == "die":
            os._exit(9)
        if what == "exit":
            raise SystemExit(0)
        if what == "raise":
            raise ValueError("the toy broke")
        if what == "sleep":
            time.sleep(600)
        if what == "connect":
            import socket

            socket.create_connection(("198.51.100.1", 9), timeout=1)
    rng = np.random.default_rng([job.seeds[0], int(job.config["shift"])])
    values = rng.normal(size=job.config["steps"]) * 0.1 + job.config["shift"]
    return Record({"score": values.mean(keepdims=True)}, {"path": values[None]})
'''

REPORT = """
import numpy as np

from common.plotting.draw import lines
from common.study.frame import curve, estimate, long_table, rows, scalar, stacked
from common.study.report import Figure

ARMS = ("method", "placebo")
PREMISES = {"moves": lambda f: scalar(f, "noise", "score", arm="method")}
CLAIMS = {
    "exact1": lambda f: np.zeros(3),
    "up": lambda f: scalar(f, "noise", "score", arm="method"),
    "placebo": lambda f: scalar(f, "noise", "score", arm="placebo"),
}
TABLES = {
    "table1": lambda f: long_table(
        (arm, "score", estimate(scalar(f, "noise", "score", arm=arm))) for arm in ARMS
    ),
}
FIGURES = {
    "fig1": Figure(
        lambda f: stacked(curve(rows(f, "noise", "path", arm=arm), panel="Path", arm=arm) for arm in ARMS),
        lines("toy"),
    ),
}
"""


OUTPUT = "output.txt"  # what the run of `copy_reproduced` printed
NOTEBOOK = (ROOT / "papers" / TEMPLATE / "reproduce.ipynb").read_text().replace(TEMPLATE, "toy")


@dataclass(frozen=True)
class Repository:
    """A copy of the engine with a toy paper, and a way to type commands in it."""

    root: Path

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, self.root, self.surroundings(environment)["env"])

    def type(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The command in a Python of its own, as a user starts it."""
        return subprocess.run(self.command(*arguments), **self.surroundings(environment), capture_output=True)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.command(*arguments),
            **self.surroundings(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "common.study.cli", *arguments]

    def surroundings(self, environment: dict[str, str]) -> dict:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("REPRISE_") and k != "DEBUG"}
        settings = {"PYTHONPATH": str(self.root), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
        return {"cwd": self.root, "text": True, "env": {**inherited, **settings, **environment}}

    def results(self, folder: str) -> Path:
        return self.root / "results" / "toy" / folder

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "papers" / "toy" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def repository(tmp_path) -> Repository:
    return make_repository(tmp_path)


@pytest.fixture
def reproduced(tmp_path, tmp_path_factory) -> Repository:
    """The toy paper with records and committed results."""
    return copy_reproduced(tmp_path / "repository", tmp_path_factory)


def copy_reproduced(root: Path, factory: pytest.TempPathFactory) -> Repository:
    """A repository in which `reproduce toy --update` has run: once in a test session, for all its workers."""
    session = factory.getbasetemp()
    session = session.parent if "PYTEST_XDIST_WORKER" in os.environ else session
    source = session / "reproduced"
    with FileLock(session / "reproduced.lock"):
        if not (source / OUTPUT).exists():
            shutil.rmtree(source, ignore_errors=True)
            done = make_repository(source).type("reproduce", "toy", "--update")
            assert done.returncode == 0, done.stderr
            (source / OUTPUT).write_text(done.stdout)
    return Repository(shutil.copytree(source, root))


@pytest.fixture(scope="module")
def shared_repository(tmp_path_factory) -> Repository:
    return make_repository(tmp_path_factory.mktemp("repository"))


def make_repository(root: Path) -> Repository:
    (root / "common").mkdir(parents=True)
    for name in ("__init__.py", "statistics.py", "study", "plotting"):
        source = ROOT / "common" / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, root / "common" / name)
    for part in ("papers", "tests/papers"):
        shutil.copytree(ROOT / part / TEMPLATE, root / part / TEMPLATE)
    paper = root / "papers" / "toy"
    paper.mkdir(parents=True)
    (root / "requirements.lock").write_text("")
    (root / "README.md").write_text("# Toys\n\n<!-- papers -->\n<!-- /papers -->\n\nEnd.\n")
    files = {"../__init__.py": "", "__init__.py": "", "paper.yaml": CARD, "experiment.py": EXPERIMENT}
    files["README.md"] = "# Toy\n\n<!-- verdicts -->\n<!-- /verdicts -->\n\nEnd.\n"
    for name, text in {**files, "report.py": REPORT, "reproduce.ipynb": NOTEBOOK}.items():
        (paper / name).write_text(text)
    return Repository(root)
