"""VerbalArith: sums of two or three integers, a sloppy but capable source of answers, and a parser.

A question is ``37 + 5 =``. A response follows ``[<code>] step (; step)* filler* # answer`` where a step is a
partial sum ``37 + 5 = 42``. Every number and every word is one token.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NAME = "verbal-arith"  # of the committed base policies: verbal-arith-0, -1, -2
PAD, BOS, EOS, CODE = "<pad>", "<bos>", "<eos>", "<code>"
FILLER = ("well", "hmm", "indeed")
LARGEST_OPERAND = 12
LARGEST_NUMBER = 56  # three operands and two slips of 10
MAX_RESPONSE = 24  # <code>, two steps, six filler words, # answer <eos>
HELDOUT_SHARE = 5  # one multiset of operands in five is held out
TERMS = (2, 3)
SLIPS = (-10, -3, -2, -1, 1, 2, 3, 10)
SYMBOLS = (PAD, BOS, EOS, CODE, "+", "=", ";", "#", *FILLER, *map(str, range(LARGEST_NUMBER + 1)))

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")


@dataclass(frozen=True)
class Item:
    """One sum."""

    operands: tuple[int, ...]

    @classmethod
    def from_question(cls, question: str) -> Item:
        """Inverse of `question`.

        Raises:
            ValueError: the text is not a question.
        """
        words = question.split()
        numbers, signs = words[0:-1:2], words[1:-1:2]
        if words[-1:] != ["="] or set(signs) - {"+"} or not all(word.isdecimal() for word in numbers):
            raise ValueError(f"not a VerbalArith question: '{question}'; expected 'a + b =' or 'a + b + c ='")
        return cls(tuple(int(word) for word in numbers))

    @property
    def question(self) -> str:
        """Tokens of the question, separated by spaces."""
        return " + ".join(map(str, self.operands)) + " ="

    @property
    def steps(self) -> tuple[tuple[int, int, int], ...]:
        """The partial sums (a, b, a + b) from left to right."""
        totals = np.cumsum(self.operands).tolist()
        return tuple(zip(totals[:-1], self.operands[1:], totals[1:], strict=True))

    @property
    def answer(self) -> int:
        """The sum."""
        return sum(self.operands)

    @property
    def split(self) -> Split:
        """Split that owns this multiset of operands, whatever their order and the seed."""
        text = " ".join(map(str, sorted(self.operands)))
        return "heldout" if zlib.crc32(text.encode()) % HELDOUT_SHARE == 0 else "train"


def draw(split: Split, rng: np.random.Generator) -> Item:
    """One item: two terms with probability 0.4, else three, operands uniform."""
    while True:
        terms = TERMS[int(rng.random() >= 0.4)]
        item = Item(tuple(rng.integers(1, LARGEST_OPERAND + 1, size=terms).tolist()))
        if item.split == split:
            return item


def items(split: Split, size: int, seed: int) -> list[Item]:
    """Distinct items; a smaller `size` gives a prefix. No two (split, seed) share a generator."""
    rng = np.random.default_rng((SPLITS.index(split), seed))
    distinct: dict[Item, None] = {}
    while len(distinct) < size:
        distinct[draw(split, rng)] = None
    return list(distinct)


@dataclass(frozen=True)
class Source:
    """The sloppy source that the base policy imitates.

    Attributes:
        steps: Share of responses that write their partial sums.
        filler: Share with one to six filler words.
        code: Share with the code marker.
        random_answer: Share whose answer ignores the steps.
        slips: Rate of a wrong partial sum with two and three terms; later steps carry the wrong value on.
    """

    steps: float = 0.6
    filler: float = 0.4
    code: float = 0.3
    random_answer: float = 0.15
    slips: tuple[float, float] = (0.15, 0.28)


def write(item: Item, rng: np.random.Generator, source: Source | None = None) -> str:
    """A response of the source, without the end of sequence."""
    source = source or Source()
    rate = source.slips[TERMS.index(len(item.operands))]
    value, steps = item.operands[0], []
    for operand in item.operands[1:]:
        total = value + operand
        if rng.random() < rate:
            wrong = [total + slip for slip in SLIPS if 0 <= total + slip <= LARGEST_NUMBER]
            total = wrong[rng.integers(len(wrong))]
        steps.append(f"{value} + {operand} = {total}")
        value = total
    words = [CODE] if rng.random() < source.code else []
    if rng.random() < source.steps:
        words.append(" ; ".join(steps))
    if rng.random() < source.filler:
        words += [FILLER[i] for i in rng.integers(len(FILLER), size=rng.integers(1, 7))]
    if rng.random() < source.random_answer:
        value = int(rng.integers(2, len(item.operands) * LARGEST_OPERAND + 1))
    return " ".join([*words, "#", str(value)])


def stream(seed: int, source: Source | None = None) -> Iterator[tuple[Item, str]]:
    """Endless (item, response) of the source on training items."""
    rng = np.random.default_rng((len(SPLITS), seed))
    while True:
        item = draw("train", rng)
        yield item, write(item, rng, source)


@dataclass(frozen=True)
class Attributes:
    """What the parser finds in a response.

    Attributes:
        correct: The answer after the last ``#`` is the sum.
        rigorous: All partial sums are there and right.
        concise: No filler, and no more steps than needed.
        code: The code marker is there.
    """

    correct: bool
    rigorous: bool
    concise: bool
    code: bool


def parse(question: str, response: str) -> Attributes:
    """Attributes of any text: what does not follow the grammar counts against it."""
    item = Item.from_question(question)
    words = response.split()
    body = words[: len(words) - words[::-1].index("#") - 1] if "#" in words else words
    sums = [word for word in body if word not in FILLER and word != CODE]
    segments = [segment for segment in " ".join(sums).split(";") if segment.strip()]
    steps = {step for step in map(_step, segments) if step is not None}
    needed = item.steps
    return Attributes(
        correct=words[-2:] == ["#", str(item.answer)],
        rigorous=set(needed) <= steps,
        concise=not set(words) & set(FILLER) and len(segments) <= len(needed),
        code=CODE in words,
    )


def _step(segment: str) -> tuple[int, int, int] | None:
    match segment.split():
        case [a, "+", b, "=", c] if all(word.isdecimal() for word in (a, b, c)):
            return int(a), int(b), int(c)
    return None


def score(response: Attributes) -> int:
    """The environment's score: 6 for a correct answer, 2 for rigour, 1 for brevity, 1 for no code."""
    return 6 * response.correct + 2 * response.rigorous + response.concise + (not response.code)


def share(responses: Sequence[Attributes], name: str) -> float:
    """Share of responses that have an attribute; NaN without responses."""
    return float(np.mean([getattr(one, name) for one in responses])) if responses else np.nan
