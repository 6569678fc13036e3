"""A job's log: short ones whole, long ones bounded, however often they are cut."""

import re

import pytest

from common.study.logs import bound


def append(path, text):
    with path.open("ab") as file:
        file.write(text)


def test_a_short_log_is_kept_whole(tmp_path):
    path = tmp_path / "log.txt"
    append(path, b"line\n" * 600)
    bound(path, half=1000)
    assert path.read_bytes() == b"line\n" * 600


@pytest.mark.parametrize("cuts", [1, 2, 7])
def test_a_long_log_keeps_both_ends_in_whole_lines_and_counts_the_rest(tmp_path, cuts):
    path, written, line = tmp_path / "log.txt", 0, 0
    for _ in range(cuts):
        lines = [f"line {line + i}: é\n".encode() for i in range(1000)]
        line += 1000
        written += sum(map(len, lines))
        append(path, b"".join(lines))
        bound(path, half=1000)
        assert path.stat().st_size <= 2100
    text = path.read_text(encoding="utf-8")
    first, missing, last = re.fullmatch(r"(.*)\n… (\d+) bytes left out …\n(.*)", text, re.DOTALL).groups()
    assert len(first.encode()) + int(missing) + len(last.encode()) == written
    assert first.startswith("line 0: é\nline 1: é\n")
    assert last.endswith(f"\nline {line - 1}: é\n")
    assert min(len(first.encode()), len(last.encode())) > 900
    assert all(re.fullmatch(r"line \d+: é", part) for part in (first + "\n" + last).splitlines())


def test_a_log_without_lines_is_bounded_too(tmp_path):
    path = tmp_path / "log.txt"
    append(path, b"x" * 50_000)
    bound(path, half=1000)
    assert re.fullmatch(
        rb"x{1000}\n\xe2\x80\xa6 48000 bytes left out \xe2\x80\xa6\nx{1000}", path.read_bytes()
    )


def test_a_writer_goes_on_at_the_end(tmp_path):
    path = tmp_path / "log.txt"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"early\n" * 1000)
        bound(path, half=1000)
        writer.write(b"late\n")
    assert path.read_bytes().endswith(b"early\nlate\n")
    assert path.stat().st_size < 2200


def test_no_log_is_no_fault(tmp_path):
    bound(tmp_path / "log.txt")
    assert not (tmp_path / "log.txt").exists()
