"""Ladder: running sums written out, with rollouts of very different lengths and an exact verifier.

A prompt ``<bos>sum:k7l3m9=`` asks for the sum of labelled terms; a response ``7+l3=10;10+m9=19;ans 19<eos>``
climbs there. Every character is one token; the labels, consecutive letters from any one on, let a small model
find the next term, and make it look there instead of counting places. The number of terms is geometric, so
the longest responses of a batch are about three times as long as the average: what schedules that follow the
batch size live on. The same sum can be written in two dialects, verbose (one term a step) and terse (two or
three): a policy that moves from one to the other drifts far.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
LABELS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = (PAD, BOS, EOS, *"0123456789", *"+=; :", *LABELS)

Dialect = Literal["verbose", "terse"]
Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")
HELDOUT_SHARE = 5  # one prompt in five belongs to the held-out split
TERSE_STEPS = (2, 3)  # terms that a terse step adds
FORMAT_BONUS = 0.2
_PROMPT = re.compile(rf"{BOS}sum:((?:[a-z]\d+){{2,}})=")
_ANSWER = re.compile(rf"ans (\d+){EOS}$")


@dataclass(frozen=True)
class Item:
    """One sum of two to 26 non-negative integers.

    Attributes:
        terms: The integers.
        first: Place in the alphabet of the first term's label; behind z comes a.
    """

    terms: tuple[int, ...]
    first: int = 0

    @classmethod
    def from_prompt(cls, prompt: str) -> Item:
        """Inverse of `prompt`.

        Raises:
            ValueError: the text is not a prompt of this task.
        """
        found = _PROMPT.fullmatch(prompt)
        item = (
            cls(tuple(map(int, re.findall(r"\d+", found[1]))), LABELS.index(found[1][0])) if found else None
        )
        if item is None or item.prompt != prompt:
            raise ValueError(f"not a ladder prompt: '{prompt}'; expected e.g. '{BOS}sum:a7b3c9='")
        return item

    @property
    def answer(self) -> int:
        """Sum of the terms."""
        return sum(self.terms)

    @property
    def labelled(self) -> tuple[str, ...]:
        """Each term behind its letter."""
        return tuple(
            f"{LABELS[(self.first + place) % len(LABELS)]}{term}" for place, term in enumerate(self.terms)
        )

    @property
    def prompt(self) -> str:
        """The prompt's text, `BOS` included."""
        return f"{BOS}sum:{''.join(self.labelled)}="

    @property
    def split(self) -> Split:
        """Split that owns this sum: a fixed function of the prompt, whatever the seed."""
        return "heldout" if zlib.crc32(self.prompt.encode()) % HELDOUT_SHARE == 0 else "train"


