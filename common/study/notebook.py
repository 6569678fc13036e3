"""Notebooks: what a cell calls, and how papermill runs the whole."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
from IPython.display import Image
from papermill.exceptions import PapermillExecutionError

from common.plotting.style import png
from common.study import ledger
from common.study.artefacts import Artefacts, side_by_side
from common.study.errors import StudyError
from common.study.paths import papers_root
from common.study.study import Options, Study

SIZE_LIMIT = 2**20


class Notebook:
    """A study as a notebook sees it: run what is missing, then show tables, figures and the ledger.

    Args:
        paper: Slug.
        profile: Profile to run at.
        seeds: See `Options.seeds`.
        only: Comma-separated ids; empty for all.
        model: See `Options.model`.
        parameters: ``name=value`` pairs separated by spaces.
    """

    def __init__(
        self,
        paper: str,
        profile: str = "smoke",
        seeds: str = "",
        only: str = "",
        model: str = "",
        parameters: str = "",
    ) -> None:
        options = Options(seeds, tuple(filter(None, only.split(","))), model, parse_parameters(parameters))
        self.study = Study(paper, profile, options)
        self.study.run()
        self.artefacts = Artefacts(self.study, self.study.frame())

    @property
    def frame(self) -> pd.DataFrame:
        """Every measured value of the run, tidy."""
        return self.artefacts.frame

    def table(self, name: str) -> pd.DataFrame:
        """The paper's rows beside ours; without ours if this run has no such table."""
        entry = self.study.card.tables[name]
        reason = self.artefacts.missing(name)
        block = None if reason else self.artefacts.table(name, entry)
        return side_by_side(entry, block)

    def figure(self, name: str) -> Any:
        """The figure, or the reason why this run has none."""
        reason = self.artefacts.missing(name)
        if reason:
            return f"{name}: {reason}"
        return Image(data=png(self.artefacts.plot(name)), alt=self.study.card.figures[name].title)

    def ledger(self) -> pd.DataFrame:
        """Verdict and evidence of every claim."""
        return ledger.frame(self.study, self.artefacts.verdicts())


def parse_parameters(text: str) -> dict[str, str]:
    """``"a=1 b=x"`` as a dict.

    Raises:
        StudyError: a part without an equals sign.
    """
    pairs = [part.partition("=") for part in text.split()]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise StudyError(f"parameter '{wrong[0]}' has no value; write {wrong[0]}=VALUE")
    return {name: value for name, _, value in pairs}


def execute(study: Study, target: Path) -> None:
    """Run ``reproduce.ipynb`` of a paper through papermill on the warm store.

    Raises:
        StudyError: a cell failed; names the cell and the error, and where the partial notebook lies.
    """
    source = papers_root() / study.card.slug / "reproduce.ipynb"
    parameters = {
        "profile": study.profile,
        "seeds": study.options.seeds,
        "only": ",".join(study.options.only),
        "model": study.options.model,
        "parameters": " ".join(f"{name}={value}" for name, value in study.options.parameters.items()),
    }
    known = papermill.inspect_notebook(str(source))
    missing = sorted(set(parameters) - set(known))
    if missing:
        raise StudyError(f"{source}: its cell tagged 'parameters' has to declare {missing}")
    logging.getLogger("papermill").setLevel(logging.ERROR)
    failed = study.store.root.parent / f"failed-{study.card.slug}.ipynb"
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters,
            cwd=str(source.parent),
            progress_bar=False,
            kernel_name="python3",
        )
    except PapermillExecutionError as error:
        target.replace(failed)
        cell = f"{source.name} cell {error.cell_index}: {error.ename}: {error.evalue}"
        raise StudyError(f"{cell} (partial notebook: {failed})") from error
    _strip(target)
    if target.stat().st_size > SIZE_LIMIT:
        raise StudyError(
            f"the executed notebook has {target.stat().st_size / 2**20:.1f} MiB; keep it below 1 MiB"
        )


def _strip(path: Path) -> None:
    """Drop what differs from run to run and machine to machine: times and absolute paths."""
    notebook = nbformat.read(path, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    nbformat.write(notebook, path)
