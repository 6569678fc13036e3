"""Short programs in the sandbox, on two workers, against the same programs each in a new bare interpreter.

The second is what a tool that starts an interpreter per program cannot go below, before it has built a wall.
The bound counts the processor time of a program alone; the aim is 20 programs a second.
"""

from __future__ import annotations

from _measure import ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=5)

import subprocess  # noqa: E402 (after the path is set)
import sys  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402

from common.sandbox.contract import Level  # noqa: E402
from common.sandbox.pool import Sandbox  # noqa: E402

PROGRAM = "import json, scipy.optimize\nprint(json.dumps(sum(range(1000))))"
WORKERS = 2


def bare(source: str) -> str:
    """What a program prints in a new interpreter without walls."""
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Time both in turn, the second with a tenth of the programs, since they take so much longer."""
    count = 4 if ARGUMENTS.quick else 60
    few = max(count // 10, 2)
    times = []
    with (
        Sandbox(Level.LIMITS, WORKERS, preload=("json", "scipy.optimize")) as sandbox,
        ThreadPoolExecutor(WORKERS) as threads,
    ):
        for _ in range(ARGUMENTS.pairs):
            sandboxed = seconds(lambda: sandbox.map([PROGRAM] * count))
            times.append((sandboxed / count, seconds(lambda: list(threads.map(bare, [PROGRAM] * few))) / few))
        cost = sandbox.run(PROGRAM).cpu_seconds
        level = sandbox.level.name.lower()
    measured = ratios(*zip(*times, strict=True))
    one, other = measured["seconds"]
    rates = {"programs_per_second": round(1 / one, 1), "cpu_seconds_per_program": cost, "level": level}
    bound = round(max(cost, 0.001) / WORKERS / other, 4)
    report("sandbox / new interpreter", measured, bound, [0], aim=">= 20 programs a second", **rates)


if __name__ == "__main__":
    main()