@dataclass(frozen=True)
class LadderConfig:
    """Which sums to draw.

    Attributes:
        seed: Seed of the draw; an item's generator is keyed by (split, seed, index): streams never overlap.
        size: Number of distinct prompts.
        split: Prompts belong to one split only.
        p: Parameter of the geometric law of the number of terms; a smaller one gives longer sums.
        longest: Most terms of a sum; with 16, a right verbose response has at most about 150 tokens.
        digits: Most digits of a term.
        terms: Number of terms of every sum; 0 draws it from the geometric law.
    """

    seed: int = 0
    size: int = 600
    split: Split = "train"
    p: float = 0.18
    longest: int = 16
    digits: int = 1
    terms: int = 0

    def validate(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, the value and what would be right.
        """
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"LadderConfig.seed is {self.seed}; expected 0 ≤ seed < 2**32")
        if not 1 <= self.size < 2**32:
            raise ValueError(f"LadderConfig.size is {self.size}; expected at least 1")
        if self.split not in SPLITS:
            raise ValueError(f"LadderConfig.split is '{self.split}'; expected one of {', '.join(SPLITS)}")
        if not 0 < self.p <= 1:
            raise ValueError(f"LadderConfig.p is {self.p}; expected 0 < p ≤ 1")
        if not 2 <= self.longest <= len(LABELS):
            raise ValueError(f"LadderConfig.longest is {self.longest}; expected 2 to {len(LABELS)}")
        if self.digits < 1:
            raise ValueError(f"LadderConfig.digits is {self.digits}; expected at least 1")
        if self.terms and not 2 <= self.terms <= self.longest:
            raise ValueError(f"LadderConfig.terms is {self.terms}; expected 0 or 2 to {self.longest}")


HELDOUT = LadderConfig(size=256, split="heldout")


def draw(config: LadderConfig, rng: np.random.Generator) -> Item:
    """Draw one sum of the configuration's split: 2 + min(longest - 2, Geom(p)) terms, all values uniform."""
    while True:
        terms = config.terms or 2 + min(config.longest - 2, int(rng.geometric(config.p)) - 1)
        values = rng.integers(10**config.digits, size=terms).tolist()
        item = Item(tuple(values), int(rng.integers(len(LABELS))))
        if item.split == config.split:
            return item


def items(config: LadderConfig) -> tuple[Item, ...]:
    """The distinct sums of a configuration; a smaller `size` gives a prefix of a larger one.

    Raises:
        ValueError: bad configuration, or fewer prompts than asked for.
    """
    config.validate()
    chosen: dict[Item, None] = {}
    for index in range(config.size):
        rng = np.random.default_rng((SPLITS.index(config.split), config.seed, index))
        candidates = (draw(config, rng) for _ in range(10_000))
        fresh = next((item for item in candidates if item not in chosen), None)
        if fresh is None:
            raise ValueError(f"LadderConfig.size is {config.size}; there are no further prompts")
        chosen[fresh] = None
    return tuple(chosen)


def stream(config: LadderConfig) -> Iterator[tuple[Item, np.random.Generator]]:
    """Endless sums with repetition, each with the generator for its trace (supervised training)."""
    config.validate()
    rng = np.random.default_rng((len(SPLITS) + SPLITS.index(config.split), config.seed))
    for _ in count():
        yield draw(config, rng), rng


@dataclass(frozen=True)
class TraceLaw:
    """How traces for supervised training are written.

    Attributes:
        terse: Share of traces in the terse dialect.
        corruption: Probability that a digit of a result is replaced by another one; the wrong value is
            carried on.
    """

    terse: float = 0.5
    corruption: float = 0.08


def trace(item: Item, rng: np.random.Generator, law: TraceLaw | None = None) -> str:
    """A worked response, ``<eos>`` included: verbose and right without `law`, else drawn from it."""
    terse = law is not None and rng.random() < law.terse
    value, place, steps = item.terms[0], 1, []
    while place < len(item.terms):
        size = TERSE_STEPS[rng.integers(len(TERSE_STEPS))] if terse else 1
        added = item.terms[place : place + size]
        place += len(added)
        total = value + sum(added)
        written = total if law is None else _corrupt(total, law.corruption, rng)
        steps.append(f"{value}+{'+'.join(item.labelled[place - len(added) : place])}={written};")
        value = written
    return f"{''.join(steps)}ans {value}{EOS}"


def _corrupt(value: int, rate: float, rng: np.random.Generator) -> int:
    """Each digit replaced with probability `rate` by one of the nine others."""
    digits = [int(digit) for digit in str(value)]
    wrong = rng.random(len(digits)) < rate
    shifts = rng.integers(1, 10, size=len(digits))
    moved = [(d + s) % 10 if w else d for d, s, w in zip(digits, shifts, wrong, strict=True)]
    return int("".join(map(str, moved)))


def correct(response: str, item: Item) -> bool:
    """Whether the response ends with ``ans``, the exact sum and `EOS`; a truncated one lacks the latter."""
    found = _ANSWER.search(response)
    return found is not None and int(found[1]) == item.answer


def reward(response: str, item: Item) -> float:
    """1 for the right answer, and 0.2 more if the response holds exactly one ``ans``."""
    return float(correct(response, item)) + FORMAT_BONUS * (response.count("ans") == 1)


def dialect(response: str) -> Dialect:
    """Terse if any step adds more than one term."""
    return "terse" if any(step.count("+") > 1 for step in response.split(";")) else "verbose"
