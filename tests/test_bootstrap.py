"""Set-up as a newcomer meets it, with a stand-in for `python3 -m venv` that leaves a fake pip."""

import os
import shutil
import subprocess
import sys

import pytest

from common.study.paths import ROOT
from tests.waiting import finish, reach

FAKE_VENV = """
import pathlib, sys, time

folder = pathlib.Path(sys.argv[1]) / "bin"
folder.mkdir(parents=True, exist_ok=True)
python = folder / "python"
hold = "while [ -e hold ]; do sleep 0.1; done"
status = 'case "$*" in *assets) exit ${ASSETS_STATUS:-0};; *) exit ${PIP_STATUS:-0};; esac'
lines = ["#!/bin/sh", "echo $@ >> calls", hold, "touch .venv/bin/reprise", status, ""]
python.write_text(chr(10).join(lines))
python.chmod(0o755)
"""
BROKEN_VENV = "import sys\nsys.exit('ensurepip is not available')\n"


@pytest.fixture
def checkout(tmp_path):
    shutil.copy(ROOT / "bootstrap.py", tmp_path)
    (tmp_path / "requirements.lock").write_text("six==1.17.0\n")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "common" / "study").mkdir(parents=True)
    (tmp_path / "common" / "study" / "assets.py").write_text("")
    return tmp_path


def start(checkout, venv, **environment):
    shims = checkout / "shims"
    shims.mkdir(exist_ok=True)
    (shims / "venv.py").write_text(venv)
    return subprocess.Popen(
        [sys.executable, "bootstrap.py"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(shims), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calls(checkout):
    return (checkout / "calls").read_text().splitlines()


def test_it_installs_the_pins_and_this_repository_once(checkout):
    for _ in range(2):
        process = start(checkout, FAKE_VENV)
        _, errors = finish(process)
        assert process.returncode == 0, errors
    pins, editable, assets = calls(checkout)
    assert pins.endswith(f"-r {checkout}/requirements.lock")
    assert editable.endswith(f"--no-deps --editable {checkout}")
    assert assets == "-m common.study.cli assets"


@pytest.mark.parametrize("name", ["requirements.lock", "common/study/assets.py"])
def test_changed_pins_are_installed_again(checkout, name):
    finish(start(checkout, FAKE_VENV))
    (checkout / name).write_text("six==1.16.0\n")
    finish(start(checkout, FAKE_VENV))
    assert len(calls(checkout)) == 6


def test_assets_that_cannot_be_had_are_one_line_and_no_failure(checkout):
    process = start(checkout, FAKE_VENV, ASSETS_STATUS="1")
    output, errors = finish(process)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[1:] == [
        "the real models could not be installed (.reprise/setup.log): make assets tries again"
    ]
    assert finish(start(checkout, FAKE_VENV)) == ("", "")


@pytest.mark.parametrize("how", ["copied", "moved", "linked"])
def test_an_environment_of_another_place_is_made_anew_and_the_other_is_left_alone(checkout, tmp_path, how):
    """Its scripts and its editable install name the place where it was made."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    for name in ("bootstrap.py", "requirements.lock", "pyproject.toml"):
        shutil.copy(checkout / name, first)
    shutil.copytree(checkout / "common", first / "common")
    assert finish(start(first, FAKE_VENV))[1] == ""
    (first / ".venv" / "bin" / "jupyter").write_text(f"#!{first}/.venv/bin/python")
    if how == "moved":
        first.rename(second)
    else:
        shutil.copytree(first, second, ignore=shutil.ignore_patterns(".venv" if how == "linked" else ""))
    if how == "linked":
        (second / ".venv").symlink_to(first / ".venv")
    process = start(second, FAKE_VENV)
    output, errors = finish(process)
    assert process.returncode == 0, errors
    assert f".venv was made in {first} and works only there: it is made anew" in output
    assert calls(second)[-2].endswith(f"--no-deps --editable {second}")
    assert not (second / ".venv" / "bin" / "jupyter").exists()
    assert not (second / ".venv").is_symlink()
    if how != "moved":
        assert (first / ".venv" / "bin" / "jupyter").exists()
        assert finish(start(first, FAKE_VENV)) == ("", "")
    assert finish(start(second, FAKE_VENV)) == ("", "")


def test_two_first_runs_at_once_take_turns(checkout):
    """The first is held in its installation until the second has said that it waits."""
    (checkout / "hold").touch()
    first = start(checkout, FAKE_VENV)
    reach(first, (checkout / "calls").exists)
    second = start(checkout, FAKE_VENV)
    line = second.stdout.readline()
    (checkout / "hold").unlink()
    assert line == "another set-up is running; waiting for it\n"
    assert [finish(process)[1] for process in (first, second)] == ["", ""]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert len(calls(checkout)) == 3


@pytest.mark.parametrize(
    ("venv", "environment", "message"),
    [
        (BROKEN_VENV, {}, "error: python3-venv seems to be missing: apt install python3-venv"),
        (FAKE_VENV, {"PIP_STATUS": "1"}, "error: installing failed; see .reprise/setup.log"),
    ],
)
def test_a_failed_step_is_one_clear_line_and_is_done_again(checkout, venv, environment, message):
    process = start(checkout, venv, **environment)
    _, errors = finish(process)
    assert process.returncode == 1
    assert message in errors
    assert "Traceback" not in errors
    assert finish(start(checkout, FAKE_VENV))[1] == ""
    assert (checkout / ".venv" / ".complete").is_file()


def test_a_python_too_old_is_named(checkout):
    text = (checkout / "bootstrap.py").read_text()
    (checkout / "bootstrap.py").write_text(text.replace("MINIMUM = (3, 11)", "MINIMUM = (9, 0)"))
    process = start(checkout, FAKE_VENV)
    assert "is too old" in finish(process)[1]
    assert process.returncode == 1
