"""Optimisation problems in words, solved by a model in six written steps that a solver can run.

A prompt tells a small problem of one of five families in English; a solution copies the parameters, chooses
variables, states objective and constraints by name and repeats these lines as a program (`language`). HiGHS
solves what was written (`verification`), and the generator knows every true formulation (`formulation`), so
that the outcome and each step can be judged apart: a wrong step with the right optimum is a *lucky* solution
(`corruption`). Here stand the problems and their splits; they need no solver.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

import numpy as np

from common.tasks.or_models.problems import FAMILIES, Domain, Family, Parameters, draw_data
from common.tasks.or_models.texts import PHRASINGS, SCENARIOS, WORDS, describe

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
STEP, END = "<step>", "</step>"
STEPS = 6
LARGEST = 99
"""Of all numbers in problems; each is one token."""
_LANGUAGE = ("max", "min", "int", "cont", "bin", "unit", "box", "sum", "pack", "<=", ">=", "=", "+", "*", ";")
_NAMES = ("c", "c1", "c2", "A1", "A2", "b1", "b2", "lo", "up", "k", "s1", "s2", "d", "f", "K", "D")
_VARIABLES = ("x", "y", "x1", "x2")
REASONS = ("reading", "parameters", "variables", "unit", "objective", "constraints", "program")
"""Why a step is wrong, as the oracle and a verifier write it."""
VERDICT_WORDS = ("STEP", "CORRECT", "INCORRECT", *REASONS)
VOCABULARY = tuple(
    dict.fromkeys(
        [
            *(PAD, BOS, EOS, STEP, END, *_LANGUAGE, *_NAMES, *_VARIABLES, *FAMILIES, *VERDICT_WORDS),
            *(*map(str, range(LARGEST + 1)), *WORDS),
        ]
    )
)
MAX_PROMPT, MAX_COMPLETION = 70, 130  # tokens, `EOS` included

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")
HELDOUT_SHARE = 5  # one problem in five belongs to the held-out split


@dataclass(frozen=True)
class Item:
    """One problem.

    Attributes:
        family: Its kind.
        parameters: Its numbers by name.
        domain: Of the quantity x that is asked for.
        scenario, phrasing: Which words tell it.
    """

    family: Family
    parameters: Parameters
    domain: Domain
    scenario: int
    phrasing: int

    @property
    def prompt(self) -> str:
        """The problem in words, tokens separated by spaces, `BOS` first."""
        words = describe(self.family, self.parameters, self.domain, self.scenario, self.phrasing)
        return f"{BOS} {words}"

    @property
    def split(self) -> Split:
        """Split that owns the numbers, in whatever words: a fixed function of them, whatever the seed."""
        numbers = repr((self.family, self.parameters, self.domain)).encode()
        return "heldout" if zlib.crc32(numbers) % HELDOUT_SHARE == 0 else "train"


@dataclass(frozen=True)
class OrModelsConfig:
    """Which problems to draw.

    Attributes:
        seed: Seed of the draw; an item's generator is keyed by (split, seed, index): streams never overlap.
        size: Number of distinct problems.
        split: Problems belong to one split only: held-out numbers are unseen in training in any words.
        families: Drawn in turn.
        scenarios: Places of the scenarios that tell them, 0 to 3.
    """

    seed: int = 0
    size: int = 600
    split: Split = "train"
    families: tuple[Family, ...] = FAMILIES
    scenarios: tuple[int, ...] = tuple(range(SCENARIOS))

    def validate(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, the value and what would be right.
        """
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"OrModelsConfig.seed is {self.seed}; expected 0 ≤ seed < 2**32")
        if self.size < 1:
            raise ValueError(f"OrModelsConfig.size is {self.size}; expected at least 1")
        if self.split not in SPLITS:
            raise ValueError(f"OrModelsConfig.split is '{self.split}'; expected one of {', '.join(SPLITS)}")
        if not self.families or not set(self.families) <= set(FAMILIES):
            raise ValueError(
                f"OrModelsConfig.families is {self.families}; expected some of {', '.join(FAMILIES)}"
            )
        if not self.scenarios or not set(self.scenarios) <= set(range(SCENARIOS)):
            raise ValueError(f"OrModelsConfig.scenarios is {self.scenarios}; expected some of 0 to 3")


HELDOUT = OrModelsConfig(size=300, split="heldout")


def draw(config: OrModelsConfig, family: Family, rng: np.random.Generator) -> Item:
    """Draw one problem of a family and of the configuration's split and scenarios."""
    while True:
        parameters, domain = draw_data(family, rng)
        scenario, phrasing = int(rng.choice(config.scenarios)), int(rng.integers(PHRASINGS))
        item = Item(family, parameters, domain, scenario, phrasing)
        if item.split == config.split:
            return item


def items(config: OrModelsConfig) -> tuple[Item, ...]:
    """The distinct problems of a configuration; a smaller `size` gives a prefix of a larger one.

    Raises:
        ValueError: bad configuration, or a family with fewer problems than asked for.
    """
    config.validate()
    chosen: dict[Item, None] = {}
    for index in range(config.size):
        rng = np.random.default_rng((SPLITS.index(config.split), config.seed, index))
        family = config.families[index % len(config.families)]
        candidates = (draw(config, family, rng) for _ in range(1000))
        fresh = next((item for item in candidates if item not in chosen), None)
        if fresh is None:
            raise ValueError(f"OrModelsConfig.size is {config.size}; '{family}' has no further problems")
        chosen[fresh] = None
    return tuple(chosen)


def stream(config: OrModelsConfig) -> Iterator[tuple[Item, np.random.Generator]]:
    """Endless problems with repetition, each with the generator for its solution (supervised training)."""
    config.validate()
    rng = np.random.default_rng((len(SPLITS) + SPLITS.index(config.split), config.seed))
    for index in count():
        yield draw(config, config.families[index % len(config.families)], rng), rng
