"""The sandbox as its users see it: outcomes, refusal, several workers, faults, the note for the manifest."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from common.sandbox import kernel, pool, warden
from common.sandbox.contract import Level, Limits, Outcome, SandboxError
from common.sandbox.pool import Sandbox
from common.study import isolation
from tests.common.sandbox.conftest import QUICK


def test_an_outcome_says_what_was_printed_and_what_it_took(either):
    outcome = either.run(
        "import sys\nprint(sum(map(int, input().split())))\nprint('note', file=sys.stderr)", "1 2"
    )
    assert (outcome.status, outcome.code, outcome.stdout, outcome.stderr) == ("ok", 0, "3\n", "note\n")
    assert 0 < outcome.cpu_seconds < outcome.seconds + 0.1
    assert outcome.peak_memory > 1


def test_a_traceback_shows_the_programs_lines(either):
    stderr = either.run("x = 1\nprint(x / 0)").stderr
    assert 'File "program.py", line 2' in stderr
    assert "print(x / 0)" in stderr


def test_a_program_is_the_main_module(either):
    source = "import pickle\nclass A: pass\nprint(__name__, type(pickle.loads(pickle.dumps(A()))) is A)"
    assert either.run(source).stdout == "__main__ True\n"


def test_a_program_may_use_its_scratch_directory(either):
    source = "open('a', 'w').write('x'); import tempfile; print(open('a').read(), tempfile.mkstemp()[0] > 2)"
    assert either.run(source).stdout == "x True\n"


def test_what_a_program_asks_for_in_the_end_happens(either):
    source = """
        import atexit, sys, threading, time
        atexit.register(print, "registered")
        threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
        sys.stdout.write("main ")
    """
    assert either.run(dedent(source)).stdout == "main thread\nregistered\n"


def test_long_input_and_unicode_pass(either):
    text = "é漢" * 100_000
    assert either.run("import sys; print(len(sys.stdin.read()))", stdin=text).stdout == f"{len(text)}\n"


@pytest.mark.parametrize("name", ["wall", "cpu", "memory", "disk", "processes", "files", "output"])
def test_a_limit_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"positive: {name}"):
        Limits(**{name: 0})


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux to ask the kernel")
def test_full_isolation_is_reached_where_the_kernel_gives_namespaces():
    """Else a sandbox that broke would only show in skipped tests."""
    asked = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--fork", "true")
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("this kernel gives no namespaces")
    with Sandbox(Level.FULL) as sandbox:
        assert sandbox.level == Level.FULL


def test_below_the_level_asked_for_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(pool, "CHECK", "print('3 2 True False')")
    with pytest.raises(SandboxError, match="no sandbox at level full: a program saw '3 2 True False"):
        Sandbox(Level.FULL)


def test_the_next_level_is_taken_where_it_is_enough(monkeypatch):
    monkeypatch.setattr(pool, "CHECK", "1 / 0")
    with Sandbox(Level.LIMITS, limits=QUICK) as sandbox:
        assert sandbox.level == Level.LIMITS


def test_another_system_is_told_so(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(SandboxError, match="on Linux only"):
        Sandbox()


def test_another_machine_has_no_table_of_calls(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(OSError, match="not for riscv64"):
        kernel.filter_calls()


def test_a_module_that_cannot_be_imported_is_named():
    with pytest.raises(SandboxError, match="No module named 'no_such_module'"):
        Sandbox(Level.LIMITS, preload=("no_such_module",), most=Level.LIMITS)


def test_several_workers_run_at_a_time_and_answers_keep_their_order():
    with Sandbox(Level.LIMITS, workers=2, limits=QUICK) as sandbox:
        clocks = "print(time.monotonic()); time.sleep(2); print(time.monotonic())"
        outcomes = sandbox.map([f"import time; {clocks}; print({index})" for index in range(4)])
    answers = [outcome.stdout.split() for outcome in outcomes]
    assert [answer[2] for answer in answers] == [str(index) for index in range(4)]
    spans = sorted((float(answer[0]), float(answer[1])) for answer in answers)
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans))  # two ran at a time


def test_a_killed_interpreter_is_started_anew():
    with Sandbox(Level.LIMITS, limits=QUICK) as sandbox:
        worker = sandbox._workers[0]
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        assert sandbox.run("print(1)").stdout == "1\n"


def test_an_interpreter_killed_while_it_works_is_no_fault_of_the_program():
    with Sandbox(Level.LIMITS, limits=replace(QUICK, wall=2.0)) as sandbox:
        worker = sandbox._workers[0]
        folder = Path(worker.folder.name)
        killer = threading.Thread(target=kill_at_work, args=(worker.process.pid,))
        killer.start()
        try:
            status = sandbox.run("import time; time.sleep(600)").status
        except SandboxError:  # killed before its warden stood
            status = "wall"
        killer.join()
        assert status == "wall"
        assert sandbox.run("print(1)", limits=QUICK).stdout == "1\n"
    assert not folder.exists()


def kill_at_work(interpreter: int) -> None:
    """Kill a warm interpreter as soon as it has a warden."""
    process = psutil.Process(interpreter)
    while not process.children():
        time.sleep(0.01)
    process.kill()


def test_an_answer_that_does_not_come_is_an_error(monkeypatch):
    monkeypatch.setattr(pool, "ANSWER_SECONDS", 0.1)
    with Sandbox(Level.LIMITS, limits=replace(QUICK, wall=0.1)) as sandbox:
        os.kill(sandbox._workers[0].process.pid, signal.SIGSTOP)
        with pytest.raises(SandboxError, match="TimeoutError"):
            sandbox.run("print(1)")
        assert sandbox.run("print(1)", limits=QUICK).stdout == "1\n"


def test_programs_end_with_the_sandbox(full):
    with Sandbox(limits=QUICK) as sandbox:
        threading.Timer(0.3, sandbox.close).start()
        with pytest.raises(SandboxError):
            sandbox.run("import time; time.sleep(600)")


def test_a_closed_sandbox_says_so():
    sandbox = Sandbox(Level.LIMITS)
    sandbox.close()
    with pytest.raises(SandboxError, match="closed"):
        sandbox.run("print(1)")


def test_a_copy_of_the_process_may_not_use_it(monkeypatch, limits):
    monkeypatch.setattr(limits, "owner", os.getpid() + 1)
    with pytest.raises(SandboxError, match="belongs to another process"):
        limits.run("print(1)")


def test_an_answer_of_another_form_is_an_error():
    with pytest.raises(SandboxError, match="something else than an outcome"):
        Outcome.read({"status": "ok"})


@pytest.mark.parametrize(
    ("end", "code", "cpu", "wanted"),
    [
        ("wall", 0, 0.0, ("wall", None)),
        ("output", 0, 0.0, ("output", None)),
        ("itself", 0, 9.0, ("ok", 0)),
        ("itself", 2, 0.0, ("failed", 2)),
        ("itself", -24, 0.0, ("cpu", -24)),
        ("itself", -9, 1.0, ("cpu", -9)),
        ("itself", -9, 0.5, ("signal", -9)),
    ],
)
def test_verdicts(end, code, cpu, wanted):
    assert warden.verdict(end, warden.CODE.pack(code), cpu, Limits(cpu=1)) == wanted


def test_the_lowest_level_that_was_used_is_noted(monkeypatch):
    monkeypatch.setattr(isolation, "_sandboxes", {})
    assert isolation.lowest_sandbox() == "not used"
    for level, lowest in ((2, "full"), (1, "limits"), (2, "limits")):
        isolation.note_sandbox(level, "full" if level == 2 else "limits")
        assert isolation.lowest_sandbox() == lowest
