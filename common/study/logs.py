"""What a job prints, on disk and bounded."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

HALF = 256 * 1024
LINE = 4096


class BoundedLog(io.TextIOBase):
    """A text file that keeps the first and the last part of what is written, and says how much lies between.

    Every line is on disk as soon as it is written, so that a process that is killed leaves its last words.
    The file never holds more than three parts; a part is cut at the end of a line where it has one.

    Args:
        path: The file; replaced if it exists.
        half: Bytes of each of the two parts.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, half: int = HALF) -> None:
        self._file = path.open("w+b", buffering=0)
        self._half = half
        self._body = 0  # where what follows the first part and the note on what is left out begins
        self._head = 0
        self._omitted = 0
        self._line = ""
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Append text; characters that UTF-8 cannot hold are replaced."""
        with self._lock:
            self._line += text
            if "\n" in text or len(self._line) > LINE:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Put the unfinished line on disk, too."""
        with self._lock:
            text, self._line = self._line, ""
            size = max(self._half // 4, 1)  # a character has at most four bytes
            for start in range(0, len(text), size):
                self._file.seek(0, os.SEEK_END)
                self._file.write(text[start : start + size].encode("utf-8", errors="replace"))
                if self._file.tell() - self._body > 2 * self._half:
                    self._compact()

    def _compact(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        if not self._body:
            self._head = len(_until_line_end(content[: self._half]))
            self._body = self._head
        body = content[self._body :]
        last = _from_line_start(body[-self._half :])
        self._omitted += len(body) - len(last)
        note = f"\n… {self._omitted} bytes left out …\n".encode()
        self._file.seek(self._head)
        self._file.truncate()
        self._file.write(note + last)
        self._body = self._head + len(note)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """Number of the open file, for subprocesses that are to write into it."""
        self.flush()
        return self._file.fileno()

    def close(self) -> None:
        """Write what is left and close the file."""
        super().close()
        self._file.close()


def _until_line_end(part: bytes) -> bytes:
    return part[: part.rfind(b"\n") + 1] or part.decode("utf-8", errors="ignore").encode()


def _from_line_start(part: bytes) -> bytes:
    return part.partition(b"\n")[2] or part.decode("utf-8", errors="ignore").encode()
