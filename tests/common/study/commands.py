"""A command as `python -m common.study.cli` runs it, forked from a process that has the libraries loaded.

A short command mostly imports. The server has nothing of `common` or of a paper, so that the
code and the environment of a command are its own. It started earlier, so what only a start of Python reads
(``PYTHON*``, the locale) is the server's: tests of these `type` the command.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["IPython", "papermill", "pyarrow.parquet", "rich.progress", "seaborn.objects"])


def run(arguments: Sequence[str], root: Path, environment: Mapping[str, str]) -> CompletedProcess[str]:
    """Status and output of a command in the repository at `root`."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_command, args=(arguments, root, environment, streams))
        process.start()
        process.join()
        status = process.exitcode
        assert status is not None
        return CompletedProcess(arguments, status, *(path.read_text("utf-8") for path in streams))


def _command(
    arguments: Sequence[str], root: Path, environment: Mapping[str, str], streams: Sequence[Path]
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(root))
    sys.argv[1:] = arguments
    runpy.run_module("common.study.cli", run_name="__main__", alter_sys=True)
