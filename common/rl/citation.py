"""What a model card of TRL says about a method: name, tags, and the paper as the paper's own card has it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml


class Named:
    """Base of a trainer whose class arguments name its method.

    >>> class QAETrainer(GroupTrainer, name="QAE", tags=("grpo", "qae")): ...

    A subclass without a name of its own keeps its parent's name and paper.
    """

    _name: Any
    _tag_names: list[str]
    _paper: Any

    def __init_subclass__(cls, name: str = "", tags: tuple[str, ...] = (), **others: Any) -> None:
        super().__init_subclass__(**others)
        if name:
            cls._name, cls._tag_names = name, ["trl", *tags, "reprise"]
            cls._paper = _Citation(cls.__module__)


class _Citation:
    """Title, arXiv number and BibTeX entry from the ``paper.yaml`` beside a module.

    Read on each use: nothing is opened until TRL writes a model card.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __get__(self, trainer: object, kind: type) -> dict[str, str]:
        path = Path(str(sys.modules[self._module].__file__)).parent / "paper.yaml"
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {"title": card["title"], "id": card["arxiv"], "citation": card["bibtex"].strip()}
