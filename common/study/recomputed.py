"""Everything that a results folder has to hold, made again from its values, and what is different there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.plotting.style import save
from common.study.artefacts import Artefacts
from common.study.comparison import (
    differing_columns,
    differing_fields,
    same_content,
    same_drawing,
    same_picture,
)
from common.study.errors import StudyError
from common.study.notebook import Notebook
from common.study.replay import Output, own_cells, replay, stored_outputs
from common.study.results import write_reports
from common.study.stored import UnreadableError, read_claims, read_csv, read_notebook

PICTURES = (".png", ".svg")


@dataclass(frozen=True)
class Recomputed:
    """Reports and pictures in a folder, and what the notebook's code cells show, by source."""

    folder: Path
    cells: tuple[tuple[str, list[Output]], ...]


def expected_files(artefacts: Artefacts) -> set[str]:
    """Files of a results folder, as card and profile give them."""
    card = artefacts.study.card
    tables = {f"tables/{name}.{kind}" for name in card.tables for kind in ("csv", "md")}
    figures = {f"figures/{name}.{kind}" for name in card.figures for kind in ("csv", "png", "svg")}
    made = {name for name in tables | figures if not artefacts.missing(Path(name).stem)}
    made |= {"figures/points.json"}
    return made | {"values.parquet", "claims.json", "manifest.json", "reproduce.ipynb"}


def recompute(artefacts: Artefacts, folder: Path) -> Recomputed:
    """Write reports and pictures into an empty folder and run the notebook's cells on the same values.

    Raises:
        StudyError: the report or the notebook cannot be made from these values.
    """
    try:
        write_reports(artefacts.study, artefacts, folder)
        for name, _, plot in artefacts.figures():
            save(plot, folder / "figures" / name)
    except (
        Exception
    ) as error:  # the paper's code on values that anybody may have edited: any fault is a finding
        raise StudyError(f"values.parquet: the report cannot be made from it ({error!r})") from error
    own = own_cells(read_notebook(artefacts.study.notebook))
    sources = [cell.source for cell in own if cell.cell_type == "code"]
    return Recomputed(folder, tuple(zip(sources, replay(sources, Notebook.on(artefacts)), strict=True)))


def differing_reports(fresh: Recomputed, folder: Path) -> list[str]:
    """Tables, data twins and claims that are not what the values give, one line each."""
    problems = []
    for path in sorted(fresh.folder.rglob("*.*")):
        name = str(path.relative_to(fresh.folder))
        if path.suffix not in PICTURES and (folder / name).is_file():
            problems += [f"{name}: {problem}" for problem in _report(path, folder / name)]
    return problems


def _report(fresh: Path, stored: Path) -> list[str]:
    try:
        if fresh.suffix == ".csv":
            return differing_columns(read_csv(fresh), read_csv(stored))
        if fresh.name == "claims.json":
            return _claims(fresh.parent, stored.parent)
    except UnreadableError as error:
        return [error.message.removeprefix(f"{stored.name}: ")]
    return [] if fresh.read_bytes() == stored.read_bytes() else ["text differs from the recomputed one"]


def _claims(fresh: Path, stored: Path) -> list[str]:
    lines = []
    for place, then, now in differing_fields(read_claims(fresh), read_claims(stored)):
        parts = place.split(".", 2)
        if len(parts) == 2 and None in (then, now):
            lines.append(f"claim {parts[1]} is only on one side")
        else:
            what = f"claim {parts[1]}: stored {parts[2]}" if len(parts) == 3 else f"stored {place}"
            lines.append(f"{what} is {then!r}, recomputed {now!r}")
    return lines


def differing_pictures(fresh: Recomputed, folder: Path) -> Iterator[str]:
    """Places of figures that today's code draws otherwise."""
    for path in sorted(fresh.folder.glob("figures/*")):
        stored = folder / "figures" / path.name
        if path.suffix not in PICTURES or not stored.is_file():
            continue
        first, second = path.read_bytes(), stored.read_bytes()
        if path.suffix == ".png":
            same = same_picture(first, second)
        else:
            same = same_drawing(first.decode(), second.decode(errors="replace"))
        if not same:
            yield f"figures/{path.name}"


def differing_outputs(fresh: Recomputed, path: Path) -> Iterator[str]:
    """Places of an executed notebook whose tables, ledger, pictures or text are not what the values give.

    Cells are paired by their sources, in order; what only one side has is not compared here.

    Raises:
        UnreadableError: the notebook is damaged.
    """
    waiting = [cell for cell in own_cells(read_notebook(path)) if cell.cell_type == "code"]
    for source, expected in fresh.cells:
        cell = next((cell for cell in waiting if cell.source == source), None)
        if cell is None:
            continue
        waiting.remove(cell)
        kinds = _differing_kinds(expected, stored_outputs(cell))
        if kinds:
            head = source.partition("\n")[0]
            yield f"reproduce.ipynb: output of '{head}' ({', '.join(kinds)})"


def _differing_kinds(expected: list[Output], stored: list[Output]) -> list[str]:
    if [set(output) for output in expected] != [set(output) for output in stored]:
        return ["number or kinds of outputs"]
    pairs = zip(expected, stored, strict=True)
    wrong = [kind for one, other in pairs for kind in one if not same_content(kind, one[kind], other[kind])]
    return list(dict.fromkeys(wrong))
