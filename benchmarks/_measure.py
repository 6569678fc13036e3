"""What the benchmarks share: two things timed in turn (A B A B ...), one line of JSON with the bound beside.

On a busy machine seconds mean little; the ratio of two neighbours in time means more, and the median of such
ratios most.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def start(description: str, pairs: int) -> argparse.Namespace:
    """Read the arguments; hold this process and its children to one thread. Call it before importing torch.

    Args:
        description: What is measured.
        pairs: How often the two are timed by default.
    """
    os.environ.update(dict.fromkeys(THREADS, "1"), HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=0, help=f"times that both are measured ({pairs})")
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    parser.add_argument("--quick", action="store_true", help="a tiny setting, to see that it runs")
    arguments = parser.parse_args()
    arguments.pairs = arguments.pairs or (1 if arguments.quick else pairs)
    return arguments


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def ratios(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and number of the pairs' ratios first / second, and the median seconds of each."""
    pairs = [one / other for one, other in zip(first, second, strict=True)]
    return {
        "ratio": round(statistics.median(pairs), 4),
        "min": round(min(pairs), 4),
        "max": round(max(pairs), 4),
        "n": len(pairs),
        "seconds": [round(statistics.median(times), 4) for times in (first, second)],
    }


def report(name: str, measured: dict[str, Any], bound: Any, seeds: Sequence[int], **further: Any) -> None:
    """Print the result as one line of JSON.

    Args:
        name: What was measured, as "A / B".
        measured: From `ratios`.
        bound: What no implementation can pass, in the unit of the ratio.
        seeds: Every seed that was used.
        further: Aim, other measurements, sizes.
    """
    from common.study.provenance import machine

    content = {"benchmark": name, **measured, "bound": bound, **further, "seeds": list(seeds), "threads": 1}
    print(json.dumps({**content, "load": os.getloadavg()[0], "machine": machine()}), flush=True)
