"""Run a paper's notebook through papermill."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import IPython  # noqa: F401  papermill imports it late, in its thread, while matplotlib looks at it
import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.translators import PythonTranslator

from common.study.errors import StudyError
from common.study.notebook import parameters
from common.study.study import Study

SIZE_LIMIT = 2**20


class OwnKernel(AsyncKernelManager):
    """A kernel of this very interpreter, whatever kernels are installed under the name ``python3``."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How jupyter starts it."""
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def execute(study: Study, target: Path) -> None:
    """Run the notebook of a paper through papermill on the warm store.

    Raises:
        StudyError: the file is no Python notebook, a cell failed or the kernel died; names the cell and the
            error, and where the partial notebook lies.
    """
    source = study.notebook
    given = parameters(study)
    missing = sorted(set(given) - _declared(read_notebook(source)))
    if missing:
        raise StudyError(f"{source}: its cell tagged 'parameters' has to declare {missing}")
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what went wrong is said once, below
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            given,
            cwd=str(source.parent),
            progress_bar=False,
            kernel_name="python3",
            language="python",
            kernel_manager_class=OwnKernel,
            extra_arguments=["--IPKernelApp.log_level=40"],
        )
    except (PapermillExecutionError, RuntimeError) as error:  # the second: jupyter's for a dead kernel
        failed = study.store.root.parent / f"failed-{study.card.slug}.ipynb"
        target.replace(failed)
        raise StudyError(f"{source.name} {_failure(error, failed)} (partial notebook: {failed})") from error
    _strip(target)
    if target.stat().st_size > SIZE_LIMIT:
        raise StudyError(
            f"the executed notebook has {target.stat().st_size / 2**20:.1f} MiB; keep it below 1 MiB"
        )


def read_notebook(path: Path) -> NotebookNode:
    """A notebook of Python cells.

    Raises:
        StudyError: the file is no notebook, or its kernel is of another language.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (ValueError, nbformat.ValidationError, AttributeError, TypeError) as error:  # all nbformat's
        reason = str(error).strip().partition("\n")[0]
        raise StudyError(f"{path} is no notebook ({reason}); restore it, e.g. git checkout {path}") from error
    kernel = notebook.metadata.get("kernelspec", {})
    if kernel.get("language", "python").lower() != "python":
        raise StudyError(
            f"{path}: its kernel '{kernel.get('name')}' is for {kernel.language}; a paper's notebook runs "
            "Python: choose the kernel 'Python 3' and save it"
        )
    return notebook


def _declared(notebook: NotebookNode) -> set[str]:
    """Names that the cell tagged ``parameters`` declares."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            return {parameter.name for parameter in PythonTranslator.inspect(cell)}
    return set()


def _failure(error: Exception, partial: Path) -> str:
    """Which cell failed, and how."""
    if isinstance(error, PapermillExecutionError):
        return f"cell {error.cell_index}: {error.ename}: {error.evalue}"
    cells = nbformat.read(partial, as_version=4).cells
    begun = sum(bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in cells)
    place = f"cell {begun - 1}" if begun else "before its first cell"
    return f"{place}: its kernel died (out of memory, or killed): {error}"


def _strip(path: Path) -> None:
    """Drop what differs from run to run and machine to machine: times and absolute paths."""
    notebook = nbformat.read(path, as_version=4)
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        part.metadata.pop("execution", None)
    nbformat.write(notebook, path)
