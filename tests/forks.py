"""Commands, scripts and kernels, forked from a process that has the libraries loaded.

A short command mostly imports. The server has nothing of `common` or of a paper, so that the
code and the environment of a command are its own. It started earlier, so what only a start of Python reads
(``PYTHON*``, the locale) is the server's: tests of these `type` the command.
"""

import importlib
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "tqdm.auto",  # before ipykernel, beside which it writes bars for a notebook
        *("IPython", "ipykernel.kernelapp", "papermill", "pyarrow.parquet", "rich.progress"),
        *("matplotlib_inline.backend_inline", "scipy.optimize", "scipy.stats", "seaborn.objects"),
        *("torch._dynamo", "transformers", "trl.trainer.grpo_trainer", "trl.trainer.sft_trainer"),
    ]
)


def run(
    arguments: Sequence[str], root: Path, environment: Mapping[str, str], script: Path | None = None
) -> CompletedProcess[str]:
    """Status and output of ``python -m common.study.cli`` in the repository at `root`, or of a script."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_command, args=(arguments, root, dict(environment), script, streams))
        process.start()
        process.join()
        status = process.exitcode
        assert status is not None
        return CompletedProcess(arguments, status, *(path.read_text("utf-8") for path in streams))


def _command(
    arguments: Sequence[str],
    root: Path,
    environment: Mapping[str, str],
    script: Path | None,
    streams: Sequence[Path],
) -> None:
    for number, path in enumerate(streams, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    enter(root, environment)
    sys.argv[1:] = arguments
    if script is None:
        runpy.run_module("common.study.cli", run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")


def enter(folder: Path, environment: Mapping[str, str]) -> None:
    """Work in this folder and environment, and import from there first."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(folder), *environment.get("PYTHONPATH", "").split(os.pathsep)]


class Kernel:
    """A kernel as `jupyter_client` knows it, by what it uses of `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        self.process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        self.process.is_alive() and os.kill(self.process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def launch_kernel(command: Sequence[str], env: Mapping[str, str], cwd: str, **_: Any) -> Kernel:
    """In the place of `jupyter_client.launch_kernel`, which starts a Python of its own."""
    _, flag, module, *arguments = command
    assert (flag, module) == ("-m", "ipykernel_launcher")
    reading, writing = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=_kernel, args=(arguments, Path(cwd), dict(env), writing))
    process.start()
    reading.recv()
    return Kernel(process)


def _kernel(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], led: Connection) -> None:
    os.setsid()  # who ends a kernel ends its process group, which is the server's till now
    led.send(None)
    for number in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), number)
    enter(folder, environment)
    # What asks at its import whether it is in a notebook has asked before there was one.
    sys.modules["pandas"].set_option("display.max_columns", 20)
    for name in ("tqdm.autonotebook", "tqdm.auto"):
        importlib.reload(sys.modules[name])
    sys.argv[1:] = arguments
    runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
