"""Ways to tamper with the toy's committed results, and the line with which `verify` names each."""

import base64
import shutil
from io import BytesIO

import matplotlib.image
import numpy as np

from common.study.artefacts import Artefacts
from common.study.replay import cells_hash
from common.study.results import update_readmes, write_reports
from common.study.stored import read_notebook, read_values
from common.study.study import Study


def call(method, *arguments):
    """A tampering that is one call of a method of `Results`."""
    return lambda results: getattr(results, method)(*arguments)


def picture(content):
    """The PNG with one black pixel more."""
    pixels = matplotlib.image.imread(BytesIO(content), "png")
    pixels[3, 3, :3] = 0.0
    buffer = BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png")
    return buffer.getvalue()


def repaint(cell):
    data = cell["outputs"][0]["data"]
    data["image/png"] = base64.b64encode(picture(base64.b64decode(data["image/png"]))).decode()


def prove(kind):
    """Change a verdict in what the ledger's cell shows."""

    def change(cell):
        text = "".join(cell["outputs"][0]["data"][kind])
        assert "untested" in text
        cell["outputs"][0]["data"][kind] = text.replace("untested", "reproduced")

    return change


def cut(name):
    return lambda results: (results.folder / name).write_bytes((results.folder / name).read_bytes()[:40])


def insert(**cell):
    whole = {"id": "x", "metadata": {"tags": ["injected-parameters"]}, **cell}
    return call("json", "reproduce.ipynb", lambda content: content["cells"].insert(1, whole))


def shift(frame):
    return frame.assign(value=frame["value"] + 1.0)


def turn(frame):
    return frame.assign(value=frame["value"].where(frame["arm"] != "method", -frame["value"]))


def repeat(frame):
    return frame.assign(step=frame["step"].where(frame["step"] != 2, 1))


def values_and_hash(change):
    return lambda results: (results.values(change), results.rehash())


def repaint_figure(results):
    results.write("figures/fig1.png", picture((results.folder / "figures/fig1.png").read_bytes()))


def readme_verdict_without_mark(results):
    results.edit("README.md", "The method is above zero. | reproduced", "The method is above zero. | proved")
    results.edit("README.md", "<!-- /verdicts -->", "")


def two_readme_tables(results):
    path = results.paper / "README.md"
    path.write_text(path.read_text().replace("reproduced", "contradicted") + path.read_text())


def claims_and_readme(results):
    results.claim("up", "verdict", "contradicted")
    update_readmes(Study("toy", "laptop"), results.folder)


def prose_and_hash(results):
    results.cell("## Figure 1", lambda cell: cell.update(source="## A figure that decides"))
    results.manifest("notebook", cells_hash(read_notebook(results.folder / "reproduce.ipynb")))


def folder_for_claims(results):
    results.remove("claims.json")
    (results.folder / "claims.json").mkdir()


def kind_and_reports(results):
    results.edit("paper.yaml", "kind: trend, metric", "kind: mechanism, metric")
    study = Study("toy", "laptop")
    write_reports(study, Artefacts(study, read_values(results.folder / "values.parquet")), results.folder)
    results.rehash()


def test_and_everything(results):
    test = "{greater: 0.0}, smallest_effect: 0.5, control"
    results.edit("paper.yaml", test, test.replace("0.0", "-9.0"))
    results.forge()


def figure_called_older(results):
    results.edit("figures/fig1.svg", "L ", "L 1")
    results.manifest("rendering", {})


def slower(content):
    content["jobs"][0]["seconds"] += 5.0
    content["total"]["core_seconds"] = round(content["total"]["core_seconds"] + 5.0, 1)


