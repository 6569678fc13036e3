"""Results on disk: staged beside their place, then swapped in whole, under a lock."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from filelock import FileLock

from common.plotting.style import save
from common.study import overview
from common.study.artefacts import Artefacts, side_by_side
from common.study.errors import StudyError
from common.study.keys import file_hash
from common.study.ledger import MARKS, claims_json, readme, table_row
from common.study.marks import are_placed
from common.study.paths import papers_root
from common.study.provenance import manifest
from common.study.replay import cells_hash
from common.study.rows import part_columns, row_counts
from common.study.store import write_json
from common.study.stored import read_claims, read_notebook
from common.study.study import Study


def destination(study: Study, update: bool) -> Path:
    """Folder that a run writes to.

    Tracked results change only on purpose: `<profile>/` with UPDATE=1, else `<profile>.local/`; runs with
    overrides go to `<profile>+<hash>/`.

    Raises:
        StudyError: UPDATE=1 with overrides, at `smoke`, whose results are never committed, or where the
            READMEs have no place for the verdicts.
    """
    folder = study.committed.parent
    if update and study.exploratory:
        raise StudyError("UPDATE=1 writes the committed results; drop SEEDS, ONLY, MODEL and SET for it")
    if update and study.profile == "smoke":
        raise StudyError("UPDATE=1 with PROFILE=smoke: smoke results are never committed; use PROFILE=laptop")
    if update:
        require_places(study.card.slug)
        return study.committed
    return folder / (study.name if study.exploratory else f"{study.name}.local")


def require_places(slug: str) -> None:
    """Refuse READMEs, of the paper and of the repository, without a place for what is generated.

    Raises:
        StudyError: one is missing, or does not hold its two marks.
    """
    require_marks(slug)
    overview.require_marks()


def readme_text(slug: str) -> str:
    """README of a paper, empty if it has none.

    Raises:
        StudyError: it is not UTF-8.
    """
    path = papers_root() / slug / "README.md"
    try:
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise StudyError(f"papers/{slug}/README.md is not UTF-8 ({error}); save it as UTF-8") from error


def require_marks(slug: str) -> None:
    """Refuse a README without a place for the verdict table.

    Raises:
        StudyError: the README is missing, or does not hold each of the two marks once, in their order.
    """
    if not are_placed(readme_text(slug), MARKS):
        raise StudyError(
            f"papers/{slug}/README.md needs one line {MARKS[0]} and after it one line {MARKS[1]}: "
            "the verdict table is generated between them"
        )


def check_writable(target: Path) -> None:
    """Refuse a target that cannot become a folder, before hours are spent on its content.

    Raises:
        StudyError: a file stands where a folder has to be.
    """
    for place in (*reversed(target.parents), target):
        if place.exists() and not place.is_dir():
            raise StudyError(
                f"results cannot be written: {place} is a file where a folder has to be; move it"
            )


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A temporary folder that replaces `target` if the body succeeds; otherwise `target` stays as it was.

    Two runs take turns; what a killed one left behind is repaired by the next.
    """
    parent = target.parent
    check_writable(target)
    parent.mkdir(parents=True, exist_ok=True)
    backup = parent / f".{target.name}.old"
    with FileLock(parent / f".{target.name}.lock"):
        recover(target, backup)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=parent))
        try:
            yield staging
            if target.exists():
                target.rename(backup)
            staging.rename(target)
            target.chmod(0o755)
            shutil.rmtree(backup, ignore_errors=True)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def recover(target: Path, backup: Path) -> None:
    """Undo what a kill between the two renames of a swap left behind, and drop stale staging folders."""
    if backup.exists() and not target.exists():
        backup.rename(target)
    shutil.rmtree(backup, ignore_errors=True)
    for stale in target.parent.glob(f".{target.name}.new-*"):
        shutil.rmtree(stale, ignore_errors=True)


def write(study: Study, artefacts: Artefacts, folder: Path, notebook: Callable[[Path], None]) -> None:
    """Write every artefact of a run into `folder`, the manifest last.

    The notebook's kernel runs beside this process: both read the same records.

    Args:
        study: Paper and profile.
        artefacts: Its report functions on the run's frame.
        folder: Empty folder.
        notebook: Executes the notebook to the given path.
    """
    with ThreadPoolExecutor(1) as beside:
        executed = beside.submit(notebook, folder / "reproduce.ipynb")
        write_values(artefacts.frame, folder / "values.parquet")
        write_reports(study, artefacts, folder)
        for name, _, plot in artefacts.figures():
            save(plot, folder / "figures" / name)
        executed.result()
    content = manifest(study)
    content["parts"] = parts = part_columns(artefacts.frame, study.jobs)
    counts = row_counts(artefacts.frame, study.jobs, parts)
    for job, rows in zip(content["jobs"], counts, strict=True):
        job["rows"] = rows
    content["notebook"] = cells_hash(read_notebook(folder / "reproduce.ipynb"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content["files"] = {str(path.relative_to(folder)): file_hash(path) for path in files}
    write_json(folder / "manifest.json", content)


def write_reports(study: Study, artefacts: Artefacts, folder: Path) -> None:
    """Tables, data twins and claims: the part that `verify` recomputes."""
    for kind in ("tables", "figures"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for name, block in artefacts.tables():
        wide = side_by_side(study.card.tables[name], block)
        block.to_csv(folder / "tables" / f"{name}.csv", index=False)
        (folder / "tables" / f"{name}.md").write_text(markdown(wide), encoding="utf-8")
    made = [name for name in study.card.figures if not artefacts.missing(name)]
    for name in made:
        artefacts.data(name).to_csv(folder / "figures" / f"{name}.csv", index=False)
    write_json(folder / "figures" / "points.json", {name: artefacts.point(name) for name in made})
    write_json(folder / "claims.json", claims_json(study, artefacts.verdicts, artefacts.premises))


def update_readmes(study: Study, folder: Path) -> None:
    """Put the verdicts of the highest committed profile into the READMEs of the paper and the repository."""
    folder = overview.highest(overview.committed(study.card.slug)) or folder
    text = readme(readme_text(study.card.slug), read_claims(folder), folder.name)
    (papers_root() / study.card.slug / "README.md").write_text(text, encoding="utf-8")
    overview.update_readme()


def markdown(wide: pd.DataFrame) -> str:
    """GitHub table of a side-by-side frame; the block's heading stands before each column."""
    heads = [wide.index.name, *[": ".join(column) for column in wide.columns]]
    rows: list[list[object]] = [heads, ["---"] * len(heads)]
    rows += [[index, *row] for index, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return "".join(f"{table_row(row)}\n" for row in rows)


def write_values(frame: pd.DataFrame, path: Path) -> None:
    """All values, compressed; the same frame always gives the same bytes."""
    text = [column for column in frame.columns if column != "value"]
    frame.to_parquet(
        path,
        index=False,
        compression="zstd",
        compression_level=9,
        use_dictionary=text,
        column_encoding={"value": "BYTE_STREAM_SPLIT"},
    )


def relative(path: Path) -> str:
    """Path as the user would type it from here."""
    return os.path.relpath(path)
