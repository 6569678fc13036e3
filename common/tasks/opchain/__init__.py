"""OpChain: chains of five binary operations modulo 11, with worked traces and an exact verifier.

A prompt ``<bos> v0 op1 v1 ... opd vd =`` asks for the left-to-right value of the chain. A response writes one
step after another, ``so|let op_i v_i x_i ;``, may revise a step with ``wait x_i ;`` and closes with
``<ans> x_d <eos>``. Every symbol is one token. Three operators are ordinary and two invented; a policy
warm-started on traces corrupted at known rates has a known pass rate on each level (`pass_probability`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Literal

import numpy as np
from jaxtyping import Float

MODULUS = 11
PAD, BOS, EOS, ANS = "<pad>", "<bos>", "<eos>", "<ans>"
CONNECTORS = ("so", "let")
WAIT = "wait"
OPERATORS = ("+", "-", "*", "@", "#")
VOCABULARY = (PAD, BOS, EOS, ANS, "=", ";", *CONNECTORS, WAIT, *OPERATORS, *map(str, range(MODULUS)))

Level = Literal["E", "M", "H", "X"]
Split = Literal["train", "heldout"]
LEVELS: tuple[Level, ...] = ("E", "M", "H", "X")
SPLITS: tuple[Split, ...] = ("train", "heldout")
HELDOUT_SHARE = 5  # one prompt in five belongs to the held-out split
_SHORTEST, _LONGEST = {"E": 1, "M": 2, "H": 1, "X": 1}, {"E": 2, "M": 4, "H": 2, "X": 2}
MAX_OPERATIONS = max(_LONGEST.values())
MAX_COMPLETION = 8 * MAX_OPERATIONS + 3  # every step revised, then the answer


def apply(operator: str, a: int, b: int) -> int:
    """Value of ``a operator b`` modulo 11; `@` is a+2b+3 and `#` is 3a-b+1."""
    match operator:
        case "+":
            return (a + b) % MODULUS
        case "-":
            return (a - b) % MODULUS
        case "*":
            return (a * b) % MODULUS
        case "@":
            return (a + 2 * b + 3) % MODULUS
        case "#":
            return (3 * a - b + 1) % MODULUS
    raise ValueError(f"unknown operator '{operator}'; expected one of {' '.join(OPERATORS)}")


@dataclass(frozen=True)
class Item:
    """One chain: a start value and the operations applied to it from left to right."""

    start: int
    operators: tuple[str, ...]
    operands: tuple[int, ...]

    @classmethod
    def from_prompt(cls, prompt: str) -> Item:
        """Inverse of `prompt`.

        Raises:
            ValueError: the text is not an OpChain prompt.
        """
        tokens = prompt.split()
        body = tokens[1:-1]
        operators, values = tuple(body[1::2]), body[0::2]
        well_formed = (
            tokens[:1] == [BOS]
            and tokens[-1:] == ["="]
            and len(values) == len(operators) + 1
            and set(operators) <= set(OPERATORS)
            and set(values) <= set(map(str, range(MODULUS)))
        )
        if not well_formed or not operators:
            raise ValueError(f"not an OpChain prompt: '{prompt}'; expected '{BOS} v0 op1 v1 ... ='")
        numbers = [int(value) for value in values]
        return cls(numbers[0], operators, tuple(numbers[1:]))

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """Pairs (operator, operand) in the order of evaluation."""
        return tuple(zip(self.operators, self.operands, strict=True))

    @property
    def values(self) -> tuple[int, ...]:
        """Running values x_1 … x_d."""
        running, value = [], self.start
        for operator, operand in self.steps:
            value = apply(operator, value, operand)
            running.append(value)
        return tuple(running)

    @property
    def answer(self) -> int:
        """Value of the whole chain, x_d."""
        return self.values[-1]

    @property
    def prompt(self) -> str:
        """The prompt, tokens separated by spaces."""
        chain = [token for operator, operand in self.steps for token in (operator, str(operand))]
        return " ".join([BOS, str(self.start), *chain, "="])

    @property
    def level(self) -> Level:
        """E: only `+ -`; M: with `*`; H: exactly one `@`; X: a `#` or two `@`."""
        invented = self.operators.count("@") + 2 * self.operators.count("#")
        if invented:
            return "H" if invented == 1 else "X"
        return "M" if "*" in self.operators else "E"

    @property
    def split(self) -> Split:
        """Split that owns this chain: a fixed function of the prompt, whatever the seed."""
        return "heldout" if zlib.crc32(self.prompt.encode()) % HELDOUT_SHARE == 0 else "train"


@dataclass(frozen=True)
class OpChainConfig:
    """Which chains to draw.

    Attributes:
        seed: Seed of the draw; an item's generator is keyed by (split, seed, index): streams never overlap.
        size: Number of distinct prompts (the study trains on 600 and evaluates on 200).
        split: Prompts belong to one split only, so held-out operands are unseen in training.
        mix: Shares of the levels E, M, H, X.
    """

    seed: int = 0
    size: int = 600
    split: Split = "train"
    mix: tuple[float, float, float, float] = (0.20, 0.30, 0.35, 0.15)

    def validate(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, the value and what would be right.
        """
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"OpChainConfig.seed is {self.seed}; expected 0 ≤ seed < 2**32")
        if not 1 <= self.size < 2**32:
            raise ValueError(f"OpChainConfig.size is {self.size}; expected at least 1")
        if self.split not in SPLITS:
            raise ValueError(f"OpChainConfig.split is '{self.split}'; expected one of {', '.join(SPLITS)}")
        if len(self.mix) != len(LEVELS) or min(self.mix) < 0 or abs(sum(self.mix) - 1) > 1e-9:
            raise ValueError(f"OpChainConfig.mix is {self.mix}; expected four shares ≥ 0 that sum to 1")


