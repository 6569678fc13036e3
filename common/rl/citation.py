"""What a model card of TRL says about the method: read from the paper's card when one is written."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml


class Citation:
    """Class attribute `_paper` of a trainer: title, arXiv number and BibTeX entry of its paper.

    They come from the ``paper.yaml`` beside the module that defines the trainer, on each use: nothing is read
    until TRL writes a model card.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._module = owner.__module__

    def __get__(self, trainer: object, kind: type) -> dict[str, str]:
        path = Path(str(sys.modules[self._module].__file__)).parent / "paper.yaml"
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {"title": card["title"], "id": card["arxiv"], "citation": card["bibtex"].strip()}
