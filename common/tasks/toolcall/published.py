"""Public files of tool calls, BFCL and API-Bank, and what answers to them are worth.

BFCL (version 3 and 4) has one JSON object a line with ``id``, ``question`` and ``function``, and the accepted
values of each parameter in ``possible_answer/`` beside it; API-Bank has objects with ``answer``, one right
call or several. Answers are objects with ``result``, a text, and the ``id`` of their question where it has
one. A text holds calls as JSON, in ``<tool_call>`` tags or bare, or in the syntax of Python.

Nothing is executed. Python's syntax is parsed, values are literals, and a name has to be one of the
question's tools: ``__import__('os')`` is a text like any other that calls no tool.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from common.jsonlines import read_json_lines
from common.tasks.toolcall.calls import (
    Call,
    CallError,
    agreement,
    calls_of,
    read_calls,
    same_value,
    well_formed,
)

LONGEST = 20_000  # characters of an answer that is read
SHOWN = 5  # faults that are named
LEFT_OUT = ""  # among the accepted values: the parameter may be left out


class FileError(ValueError):
    """A file cannot be read; the message names the line, the fault and the fix."""


@dataclass(frozen=True)
class Expected:
    """A right call, with every accepted value of each parameter; `LEFT_OUT` among them makes it optional."""

    name: str
    parameters: Mapping[str, tuple[Any, ...]]

    def accepts(self, call: Call) -> bool:
        """Whether a call is right."""
        return (
            call.name == self.name
            and call.parameters.keys() <= self.parameters.keys()
            and all(
                accepted(call.parameters[key], options) if key in call.parameters else LEFT_OUT in options
                for key, options in self.parameters.items()
            )
        )

    def nearest(self, call: Call | None) -> Call:
        """The right call that a given one is nearest to: its values where they are accepted, else the first
        accepted ones; what it leaves out is left out where it may be.
        """
        given = call.parameters if call is not None else {}
        chosen = {}
        for key, options in self.parameters.items():
            if key in given and accepted(given[key], options):
                chosen[key] = given[key]
            elif key in given or LEFT_OUT not in options:
                chosen[key] = next((option for option in options if option != LEFT_OUT), LEFT_OUT)
        return Call(self.name, chosen)


@dataclass(frozen=True)
class Question:
    """A question of a benchmark.

    Attributes:
        line: Where it stands, from 1.
        id: Its name; the line's number where it has none.
        tools: Names that may be called; empty where the file does not list them.
        expected: The right calls; none where no tool fits.
        text: What the user says.
        functions: Descriptions of the tools, as the file has them.
    """

    line: int
    id: str
    tools: frozenset[str]
    expected: tuple[Expected, ...]
    text: str = ""
    functions: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Score:
    """What one answer is worth.

    Attributes:
        right: Its calls are accepted, in any order, and there are no others.
        agreement: The paper's correctness in [0, 1], see `common.tasks.toolcall.calls.agreement`.
        formed: A thought and a block of calls in their tags, and nothing else.
        fault: Why no calls can be read; empty where they can.
    """

    right: bool
    agreement: float
    formed: bool
    fault: str = ""


def accepted(value: Any, options: Sequence[Any]) -> bool:
    """Whether a value is one of the accepted ones: texts without regard to case, spaces and punctuation, as
    BFCL compares them; the values of an object each have their own options.
    """
    return any(_alike(value, option) for option in options)


def _alike(value: Any, option: Any) -> bool:
    if isinstance(value, str) and isinstance(option, str):
        return _plain(value) == _plain(option)
    if isinstance(value, Mapping) and isinstance(option, Mapping):
        return value.keys() <= option.keys() and all(
            accepted(value[key], each) if key in value else LEFT_OUT in each
            for key, each in ((key, _options(each)) for key, each in option.items())
        )
    if isinstance(value, list | tuple) and isinstance(option, list | tuple):
        return len(value) == len(option) and all(map(_alike, value, option))
    return same_value(value, option)


def _options(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else (value,)


def _plain(text: str) -> str:
    return re.sub(r"[ ,./\-_*^\"']", "", text).lower()


# Reading answers


def read_answer(text: str, tools: frozenset[str] = frozenset()) -> list[Call]:
    """The calls that a text makes.

    Args:
        text: A model's answer.
        tools: Names that may be called; any name where there are none.

    Raises:
        CallError: it makes none that can be read, or calls something that is no tool.
    """
    if len(text) > LONGEST:
        raise CallError(f"{len(text)} characters, at most {LONGEST} are read")
    text = text.strip()
    if "<tool_call>" in text:
        calls = calls_of(text)
    elif text.startswith(("{", "[{")):
        calls = read_calls(text)
    else:
        calls = python_calls(text)
    for call in calls:
        if tools and call.name not in tools:
            raise CallError(f"'{call.name}' is no tool of this question")
    return calls


def python_calls(text: str) -> list[Call]:
    """Calls in the syntax of Python, ``tool.name(key=1)`` or a list of such; parsed, never run.

    Raises:
        CallError: other syntax, a value that is no literal, or one without a name.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CallError(f"no calls: {type(error).__name__}") from error
    nodes = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
    if not nodes:
        raise CallError("no call")
    return [_python_call(node) for node in nodes]


