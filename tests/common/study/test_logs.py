"""A job's log: short ones whole, long ones bounded, always on disk, always text."""

import re
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from common.study.logs import BoundedLog


@pytest.mark.parametrize("lines", [0, 1, 10])
def test_a_short_log_is_kept_whole_and_is_on_disk_at_once(tmp_path, lines):
    with BoundedLog(tmp_path / "log.txt", half=1000) as log, redirect_stdout(log):
        for line in range(lines):
            print(f"line {line}")
        text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert text == "".join(f"line {line}\n" for line in range(lines))


@pytest.mark.parametrize("lines", [200, 1000, 20_000])
def test_a_long_log_keeps_both_ends_in_whole_lines_and_counts_the_rest(tmp_path, lines):
    """What is shown and what is said to be left out add up to what was written, at every moment."""
    path, written = tmp_path / "log.txt", 0
    with BoundedLog(path, half=1000) as log:
        for line in range(lines):
            written += len(f"line {line}: é\n".encode())
            log.write(f"line {line}: é\n")
            assert path.stat().st_size <= 3100
    text = path.read_text(encoding="utf-8")
    first, omitted, last = re.fullmatch(r"(.*)\n… (\d+) bytes left out …\n(.*)", text, re.DOTALL).groups()
    assert len(first.encode()) + int(omitted) + len(last.encode()) == written
    assert first.startswith("line 0: é\nline 1: é\n")
    assert last.endswith(f"\nline {lines - 1}: é\n")
    assert min(len(first.encode()), len(last.encode())) > 900
    assert all(re.fullmatch(r"line \d+: é", line) for line in (first + last).splitlines())


@pytest.mark.parametrize(
    "pieces", [["é" * 50_000], ["≥"] * 50_000, ["\r 12 % é"] * 9_000, ["a\ud800b\n"] * 9_000]
)
def test_text_without_lines_or_with_halves_of_characters_stays_bounded_text(tmp_path, pieces):
    with BoundedLog(tmp_path / "log.txt", half=1001) as log:
        for piece in pieces:
            assert log.write(piece) == len(piece)
    text = (tmp_path / "log.txt").read_bytes().decode("utf-8")
    assert "bytes left out" in text
    assert len(text.encode()) <= 3100


def test_what_a_subprocess_writes_is_kept_too(tmp_path):
    with BoundedLog(tmp_path / "log.txt", half=1000) as log:
        log.write("before\n")
        subprocess.run([sys.executable, "-c", "print('child ' * 1000)"], stdout=log, check=True)
        log.write("after\n")
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert len(text) < 3100


def test_a_new_log_replaces_the_old_one(tmp_path):
    (tmp_path / "log.txt").write_text("old " * 1000, encoding="utf-8")
    with BoundedLog(tmp_path / "log.txt") as log:
        log.write("new")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8") == "new"
