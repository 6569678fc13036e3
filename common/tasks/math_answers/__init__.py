r"""Mathematics with a final answer: problems, the prompt that asks for a box, and the verifier.

A source of problems is a JSONL file of objects with ``problem`` and ``answer``, a dataset of the Hugging
Face hub, or a folder that holds a copy of one. Made for the hub ids ``BytedTsinghua-SIA/DAPO-Math-17k``
(training), ``math-ai/aime24``, ``math-ai/aime25``, ``math-ai/amc23`` and ``HuggingFaceH4/MATH-500``. Their
columns differ, so one is found by its name in `PROBLEM` and `ANSWER`, and its content is reduced to text: the
question of a chat, the ground truth of a reward model, the box of a solution. The tests hold a row in each of
these layouts as public descriptions give them; no test downloads a dataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from common.jsonlines import read_json_lines

INSTRUCTION = "Reason step by step, then state the final answer once, inside \\boxed{}."
PROBLEM = ("problem", "question", "prompt")
ANSWER = ("answer", "solution", "reward_model")
LONGEST_ANSWER = 200  # characters; more is no final answer and costs the parser seconds
PARSE_SECONDS = 5
_ROWS = 1000
_TOKEN = re.compile(r"(?P<box>\\boxed\s*\{)|(?P<escaped>\\.)|(?P<open>\{)|(?P<close>\})", re.DOTALL)


class DatasetUnavailableError(RuntimeError):
    """Problems cannot be loaded; the message names the source and the fix."""


@dataclass(frozen=True)
class Problem:
    """A problem in words and its final answer, both as text (LaTeX without dollars in the answer)."""

    text: str
    answer: str


def load_problems(source: str, split: Literal["train", "test"]) -> list[Problem]:
    """The distinct problems of a source in the order of their first appearance.

    DAPO-Math-17k holds each problem about a hundred times; of texts equal up to white space the first counts.

    Args:
        source: Path of a JSONL file, folder of a downloaded dataset, or hub id.
        split: Which split is wanted where there are several; a single one is taken whatever its name.

    Raises:
        DatasetUnavailableError: no such source (or no network), a row without problem or answer, or no rows.
    """
    path = Path(source)
    rows = _file_rows(path) if path.suffix == ".jsonl" else _hub_rows(source, split)
    distinct: dict[str, Problem] = {}
    for text, answer in rows:
        distinct.setdefault(" ".join(text.split()), Problem(text, answer))
    if not distinct:
        raise DatasetUnavailableError(f"{source} holds no problems")
    return list(distinct.values())


def _file_rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        lines = read_json_lines(path)
    except OSError as error:
        raise DatasetUnavailableError(f"cannot read {path}: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield _problem_text(row["problem"]), _answer_text(row["answer"])
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetUnavailableError(
                f"{path}, line {number}: expected a JSON object with 'problem' and 'answer'"
            ) from error


def _hub_rows(source: str, split: str) -> Iterator[tuple[str, str]]:
    from datasets import load_dataset

    try:
        splits = load_dataset(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DatasetUnavailableError(
            f"cannot load the dataset {source}: {reason}. Fix: check the name; without a network, give "
            "the path of a JSONL file whose objects have 'problem' and 'answer'"
        ) from error
    if split not in splits and len(splits) > 1:
        raise DatasetUnavailableError(f"{source} has no split '{split}', only {', '.join(splits)}")
    rows = splits[split] if split in splits else next(iter(splits.values()))
    problem, answer = (_column(source, rows.column_names, names) for names in (PROBLEM, ANSWER))
    for batch in rows.select_columns([problem, answer]).iter(_ROWS):
        for text, solution in zip(batch[problem], batch[answer], strict=True):
            yield _problem_text(text), _answer_text(solution)


def _column(source: str, present: list[str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in present:
            return name
    raise DatasetUnavailableError(
        f"{source} has the columns {', '.join(present)}; one of {', '.join(names)} is needed"
    )


def _problem_text(value: Any) -> str:
    """The text itself, or what the last turn of a chat asks, without DAPO's own instruction around it."""
    if isinstance(value, str):
        return value
    paragraphs = str(value[-1]["content"]).split("\n\n")
    if len(paragraphs) > 2 and "Answer:" in paragraphs[0] and "Answer:" in paragraphs[-1]:
        paragraphs = paragraphs[1:-1]
    return "\n\n".join(paragraphs)


def _answer_text(value: Any) -> str:
    text = str(value["ground_truth"] if isinstance(value, dict) else value)
    return boxed_answer(text) or text.strip()


def format_prompt(problem: str) -> str:
    """The problem and the request for a boxed final answer."""
    return f"{problem.strip()}\n\n{INSTRUCTION}"


def boxed_answer(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}``, the inner one of nested boxes; None if it is open or missing.

    >>> boxed_answer(r"so \boxed{1}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    found, found_at = None, -1
    opened: list[int] = []  # where the content of each open brace begins, -1 if it is no box
    for token in _TOKEN.finditer(text):
        if token["box"]:
            found = None
        if token["box"] or token["open"]:
            opened.append(token.end() if token["box"] else -1)
        elif token["close"] and opened and (start := opened.pop()) > found_at:
            found, found_at = text[start : token.start()].strip(), start
    return found


def answer_reward(text: str, answer: str) -> int:
    """1 iff the last box of `text` holds something that equals `answer` in the sense of math-verify, else 0.

    No box, an open or empty one, or what cannot be read or compared within seconds gives 0. The time limit
    of math-verify is an alarm signal: call this from the main thread of a process.
    """
    given = boxed_answer(text)
    if not given or len(given) > LONGEST_ANSWER:
        return 0
    if given == answer.strip():
        return 1
    from math_verify import verify

    return int(verify(_parsed(answer), _parsed(given), timeout_seconds=PARSE_SECONDS))


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    box = (LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False),)
    return parse(f"\\boxed{{{expression}}}", box, parsing_timeout=PARSE_SECONDS)


def overlong_penalty(length: int, max_length: int, cache: int) -> float:
    """DAPO's soft penalty of a long response (Eq. 13, arXiv:2503.14476), from 0 down to -1.

    0 up to ``max_length - cache`` tokens, then linear to -1 at `max_length`, -1 beyond. Added to 0/1 rewards
    it makes them graded, so quantile baselines lose their two-case form.

    Args:
        length: Response length in tokens.
        max_length: Length from which the penalty is complete.
        cache: Length over which it grows.

    Raises:
        ValueError: cache outside 1…max_length.
    """
    if not 1 <= cache <= max_length:
        raise ValueError(f"the overlong cache must lie in 1…{max_length}; got {cache}")
    return min(0.0, max(-1.0, (max_length - cache - length) / cache))
