"""What a job prints, on disk and bounded."""

from __future__ import annotations

import re
from pathlib import Path

HALF = 256 * 1024
_NOTE = "\n… {} bytes left out …\n"
_WRITTEN = re.compile(_NOTE.format(r"(\d+)").encode())
_LONGEST_NOTE = len(_NOTE.format(10**18).encode())


def bound(path: Path, half: int = HALF) -> None:
    """Cut the middle out of a log that has grown to more than three parts, and say how much is missing.

    A process that appends to it meanwhile goes on; what it writes during the cut may be lost. Both ends are
    cut between lines where they have any.

    Args:
        path: The log; nothing happens if there is none.
        half: Bytes of each of the two parts that stay.
    """
    if not path.is_file() or path.stat().st_size <= 3 * half:
        return
    with path.open("r+b") as file:
        begin = file.read(half + _LONGEST_NOTE)
        size = file.seek(0, 2)
        file.seek(size - half)
        last = file.read(half)
        note = _WRITTEN.search(begin)
        first = begin[: note.start()] if note else begin[:half].rpartition(b"\n")[0] or begin[:half]
        last = last.partition(b"\n")[2] or last
        missing = size - len(last) - (note.end() if note else len(first)) + (int(note[1]) if note else 0)
        file.seek(0)
        file.write(first + _NOTE.format(missing).encode() + last)
        file.truncate()
