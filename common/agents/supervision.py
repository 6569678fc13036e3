"""Calls of foreign code that come back: with an answer, with what was raised, or at a limit of time.

A thread of Python cannot be stopped. One that hangs is left behind as a daemon: its episode is over, it dies
with the process, and until then it takes processor time from everybody, but no results. Code that keeps the
interpreter's lock (a C extension in an endless loop) is not covered: run such an environment in a process.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from queue import Empty, Queue
from threading import Thread
from typing import Any


class HungError(RuntimeError):
    """A call did not come back in time."""


class Supervised:
    """Runs calls one after the other in a thread of its own.

    An environment lives in one thread from its making to its end (databases and browsers insist on that), and
    nobody else's calls wait behind one that hangs.

    Args:
        seconds: Wall-clock limit of one call.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._calls: Queue[Callable[[], Any] | None] = Queue()
        self._answers: Queue[tuple[Any, BaseException | None]] = Queue()
        Thread(target=self._work, daemon=True, name="environment").start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._answers.put((call(), None))
            except BaseException as error:  # foreign code, which may try to leave the process
                self._answers.put((None, error))

    def __call__(self, call: Callable[[], Any]) -> Any:
        """The result of a call.

        Raises:
            HungError: it took longer than the limit; what it does from now on is lost.
            Exception: whatever the call raised; RuntimeError where that was no exception but an exit.
        """
        self._calls.put(call)
        try:
            answer, error = self._answers.get(timeout=self.seconds)
        except Empty:
            raise HungError(f"no answer within {self.seconds:g} s") from None
        if error is not None and not isinstance(error, Exception):
            raise RuntimeError(f"it left by {type(error).__name__}") from error
        if error is not None:
            raise error
        return answer

    def finish(self, last: Callable[[], Any]) -> None:
        """Let the thread end after a last call, whose result nobody waits for."""
        self._calls.put(last)
        self._calls.put(None)


def in_words(error: Exception) -> str:
    """Kind and message of an exception of foreign code (whose message may fail too), in 500 characters."""
    return "".join(traceback.format_exception_only(error)).strip()[:500]