HELDOUT = OpChainConfig(size=200, split="heldout")


def level_of(index: int, mix: Sequence[float]) -> Level:
    """Level of item `index`: shares are exact in every 100 items and close to it in any prefix."""
    place = (index * 61 % 100 + 0.5) / 100  # 61/100 is close to the golden ratio: an even spread
    return LEVELS[min(int(np.searchsorted(np.cumsum(mix), place)), len(LEVELS) - 1)]


def draw(level: Level, split: Split, rng: np.random.Generator) -> Item:
    """Draw one chain of a level and split: length uniform, then operators and operands.

    E has 1–2 of `+ -`; M has 2–4 of `+ - *` with at least one `*`; H has one `@` and at most one of `+ -`;
    X has one `#` and at most one of `+ -`, or (half the time) two `@`.
    """
    while True:
        length = int(rng.integers(_SHORTEST[level], _LONGEST[level] + 1))
        operators = [("+", "-", "*")[i] for i in rng.integers(3 if level == "M" else 2, size=length)]
        if level == "X" and rng.random() < 0.5:
            operators = ["@", "@"]
        elif level != "E":
            operators[rng.integers(length)] = {"M": "*", "H": "@", "X": "#"}[level]
        values = rng.integers(MODULUS, size=len(operators) + 1).tolist()
        item = Item(values[0], tuple(operators), tuple(values[1:]))
        if item.split == split:
            return item


def items(config: OpChainConfig) -> tuple[Item, ...]:
    """The distinct chains of a configuration; a smaller `size` gives a prefix of a larger one.

    Raises:
        ValueError: bad configuration, or a level with fewer prompts than asked for.
    """
    config.validate()
    chosen: dict[Item, None] = {}
    for index in range(config.size):
        rng = np.random.default_rng((SPLITS.index(config.split), config.seed, index))
        level = level_of(index, config.mix)
        candidates = (draw(level, config.split, rng) for _ in range(10_000))
        fresh = next((item for item in candidates if item not in chosen), None)
        if fresh is None:
            raise ValueError(f"OpChainConfig.size is {config.size}; level {level} has no further prompts")
        chosen[fresh] = None
    return tuple(chosen)


def stream(seed: int, mix: Sequence[float] = OpChainConfig.mix) -> Iterator[tuple[Item, np.random.Generator]]:
    """Endless training chains with repetition, each with the generator for its trace (warm starts)."""
    rng = np.random.default_rng((len(SPLITS), seed))
    for index in count():
        yield draw(level_of(index, mix), "train", rng), rng


