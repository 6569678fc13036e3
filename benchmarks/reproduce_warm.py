"""A second `reprise reproduce qae --profile smoke` with nothing changed against the first.

Every time the first runs in a store and results folder of its own. The second trains nothing: it loads the
records, judges, draws and executes the notebook, so the bound is the starts of Python and of a notebook's
kernel, measured here as a command that only lists the papers.
"""

from __future__ import annotations

from _measure import ROOT, ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=1)

import os  # noqa: E402 (after the number of threads is set)
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

REPRISE = (sys.executable, "-m", "common.study.cli")
PAPER = "_template" if ARGUMENTS.quick else "qae"
COMMAND = (*REPRISE, "reproduce", PAPER, "--profile", "smoke")


def call(folder: str, *command: str) -> None:
    """Run a command with store and results in `folder`.

    Raises:
        SystemExit: it failed; carries its error.
    """
    places = {"REPRISE_STORE": f"{folder}/store", "REPRISE_RESULTS": f"{folder}/results"}
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


def pair() -> tuple[float, float]:
    """Seconds of the second run and of the first."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (seconds(lambda: call(folder, *COMMAND)) for _ in range(2))
    return warm, cold


def main() -> None:
    """Time first and second run in turn."""
    times = [pair() for _ in range(ARGUMENTS.pairs)]
    with tempfile.TemporaryDirectory() as folder:
        least = seconds(lambda: call(folder, *REPRISE, "list"))
    measured = ratios(*zip(*times, strict=True))
    cold = measured["seconds"][1]
    warm = {"warm_seconds": measured["seconds"][0], "aim": "warm <= 30 s"}
    report("warm reproduce / cold reproduce", measured, round(least / cold, 4), [0, 1], **warm)


if __name__ == "__main__":
    main()
