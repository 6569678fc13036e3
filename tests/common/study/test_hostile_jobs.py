"""What a job does to its process is its own affair: it is named, ended, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from common.study.errors import StudyError
from common.study.isolation import HOOK, NAMESPACE
from common.study.jobs import Job
from common.study.keys import job_key
from common.study.paths import ROOT
from common.study.runner import Plan, results, run
from common.study.store import Store
from common.study.worker import Limits, execute
from tests.waiting import finish, reach, vanish

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
LIMITS = Limits(seconds=600)


def job_of(name, seed=1, **config):
    return Job("hostile", {"job": name}, f"tests.common.study.hostile:{name}", config, (seed,))


def key_of(name):
    return job_key(job_of(name))


def plan_of(*jobs):
    keyed = {job_key(job): job for job in jobs}
    return Plan(keyed, tuple(keyed), dict.fromkeys(keyed, 1.0))


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- a job's report is whatever it does

FAULTS = {
    "exits": "SystemExit: 0",
    "vanishes": "its process ended with status 0 and left no record (3 attempts)",
    "interrupts": "KeyboardInterrupt",
    "closes": "GeneratorExit",
    "unprintable": "hostile.Unprintable: <exception str() failed>",
    "unpicklable": "hostile.Unpicklable: a text",
    "surrogate": r"ValueError: half a character: \ud800",
    "no_space_for_the_report": "ValueError: the report",
    "no_space_for_the_record": "IsADirectoryError",
    "no_record": "AttributeError: 'NoneType' object has no attribute 'frame'",
    "crashes": "its process was ended by signal 11, Segmentation fault (3 attempts)",
    "ends_its_worker": "its worker process died",
    "signals_itself": "KeyboardInterrupt",
    "absent": "AttributeError: module 'tests.common.study.hostile' has no attribute 'absent'",
    "well": "",
    "closes_its_files": "",
}


@LINUX
def test_every_way_to_end_a_job_is_its_report_and_the_others_go_on(tmp_path):
    work, store = plan_of(*map(job_of, FAULTS)), Store(tmp_path)
    errors = dict(results(work, store, 2, LIMITS, "loky"))
    named = {work.jobs[key].labels["job"]: error for key, error in errors.items()}
    assert {name: named[name] for name, text in FAULTS.items() if text not in named[name]} == {}
    kept = {work.jobs[key].labels["job"] for key in work.jobs if store.has(key)}
    assert kept == {name for name, text in FAULTS.items() if not text} == {"well", "closes_its_files"}


def test_a_run_fails_that_ends_without_an_error_and_without_a_record(tmp_path, monkeypatch):
    work = plan_of(job_of("well"))
    (key,) = work.pending
    monkeypatch.setattr("common.study.runner.results", lambda *_: [(key, "")])
    with pytest.raises(StudyError, match="hostile job=well seed=1: it left no record"):
        run(work, Store(tmp_path), 1, LIMITS)


# --- nothing leaks from job to job


@LINUX
def test_hostile_jobs_give_the_same_records_in_every_order(tmp_path):
    def records(*jobs):
        store = Store(tmp_path / "-".join(str(job.seeds[0]) for job in jobs))
        run(plan_of(*jobs), store, 1, LIMITS)
        return {job.seeds[0]: store.read(job_key(job)) for job in jobs}

    first, second = job_of("wrecks", 30), job_of("wrecks", 40)
    alone, forth, back = records(first), records(first, second), records(second, first)
    for key in forth:
        assert forth[key].equals(back[key])
    assert alone[30].equals(back[30])


# --- limits hold from outside


@LINUX
def test_limits_hold_whatever_the_job_does_and_its_processes_end_with_it(tmp_path):
    store = Store(tmp_path)
    work = plan_of(job_of("holds_the_interpreter"))
    errors = dict(results(work, store, 1, Limits(seconds=2), "loky"))
    assert list(errors.values()) == ["took longer than 2 s"]
    work = plan_of(job_of("memory_in_a_child"), job_of("leaves_processes"))
    errors = list(dict(results(work, store, 1, Limits(seconds=600, memory=350), "loky")).values())
    assert errors == ["used more than 350 MiB of memory", ""]
    hog, left = (store.folder(key) for key in work.jobs)
    pids = [int((hog / "workspace" / "pid").read_text()), *json.loads((left / "pids").read_text())]
    assert [pid for pid in pids if not gone(pid)] == []


RUN = """
import signal
from pathlib import Path
from common.study.runner import Plan, run
from common.study.jobs import Job
from common.study.store import Store
from common.study.worker import Limits
from common.study.keys import job_key
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a background job of a shell
job = Job("hostile", {{"job": "{name}"}}, "tests.common.study.hostile:{name}", {{}}, (1,))
key = job_key(job)
work = Plan({{key: job}}, (key,), {{key: 1.0}})
run(work, Store(Path({store!r})), 1, Limits(seconds=600))
"""


def start_run(name, store):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    text = RUN.format(name=name, store=str(store))
    return subprocess.Popen([sys.executable, "-c", text], env=environment, stderr=subprocess.PIPE, text=True)


def noted_pid(name, store):
    """Process id that a job has noted; 0 before it has."""
    path = store / key_of(name) / "workspace" / "pid"
    return int(path.read_text() or 0) if path.exists() else 0


@LINUX
def test_a_job_that_holds_the_interpreter_dies_with_its_killed_run_and_frees_its_lock(tmp_path):
    process = start_run("holds_the_interpreter", tmp_path)
    job = reach(process, lambda: noted_pid("holds_the_interpreter", tmp_path))
    family = psutil.Process(process.pid).children(recursive=True)
    assert job in {member.pid for member in family}
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    vanish(family, cpu_limit=30.0)
    with Store(tmp_path).lock(key_of("holds_the_interpreter")).acquire(timeout=0):
        assert Store(tmp_path).was_running(key_of("holds_the_interpreter"))


def test_a_run_that_waits_for_another_says_for_whom_and_then_finds_the_record(tmp_path):
    first = start_run("held", tmp_path)
    reach(first, lambda: noted_pid("held", tmp_path))
    second = start_run("held", tmp_path)
    line = next(line for line in second.stderr if "waiting" in line)
    assert f"process {first.pid} on {socket.gethostname()} (" in line
    assert "computes the same records: waiting for it" in line
    (tmp_path / key_of("held") / "go").touch()
    for process in (first, second):
        _, errors = finish(process)
        assert process.returncode == 0, errors


@LINUX
def test_a_job_and_what_it_forks_do_not_hold_the_lock(tmp_path):
    work, store = plan_of(job_of("looks_for_the_lock")), Store(tmp_path)
    run(work, store, 1, LIMITS)
    assert store.read(work.pending[0])["value"].tolist() == [0.0]


def test_ctrl_c_ends_the_run_and_its_jobs(tmp_path):
    process = start_run("held", tmp_path)
    job = psutil.Process(reach(process, lambda: noted_pid("held", tmp_path)))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in finish(process)[1]
    vanish([job])


def test_a_new_interpreter_serves_where_a_fork_is_not_safe(tmp_path, monkeypatch):
    """The way of other systems than Linux, and of Ray's workers, which have threads."""
    monkeypatch.setattr("common.study.supervise.can_fork", lambda: False)
    monkeypatch.setattr("common.study.worker.can_fork", lambda: False)
    assert execute(job_of("well"), key_of("well"), tmp_path, LIMITS, None, time.time()).error == ""
    assert Store(tmp_path).cost(key_of("well")).network in (NAMESPACE, HOOK)
    outcome = execute(job_of("exits"), key_of("exits"), tmp_path, LIMITS, None, time.time())
    assert (outcome.error, outcome.died) == ("SystemExit: 0", False)


