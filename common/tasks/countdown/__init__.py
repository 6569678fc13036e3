"""Countdown: an expression that uses each of three numbers once and gives a target.

Every solution of a question is enumerated, a verifier reads any expression, and a teacher writes
demonstrations: attempts that combine two numbers at a time and say what is left, the last of which gives the
target, and the answer. A demonstration may slip: a wrong sum in a failing attempt, or a last attempt that
does not support the answer, which is right all the same.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, combinations_with_replacement, islice
from zlib import crc32

import numpy as np

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
THINK, DONE, HINT, END_HINT = "<think>", "</think>", "<hint>", "</hint>"
ARROW, NO, OK = "->", "no", "ok"
LARGEST, HIGHEST_NUMBER, HIGHEST_TARGET = 36, 9, 36
"""Largest value that a step may have, largest number and target of a question."""
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
VOCABULARY = (
    *(PAD, BOS, EOS, THINK, DONE, HINT, END_HINT, ARROW, NO, OK),
    *("(", ")", "=", *OPERATORS),
    *map(str, range(LARGEST + 1)),
)
SIZE = 3
"""Numbers of a question that is drawn; solutions and verifier read questions of any size."""
TRACE_TOKENS, ANSWER_TOKENS = 38, 10
"""Longest trace and answer, their end marks included."""
HARD = 1
"""A hard question has at most so many solutions; an easy one can be solved in several ways."""
SPLITS = ("train", "heldout")
HELD_OUT = 0.3  # of the multisets of numbers

Step = tuple[int, str, int, int]
"""Left operand, operator, right operand, value."""


@dataclass(frozen=True)
class Solution:
    """Steps that combine two numbers at a time, and the expression that they build.

    Attributes:
        steps: In the order in which they are worked out.
        answer: The expression, brackets around every inner step.
    """

    steps: tuple[Step, ...]
    answer: str


@dataclass(frozen=True)
class Question:
    """Numbers, in the order in which they are shown, and the target."""

    numbers: tuple[int, ...]
    target: int

    @property
    def text(self) -> str:
        """The prompt."""
        return " ".join([BOS, *map(str, self.numbers), ARROW, str(self.target), THINK])

    def hinted(self, answer: str) -> str:
        """The prompt with an answer as a hint."""
        return self.text.replace(THINK, f"{HINT} {answer} {END_HINT} {THINK}")

    @property
    def hard(self) -> bool:
        """One way of combining the numbers gives the target."""
        return len(self.solutions) <= HARD

    @property
    def solutions(self) -> tuple[Solution, ...]:
        """All of them, one for each order of independent steps; sums and products in one order."""
        found = _reached(tuple(sorted(self.numbers))).get(self.target, ())
        return tuple(Solution(steps, expression(steps)) for steps in found)

    @property
    def answers(self) -> frozenset[str]:
        """Every correct expression with brackets around its inner steps: Y_q up to superfluous brackets."""
        return frozenset(text for own in self.solutions for text in _orders(own.answer))

    def verify(self, answer: str) -> bool:
        """Whether an expression uses each number once and gives the target; anything else is wrong."""
        try:
            numbers: list[int] = []
            value = _value(ast.parse(answer.strip(), mode="eval").body, numbers)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return value == self.target and sorted(numbers) == sorted(self.numbers)


def _value(node: ast.expr, numbers: list[int]) -> int:
    """Value of an expression; the numbers in it are added to the list."""
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            numbers.append(value)
            return value
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as sign, right=right):
            symbol = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(sign)]
            return int(OPERATORS[symbol](_value(left, numbers), _value(right, numbers)))
    raise ValueError("an answer is made of numbers, +, -, * and brackets")


def _orders(answer: str) -> Iterator[str]:
    """The expression with the operands of its sums and products in every order."""
    yield from {_bare(text) for text in _turned(ast.parse(answer, mode="eval").body)}


def _turned(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    assert isinstance(node, ast.BinOp)
    sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}[type(node.op)]
    pairs = [(a, b) for a in _turned(node.left) for b in _turned(node.right)]
    turned = [] if sign == "-" else [(b, a) for a, b in pairs]
    return [f"( {a} {sign} {b} )" for a, b in pairs + turned]


def _bare(text: str) -> str:
    return text.removeprefix("( ").removesuffix(" )")


# Enumeration


@lru_cache(maxsize=4096)
def _reached(numbers: tuple[int, ...]) -> dict[int, list[tuple[Step, ...]]]:
    """Everything that these numbers give in 1 … HIGHEST_TARGET, by value."""
    found: dict[int, list[tuple[Step, ...]]] = {}
    _search(numbers, (), found)
    return {value: list(dict.fromkeys(own)) for value, own in found.items() if 1 <= value <= HIGHEST_TARGET}


def _search(
    values: tuple[int, ...], steps: tuple[Step, ...], found: dict[int, list[tuple[Step, ...]]]
) -> None:
    if len(values) == 1:
        found.setdefault(values[0], []).append(steps)
        return
    for one, other in combinations(range(len(values)), 2):
        rest = tuple(value for place, value in enumerate(values) if place not in (one, other))
        a, b = values[one], values[other]
        for step in ((a, "+", b, a + b), (a, "*", b, a * b), (a, "-", b, a - b), (b, "-", a, b - a)):
            _search((*rest, step[-1]), (*steps, step), found)


# Questions


def stream(split: str, seed: int, hard: float = 0.5) -> Iterator[Question]:
    """Endless questions of "train" or "heldout", which share no multiset of numbers.

    Args:
        split: Which of the two.
        seed: Of the questions.
        hard: Share of hard questions; the others are easy.

    Raises:
        ValueError: another split.
    """
    if split not in SPLITS:
        raise ValueError(f"split is '{split}'; choose train or heldout")
    rng = np.random.default_rng([seed, crc32(split.encode())])
    while True:
        wanted = bool(rng.random() < hard)
        while (found := _drawn(rng, split, wanted)) is None:
            pass
        yield found


def _drawn(rng: np.random.Generator, split: str, hard: bool) -> Question | None:
    """A question on random numbers, if these are of the split and one of their targets is hard (or easy)."""
    shown = tuple(rng.integers(1, HIGHEST_NUMBER + 1, size=SIZE).tolist())
    if held_out(shown) != (split == "heldout"):
        return None
    found = (Question(shown, target) for target in _targets(rng, shown))
    return next((own for own in found if own.hard == hard and any(map(writable, own.solutions))), None)


def _targets(rng: np.random.Generator, numbers: Sequence[int]) -> list[int]:
    """What these numbers give, in random order."""
    found: list[int] = rng.permutation(sorted(_reached(tuple(sorted(numbers))))).tolist()
    return found


def items(split: str, count: int, seed: int) -> list[Question]:
    """The first different questions of `stream`.

    Raises:
        ValueError: another split, or more questions than it has.
    """
    if split in SPLITS and count > available(split):
        raise ValueError(f"{split} has {available(split)} different questions, not {count}")
    seen: dict[tuple[tuple[int, ...], int], Question] = {}
    for question in stream(split, seed):
        seen.setdefault((tuple(sorted(question.numbers)), question.target), question)
        if len(seen) == count:
            break
    return list(islice(seen.values(), count))


@lru_cache(maxsize=2)
def available(split: str) -> int:
    """How many different questions a split has."""
    shown = combinations_with_replacement(range(1, HIGHEST_NUMBER + 1), SIZE)
    inside = [own for own in shown if held_out(own) == (split == "heldout")]
    questions = [Question(own, target) for own in inside for target in _reached(own)]
    return sum(any(map(writable, own.solutions)) for own in questions)


def held_out(numbers: Sequence[int]) -> bool:
    """Whether these numbers, in any order, belong to the held-out split."""
    key = " ".join(map(str, sorted(numbers)))
    return crc32(key.encode()) < HELD_OUT * 2**32


def writable(solution: Solution) -> bool:
    """Every value on the way has a token."""
    return all(0 <= value <= LARGEST for *_, value in solution.steps)


# Demonstrations


@dataclass(frozen=True)
class Teacher:
    """Writes traces.

    Attributes:
        attempts: Most failing attempts before the last one, as many as fit.
        slip: Probability of a wrong sum in a failing attempt, if there is one.
        unsupported: Probability that the last attempt does not give the target.
    """

    attempts: int = 2
    slip: float = 0.25
    unsupported: float = 0.1

    def __call__(self, question: Question, rng: np.random.Generator) -> tuple[str, str]:
        """A trace, which ends with `DONE`, and a correct answer."""
        written = [own for own in question.solutions if writable(own)]
        solution = turned(written[rng.integers(len(written))], rng)
        length = len(worded(question.numbers, solution.steps)) + 1
        room = min(self.attempts, (TRACE_TOKENS - 1) // length - 1)
        tries = [failing(question, rng) for _ in range(rng.integers(0, room + 1))]
        if tries and rng.random() < self.slip:
            place = rng.integers(len(tries))
            tries[place] = slipped(tries[place], question.target, rng)
        last = failing(question, rng) if rng.random() < self.unsupported else solution.steps
        words = [word for steps in tries for word in (*worded(question.numbers, steps), NO)]
        return " ".join([*words, *worded(question.numbers, last), OK, DONE]), solution.answer


def turned(solution: Solution, rng: np.random.Generator) -> Solution:
    """The solution with the operands of its sums and products in random order."""
    flips = [sign != "-" and bool(rng.random() < 0.5) for _, sign, _, _ in solution.steps]
    steps = tuple(
        (right, sign, left, value) if flip else (left, sign, right, value)
        for (left, sign, right, value), flip in zip(solution.steps, flips, strict=True)
    )
    return Solution(steps, expression(steps))


def expression(steps: Sequence[Step]) -> str:
    """The expression that steps build: a value that an earlier step made stands for that step, the last one
    first."""
    made: dict[int, list[str]] = {}
    for left, sign, right, value in steps:
        first, second = (made[own].pop() if made.get(own) else str(own) for own in (left, right))
        made.setdefault(value, []).append(f"( {first} {sign} {second} )")
    return _bare(made[steps[-1][-1]][-1])


def attempt(numbers: Sequence[int], rng: np.random.Generator) -> tuple[Step, ...]:
    """Random steps whose values all have tokens."""
    left, steps = list(numbers), list[Step]()
    while len(left) > 1:
        first, second = left.pop(int(rng.integers(len(left)))), left.pop(int(rng.integers(len(left))))
        tried = [
            (a, sign, b, int(apply(a, b)))
            for sign, apply in OPERATORS.items()
            for a, b in ((first, second), (second, first))
        ]
        possible = [step for step in tried if 0 <= step[-1] <= LARGEST]  # one difference always is
        steps.append(possible[rng.integers(len(possible))])
        left.append(steps[-1][-1])
    return tuple(steps)


def failing(question: Question, rng: np.random.Generator) -> tuple[Step, ...]:
    """A random attempt that does not give the target."""
    while (steps := attempt(question.numbers, rng))[-1][-1] == question.target:
        pass
    return steps


def slipped(steps: tuple[Step, ...], target: int, rng: np.random.Generator) -> tuple[Step, ...]:
    """The same with a wrong last value, not the target."""
    *before, (left, sign, right, value) = steps
    near = [value + by for by in (-2, -1, 1, 2) if 0 <= value + by <= LARGEST and value + by != target]
    return (*before, (left, sign, right, near[rng.integers(len(near))]))


def worded(numbers: Sequence[int], steps: Sequence[Step]) -> list[str]:
    """Tokens of an attempt without its verdict: each step, then the numbers left beside its value."""
    left, words = list(numbers), list[str]()
    for first, sign, second, value in steps:
        left.remove(first)
        left.remove(second)
        words += [str(first), sign, str(second), "=", str(value), *map(str, left)]
        left.append(value)
    return words


@dataclass(frozen=True)
class Reading:
    """What a trace holds.

    Attributes:
        attempts: Number of attempts, each closed by a verdict.
        slips: Steps whose value is wrong, or which are no steps.
        supported: The last attempt ends with the target and says so, without a slip.
    """

    attempts: int
    slips: int
    supported: bool


def read(question: Question, trace: str) -> Reading:
    """Parse any trace."""
    attempts: list[list[str]] = [[]]
    for word in trace.replace(DONE, "").split():
        attempts[-1].append(word)
        if word in (NO, OK):
            attempts.append([])
    closed = [own for own in attempts if own and own[-1] in (NO, OK)]
    wrong = [_slips(own[:-1], len(question.numbers)) for own in closed]
    last = closed[-1] if closed else []
    supported = bool(last) and last[-1] == OK and not wrong[-1] and last[-2:-1] == [str(question.target)]
    return Reading(len(closed), sum(wrong), supported)


def _slips(words: Sequence[str], size: int) -> int:
    """Steps of an attempt on so many numbers that are wrong or missing."""
    starts = np.cumsum([0, *range(size + 3, 5, -1)]).tolist()  # a step, then what is left beside its value
    wrong = sum(not _holds(words[start : start + 5]) for start in starts)
    return wrong + (len(words) > starts[-1] + 5)


def _holds(step: Sequence[str]) -> bool:
    match step:
        case [left, sign, right, "=", value] if sign in OPERATORS:
            numbers = (left, right, value)
            if all(map(str.isdecimal, numbers)):
                return bool(OPERATORS[sign](int(left), int(right)) == int(value))
    return False
