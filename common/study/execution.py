"""Run a paper's notebook through papermill."""

from __future__ import annotations

import logging
from pathlib import Path

import IPython  # noqa: F401  papermill imports it late, in its thread, while matplotlib looks at it
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from common.study.errors import StudyError
from common.study.study import Study

SIZE_LIMIT = 2**20


def execute(study: Study, target: Path) -> None:
    """Run the notebook of a paper through papermill on the warm store.

    Raises:
        StudyError: a cell failed; names the cell and the error, and where the partial notebook lies.
    """
    source = study.notebook
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
            extra_arguments=["--IPKernelApp.log_level=40"],
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
