"""An executed notebook as HTML, without scripts and without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup
from nbconvert import HTMLExporter

from common.study.stored import read_notebook


def body(path: Path) -> Markup:
    """The cells of a notebook with their outputs; pictures are inside.

    Raises:
        UnreadableError: the file is missing or no notebook.
    """
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    html, _ = exporter.from_notebook_node(read_notebook(path))
    return Markup(html)
