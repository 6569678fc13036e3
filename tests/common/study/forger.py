"""A copy of committed results and the ways in which somebody who knows the format would change it.

Every change hides itself as well as it can: `rehash` puts the new hashes into the manifest, and `forge` makes
everything again from forged values.
"""

import json
from pathlib import Path

from click.testing import CliRunner

from common.plotting.style import save
from common.study import cli
from common.study.artefacts import Artefacts
from common.study.keys import file_hash
from common.study.notebook import Notebook
from common.study.provenance import claim_hashes
from common.study.replay import own_cells, replay
from common.study.results import update_readmes, write_reports, write_values
from common.study.rows import row_counts
from common.study.store import write_json
from common.study.stored import read_notebook, read_values
from common.study.study import Study


class Results:
    """A copy of the toy's committed results and of its card, README and notebook, to tamper with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "results" / "toy" / "laptop"
        self.paper = root / "papers" / "toy"

    def verify(self, *arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.cli, ["verify", *(arguments or ("toy",))])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.paper / name if name in ("README.md", "paper.yaml") else self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        self.rehash()

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        self.rehash()

    def values(self, change) -> None:
        path = self.folder / "values.parquet"
        write_values(change(read_values(path)), path)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()
        self.rehash()

    def json(self, name: str, change) -> None:
        content = json.loads((self.folder / name).read_text())
        change(content)
        write_json(self.folder / name, content)
        if name != "manifest.json":
            self.rehash()

    def claim(self, name: str, field: str, value) -> None:
        self.json("claims.json", lambda content: content["claims"][name].update({field: value}))

    def manifest(self, field: str, value) -> None:
        self.json("manifest.json", lambda content: content.update({field: value}))

    def cell(self, source: str, change) -> None:
        def apply(content):
            change(next(cell for cell in content["cells"] if source in "".join(cell["source"])))

        self.json("reproduce.ipynb", apply)

    def rehash(self) -> None:
        path = self.folder / "manifest.json"
        content = json.loads(path.read_text())
        files = sorted(item for item in self.folder.rglob("*") if item.is_file() and item != path)
        content["files"] = {str(item.relative_to(self.folder)): file_hash(item) for item in files}
        write_json(path, content)

    def forge(self, change=lambda frame: frame) -> None:
        """Make everything that can be made again from changed values, and from the card as it is."""
        study = Study("toy", "laptop")
        frame = change(read_values(self.folder / "values.parquet"))
        write_values(frame, self.folder / "values.parquet")
        artefacts = Artefacts(study, frame)
        write_reports(study, artefacts, self.folder)
        for name, _, plot in artefacts.figures():
            save(plot, self.folder / "figures" / name)
        cells = [cell for cell in own_cells(read_notebook(study.notebook)) if cell.cell_type == "code"]
        sources = [cell.source for cell in cells]
        shown = dict(zip(sources, replay(sources, Notebook.on(artefacts)), strict=True))

        def notebook(content):
            for cell in content["cells"]:
                fresh = shown.get("".join(cell["source"]), [])
                for output, data in zip(cell.get("outputs", []), fresh, strict=True):
                    output["data"] = data

        self.json("reproduce.ipynb", notebook)
        counts = row_counts(frame, study.jobs)

        def manifest(content):
            content["claims"] = claim_hashes(study.card)
            for job, rows in zip(content["jobs"], counts, strict=True):
                job["rows"] = rows

        self.json("manifest.json", manifest)
        update_readmes(study, self.folder)
