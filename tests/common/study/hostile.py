"""Jobs that do to their process what a job should not; each still tells what it measured."""

import ctypes
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np

from common.study.jobs import Record

SLEEP = "import time; time.sleep(600)"


def well(job, workspace):
    return Record({"value": np.array([float(job.seeds[0])])})


# --- what a job may do instead of returning a record


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Unpicklable(Exception):
    def __reduce__(self):
        raise RuntimeError("no pickle")


def exits(job, workspace):
    sys.exit(0)


def vanishes(job, workspace):
    os._exit(0)


def interrupts(job, workspace):
    raise KeyboardInterrupt


def closes(job, workspace):
    raise GeneratorExit


def unprintable(job, workspace):
    raise Unprintable


def unpicklable(job, workspace):
    raise Unpicklable("a text")


def surrogate(job, workspace):
    raise ValueError("half a character: \ud800")


def no_space_for_the_report(job, workspace):
    (workspace.parent / "error.txt").mkdir()
    raise ValueError("the report")


def no_space_for_the_record(job, workspace):
    (workspace.parent / "record.parquet.part").mkdir(exist_ok=True)
    return well(job, workspace)


def no_record(job, workspace):
    return None


def crashes(job, workspace):
    ctypes.string_at(0)


def ends_its_worker(job, workspace):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def ends_its_worker_once(job, workspace):
    first = workspace / "first"
    if not first.exists():
        first.touch()
        ends_its_worker(job, workspace)
    return well(job, workspace)


def counts(job, workspace):
    """Leave a mark for every time that this ran."""
    with (workspace.parent / "count").open("a") as file:
        file.write("x")
    return well(job, workspace)


def signals_itself(job, workspace):
    signal.raise_signal(signal.SIGINT)


def closes_its_files(job, workspace):
    """Everything goes, but the record comes: no fault."""
    sys.stdout.close()
    os.closerange(1, 100)
    return well(job, workspace)


# --- what a job may leave behind in its process


def wrecks(job, workspace):
    """Measure what an earlier job could have changed, then change all of it by the job's own seed."""
    seed = job.seeds[0]
    seen = {
        "numpy": np.random.random(),  # noqa: NPY002
        "random": random.random(),
        "environment": len(os.environ.get("LEFT", "")),
        "folder": float(Path.cwd().name == "left"),
        "divide": float(np.geterr()["divide"] == "ignore"),
        "filters": float(len(warnings.filters)),
        "path": float(len(sys.path)),
        "threads": float(threading.active_count()),
        "patched": float(len(re.escape(""))),
        "recursion": float(sys.getrecursionlimit()),
        "handler": float(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL),
        "mask": float(os.umask(0o22)),
        "hash": float(hash("word") % 2**20),
    }
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    os.environ["LEFT"] = "x" * seed
    (workspace / "left").mkdir()
    os.chdir(workspace / "left")
    np.seterr(all="ignore")
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(workspace))
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    re.escape = lambda _: "x" * seed
    sys.setrecursionlimit(900 + seed)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.umask(0o77)
    return Record({name: np.array([value]) for name, value in seen.items()})


# --- limits


def holds_the_interpreter(job, workspace):
    (workspace / "pid").write_text(str(os.getpid()))
    re.match(r"(a+)+$", "a" * 60 + "b")


def memory_in_a_child(job, workspace):
    child = subprocess.Popen([sys.executable, "-c", f"b = bytearray(400 << 20); {SLEEP}"])
    (workspace / "pid").write_text(str(child.pid))
    child.wait()


def leaves_processes(job, workspace):
    """One child, and one grandchild in a session of its own that is nobody's child any more."""
    pids = [subprocess.Popen([sys.executable, "-c", SLEEP]).pid]
    middle = os.fork()
    if middle == 0:
        os.setsid()
        last = os.fork()
        if last == 0:
            time.sleep(600)
        (workspace.parent / "orphan").write_text(str(last))
        os._exit(0)
    os.waitpid(middle, 0)
    pids.append(int((workspace.parent / "orphan").read_text()))
    (workspace.parent / "pids").write_text(json.dumps(pids))
    return well(job, workspace)


def looks_for_the_lock(job, workspace):
    """Open files of this process and of a forked child that are the record's lock."""
    count = sum("/lock" in os.path.realpath(path) for path in Path("/dev/fd").iterdir())
    return Record({"open": np.array([float(count)])})


def held(job, workspace):
    """Wait for the word of the test."""
    (workspace / "pid").write_text(str(os.getpid()))
    while not (workspace.parent / "go").exists():
        time.sleep(0.05)
    return well(job, workspace)


# --- network

REACH = """
import socket, sys
kind, port = sys.argv[1], int(sys.argv[2])
if kind == "udp":
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", port))
elif kind == "raw":
    header = port.to_bytes(2, "big") * 2 + (11).to_bytes(2, "big") + b"\\0\\0"
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        raw.sendto(header + b"out", ("127.0.0.1", 0))
else:
    socket.create_connection(("127.0.0.1", port))
"""


def reaches_out(job, workspace):
    """Exit status of subprocesses that talk to a server outside of the job, and of one within it."""
    port = job.config["port"]
    calls = {kind: [sys.executable, "-c", REACH, kind, str(port)] for kind in ("tcp", "udp", "raw")}
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls["own"] = [sys.executable, "-c", REACH, "tcp", str(server.getsockname()[1])]
        done = {
            kind: subprocess.run(call, stderr=subprocess.DEVNULL).returncode for kind, call in calls.items()
        }
    return Record({kind: np.array([float(status)]) for kind, status in done.items()})
