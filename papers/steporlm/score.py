"""``reprise score steporlm``: answers to a public file of word problems, as the field counts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.study.errors import StudyError
from common.tasks.or_models.benchmarks import BenchmarkError, explain, load_answers, load_benchmark


def lines(benchmark: Path, answers: Path) -> Iterator[str]:
    """What is said of a file of answers, one a question in the same order.

    Raises:
        StudyError: a file cannot be read; names line, fault and fix.
    """
    try:
        yield from explain(load_benchmark(benchmark), load_answers(answers))
    except BenchmarkError as error:
        raise StudyError(str(error)) from error
