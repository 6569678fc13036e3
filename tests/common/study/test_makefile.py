"""The front door passes on what it was given, and runs nothing of it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from common.study.paths import ROOT

INJECTIONS = [
    "qae; touch x",
    "qae && touch x",
    "qae | touch x",
    "qae & touch x",
    "qae > x",
    "$(touch x)",
    "$$(touch x)",
    "`touch x`",
    "$(shell touch x)",
    "${shell touch x}",
    "$(eval $(shell touch x))",
    '"; touch x; "',
    "'; touch x; '",
    '\\"; touch x #',
    "qae\ntouch x",
    "$HOME ${HOME} $(HOME)",
    "a=1;touch b=2",
    "--help",
    "*",
]
FLAGS = ("PROFILE", "SEEDS", "ONLY", "MODEL", "SET", "WORKERS", "BACKEND")
STUB = """#!{python}
import json, pathlib, sys
with pathlib.Path({log!r}).open("a") as log:
    log.write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
"""


@pytest.fixture
def make(tmp_path):
    """Run the Makefile in an empty folder on stubs that write down their arguments; returns those."""
    where, bin_folder = tmp_path / "here", tmp_path / "it's $a bin"
    where.mkdir()
    bin_folder.mkdir()
    shutil.copy(ROOT / "Makefile", where)
    for name in ("reprise", "python", "jupyter", "ruff", "mypy", "lint-imports", "python3"):
        (bin_folder / name).write_text(STUB.format(python=sys.executable, log=str(tmp_path / "log")))
        (bin_folder / name).chmod(0o755)

    def run(target, *given, dry=False, **environment):
        (tmp_path / "log").write_text("")
        start = ["make", *(["-n"] if dry else []), target]
        command = [*start, f"BIN={bin_folder}", "READY=", *given]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(
            command, cwd=where, env={**inherited, **environment}, capture_output=True, text=True, check=False
        )
        assert [path.name for path in where.iterdir()] == ["Makefile"], done.stdout
        return done, [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return run


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_is_given_arrives_as_it_is(make, text):
    given = [f"{name}={text}" for name in ("PAPER", *FLAGS)]
    passed_on = [*(f"--{name.lower()}={text}" for name in FLAGS), "--", text]
    assert make("reproduce", *given)[1] == [["reprise", "reproduce", *passed_on]]
    assert make("plan", **dict.fromkeys(("PAPER", *FLAGS), text))[1] == [["reprise", "plan", *passed_on]]
    assert make("reproduce", *given, dry=True)[1] == []


@pytest.mark.parametrize("text", INJECTIONS)
def test_no_target_runs_what_it_is_given(make, text):
    for target in ("list", "status", "verify", "new", "clean", "assets", "example"):
        assert make(target, f"PAPER={text}")[1] == [["reprise", target, "--", text]]
    for target in ("test", "lab", "bench", "help"):
        make(target, *(f"{name}={text}" for name in ("ARGS", "PAPER", "UPDATE", "DEBUG", "CONDA_PREFIX")))
    make("setup", f"PYTHON={text}")
    make("list", f"BIN={text}")


def test_only_what_was_given_is_passed_on(make):
    assert make("reproduce", "PAPER=qae")[1] == [["reprise", "reproduce", "--", "qae"]]
    assert make("reproduce", "PAPER=qae", "UPDATE=1")[1] == [
        ["reprise", "reproduce", "--update", "--", "qae"]
    ]
    assert make("reproduce", "PAPER=qae", "UPDATE=0", "SEEDS=3")[1][0][2:] == ["--seeds=3", "--", "qae"]
    assert make("list")[1] == [["reprise", "list", "--"]]
    assert make("site")[1] == [["reprise", "site"]]
    assert make("test", "ARGS=-k one -x")[1][-1][-3:] == ["-k", "one", "-x"]
    done, calls = make("verify")
    assert (done.returncode, calls) == (2, [])
    assert "name a paper, e.g. make verify PAPER=qae" in done.stderr