# --- no network but the job's own


@pytest.fixture(scope="module")
def level():
    """How far this machine lets a job be kept off the network."""
    return interpreted("from common.study.isolation import cut_network; print(cut_network())")


def interpreted(code):
    """What an interpreter of its own prints."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


AS_NOBODY = """
import ctypes, os, pwd
from common.study.isolation import cut_network
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1)  # as after an exec: its files in /proc are its own
print(cut_network(), os.getuid(), os.getgid(), pwd.getpwuid(os.stat("/").st_uid).pw_name)
"""


@LINUX
def test_a_namespace_holds_subprocesses_datagrams_and_raw_sockets(tmp_path, level):
    if level != NAMESPACE:
        pytest.skip("this kernel gives no network namespace: subprocesses are not covered (audit hook)")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        port = server.getsockname()[1]
        receiver.bind(("127.0.0.1", port))
        receiver.settimeout(0.2)
        work, store = plan_of(job_of("reaches_out", port=port)), Store(tmp_path)
        run(work, store, 1, LIMITS)
        status = store.read(work.pending[0]).set_index("name")["value"]
        assert status["tcp"] != 0
        assert status["own"] == 0
        with pytest.raises(TimeoutError):
            receiver.recv(100)
    assert store.cost(work.pending[0]).network == NAMESPACE


@LINUX
def test_an_ordinary_user_gets_a_namespace_and_keeps_the_name():
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    named = interpreted(AS_NOBODY)
    assert named in (f"{NAMESPACE} 65534 65534 nobody", f"{HOOK} 65534 65534 root")


ATTEMPTS = {
    "connect": "socket.socket().connect(('198.51.100.1', 9))",
    "connect_ex": "socket.socket().connect_ex(('198.51.100.1', 9))",
    "ipv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 9))",
    "sendto": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('198.51.100.1', 9))",
    "sendmsg": "socket.socket(type=socket.SOCK_DGRAM).sendmsg([b''], [], 0, ('198.51.100.1', 9))",
    "bind": "socket.socket().bind(('198.51.100.1', 9))",
    "broadcast": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('<broadcast>', 9))",
    "getaddrinfo": "socket.getaddrinfo('example.org', 80)",
    "bytes": "socket.getaddrinfo(b'example.org', 80)",
    "gethostbyname": "socket.gethostbyname('example.org')",
    "gethostbyname_ex": "socket.gethostbyname_ex('example.org')",
    "gethostbyaddr": "socket.gethostbyaddr('198.51.100.1')",
    "getnameinfo": "socket.getnameinfo(('198.51.100.1', 9), 0)",
    "unknown family": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW).bind(('lo', 0))",
}
REFUSED = """
import json, socket
attempts, said = {attempts!r}, {{}}
for name, attempt in attempts.items():
    try:
        exec(attempt)
        said[name] = "passed"
    except (OSError, AttributeError) as error:
        said[name] = str(error)
with socket.create_server(("", 0)) as server:
    socket.create_connection(("localhost", server.getsockname()[1])).close()
ends = socket.socketpair()
ends[0].send(b"here")
print(json.dumps([level, said]))
"""


def test_the_audit_hook_refuses_every_way_of_python_out_of_this_machine():
    """A thread stands in for a kernel without namespaces: a process with threads cannot enter one."""
    threaded = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    code = f"{threaded}\nfrom common.study.isolation import cut_network\nlevel = cut_network()\n"
    reached, said = json.loads(interpreted(code + REFUSED.format(attempts=ATTEMPTS)))
    assert reached == HOOK
    privileged = {"unknown family"} if os.getuid() or sys.platform != "linux" else set()
    loud = {name: text for name, text in said.items() if "this profile is offline" not in text}
    assert set(loud) <= privileged, loud
