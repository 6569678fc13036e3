"""The notebook's kernel: which one starts, and what is said when it cannot go on."""

import json
import sys
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from common.study.card import load_card
from common.study.errors import StudyError
from common.study.execution import execute, read_notebook
from common.study.notebook import Notebook
from common.study.paths import ROOT
from common.study.study import Options

PYTHON = {"name": "python3", "display_name": "Python 3", "language": "python"}
TEMPLATE = nbformat.read(ROOT / "papers" / "_template" / "reproduce.ipynb", 4)
PARAMETERS = next(cell.source for cell in TEMPLATE.cells if "parameters" in cell.metadata.get("tags", ()))


@pytest.fixture
def run(tmp_path):
    """Execute a notebook that has this cell before its last, and return its cells."""
    (tmp_path / "reprise").mkdir()

    def executed(source, kernelspec=None, parameters=PARAMETERS):
        cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
        cells += [new_code_cell(source), new_code_cell("'after'")]
        metadata = {"kernelspec": PYTHON if kernelspec is None else kernelspec}
        nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "reproduce.ipynb")
        study = SimpleNamespace(
            notebook=tmp_path / "reproduce.ipynb",
            profile="smoke",
            options=Options(),
            store=SimpleNamespace(root=tmp_path / "reprise" / "store"),
            card=SimpleNamespace(slug="toy"),
        )
        execute(study, tmp_path / "executed.ipynb")
        return nbformat.read(tmp_path / "executed.ipynb", 4).cells

    return executed


def test_the_kernel_is_this_interpreter_whatever_is_installed_as_python3(run, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text(json.dumps({**PYTHON, "argv": ["/bin/false", "{connection_file}"]}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    cells = run("import sys; print(sys.executable)", kernelspec={**PYTHON, "name": "my-env"})
    assert cells[-2].outputs[0].text.strip() == sys.executable


def test_a_kernel_that_dies_is_one_line_that_names_the_cell(run, tmp_path):
    with pytest.raises(StudyError, match=r"^reproduce.ipynb cell 2: its kernel died .*failed-toy.ipynb\)$"):
        run("import os\nos._exit(9)")
    assert (tmp_path / "reprise" / "failed-toy.ipynb").is_file()


def test_a_kernel_that_does_not_start_is_one_line(run, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(StudyError, match=r"^reproduce.ipynb before its first cell: its kernel died"):
        run("1")


def test_a_table_or_figure_that_the_card_lacks_is_named_with_its_neighbour():
    notebook = object.__new__(Notebook)
    notebook.study = SimpleNamespace(card=load_card("qae"))
    with pytest.raises(StudyError, match=r"unknown table 'tabel1', did you mean 'table1'.*PAPER=qae"):
        notebook.table("tabel1")
    with pytest.raises(StudyError, match="unknown figure 'fig44', did you mean 'fig4"):
        notebook.figure("fig44")


def test_a_cell_that_fails_is_one_line_that_names_it(run):
    with pytest.raises(StudyError, match=r"^reproduce.ipynb cell 2: ValueError: so so \(partial"):
        run("raise ValueError('so so')")


def test_a_notebook_of_another_language_is_refused(run):
    with pytest.raises(StudyError, match="its kernel 'ir' is for R; a paper's notebook runs Python"):
        run("1", kernelspec={"name": "ir", "display_name": "R", "language": "R"})


def test_parameters_that_the_notebook_lacks_are_named(run):
    with pytest.raises(StudyError, match=r"'parameters' has to declare \['model', 'seeds'\]"):
        run("1", parameters='profile: str = ""\nonly: str = ""\nparameters: str = ""')


HEAD = '"nbformat": 4, "nbformat_minor": 5, "metadata": {}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "3",
        "null",
        '{"nbformat": 4}',
        '{"nbformat": 99, "metadata": {}, "cells": []}',
        f'{{{HEAD}, "cells": 3}}',
        f'{{{HEAD}, "cells": [{{}}]}}',
        f'{{{HEAD}, "cells": [',
        "<<<<<<< HEAD\n{}",
        "\xff\xfe",
    ],
)
def test_a_file_that_is_no_notebook_is_one_line_with_its_path(tmp_path, text):
    path = tmp_path / "reproduce.ipynb"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StudyError) as caught:
        read_notebook(path)
    assert str(caught.value.message).startswith(f"{path} is no notebook (")
    assert "\n" not in caught.value.message
