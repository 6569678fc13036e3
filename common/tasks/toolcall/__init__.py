"""ToolCall-Mini: queries that a tool answers, with thoughts, calls in JSON, and an exact verifier.

Tools get new names in every item, so that a policy has to read. A query names what a tool does and gives each
parameter as a chain of operations modulo 5, or as the last observation; a response names the tool and works
the chains out in a thought, and copies both into a call. Every symbol is one token, an operation with its
operand too, and none of a query stands in it twice: what a thought copies next always stands behind what it
copied last, which a decoder of two layers can learn. Where no tool fits or a value is unknown, the right
response has words and no call. Dialogues are sequences of such steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Literal, Protocol

import numpy as np

from common.tasks.toolcall.calls import TAGS, Call, Mark, mark

MODULUS = 5
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
THINK, THOUGHT, CALL, CALLED, SAY, SAID = TAGS
TOOLS, HISTORY, USER, ASSISTANT, OBSERVED = "[tools]", "[history]", "[user]", "[assistant]", "<obs>"
PREVIOUS, UNKNOWN, NONE, SORRY = "prev", "?", "none", "sorry"
NAME, PARAMETERS, NEXT, END = '{"name":', ',"parameters":{', ",", "}}"
OPERATORS = {"+": 0.3, "-": 0.3, "*": 0.2, "@": 0.2}
"""With the share of each among operations."""
OPERATIONS = tuple(product(OPERATORS, range(MODULUS)))
NAMES = tuple(f'"n{index}"' for index in range(8))
KEYS = tuple(f'"k{index}":' for index in range(8))
DESCRIPTIONS = tuple(f"s{index}" for index in range(4))
# fmt: off
VOCABULARY = (
    PAD, BOS, EOS, *TAGS, TOOLS, HISTORY, USER, ASSISTANT, OBSERVED, PREVIOUS, UNKNOWN, NONE, SORRY,
    NAME, PARAMETERS, NEXT, END, *NAMES, *KEYS, *DESCRIPTIONS,
    *(f"{operator}{operand}" for operator, operand in OPERATIONS),
    *(f"={number}" for number in range(MODULUS)), *map(str, range(MODULUS)),
)
# fmt: on
Kind = Literal["call", "no_tool", "no_value", "two"]
Split = Literal["train", "heldout", "dialogues"]
SPLITS: tuple[Split, ...] = ("train", "heldout", "dialogues")
Level = Literal["1", "2", "3"]
LEVELS: tuple[Level, ...] = ("1", "2", "3")
TURNS = ("base", "no_tool", "no_value", "long")
"""Dialogues: every step answerable; one step without its tool; one without a value; others before them."""
LONGEST = 47
"""Tokens of a right response at most, two calls of two parameters with one operation each."""


def apply(operator: str, a: int, b: int) -> int:
    """Value of ``a operator b`` modulo 5; `@` is a+2b+3."""
    values = {"+": a + b, "-": a - b, "*": a * b, "@": a + 2 * b + 3}
    return values[operator] % MODULUS


@dataclass(frozen=True)
class Chain:
    """A value: operations applied from left to right, or the last observation (`start` None).

    Attributes:
        start: First number.
        steps: Pairs of operator and operand.
    """

    start: int | None
    steps: tuple[tuple[str, int], ...] = ()

    @property
    def tokens(self) -> list[str]:
        """As a query writes it."""
        first = PREVIOUS if self.start is None else f"={self.start}"
        return [first, *(f"{operator}{operand}" for operator, operand in self.steps)]


@dataclass(frozen=True)
class Tool:
    """A tool of an item: its name, and what it does."""

    name: str
    description: str


@dataclass(frozen=True)
class Clause:
    """One wish of a query: what is to be done, with the value of each parameter, None where it is unknown."""

    description: str
    values: tuple[tuple[str, Chain | None], ...]


class Asked(Protocol):
    """What a policy can be asked: a prompt, and the right calls."""

    @property
    def prompt(self) -> str:
        """What it reads."""

    @property
    def truth(self) -> list[Call]:
        """What it should call; nothing where words are right."""


@dataclass(frozen=True)
class Item:
    """One step: tools, earlier calls with what they gave, and a query.

    Attributes:
        tools: As the prompt lists them.
        history: Names of the tools called earlier, and their observations.
        clauses: The query.
    """

    tools: tuple[Tool, ...]
    history: tuple[tuple[str, int], ...]
    clauses: tuple[Clause, ...]

    @property
    def prompt(self) -> str:
        """What the policy reads, tokens separated by spaces; a value stands before its parameter."""
        tokens = [BOS, TOOLS]
        for tool in self.tools:
            tokens += [tool.description, tool.name]
        if self.history:
            tokens.append(HISTORY)
        for name, observed in self.history:
            tokens += [name, OBSERVED, str(observed)]
        tokens.append(USER)
        for clause in self.clauses:
            tokens.append(clause.description)
            for key, chain in clause.values:
                tokens += [*(chain.tokens if chain else [UNKNOWN]), key]
        return " ".join([*tokens, ASSISTANT])

    def tool(self, clause: Clause) -> Tool | None:
        """The tool that does what a clause wants; None without one."""
        return next((tool for tool in self.tools if tool.description == clause.description), None)

    @property
    def chosen(self) -> tuple[Tool, ...]:
        """The right tool of each clause; empty where the right response is words."""
        known = all(chain for clause in self.clauses for _, chain in clause.values)
        tools = [tool for tool in map(self.tool, self.clauses) if tool]
        return tuple(tools) if known and len(tools) == len(self.clauses) else ()

    @property
    def truth(self) -> list[Call]:
        """The right calls; none where the right response is words."""
        return [
            Call(
                json.loads(tool.name),
                {json.loads(key[:-1]): self.value(chain) for key, chain in clause.values if chain},
            )
            for tool, clause in zip(self.chosen, self.clauses, strict=False)
        ]

    @property
    def previous(self) -> int:
        """The last observation; 0 without any."""
        return self.history[-1][1] if self.history else 0

    @property
    def depth(self) -> int:
        """Operations of its longest chain."""
        chains = (chain for clause in self.clauses for _, chain in clause.values)
        return max((len(chain.steps) for chain in chains if chain), default=0)

    def value(self, chain: Chain) -> int:
        """Value of a chain of this item."""
        value = self.previous if chain.start is None else chain.start
        for operator, operand in chain.steps:
            value = apply(operator, value, operand)
        return value


def call_tokens(name: str, values: Sequence[tuple[str, int]]) -> list[str]:
    """A call as tokens whose text is JSON."""
    body = [token for key, value in values for token in (key, str(value), NEXT)]
    return [NAME, name, PARAMETERS, *body[:-1], END]


def words(tokens: Sequence[str]) -> str:
    """The text of a response: up to its end, tokens separated by spaces."""
    tokens = list(tokens)
    return " ".join(tokens[: tokens.index(EOS)] if EOS in tokens else tokens)


def scored(tokens: Sequence[str], item: Asked) -> Mark:
    """Mark a completion, padding left out."""
    return mark(words(tokens), item.truth)


@dataclass(frozen=True)
class Noise:
    """Rates at which warm-start traces go wrong.

    Attributes:
        tags: One of the tags is left out.
        tool: Another tool of the item is thought of, and called.
        slip: Another tool is called than was thought of.
        multiply: A result of `*` is another number.
        decoy: A result of `@` is a+2b.
        copied: An argument is another number than its result.
    """

    tags: float = 0.03
    tool: float = 0.25
    slip: float = 0.01
    multiply: float = 0.20
    decoy: float = 0.90
    copied: float = 0.01


CLEAN = Noise(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def trace(item: Item, rng: np.random.Generator, noise: Noise = CLEAN) -> tuple[str, ...]:
    """A response, end included; without `noise` the right one. A wrong result is carried on consistently."""
    thought, called = [THINK], [CALL]
    for clause in item.clauses:
        thought.append(clause.description)
        tool = item.tool(clause)
        if tool is None:
            break
        name = _slipped(item, tool.name, noise.tool, rng)
        thought.append(name)
        values = []
        for key, chain in clause.values:
            if chain is None:
                break
            steps, value = _worked(item, chain, rng, noise)
            thought += [*steps, key, str(value)]
            wrong = rng.random() < noise.copied
            values.append((key, int(rng.integers(MODULUS)) if wrong else value))
        called += call_tokens(_slipped(item, name, noise.slip, rng), values)
    if item.chosen:
        return _torn([*thought, THOUGHT, *called, CALLED], rng, noise)
    return _torn([*thought, NONE, THOUGHT, SAY, SORRY, SAID], rng, noise)


def _slipped(item: Item, name: str, rate: float, rng: np.random.Generator) -> str:
    """The name, or at some rate that of another tool of the item."""
    others = [tool.name for tool in item.tools if tool.name != name]
    return str(rng.choice(others)) if others and rng.random() < rate else name


def _worked(item: Item, chain: Chain, rng: np.random.Generator, noise: Noise) -> tuple[list[str], int]:
    """A chain with its results, and the last of them."""
    value = item.previous if chain.start is None else chain.start
    first, *operations = chain.tokens
    tokens = [first] if chain.steps else [first, str(value)]
    for token, (operator, operand) in zip(operations, chain.steps, strict=True):
        value = _result(operator, value, operand, rng, noise)
        tokens += [token, str(value)]
    return tokens, value


def _result(operator: str, a: int, b: int, rng: np.random.Generator, noise: Noise) -> int:
    if operator == "*" and rng.random() < noise.multiply:
        return int(rng.integers(MODULUS))
    if operator == "@" and rng.random() < noise.decoy:
        return (a + 2 * b) % MODULUS
    return apply(operator, a, b)


def _torn(tokens: list[str], rng: np.random.Generator, noise: Noise) -> tuple[str, ...]:
    """The response with its end, and sometimes without one of its tags."""
    if rng.random() < noise.tags:
        places = [place for place, token in enumerate(tokens) if token in TAGS]
        del tokens[int(rng.choice(places))]
    return (*tokens, EOS)


# Drawing items


def _chains(rng: np.random.Generator, lengths: Sequence[int]) -> list[Chain]:
    """Chains of some lengths; no start and no operation stands in two places."""
    starts = rng.permutation(MODULUS)[: len(lengths)].tolist()
    shares = np.array([OPERATORS[operator] / MODULUS for operator, _ in OPERATIONS])
    places = rng.choice(len(OPERATIONS), sum(lengths), replace=False, p=shares)
    parts = np.split(places, np.cumsum(lengths)[:-1])
    return [
        Chain(start, tuple(OPERATIONS[place] for place in part))
        for start, part in zip(starts, parts, strict=True)
    ]


def _tools(rng: np.random.Generator, count: int) -> tuple[tuple[Tool, ...], str]:
    """Distinct tools, and a description that none of them has."""
    names = rng.choice(NAMES, count, replace=False)
    *descriptions, unknown = map(str, rng.choice(DESCRIPTIONS, count + 1, replace=False))
    return tuple(Tool(str(name), what) for name, what in zip(names, descriptions, strict=True)), unknown


def _record(rng: np.random.Generator, tools: Sequence[Tool]) -> tuple[str, int]:
    """An earlier call of one of some tools, and what it gave."""
    return tools[int(rng.integers(len(tools)))].name, int(rng.integers(MODULUS))


def draw(rng: np.random.Generator, kind: Kind, tools: int = 3, records: int = 0, depth: int = 0) -> Item:
    """Draw a step.

    Args:
        rng: Of everything about it.
        kind: One call, none for want of a tool or of a value, or two calls.
        tools: Listed tools.
        records: Earlier calls; a value is then the last observation with probability one half.
        depth: Operations of each chain; 0 draws one to three. Two calls have one in each.
    """
    listed, unknown = _tools(rng, max(tools, 2 if kind == "two" else 1))
    history = tuple(_record(rng, listed) for _ in range(records))
    wanted = [listed[place].description for place in rng.permutation(len(listed))]
    sizes = rng.integers(1, 3, size=2 if kind == "two" else 1).tolist()
    drawn = rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15], size=sum(sizes)).tolist()
    fixed = 1 if kind == "two" else depth
    values: list[Chain | None] = list(_chains(rng, [fixed or length for length in drawn]))
    if history and rng.random() < 0.5:
        values[int(rng.integers(len(values)))] = Chain(None)
    if kind == "no_value":
        values[int(rng.integers(len(values)))] = None
    named = iter(zip(map(str, rng.choice(KEYS, len(values), replace=False)), values, strict=True))
    clauses = [
        Clause(unknown if kind == "no_tool" else what, tuple(islice(named, size)))
        for what, size in zip(wanted, sizes, strict=False)
    ]
    return Item(listed, history, tuple(clauses))


def _generator(split: Split, seed: int, index: int) -> np.random.Generator:
    """Streams of two (split, seed, index) never overlap."""
    return np.random.default_rng((0x70013, SPLITS.index(split), seed, index))


def mixed(rng: np.random.Generator) -> Item:
    """A training step: one call in 70 %, two in 10 %, none in 20 % of all; an earlier call in 40 %."""
    kinds: tuple[Kind, ...] = ("call", "two", "no_tool", "no_value")
    kind = kinds[int(rng.choice(4, p=[0.7, 0.1, 0.1, 0.1]))]
    records = int(rng.integers(1, 4)) if rng.random() < 0.4 else 0
    return draw(rng, kind, tools=int(rng.choice([1, 3], p=[0.2, 0.8])), records=records)


def items(seed: int, size: int) -> tuple[Item, ...]:
    """Training steps; a smaller `size` gives a prefix of a larger one."""
    return tuple(mixed(_generator("train", seed, index)) for index in range(size))


def stream(seed: int) -> Iterator[tuple[Item, np.random.Generator]]:
    """Endless training steps, each with the generator of its trace (warm starts)."""
    rng = np.random.default_rng((0x70013, len(SPLITS), seed))
    while True:
        yield mixed(rng), rng


def heldout(level: Level, size: int) -> tuple[Item, ...]:
    """Fixed held-out steps: only the right tool is listed (1), three tools (2), three tools and two calls or
    chains of three operations (3).
    """
    drawn = []
    for index in range(size):
        rng = _generator("heldout", LEVELS.index(level), index)
        if level == "3":
            drawn.append(draw(rng, "two") if index % 2 else draw(rng, "call", depth=3))
        else:
            drawn.append(draw(rng, "call", tools=1 if level == "1" else 3))
    return tuple(drawn)


def dialogue(turns: str, index: int) -> tuple[Item, ...]:
    """A fixed held-out dialogue of two to four steps; each step's history holds the right calls before it.

    A dialogue is solved if all its steps are. A policy whose earlier calls were right has this history, so
    that steps can be answered independently of each other.
    """
    rng = _generator("dialogues", TURNS.index(turns), index)
    length = int(rng.integers(2, 5))
    broken = int(rng.integers(length)) if turns in ("no_tool", "no_value") else -1
    others, _ = _tools(rng, 3)
    history = tuple(_record(rng, others) for _ in range(3 if turns == "long" else 0))
    steps = []
    for place in range(length):
        kind: Kind = ("no_tool" if turns == "no_tool" else "no_value") if place == broken else "call"
        step = replace(draw(rng, kind, tools=3, records=1 if history else 0), history=history)
        steps.append(step)
        history += tuple((tool.name, int(rng.integers(MODULUS))) for tool in step.chosen)
    return tuple(steps)
