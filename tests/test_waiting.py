"""The waits of other tests: patient with what works, and short with what hangs or never ends."""

import ast
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from tests.waiting import finish, reach, vanish

SLEEP = "import time; time.sleep(600)"
SPIN = "while True: pass"
FAMILY = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SPIN!r}])"


def start(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process: subprocess.Popen) -> bool:
    """Whether it was killed, within the time that the system takes for it."""
    return process.wait() == -9


def test_a_process_that_ends_gives_more_than_a_pipe_holds():
    output, errors = finish(start("import sys; print('x' * 10**6); print('y', file=sys.stderr)"))
    assert (len(output), errors) == (10**6 + 1, "y\n")


def test_a_process_that_hangs_is_ended():
    process = start(SLEEP)
    with pytest.raises(AssertionError, match="it hangs"):
        finish(process, stall=0.5)
    assert ended(process)


@pytest.mark.parametrize("code", [SPIN, FAMILY], ids=["itself", "a child"])
def test_a_process_that_works_without_an_end_is_ended(code):
    process = start(code)
    with pytest.raises(AssertionError, match=r"more than 0\.3 s of CPU time"):
        finish(process, cpu_limit=0.3)
    assert ended(process)


def test_progress_starts_the_wait_anew(monkeypatch):
    """Each stretch gets its least share within the stall; all of them together last longer than it."""
    monkeypatch.setattr("tests.waiting.LEAST", 0.02)
    step = "end = time.process_time() + 0.1\n while time.process_time() < end: pass\n time.sleep(0.3)"
    process = start(f"import time\nfor _ in range(8):\n {step}\nprint('done')")
    assert finish(process, stall=2.5)[0] == "done\n"


def test_a_state_is_waited_for_and_its_value_returned(tmp_path):
    process = start(
        f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(tmp_path)!r}, 'a').touch(); {SLEEP}"
    )
    (path,) = reach(process, lambda: list(tmp_path.iterdir()))
    assert path.name == "a"
    process.kill()
    process.wait()


def test_a_process_that_ends_or_hangs_before_the_state_is_reported():
    with pytest.raises(AssertionError, match=r"(?s)ended before the fault.*no such luck"):
        reach(start("raise SystemExit('no such luck')"), lambda: False)
    hanging = start(SLEEP)
    with pytest.raises(AssertionError, match="it hangs"):
        reach(hanging, lambda: False, stall=0.5)
    assert ended(hanging)


def test_processes_vanish_or_are_ended():
    leaving, staying = start("import time; time.sleep(0.5)"), start(SPIN)
    vanish([psutil.Process(leaving.pid)])
    with pytest.raises(AssertionError, match="CPU time"):
        vanish([psutil.Process(staying.pid)], cpu_limit=0.3)
    assert ended(staying)


CLOCKS = {"time", "monotonic", "perf_counter"}
MET, GENEROUS = 2, 600  # seconds of a job that is to run into its limit, and of one that is to finish


def clock_limits(text: str) -> list[int]:
    """Lines of a test file on which a wait, an example or a job gets a limit on the clock."""
    return [
        node.lineno for node in ast.walk(ast.parse(text)) if _limits_a_call(node) or _compares_clocks(node)
    ]


def _limits_a_call(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = _name(node)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if name == "Limits" and "seconds" in given:
        return given["seconds"] not in (str(MET), str(GENEROUS))
    if name in ("wait", "join") and any(_is_number(argument) for argument in node.args):
        return True
    return any(given.get(limit, "None") not in ("None", "0") for limit in ("timeout", "deadline"))


def _compares_clocks(node: ast.AST) -> bool:
    """Whether a moment is compared, as in a loop that gives up."""
    return isinstance(node, ast.Compare) and any(map(_is_time, (node.left, *node.comparators)))


def _is_time(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_time(node.left) or _is_time(node.right)
    return isinstance(node, ast.Call) and _name(node) in CLOCKS


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


@pytest.mark.parametrize(
    "line",
    [
        "process.communicate(timeout=300)",
        "process.wait(120)",
        "psutil.wait_procs(members, timeout=SECONDS)",
        "settings(deadline=200)",
        "while time.monotonic() < end: pass",
        "assert time.time() - start < 5",
        "Limits(seconds=120)",
    ],
)
def test_a_limit_on_the_clock_is_seen(line):
    assert clock_limits(f"\n{line}") == [2]


@pytest.mark.parametrize(
    "line",
    [
        "process.communicate()",
        "', '.join(names)",
        "lock.acquire(timeout=0)",  # asks and does not wait
        "receiver.settimeout(0.2)",  # expects silence, which a busy machine keeps too
        "settings(deadline=None)",
        "execute(job, time.time()).error == ''",
        "Limits(seconds=2)",
        "Limits(seconds=600, memory=350)",
        "Limits()",
    ],
)
def test_what_a_busy_machine_cannot_break_is_no_limit(line):
    assert clock_limits(line) == []


def test_no_test_has_a_limit_on_the_clock():
    """Nor has a helper; the waits themselves look at the clock, for processes that get no CPU time."""
    paths = [path for path in Path(__file__).parent.rglob("*.py") if path.name != "waiting.py"]
    assert len(paths) > 100
    limits = {str(path): clock_limits(path.read_text(encoding="utf-8")) for path in paths}
    assert {name: lines for name, lines in limits.items() if lines} == {}
    assert settings.default.deadline is None
