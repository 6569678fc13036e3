"""``reprise score steporlm``: answers to a public file of word problems, as the field counts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.study.errors import StudyError
from common.tasks.or_models.benchmarks import BenchmarkError, load_answers, load_benchmark, score

SHOWN = 5  # wrong answers that are named


def lines(benchmark: Path, answers: Path) -> Iterator[str]:
    """What is said of a file of answers: the share of right ones, and the first that are not.

    Args:
        benchmark: Objects with ``en_question`` and ``en_answer``.
        answers: As many objects with ``answer``, in the same order.

    Raises:
        StudyError: a file cannot be read; names line, fault and fix.
    """
    try:
        questions, given = load_benchmark(benchmark), load_answers(answers)
        found = score(questions, given)
    except BenchmarkError as error:
        raise StudyError(str(error)) from error
    counts = ", ".join(f"{found.marks.count(mark)} {mark}" for mark in ("right", "wrong", "not given"))
    low, high = found.interval.low, found.interval.high
    yield f"{found.accuracy:.1%} [{low:.1%}, {high:.1%}] of {len(questions)} questions: {counts}"
    wrong = [place for place, mark in enumerate(found.marks) if mark == "wrong"]
    for place in wrong[:SHOWN]:
        said, wanted = given[place].value, questions[place].answer
        yield f"line {questions[place].line}: {_value(said)}, published {_value(wanted)}"
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more"


def _value(value: float | None) -> str:
    return "no best solution" if value is None else f"{value:g}"
