"""Where text enters the terminal: what a card or a job says is text, never markup."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from rich.console import Console

BROKEN_PIPE = 128 + signal.SIGPIPE  # what a shell reports for a program that SIGPIPE ended


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """End without a word, as a program in a pipe does when nobody reads on."""
        with suppress(SystemExit):  # rich silences standard output and would end with 1
            super().on_broken_pipe()
        sys.exit(BROKEN_PIPE)


def console(*, stderr: bool = False) -> Console:
    """A terminal that shows ``[low, high]`` and ``[/b]`` as they are; styles are given as styles.

    Args:
        stderr: Write to standard error instead of standard output.
    """
    return _Terminal(stderr=stderr, markup=False, emoji=False)


def prepare_streams() -> None:
    """Make standard output and error able to take any text: closed ones drop it, narrow ones show ``?``.

    A closed stream would leave its number to the next file opened, which subprocesses then write into.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="replace")
