"""Files of JSON lines."""

from __future__ import annotations

from pathlib import Path


def read_json_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, one JSON text each, not yet parsed; the last may be empty or cut off.

    Only a line feed ends a line. `str.splitlines` also cuts at U+0085, U+2028 and U+2029, which may stand in
    a JSON string.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")
