"""Kill -9 a language-model run through the command line: the same command ends in the same bytes."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from common.rl.resume import MARKER
from common.study.paths import ROOT
from tests.waiting import finish, reach, vanish

pytestmark = pytest.mark.slow

MU = 8  # optimizer steps on one rollout buffer; checkpoints every three steps lie inside buffers
COMMAND = (
    *(sys.executable, "-m", "common.study.cli", "reproduce", "qae", "--profile", "smoke", "--workers", "2"),
    *("--seeds", "1", "--only", "c9,fig4b,coefficients", "--set", "save_every=3 theory_draws=50"),
)


@dataclass(frozen=True)
class Place:
    """A store and results of their own, and the command that fills them."""

    root: Path

    def start(self) -> subprocess.Popen:
        places = {"REPRISE_STORE": str(self.root / "store"), "REPRISE_RESULTS": str(self.root / "results")}
        environment = {**os.environ, **places, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            COMMAND, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def finish(self, process: subprocess.Popen) -> str:
        output, errors = finish(process)
        assert process.returncode == 0, errors
        return output

    def checkpoints(self, complete: bool) -> list[Path]:
        paths = (self.root / "store").glob("*/workspace/checkpoint-*")
        return [path for path in paths if (path / MARKER).is_file() is complete and path.is_dir()]

    def newest(self) -> dict[Path, int]:
        """Step of the last complete checkpoint by workspace."""
        paths = sorted(self.checkpoints(complete=True), key=step)
        return {path.parent: step(path) for path in paths}

    def inside_a_buffer(self) -> list[Path]:
        return [path for path in self.checkpoints(complete=True) if step(path) % MU]

    def artefacts(self) -> dict[str, bytes]:
        """Values, verdicts, tables and data twins; not the manifest, the pictures or the notebook."""
        (folder,) = (path.parent for path in (self.root / "results").rglob("values.parquet"))
        kinds = (".parquet", ".csv", ".md")
        paths = [path for path in folder.rglob("*") if path.suffix in kinds or path.name == "claims.json"]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, bytes]:
    place = Place(tmp_path_factory.mktemp("uninterrupted"))
    place.finish(place.start())
    artefacts = place.artefacts()
    assert {"values.parquet", "claims.json", "figures/fig4b.csv", "tables/coefficients.csv"} <= set(artefacts)
    return artefacts


wait_for = partial(reach, pause=0.002)


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def inside_a_buffer(place: Place, process: subprocess.Popen) -> psutil.Process | None:
    """A worker whose job has a checkpoint inside a rollout buffer: the one that holds the job's lock."""
    locks = {str(checkpoint.parents[1] / "lock") for checkpoint in place.inside_a_buffer()}
    for worker in workers(process) if locks else []:
        with suppress(psutil.NoSuchProcess):
            if locks & {file.path for file in worker.open_files()}:
                return worker
    return None


def half_written(place: Place, process: subprocess.Popen) -> list[Path]:
    """Checkpoints under way beside a complete one, their writers stopped; empty if the moment has passed."""
    if not place.checkpoints(complete=False):
        return []
    stopped = workers(process)
    for worker in stopped:
        with suppress(psutil.NoSuchProcess):  # a neighbour of the worker killed before may still be leaving
            worker.suspend()
    complete = place.newest()
    unfinished = [path for path in place.checkpoints(complete=False) if path.parent in complete]
    for worker in stopped if not unfinished else []:
        with suppress(psutil.NoSuchProcess):
            worker.resume()
    return unfinished


def stopped_jobs(process: subprocess.Popen) -> list[psutil.Process]:
    """Jobs under way, stopped: what ends them from now on is not their own end."""
    jobs = []
    for job in workers(process):
        with suppress(psutil.NoSuchProcess):
            if job.ppid() != process.pid:
                job.suspend()
                jobs += [job] * (job.status() == psutil.STATUS_STOPPED)
    return jobs


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def test_a_run_killed_three_times_ends_in_the_bytes_of_an_uninterrupted_one(tmp_path, uninterrupted):
    place = Place(tmp_path)
    process = place.start()

    # A worker inside a rollout buffer; the run itself goes on with another one.
    wait_for(process, lambda: inside_a_buffer(place, process)).kill()

    # Everything, while a checkpoint is being written.
    wait_for(process, lambda: half_written(place, process))
    for worker in workers(process):
        worker.kill()
    kill(process)
    before, standing = place.newest(), place.checkpoints(complete=True)
    assert place.checkpoints(complete=False)

    # The parent alone: its workers, going on from complete checkpoints, have to leave and to end their jobs.
    process = place.start()
    wait_for(process, lambda: any(place.newest().get(path) != last for path, last in before.items()))
    wait_for(process, lambda: stopped_jobs(process))
    # A kill may leave the checkpoint before the last one, so only what is new tells where a job went on.
    orphans, written = workers(process), set(place.checkpoints(complete=True)) - set(standing)
    kill(process)
    assert all(step(path) > before.get(path.parent, 0) for path in written)
    vanish(orphans, cpu_limit=3.0, stall=120.0)

    place.finish(place.start())
    assert place.artefacts() == uninterrupted