def _python_call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call):
        raise CallError(f"{type(node).__name__} stands where a call should")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise CallError("a value without the name of its parameter")
    try:
        values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise CallError("a value that is no literal") from error
    return Call(_dotted(node.func), values)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise CallError(f"{type(node).__name__} stands where a tool's name should")


# Scoring


def score(text: str, question: Question) -> Score:
    """What an answer to a question is worth; one without any call is right where no tool fits."""
    formed = well_formed(text, bool(question.expected), not question.expected)
    try:
        calls = read_answer(text, question.tools)
    except CallError as error:
        silent = not question.expected and "(" not in text and "{" not in text
        return Score(silent, 0.0, formed, "" if silent else str(error))
    if not question.expected:
        return Score(False, 0.0, formed)
    free = list(calls)
    truth = []
    right = len(calls) == len(question.expected)
    for expected in question.expected:
        call = next((each for each in free if expected.accepts(each)), None)
        right = right and call is not None
        call = call or next((each for each in free if each.name == expected.name), None)
        if call is not None:
            free.remove(call)
        truth.append(expected.nearest(call))
    return Score(right, agreement(calls, truth), formed)


def explain(questions: Sequence[Question], answers: Mapping[str, str]) -> Iterator[str]:
    """Accuracy with its interval, the paper's reward, and the first faults by line.

    Raises:
        FileError: no answer belongs to any question.
    """
    if not any(question.id in answers for question in questions):
        raise FileError(
            "no answer has the id of a question. Fix: copy 'id' from the benchmark into each answer"
        )
    found = [score(answers.get(question.id, ""), question) for question in questions]
    right = sum(each.right for each in found)
    low, high = binomtest(right, len(found)).proportion_ci(method="exact")
    unread = sum(bool(each.fault) for each in found)
    shares = f"{right / len(found):.1%} [{low:.1%}, {high:.1%}]"
    yield f"{shares} of {len(found)} questions right, {unread} unreadable"
    share = sum(each.agreement for each in found) / len(found)
    formed = sum(each.formed for each in found) / len(found)
    yield f"the paper's correctness {share:.3f} of 1, form kept by {formed:.1%}"
    faults = [(question, each) for question, each in zip(questions, found, strict=True) if each.fault]
    for question, each in faults[:SHOWN]:
        given = each.fault if question.id in answers else "no answer"
        yield f"line {question.line} ({question.id}): {given}"
    if len(faults) > SHOWN:
        yield f"and {len(faults) - SHOWN} more"


# Reading files