@dataclass(frozen=True)
class Corruption:
    """Rates at which warm-start traces go wrong; a wrong value is carried on consistently.

    Attributes:
        add, subtract, multiply: Probability of a uniformly drawn wrong value.
        decoy, exact: For `@`, probabilities of a+2b and of the right value; else uniform over all values.
        repair: Probability of a `wait` after a wrong `*` step.
        repair_right: Probability that this `wait` states the right value; otherwise a uniform wrong one.
        recheck: Probability of a `wait` with the same value after a right step.
    """

    add: float = 0.03
    subtract: float = 0.05
    multiply: float = 0.20
    decoy: float = 0.70
    exact: float = 0.05
    repair: float = 0.30
    repair_right: float = 0.90
    recheck: float = 0.03


def _missing(right: int, rate: float) -> Float[np.ndarray, " m"]:
    """Law of a value that is wrong with probability `rate`, uniformly among the wrong ones."""
    law = np.full(MODULUS, rate / (MODULUS - 1))
    law[right] = 1 - rate
    return law


@lru_cache(maxsize=4096)
def step_law(operator: str, a: int, b: int, noise: Corruption) -> Float[np.ndarray, " m"]:
    """Law of the first value that a corrupted trace writes for ``a operator b``, shape ``[11]``."""
    right, uniform = apply(operator, a, b), np.full(MODULUS, 1 / MODULUS)
    match operator:
        case "#":
            return uniform
        case "@":
            law = (1 - noise.decoy - noise.exact) * uniform
            law[(a + 2 * b) % MODULUS] += noise.decoy
            law[right] += noise.exact
            return law
    return _missing(right, {"+": noise.add, "-": noise.subtract, "*": noise.multiply}[operator])


def pass_probability(item: Item, noise: Corruption | None = None) -> float:
    """Exact probability that a corrupted trace ends in the right answer, lucky errors included."""
    noise = noise or Corruption()
    law = np.eye(MODULUS)[item.start]
    for operator, operand in item.steps:
        after = np.zeros(MODULUS)
        for a in range(MODULUS):
            right, written = apply(operator, a, operand), step_law(operator, a, operand, noise)
            if operator == "*":
                repaired = noise.repair * (1 - written[right])
                kept = np.where(np.arange(MODULUS) == right, written, (1 - noise.repair) * written)
                written = kept + repaired * _missing(right, 1 - noise.repair_right)
            after += law[a] * written
        law = after
    return float(law[item.answer])


def _sample(law: Float[np.ndarray, " m"], rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(np.cumsum(law), rng.random(), side="right")), MODULUS - 1)


def trace(item: Item, rng: np.random.Generator, noise: Corruption | None = None) -> tuple[str, ...]:
    """A worked completion, ``<eos>`` included: clean without `noise`, else corrupted at its rates.

    Each step holds relative to the value carried into it, so an early error changes all later values.
    """
    tokens: list[str] = []
    value = item.start
    for operator, operand in item.steps:
        right = apply(operator, value, operand)
        value = right if noise is None else _sample(step_law(operator, value, operand, noise), rng)
        tokens += [CONNECTORS[rng.integers(2)], operator, str(operand), str(value), ";"]
        if noise is None:
            continue
        if value == right and rng.random() < noise.recheck:
            tokens += [WAIT, str(value), ";"]
        elif value != right and operator == "*" and rng.random() < noise.repair:
            value = _sample(_missing(right, 1 - noise.repair_right), rng)
            tokens += [WAIT, str(value), ";"]
    return (*tokens, ANS, str(value), EOS)


def reward(completion: Sequence[str], item: Item) -> int:
    """1 iff the token after the last ``<ans>`` is x_d and the sequence ends with ``<eos>``, else 0.

    `completion` is without padding; a truncated completion lacks ``<eos>`` and earns 0.
    """
    tokens = list(completion)
    if not tokens or tokens[-1] != EOS or ANS not in tokens:
        return 0
    after = len(tokens) - tokens[::-1].index(ANS)  # the last <ans> cannot be the last token, which is <eos>
    return int(tokens[after] == str(item.answer))
