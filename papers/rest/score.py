"""``reprise score rest``: a model's tool calls to a file of BFCL or API-Bank, with the paper's reward."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.study.errors import StudyError
from common.tasks.toolcall.published import FileError, explain, load_answers, load_questions


def lines(benchmark: Path, answers: Path) -> Iterator[str]:
    """What is said of a file of answers.

    Raises:
        StudyError: a file cannot be read; names line, fault and fix.
    """
    try:
        questions = load_questions(benchmark)
        yield from explain(questions, load_answers(answers, questions))
    except FileError as error:
        raise StudyError(str(error)) from error
