"""A notebook's cells run again in this process, on stored values instead of a kernel and the store."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pandas as pd
from IPython.core.formatters import DisplayFormatter
from nbformat import NotebookNode

from common.study.errors import StudyError
from common.study.notebook import Notebook

Output = dict[str, str]
INJECTED = "injected-parameters"
# Without a kernel pandas would fit its text to the terminal.
AS_IN_A_KERNEL = ("display.max_columns", 20, "display.max_rows", 60, "display.width", 80)


def own_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Cells without those that papermill put in."""
    return [cell for cell in notebook.cells if not _is_injected(cell)]


def cells_hash(notebook: NotebookNode) -> str:
    """Hash of what a person wrote into a notebook: kinds and sources of its own cells."""
    content = [(cell.cell_type, cell.source, cell.get("attachments")) for cell in own_cells(notebook)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def injected(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Names and values that each injected cell assigns; a cell that does or shows more gives none."""
    cells = [cell for cell in notebook.cells if _is_injected(cell)]
    return [{} if cell.outputs else _assignments(cell.source) for cell in cells]


def _is_injected(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and INJECTED in cell.metadata.get("tags", [])


def _assignments(source: str) -> dict[str, Any]:
    try:
        body = ast.parse(source).body
        return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in body}  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, AttributeError):
        return {}


def stored_outputs(cell: NotebookNode) -> list[Output]:
    """Outputs of an executed cell: MIME type to content; printed text is ``stdout``."""
    outputs: list[Output] = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            _print(outputs, output.name, output.text)
        elif output.output_type == "error":
            outputs.append({"error": f"{output.ename}: {output.evalue}"})
        else:
            outputs.append({kind: str(content) for kind, content in output.data.items()})
    return outputs


def replay(sources: Sequence[str], study: Notebook) -> list[list[Output]]:
    """Run code cells in order; the one that makes the `Notebook` gives them `study` instead.

    Args:
        sources: The code cells of the repository's own notebook: parameters, set-up, then what shows.
        study: Takes the place of the notebook that the set-up cell would make.

    Returns:
        Outputs per cell, as `stored_outputs` gives those of an executed one.

    Raises:
        StudyError: a cell cannot run without a kernel, or none makes a `Notebook`.
    """
    scope: dict[str, Any] = {}
    outputs: list[list[Output]] = []
    name = None
    for source in sources:
        try:
            tree = ast.parse(source)
            if name is None:
                name = _set_up(tree, scope, study)
                outputs.append([])
            else:
                outputs.append(_run(tree, scope))
        except Exception as error:  # a cell is the paper's code, and whatever it raises is the finding
            raise StudyError(f"cell '{_head(source)}' cannot run again: {error!r}") from error
    if name is None:
        raise StudyError(
            "the notebook has no cell 'study = Notebook(…)', so that its outputs cannot be compared"
        )
    return outputs


def _set_up(tree: ast.Module, scope: dict[str, Any], study: Notebook) -> str | None:
    """Run the imports only; the name that the `Notebook` is bound to, once it is."""
    imports: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    _execute(imports, scope)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Notebook("):
            name = ast.unparse(node.targets[0])
            scope[name] = study
            return name
    return None


def _run(tree: ast.Module, scope: dict[str, Any]) -> list[Output]:
    """What a kernel would show of a cell: what it displays and prints, then the last expression."""
    outputs: list[Output] = []
    printed = StringIO()

    def display(*objects: Any) -> None:
        _print(outputs, "stdout", _taken(printed))
        outputs.extend(_format(objects))

    scope["display"] = display
    *before, last = tree.body
    with redirect_stdout(printed), pd.option_context(*AS_IN_A_KERNEL):
        if isinstance(last, ast.Expr):
            _execute(before, scope)
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), scope)
            if value is not None:
                display(value)
        else:
            _execute(tree.body, scope)
    _print(outputs, "stdout", _taken(printed))
    return outputs


def _execute(body: Sequence[ast.stmt], scope: dict[str, Any]) -> None:
    exec(compile(ast.Module(list(body), []), "<cell>", "exec"), scope)


def _format(objects: Iterable[Any]) -> list[Output]:
    format_: Callable[[Any], Any] = DisplayFormatter().format
    return [{kind: str(content) for kind, content in format_(item)[0].items()} for item in objects]


def _print(outputs: list[Output], stream: str, text: str) -> None:
    """Add printed text; a kernel may cut one print into several pieces, which are one here."""
    if text and outputs and list(outputs[-1]) == [stream]:
        outputs[-1] = {stream: outputs[-1][stream] + text}
    elif text:
        outputs.append({stream: text})


def _taken(buffer: StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


def _head(source: str) -> str:
    return source.partition("\n")[0]
