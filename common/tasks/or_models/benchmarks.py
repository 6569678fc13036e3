"""Public files of word problems with the value of their optimum, and the score of answers to them.

A file holds one JSON object a line, whatever its ending, or one JSON array of objects, as the corrected
copies of NL4OPT, MAMO, IndustryOR and OptMATH are published. An object has ``en_question`` and ``en_answer``,
a number, a number as text or ``"No Best Solution"``; other fields are ignored. Answers come in a file of the
same two layouts, an object a question in the same order, whose ``answer`` is such a value or null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from scipy.stats import binomtest

from common.statistics import Interval
from common.tasks.or_models.solver import TOLERANCE, same_optimum

NO_OPTIMUM = "no best solution"
SHOWN = 5  # wrong answers that are named
_SPACE = " \t\r\n"
Value = float | None
"""Value of an optimum; None: there is none."""
T = TypeVar("T")


class BenchmarkError(ValueError):
    """A file cannot be read; the message names the line, the fault and the fix."""


class Question(NamedTuple):
    """A problem in words.

    Attributes:
        line: Where its object begins in the file, from 1.
        text: The words.
        answer: Value of the optimum.
    """

    line: int
    text: str
    answer: Value


class Answer(NamedTuple):
    """What somebody says; not given is not the same as `no optimum`."""

    line: int
    value: Value
    given: bool = True


Mark = Literal["right", "wrong", "not given"]


class Score(NamedTuple):
    """How many answers are right.

    Attributes:
        marks: One a question.
        accuracy: Share of right ones.
        interval: Of the accuracy, exact binomial (Clopper and Pearson), 95 %.
    """

    marks: tuple[Mark, ...]
    accuracy: float
    interval: Interval


def load_benchmark(path: Path) -> tuple[Question, ...]:
    """The questions of a file.

    Raises:
        BenchmarkError: it cannot be read, a row is malformed, or there is none.
    """
    return _load(path, _question)


def load_answers(path: Path) -> tuple[Answer, ...]:
    """The answers of a file.

    Raises:
        BenchmarkError: it cannot be read, a row is malformed, or there is none.
    """
    return _load(path, _answer)


def score(benchmark: Sequence[Question], answers: Sequence[Answer], tolerance: float = TOLERANCE) -> Score:
    """Compare answers with the published ones, in order.

    Args:
        benchmark, answers: As loaded.
        tolerance: Relative, absolute for values below 1. Published values are often rounded to some digits;
            with the usual 1e-6 an exact answer to such a question is wrong.

    Raises:
        BenchmarkError: there are not as many answers as questions, or none.
    """
    if len(answers) != len(benchmark) or not benchmark:
        raise BenchmarkError(
            f"{len(answers)} answers to {len(benchmark)} questions. Fix: one object a question in the order "
            'of the benchmark; {"answer": null} stands for none'
        )
    pairs = zip(benchmark, answers, strict=True)
    marks = tuple(_mark(question.answer, answer, tolerance) for question, answer in pairs)
    exact = binomtest(marks.count("right"), len(marks))
    low, high = exact.proportion_ci(method="exact")
    return Score(marks, exact.statistic, Interval(exact.statistic, low, high, len(marks)))


def _mark(published: Value, answer: Answer, tolerance: float) -> Mark:
    if not answer.given:
        return "not given"
    if published is None or answer.value is None:
        return "right" if published is answer.value else "wrong"
    return "right" if same_optimum(answer.value, published, tolerance) else "wrong"


def _load(path: Path, parse: Callable[[int, dict[str, Any]], T]) -> tuple[T, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8 at byte {error.start}. Fix: save it as UTF-8") from error
    rows = []
    try:
        for line, row in _array(text) if text.lstrip(_SPACE).startswith("[") else _lines(text):
            if not isinstance(row, dict):
                raise _fault(line, f"{_kind(row)} stands where an object should", "write {...}")
            rows.append(parse(line, row))
    except BenchmarkError as error:
        raise BenchmarkError(f"{path}, {error}") from None
    if not rows:
        raise BenchmarkError(f"{path} holds no rows. Fix: one JSON object a line, or one array of objects")
    return tuple(rows)


def _fault(line: int, what: str, fix: str) -> BenchmarkError:
    return BenchmarkError(f"line {line}: {what}. Fix: {fix}")


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "a text", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def explain(questions: Sequence[Question], answers: Sequence[Answer]) -> Iterator[str]:
    """The share of right answers with its interval, and the first that are wrong.

    Raises:
        BenchmarkError: another number of answers than of questions.
    """
    found = score(questions, answers)
    counts = ", ".join(f"{found.marks.count(mark)} {mark}" for mark in ("right", "wrong", "not given"))
    low, high = found.interval.low, found.interval.high
    yield f"{found.accuracy:.1%} [{low:.1%}, {high:.1%}] of {len(questions)} questions: {counts}"
    wrong = [place for place, mark in enumerate(found.marks) if mark == "wrong"]
    for place in wrong[:SHOWN]:
        said, wanted = answers[place].value, questions[place].answer
        yield f"line {questions[place].line}: {_written(said)}, published {_written(wanted)}"
    if len(wrong) > SHOWN:
        yield f"and {len(wrong) - SHOWN} more"


def _written(value: Value) -> str:
    return NO_OPTIMUM if value is None else f"{value:g}"


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    """Values with their lines; only a line feed ends a line, for others may stand in a JSON text."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(_SPACE):
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _fault(number, f"no JSON ({_reason(error)})", "one complete JSON object a line") from error


def _array(text: str) -> Iterator[tuple[int, Any]]:
    """Entries of an array with the lines where they begin."""
    decoder, place = json.JSONDecoder(), _skip(text, text.index("[") + 1)
    closed = text[place : place + 1] == "]"
    end = place + 1
    while not closed:
        line = text.count("\n", 0, place) + 1
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise _fault(line, f"no JSON ({_reason(error)})", "one array of JSON objects") from error
        yield line, value
        end = _skip(text, end) + 1
        if (mark := text[end - 1 : end]) not in ("]", ","):
            line = text.count("\n", 0, end - 1) + 1
            raise _fault(line, "neither comma nor end of the array behind an object", "write , or ]")
        closed, place = mark == "]", _skip(text, end)
    if text[end:].strip(_SPACE):
        raise _fault(text.count("\n", 0, end) + 1, "text behind the array", "a single array a file")


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"


def _question(line: int, row: dict[str, Any]) -> Question:
    for name in ("en_question", "en_answer"):
        if name not in row:
            raise _fault(
                line, f"'{name}' is missing", f'add "{name}"; present are {", ".join(row) or "none"}'
            )
    text = row["en_question"]
    if not isinstance(text, str) or not text.strip():
        raise _fault(line, "'en_question' is no text", "write the problem in words")
    return Question(line, text.strip(), _value(line, "en_answer", row["en_answer"]))


def _answer(line: int, row: dict[str, Any]) -> Answer:
    if "answer" not in row:
        raise _fault(line, "'answer' is missing", 'add "answer"; null stands for none given')
    if row["answer"] is None:
        return Answer(line, None, given=False)
    return Answer(line, _value(line, "answer", row["answer"]))


def _value(line: int, name: str, value: Any) -> Value:
    fix = 'write a number, a number as text or "No Best Solution"'
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _fault(line, f"'{name}' is {_kind(value)}", fix)
    if isinstance(value, str) and " ".join(value.split()).lower() == NO_OPTIMUM:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (isinstance(value, str) and "_" in value):
        raise _fault(line, f"'{name}' is {json.dumps(value)[:60]}", fix)
    return number
