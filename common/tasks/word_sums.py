"""Chains of sums in words, worked out line by line, with an exact verifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.tasks.dialogue import SLOTS, words

LARGEST = 20  # numbers of the vocabulary are 0 … LARGEST
PLACES = ("1st", "2nd", "3rd", "4th", "5th", "6th")
OPERATORS = ("plus", "minus", "times")
VOCABULARY = (
    *map(str, range(LARGEST + 1)),
    *PLACES,
    *OPERATORS,
    *words("has ; = so gives nl answer"),
)


@dataclass(frozen=True)
class Chain:
    """A person's start value and what happens to it, from left to right."""

    name: str
    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def values(self) -> tuple[int, ...]:
        """Running values, the start first."""
        values = [self.start]
        for word, operand in self.steps:
            values.append(_apply(word, values[-1], operand))
        return tuple(values)

    @property
    def answer(self) -> int:
        """The last value."""
        return self.values[-1]

    @property
    def key(self) -> str:
        """The chain without the name, which decides the split."""
        return " ".join([str(self.start), *(f"{word} {operand}" for word, operand in self.steps)])

    @property
    def question(self) -> str:
        """The problem in words."""
        told = [
            f"; {place} {word} {operand}" for place, (word, operand) in zip(PLACES, self.steps, strict=False)
        ]
        return " ".join([f"{self.name} has {self.start}", *told])

    def worked(self, rng: np.random.Generator, paraphrases: tuple[float, ...]) -> str:
        """The solution, one step a line, each in one of two wordings, and the answer."""
        values, lines = self.values, []
        short = paraphrases[0] / (paraphrases[0] + paraphrases[1])
        for index, (word, operand) in enumerate(self.steps):
            step, after = f"{word} {operand}", values[index + 1]
            wordings = (f"{PLACES[index]} {step} = {after} nl", f"{PLACES[index]} so {step} gives {after} nl")
            lines.append(wordings[int(rng.random() >= short)])
        return " ".join([*lines, "answer", str(self.answer)])

    def correct(self, answer: Sequence[str]) -> bool:
        """True iff the text ends with ``answer`` and the right number."""
        return list(answer[-2:]) == ["answer", str(self.answer)]


def _apply(word: str, a: int, b: int) -> int:
    return {"plus": a + b, "minus": a - b, "times": a * b}[word]


def draw(
    rng: np.random.Generator, operations: tuple[int, int], slot_values: int, largest: int = LARGEST
) -> Chain:
    """A chain with a uniform number of operations, none of which leaves 0 … `largest`."""
    name = SLOTS["name"][rng.integers(slot_values)]
    start = value = int(rng.integers(1, largest + 1))
    steps: list[tuple[str, int]] = []
    for _ in range(int(rng.integers(operations[0], operations[1] + 1))):
        word, operand = _step(value, largest, rng)
        steps.append((word, operand))
        value = _apply(word, value, operand)
    return Chain(name, start, tuple(steps))


def _step(value: int, largest: int, rng: np.random.Generator) -> tuple[str, int]:
    options = ["plus"] * (value < largest) + ["minus"] * (value > 0) + ["times"] * (0 < value <= largest // 2)
    word = options[rng.integers(len(options))]
    highest = {"plus": largest - value, "minus": value, "times": largest // max(value, 1)}[word]
    return word, int(rng.integers(2 if word == "times" else 1, highest + 1))
