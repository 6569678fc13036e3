"""A record holds what its key says, whenever its source changes during the run."""

import os
import py_compile
import subprocess
import sys

import pandas as pd
import pytest

from tests.waiting import finish, reach

GATED = """
import os
import time
from pathlib import Path


def gate(name):
    '''Say that this point is reached; go on when the test says so, at once without one.'''
    if "GATES" in os.environ:
        place = Path(os.environ["GATES"])
        (place / f"{name}.reached").touch()
        while not (place / f"{name}.open").exists():
            time.sleep(0.01)
"""
RUN = """
import numpy as np

from common.study.jobs import Record
from papers.toy.gated import gate

gate("before")
from papers.toy.value import VALUE

gate("after")


def draw(job, workspace):
    gate("inside")
    if (workspace / "resumed").exists():
        return Record({"score": np.array([float((workspace / "resumed").read_text())])})
    (workspace / "resumed").write_text(str(VALUE))
    from papers.toy.late import LATE

    gate("end")
    return Record({"score": np.array([VALUE + LATE])}, {"path": np.full((1, 2), VALUE + LATE)})
"""
ONE_JOB = """
import os, sys, time
from pathlib import Path
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.store import Store
from common.study.worker import Limits, execute

entry, *seeds = sys.argv[1:]
jobs = [Job("s", {}, entry, {}, (int(seed),)) for seed in seeds]
made = time.time()
keys = [job_key(job) for job in jobs]
store = Store(Path("store"))
for job, key in zip(jobs, keys):
    error = execute(job, key, store.root, Limits(), os.getppid(), made).error
    print(error or float(store.read(key)["value"].iloc[0]), flush=True)
"""
FILES = {
    "gated.py": GATED,
    "run.py": RUN,
    "value.py": "VALUE = 1.0\n",
    "late.py": "LATE = 10.0\n",
    "hidden.py": "X = 1\n",
    "evades.py": "import importlib, numpy as np\nfrom common.study.jobs import Record\n\n"
    "def draw(job, workspace):\n"
    "    importlib.import_module('.'.join(['papers', 'toy', 'hidden']))\n"
    "    return Record({'score': np.zeros(1)})\n",
}
POINTS = ("before", "after", "inside", "end")


@pytest.fixture
def toy(repository):
    for name, text in FILES.items():
        (repository.root / "papers" / "toy" / name).write_text(text)
    return repository


def start(toy, *seeds, entry="papers.toy.run:draw", gates=None):
    """Keys first, then the jobs, one after the other, in one process."""
    surroundings = toy.surroundings({"GATES": str(gates)} if gates else {})
    command = [sys.executable, "-c", ONE_JOB, entry, *map(str, seeds)]
    return subprocess.Popen(command, **surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(toy, *seeds, **options):
    output, errors = finish(start(toy, *seeds, **options))
    assert not errors, errors
    return output.splitlines()


def edit_at(toy, tmp_path, edits, *seeds):
    """Run jobs; at each point rewrite the files that `edits` names for it."""
    gates = tmp_path / "gates"
    gates.mkdir()
    process = start(toy, *seeds, gates=gates)
    for point in POINTS:
        for name, text in edits.get(point, {}).items():
            reach(process, (gates / f"{point}.reached").exists, pause=0.01)
            (toy.root / "papers" / "toy" / name).write_text(text)
        (gates / f"{point}.open").touch()
    output, errors = finish(process)
    assert not errors, errors
    return output.splitlines()


NEW, OLD = {"value.py": "VALUE = 2.0\n"}, {"value.py": FILES["value.py"]}
EDITS = {
    "edited before the import": ({"before": NEW}, "value.py"),
    "edited before the import, undone after it": ({"before": NEW, "after": OLD}, "papers/toy/value.py"),
    "edited in the job": ({"inside": NEW}, "value.py"),
    "edited before a late import": ({"inside": {"late.py": "LATE = 20.0\n"}}, "late.py"),
    "edited before a late import, undone after it": (
        {"inside": {"late.py": "LATE = 20.0\n"}, "end": {"late.py": FILES["late.py"]}},
        "papers/toy/late.py",
    ),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_between_key_and_end_keeps_nothing_and_is_named(toy, tmp_path, case):
    """A second job finds the files as they are by then: right again only if the edit was undone."""
    edits, name = EDITS[case]
    lines = edit_at(toy, tmp_path, edits, 0, 1)
    assert len(lines) == 2
    right = lines.count("11.0")
    assert right == 0 or ("undone" in case and lines[0] != "11.0")
    for line in lines[: 2 - right]:
        assert "nothing of this job was kept" in line
        assert name in line
        assert "run the same command again" in line
    assert len(list(toy.root.glob("store/*/complete.json"))) == right
    for name, text in FILES.items():
        (toy.root / "papers" / "toy" / name).write_text(text)
    assert run(toy, 0, 1) == ["11.0", "11.0"]


def test_a_comment_changes_nothing(toy, tmp_path):
    comment = {"value.py": '"""Doc."""\nVALUE = 1.0  # one\n'}
    assert edit_at(toy, tmp_path, {"before": comment, "inside": OLD}, 0) == ["11.0"]


def test_code_runs_from_its_text_and_not_from_stale_bytecode(toy):
    """Python trusts a compiled file whose source has the same length and second."""
    path = toy.root / "papers" / "toy" / "value.py"
    py_compile.compile(str(path))
    stat = path.stat()
    path.write_text("VALUE = 3.0\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(toy, 0) == ["13.0"]


def test_a_module_that_the_key_cannot_see_is_refused(toy):
    (line,) = run(toy, 0, entry="papers.toy.evades:draw")
    assert line.startswith("papers.toy.evades:draw loaded papers.toy.hidden, which its key")
    assert not list(toy.root.glob("store/*/complete.json"))


def test_an_edit_after_the_start_of_a_run_and_its_undo_leave_the_right_records(toy, tmp_path):
    """From the command line: the run says which file, and the same command then computes."""
    gates = tmp_path / "gates"
    gates.mkdir()
    toy.edit("experiment.py", 'ENTRY = "papers.toy.experiment:draw"', 'ENTRY = "papers.toy.run:draw"')
    arguments = ("reproduce", "toy", "--seeds", "2", "--workers", "1")
    process = toy.start(*arguments, GATES=str(gates))
    reach(process, (gates / "before.reached").exists, pause=0.01)
    toy.edit("value.py", "1.0", "2.0")
    for point in POINTS:
        (gates / f"{point}.open").touch()
    _, errors = finish(process)
    assert process.returncode == 1
    assert "4 of 4 jobs failed" in errors
    assert "papers/toy/value.py changed during the run" in errors
    assert "experiment.py" not in errors.split("traceback")[0]
    toy.edit("value.py", "2.0", "1.0")
    assert not list((toy.root / ".reprise" / "store").glob("*/complete.json"))
    done = toy(*arguments)
    assert done.returncode == 0, done.stderr
    assert "0 jobs were there, 4 ran" in done.stdout
    values = next(toy.results("x").parent.glob("*/values.parquet"))
    assert set(pd.read_parquet(values)["value"]) == {11.0}
