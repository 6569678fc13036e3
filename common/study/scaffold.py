"""`make new PAPER=<slug>`: a paper folder that is complete in shape and honest in content."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from common.study.errors import StudyError
from common.study.paths import ROOT, papers_root

CARD = """\
slug: {slug}
title: "{slug}: replace by the paper's title"
authors: ["Replace by the authors"]
arxiv: "0000.00000"
year: 2025
bibtex: |
  @misc{{{slug}, title = {{Replace by the paper's title}}, year = {{2025}}}}
summary: Replace by two sentences on what the paper claims.
tuning: Replace by the budget that the method and every baseline got, which has to be equal.
stand_ins: []
seeds:
  judged: [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009]
  development: [0, 1]
figures:
  fig1:
    title: Replace by our caption
    source: paper, Fig. 1
    needs: [theory]
claims:
  c1:
    statement: Replace by the paper's first claim.
    place: Sec. 1
    kind: headline
    untested: not implemented yet
"""

EXPERIMENT = '''\
"""The study of {slug}: configuration, profiles, jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.study.jobs import Job, Record


@dataclass(frozen=True)
class Config:
    """Defaults are the paper's values; declare them with `common.study.configuration.paper`.

    Attributes:
        points: Grid points of the example curve.
    """

    points: int = 11


PROFILES: dict[str, dict[str, object]] = {{"smoke": {{}}, "laptop": {{}}, "gpu": {{}}, "paper": {{}}}}


def jobs(config: Config, seeds: Sequence[int]) -> list[Job]:
    """Every job of the study; the sweep names are what the card's `needs` refer to."""
    arguments = {{"points": config.points}}
    return [Job("theory", {{}}, "papers.{slug}.experiment:curve", arguments, tuple(seeds[:1]))]


def curve(job: Job, workspace: Path) -> Record:  # noqa: ARG001
    """The example record: p (1 - p) on a grid of p in [0, 1]."""
    p = np.linspace(0.0, 1.0, int(job.config["points"] or 0))
    return Record(series={{"p": p[None], "variance": (p * (1 - p))[None]}})
'''

REPORT = '''\
"""Tables, figures and claims of {slug}, as pure functions of the frame."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from common.plotting.style import panels


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """Variance of a Bernoulli variable against its mean."""
    return frame.pivot_table(index="step", columns="name", values="value").reset_index(drop=True)


def plot_fig1(data: pd.DataFrame, reported: Mapping[str, float]) -> Figure:  # noqa: ARG001
    """One curve."""
    figure, axes = panels(1)
    axes[0].plot(data["p"].to_numpy(), data["variance"].to_numpy())
    axes[0].set(xlabel="p", ylabel="p (1 - p)")
    return figure
'''

README = """\
# {slug}

Replace by half a page: what the paper says, what is scaled down here, how to run it.

    make reproduce PAPER={slug}
"""

PARAMETERS = """\
profile: str = "smoke"
seeds: str = ""
only: str = ""
model: str = ""
parameters: str = ""
"""


def scaffold(slug: str) -> list[Path]:
    """Write the files of a new paper; returns their paths.

    Raises:
        StudyError: the slug cannot name a paper; see `check_name`.
    """
    check_name(slug)
    folder = papers_root() / slug
    test = ROOT / "tests" / "papers" / slug / "test_report.py"
    files = {
        folder / "__init__.py": f'"""{slug}."""\n',
        folder / "paper.yaml": CARD.format(slug=slug),
        folder / "experiment.py": EXPERIMENT.format(slug=slug),
        folder / "report.py": REPORT.format(slug=slug),
        folder / "README.md": README.format(slug=slug),
        folder / "reproduce.ipynb": reproduce_notebook(slug),
        test: TEST.format(slug=slug),
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(files)


def check_name(slug: str) -> None:
    """Refuse a name that Python, the command line or the file system would take for something else.

    Raises:
        StudyError: no lower-case name, a word of Python or of the command line, or a module or paper exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        raise StudyError(f"'{slug}' cannot name a paper: use lower-case letters, digits and _, e.g. my_paper")
    if slug == "all":
        raise StudyError("'all' cannot name a paper: PAPER=all means every paper; choose another name")
    if keyword.iskeyword(slug):
        raise StudyError(f"'{slug}' cannot name a paper: it is a word of Python; choose e.g. {slug}_paper")
    for path in papers_root().iterdir():
        if path.name.casefold() == slug:
            raise StudyError(f"papers/{path.name} exists already; choose another name or edit it")
    if find_spec(slug) is not None:
        raise StudyError(f"'{slug}' cannot name a paper: a module has that name; choose e.g. {slug}_paper")


TEST = """\
import numpy as np

from common.study.jobs import Job
from papers.{slug}.experiment import curve


def test_variance_is_largest_at_one_half(tmp_path):
    record = curve(Job("theory", {{}}, "", {{"points": 11}}, (0,)), tmp_path)
    assert np.argmax(record.series["variance"][0]) == 5
    assert record.series["variance"][0, 5] == 0.25
"""


def reproduce_notebook(slug: str) -> str:
    """Text of a minimal ``reproduce.ipynb``."""
    cells = [
        new_markdown_cell(
            f"# {slug}: reproduction\n\nRun `make reproduce PAPER={slug}`, or run all cells here."
        ),
        new_code_cell(PARAMETERS.strip(), metadata={"tags": ["parameters"]}),
        new_code_cell(
            "from common.study.notebook import Notebook\n\n"
            f'study = Notebook("{slug}", profile, seeds, only, model, parameters)'
        ),
        new_markdown_cell("## Figure 1"),
        new_code_cell('study.figure("fig1")'),
        new_markdown_cell("## Verdicts"),
        new_code_cell("study.ledger()", metadata={"tags": ["nbval-check-output"]}),
    ]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    text: str = nbformat.writes(new_notebook(cells=cells, metadata=kernel))
    return text + "\n"