def load_questions(path: Path, answers: Path | None = None) -> tuple[Question, ...]:
    """The questions of a BFCL or API-Bank file.

    Args:
        path: The file.
        answers: BFCL's accepted values; by default the file of the same name in ``possible_answer/`` beside
            it. A file without one (irrelevance) has questions that no tool fits.

    Raises:
        FileError: it cannot be read, or a row is neither format.
    """
    rows = _rows(path)
    beside = answers or path.parent / "possible_answer" / path.name
    truths = {}
    if beside.is_file():
        for line, row in _rows(beside):
            truths[str(row.get("id"))] = _of_bfcl(beside, line, row)
    elif not any("answer" in row for _, row in rows) and "irrelevance" not in path.name:
        raise FileError(
            f"{path}: no accepted answers. Fix: put BFCL's possible_answer/ folder beside the file"
        )
    return tuple(_question(path, line, row, truths) for line, row in rows)


def load_answers(path: Path, questions: Sequence[Question]) -> dict[str, str]:
    """Answers by the id of their question; those without one belong to the questions in order.

    Raises:
        FileError: it cannot be read, or a row has no text.
    """
    given = {}
    for place, (line, row) in enumerate(_rows(path)):
        text = row.get("result")
        if isinstance(text, list | dict):
            text = json.dumps(text)
        if not isinstance(text, str):
            raise FileError(f'{path}, line {line}: no text in \'result\'. Fix: {{"id": …, "result": "…"}}')
        default = questions[place].id if place < len(questions) else ""
        given[str(row.get("id", default))] = text
    return given


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Objects with their lines, of a file of JSON lines or of one JSON array."""
    try:
        lines = read_json_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error
    if "\n".join(lines).lstrip("\ufeff \t\r\n").startswith("["):
        values = list(enumerate(_json(path, 1, "\n".join(lines)), start=1))
    else:
        values = [(at, _json(path, at, line)) for at, line in enumerate(lines, start=1) if line.strip()]
    for line, value in values:
        if not isinstance(value, dict):
            raise FileError(f"{path}, line {line}: no object. Fix: write {{…}}")
    if not values:
        raise FileError(f"{path} holds no rows. Fix: one JSON object a line, or one array of objects")
    return values


def _json(path: Path, line: int, text: str) -> Any:
    try:
        return json.loads(text.lstrip("\ufeff"))
    except (json.JSONDecodeError, RecursionError) as error:
        at = line - 1 + getattr(error, "lineno", 1)
        raise FileError(
            f"{path}, line {at}: no JSON ({error}). Fix: one object a line, or one array"
        ) from error


def _of_bfcl(path: Path, line: int, row: Mapping[str, Any]) -> tuple[Expected, ...]:
    calls = row.get("ground_truth")
    if not isinstance(calls, list) or not all(isinstance(call, dict) and len(call) == 1 for call in calls):
        raise FileError(
            f"{path}, line {line}: 'ground_truth' is no list of {{tool: {{parameter: [values]}}}}"
        )
    return tuple(
        Expected(name, {key: tuple(_options(options)) for key, options in values.items()})
        for call in calls
        for name, values in call.items()
    )


def _question(
    path: Path, line: int, row: Mapping[str, Any], truths: Mapping[str, tuple[Expected, ...]]
) -> Question:
    name = str(row.get("id", line))
    if "function" in row:
        functions = tuple(_options(row["function"]))
        tools = frozenset(str(each.get("name")) for each in functions if isinstance(each, dict))
        return Question(line, name, tools, truths.get(name, ()), _words(row.get("question")), functions)
    if "answer" not in row:
        raise FileError(f"{path}, line {line}: neither 'function' (BFCL) nor 'answer' (API-Bank)")
    try:
        answer = row["answer"]
        calls = read_calls(answer if isinstance(answer, str) else json.dumps(answer))
    except CallError as error:
        raise FileError(f"{path}, line {line}: 'answer' holds no calls ({error})") from error
    expected = tuple(
        Expected(call.name, {key: (value,) for key, value in call.parameters.items()}) for call in calls
    )
    return Question(line, name, frozenset(), expected, str(row.get("user", "")))


def _words(question: Any) -> str:
    """What the user says in BFCL's lists of turns and messages."""
    turns = question if isinstance(question, list) else []
    messages = [message for turn in turns for message in (turn if isinstance(turn, list) else [turn])]
    return "\n".join(str(each.get("content", "")) for each in messages if isinstance(each, dict))
