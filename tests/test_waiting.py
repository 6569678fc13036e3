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


WAITS = {"communicate", "run", "check_output", "wait", "wait_procs", "join", "settings"}


def clock_limits(path: Path) -> list[str]:
    """Waits and examples of a test file that have a limit on the clock."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        f"{path.name}, line {call.lineno}"
        for call in nodes
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in WAITS
        for keyword in call.keywords
        if keyword.arg in ("timeout", "deadline") and ast.unparse(keyword.value) != "None"
    ]


def test_no_test_has_a_limit_on_the_clock():
    exempt = {"waiting.py", "test_faults.py"}
    paths = [path for path in Path(__file__).parent.rglob("*.py") if path.name not in exempt]
    assert len(paths) > 100
    assert not [limit for path in paths for limit in clock_limits(path)]
    assert settings.default.deadline is None