FIGURES = tuple(f"figures/fig1.{kind}" for kind in ("csv", "png", "svg"))
TABLES = ("tables/table1.csv", "tables/table1.md")
MISSING = ("claims.json", "values.parquet", "reproduce.ipynb", *TABLES, *FIGURES)
CUT = {
    "claims.json": "claims.json: not valid JSON",
    "manifest.json": "manifest.json: not valid JSON",
    "values.parquet": "values.parquet: no whole parquet file",
    "reproduce.ipynb": "reproduce.ipynb: no notebook",
    "tables/table1.csv": "tables/table1.csv: rows or columns differ",
}
CLAIM = {
    "verdict": "contradicted",
    "statement": "The method wins.",
    "place": "Table 9",
    "reported": "+50 %",
    "kind": "theorem",
    "role": "control",
    "primary": False,
    "test": "0" * 16,
    "reason": "clearly",
    "n": 600,
    "estimate": 20.0,
    "low": 1.99,
    "p": 1e-3,
    "p_adjusted": 1e-3,
    "needed_n": 7,
}
MANIFEST = {
    "paper": ("other", "manifest.json: paper is 'other'"),
    "profile": ("paper", "manifest.json: profile is 'paper'"),
    "overrides": ({"seeds": "3"}, "manifest.json: overrides.seeds is '3'"),
    "seeds": ([100], "manifest.json: seeds is [100]"),
    "configuration": ({"steps": 9, "model": "pocket"}, "manifest.json: configuration.steps is 9"),
    "jobs": ([], "manifest.json: jobs: 'noise arm=method seed=100' is there 0 times"),
    "claims": ({}, "claims.up: the card got it after the run"),
    "files": ({}, "manifest.json: files.claims.json is only on one side"),
    "total": ({"jobs": 1, "core_seconds": 1.0, "peak_memory_mib": 1.0}, "manifest.json: total.jobs is 1"),
    "notebook": ("0" * 24, "reproduce.ipynb: its cells are not those that ran"),
}
MARKS = "README.md needs one line <!-- verdicts -->"
PRINTED = {"output_type": "stream", "name": "stdout", "text": "All claims hold."}
HUGE = "  huge: {statement: So, place: A, kind: audit, untested: later}\n  large:"
CAUGHT = {
    **{f"{name} removed": (call("remove", name), f"{name}: missing") for name in MISSING},
    **{f"{name} cut": (cut(name), line) for name, line in CUT.items()},
    **{
        f"claims.json {field}": (
            call("claim", "up", field, value),
            f"claims.json: claim up: stored {field} is {value!r}",
        )
        for field, value in CLAIM.items()
    },
    **{
        f"manifest.json {field}": (call("manifest", field, value), line)
        for field, (value, line) in MANIFEST.items()
    },
    "manifest removed": (lambda r: (r.folder / "manifest.json").unlink(), "manifest.json: missing"),
    "profile removed": (lambda r: shutil.rmtree(r.folder), "papers/toy/README.md shows its verdicts"),
    "results removed": (lambda r: shutil.rmtree(r.folder.parent), "papers/toy/README.md shows its verdicts"),
    "file added": (call("write", "figures/a.png", b"x"), "figures/a.png: not a file of these results"),
    "folder for a file": (folder_for_claims, "claims.json: a folder stands where the file has to be"),
    "profile added": (
        lambda r: shutil.copytree(r.folder, r.folder.with_name("cluster")),
        "unknown profile 'cluster'",
    ),
    "README verdict": (
        call("edit", "README.md", "| untested |", "| reproduced |"),
        "README.md: its verdict table is not the one of claims.json",
    ),
    "README row": (
        call("edit", "README.md", "| large | It is large. | untested |  |  |\n", ""),
        "README.md: its verdict table is not the one of claims.json",
    ),
    "README mark": (readme_verdict_without_mark, MARKS),
    "README twice": (two_readme_tables, MARKS),
    "README removed": (lambda r: (r.paper / "README.md").unlink(), MARKS),
    "README cut within a letter": (
        lambda r: (r.paper / "README.md").write_bytes(b"# Toy \xc3"),
        "papers/toy/README.md is not UTF-8",
    ),
    "README and claims": (claims_and_readme, "claims.json: claim up: stored verdict is 'contradicted'"),
    "claims exploratory": (
        call("json", "claims.json", lambda content: content.update(exploratory=True)),
        "claims.json: stored exploratory is True",
    ),
    "claims key twice": (
        call("edit", "claims.json", '"exploratory"', '"exploratory": true,\n "exploratory"'),
        "claims.json: not valid JSON (key 'exploratory' stands twice)",
    ),
    "claim removed": (
        call("json", "claims.json", lambda content: content["claims"].pop("large")),
        "claims.json: claim large is only on one side",
    ),
    "table cell": (
        call("edit", "tables/table1.csv", "method,score,2", "method,score,3"),
        "tables/table1.csv: column 'mean' differs",
    ),
    "table text": (
        call("edit", "tables/table1.md", "| 2.5 |", "| 2.7 |"),
        "tables/table1.md: text differs",
    ),
    "data twin": (
        call("edit", "figures/fig1.csv", "method,0,", "method,0,9"),
        "figures/fig1.csv: column 'mean' differs",
    ),
    "svg": (
        call("edit", "figures/fig1.svg", "L ", "L 1"),
        "figures/fig1.svg is not what the values give",
    ),
    "png": (repaint_figure, "figures/fig1.png is not what the values give"),
    "png with more behind its end": (
        lambda r: (r.folder / "figures/fig1.png").open("ab").write(b"stale"),
        "figures/fig1.png: differs from what the manifest recorded",
    ),
    "notebook ledger": (
        call("cell", "study.ledger()", prove("text/html")),
        "reproduce.ipynb: output of 'study.ledger()' (text/html) is not what the values give",
    ),
    "notebook ledger text": (
        call("cell", "study.ledger()", prove("text/plain")),
        "reproduce.ipynb: output of 'study.ledger()' (text/plain) is not what the values give",
    ),
    "notebook figure": (
        call("cell", "study.figure(", repaint),
        "output of 'study.figure(\"fig1\")' (image/png) is not what the values give",
    ),
    "notebook output removed": (
        call("cell", "study.ledger()", lambda cell: cell.update(outputs=[])),
        "output of 'study.ledger()' (number or kinds of outputs) is not what the values give",
    ),
    "notebook prose": (
        call("cell", "## Figure 1", lambda cell: cell.update(source="## It works")),
        "reproduce.ipynb: its cells are not those that ran",
    ),
    "notebook prose in disguise": (
        insert(cell_type="markdown", source="All hold."),
        "reproduce.ipynb: its cells are not those that ran",
    ),
    "notebook output in disguise": (
        insert(cell_type="code", source="profile = 'laptop'", execution_count=1, outputs=[PRINTED]),
        "reproduce.ipynb: its injected parameters are not",
    ),
    "notebook parameters": (
        call("cell", "# Parameters", lambda cell: cell.update(source='profile = "paper"')),
        "reproduce.ipynb: its injected parameters are not",
    ),
    "card seeds": (call("edit", "paper.yaml", "[100,", "[99,"), "manifest.json: seeds is [100,"),
    "card test": (
        call("edit", "paper.yaml", "{greater: 0.0}", "{greater: -9.0}"),
        "claims.up: its test block changed after the run",
    ),
    "card kind": (kind_and_reports, "claims.up: its test block changed after the run"),
    "card statement": (
        call("edit", "paper.yaml", "The method is above", "The method is far above"),
        "claims.json: claim up: stored statement is",
    ),
    "card reported": (
        call("edit", "paper.yaml", "Other: [2.5]", "Other: [1.0]"),
        "tables/table1.md: text differs",
    ),
    "card claim": (
        call("edit", "paper.yaml", "  large:", HUGE),
        "claims.huge: the card got it after the run",
    ),
    "card figure": (
        call("edit", "paper.yaml", "needs: [noise], reported: {mean: 1.0}", "absent: lost"),
        "figures/fig1.png: not a file of these results",
    ),
    "values": (call("values", shift), "values.parquet: differs from what the manifest recorded"),
    "values and hash": (values_and_hash(shift), "claims.json: claim up: stored estimate is"),
    "values of another seed": (
        call("forge", lambda frame: frame.assign(seed=frame["seed"].replace(100, 1000))),
        "values.parquet: rows of sweep=noise arm=method seed=1000 are of no job",
    ),
    "seed dropped": (
        call("forge", lambda frame: frame[frame["seed"] != 100]),
        "values.parquet: no rows of job noise arm=method seed=100, seed 100",
    ),
    "step repeated": (
        values_and_hash(repeat),
        "values.parquet: steps of sweep=noise arm=method seed=100 name=path are not",
    ),
    "last step dropped": (
        values_and_hash(lambda frame: frame[frame["step"].fillna(0) < 2]),
        "has 3 rows; manifest.json (jobs) says otherwise",
    ),
    "column added": (
        call("forge", lambda frame: frame.assign(lucky=1)),
        "values.parquet: columns are sweep, arm, seed",
    ),
    "steps as text": (
        values_and_hash(lambda frame: frame.assign(step=frame["step"].astype(str))),
        "values.parquet: column step holds no numbers",
    ),
    "values not a number": (
        values_and_hash(lambda frame: frame.assign(value=np.nan)),
        "claims.json: claim up: stored estimate is",
    ),
}

# Consistent, or made by code that says it is older: here `verify` says what it does not prove.
SIGNATURE = {
    "all from forged values": call("forge", turn),
    "another test, all made again": test_and_everything,
    "machine": call("manifest", "machine", {"processor": "fast"}),
    "commit": call("manifest", "commit", "0" * 40),
    "time": call("json", "manifest.json", slower),
    "figure, said to be older": figure_called_older,
    "notebook, said to be older": prose_and_hash,
}
