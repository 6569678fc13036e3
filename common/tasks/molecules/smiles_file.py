"""A user's molecules: a file of SMILES as ZINC and others publish them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.study.errors import StudyError
from common.tasks.molecules.chemistry import Refused, Unreadable, canonical

NAMES = ("smiles", "canonical_smiles", "structure")


@dataclass(frozen=True)
class Molecules:
    """What a file holds.

    Attributes:
        smiles: Distinct canonical SMILES in the order of the file.
        refused: Line, text and reason of what is no molecule.
    """

    smiles: tuple[str, ...]
    refused: tuple[tuple[int, str, str], ...]


def read(path: Path) -> Molecules:
    """Molecules of a ``.smi`` file (each line a SMILES and perhaps more) or of a table with a column.

    Names ending in ``.gz`` are unpacked. A table (``.csv``, ``.tsv``) has a header; blank lines, comments
    (``#``) and the header of a ``.smi`` file mean nothing.

    Raises:
        StudyError: the file cannot be read, is no text, lacks the column, or has no molecule at all.
    """
    try:
        found: dict[str, None] = {}
        refused = []
        for line, text in _entries(path):
            try:
                found[canonical(text)] = None
            except (Refused, Unreadable) as error:
                refused.append((line, text, str(error)))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path} cannot be read: {error}") from None
    if not found:
        first = f"; line {refused[0][0]}: {refused[0][2]}" if refused else ""
        raise StudyError(f"{path} has no molecule{first}")
    return Molecules(tuple(found), tuple(refused))


def _entries(path: Path) -> Iterator[tuple[int, str]]:
    """Number and SMILES of each line that has one."""
    kinds = [suffix.lower() for suffix in path.suffixes]
    opened = gzip.open if kinds[-1:] == [".gz"] else open
    with opened(path, "rt", encoding="utf-8", newline="") as file:
        if ".csv" in kinds or ".tsv" in kinds:
            rows = csv.reader(file, delimiter="\t" if ".tsv" in kinds else ",")
            header = [name.strip().lower() for name in next(rows, [])]
            column = next((header.index(name) for name in NAMES if name in header), None)
            if column is None:
                raise StudyError(
                    f"{path} has the columns {', '.join(header) or 'none'}; expected one named smiles"
                )
            for row in rows:
                if any(row):
                    yield rows.line_num, row[column].strip() if column < len(row) else ""
        else:
            for number, line in enumerate(file, start=1):
                words = line.split()
                if words and words[0][0] != "#" and words[0].lower() not in NAMES:
                    yield number, words[0]
