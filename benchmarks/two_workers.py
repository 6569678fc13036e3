"""One worker against two on the same jobs, each time in a fresh store; the bound is 2.

The jobs are tabular trainings of QAE, through the runner that `make reproduce` uses. Every run starts its
workers afresh, and each of them imports torch: that part does not get faster, and it is inside the clock.
Beside it stands what the host gave in the same minutes: how much two busy loops at once gain over one after
the other. Far below 2, somebody else is using the cores, and the measurement says little.
"""

from __future__ import annotations

from _measure import ratios, report, seconds, start

ARGUMENTS = start(__doc__, pairs=2)

import statistics  # noqa: E402 (after the number of threads is set)
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from common.study.configuration import configure  # noqa: E402
from common.study.jobs import Job  # noqa: E402
from common.study.runner import plan, run  # noqa: E402
from common.study.store import Store  # noqa: E402
from common.study.worker import Limits  # noqa: E402
from papers.qae.experiment import PROFILES, Config, tabular_jobs  # noqa: E402


def jobs(count: int, seed: int) -> list[Job]:
    """`count` tabular jobs of equal length: one arm, other seeds."""
    sizes = {"tabular.iterations": 4 if ARGUMENTS.quick else 40, "tabular.seeds": 10}
    config = configure(Config, PROFILES, "laptop").changed(sizes)
    arm = next(iter(tabular_jobs(config, range(10))))
    starts = range(seed, seed + 10 * count, 10)
    return [replace(arm, seeds=tuple(range(first, first + 10))) for first in starts]


def measure(work: Sequence[Job], workers: int) -> float:
    """Seconds that the jobs take in a fresh store."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        waiting = plan(work, store, {})
        return seconds(lambda: run(waiting, store, workers, Limits()))


def spin(count: int) -> None:
    """Run so many busy loops at once, each in a process of its own."""
    loop = f"for _ in range({10**6 if ARGUMENTS.quick else 4 * 10**7}): pass"
    for process in [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(count)]:
        process.wait()


def main() -> None:
    """Time one and two workers in turn."""
    count = 2 if ARGUMENTS.quick else 12
    work = jobs(count, ARGUMENTS.seed)
    times, host = [], []
    for _ in range(ARGUMENTS.pairs):
        times.append((measure(work, 1), measure(work, 2)))
        host.append(2 * seconds(lambda: spin(1)) / seconds(lambda: spin(2)))
    further = {"aim": ">= 1.8", "jobs": count, "host": round(statistics.median(host), 2)}
    seeds = [number for job in work for number in job.seeds]
    report("one worker / two workers", ratios(*zip(*times, strict=True)), 2, seeds, **further)


if __name__ == "__main__":
    main()
