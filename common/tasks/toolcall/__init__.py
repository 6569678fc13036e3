"""ToolCall-Mini: queries that a tool answers, with thoughts, calls in JSON, and an exact verifier.

Tools and their parameters get new names in every item, so that a policy has to read. A query names what a
tool does and gives each parameter as a chain of operations modulo 5, or as the last observation; a response
names the tool and works the chains out in a thought, and copies both into a call. Every symbol is one token.
Where no tool fits or a value is missing, the right response has words and no call. Dialogues are sequences of
such steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from common.tasks.toolcall.calls import TAGS, Call, Mark, mark

MODULUS = 5
PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
THINK, THOUGHT, CALL, CALLED, SAY, SAID = TAGS
TOOLS, HISTORY, USER, ASSISTANT, OBSERVED = "[tools]", "[history]", "[user]", "[assistant]", "<obs>"
PREVIOUS, NONE, SORRY = "prev", "none", "sorry"
NAME, PARAMETERS, END = '{"name":', ',"parameters":{', "}}"
OPERATORS = ("+", "-", "*", "@")
NAMES = tuple(f'"n{index}"' for index in range(16))
KEYS = tuple(f'"k{index}"' for index in range(10))
DESCRIPTIONS = tuple(f"s{index}" for index in range(10))
MARKS = (":", ",", ";", "(", ")")
# fmt: off
VOCABULARY = (
    PAD, BOS, EOS, *TAGS, TOOLS, HISTORY, USER, ASSISTANT, OBSERVED, PREVIOUS, NONE, SORRY,
    NAME, PARAMETERS, END, *MARKS, *OPERATORS, *NAMES, *KEYS, *DESCRIPTIONS, *map(str, range(MODULUS)),
)
# fmt: on
Kind = Literal["call", "no_tool", "no_value", "two"]
Split = Literal["train", "heldout", "dialogues"]
SPLITS: tuple[Split, ...] = ("train", "heldout", "dialogues")
Level = Literal["1", "2", "3"]
LEVELS: tuple[Level, ...] = ("1", "2", "3")
TURNS = ("base", "no_tool", "no_value", "long")
"""Dialogues: every step answerable; one step without its tool; one without a value; others before them."""
LONGEST = 78
"""Tokens of a right response at most, two calls of two parameters with three operations each."""


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
        first = PREVIOUS if self.start is None else str(self.start)
        return [first, *(token for operator, operand in self.steps for token in (operator, str(operand)))]


@dataclass(frozen=True)
class Tool:
    """A tool of an item: its name, what it does, and the names of its parameters."""

    name: str
    description: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Clause:
    """One wish of a query: what is to be done, with the values given for it."""

    description: str
    values: tuple[tuple[str, Chain], ...]


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
    """One step: tools, earlier calls with what they gave, a query, and the tool for each of its clauses.

    Attributes:
        tools: As the prompt lists them.
        history: Earlier calls, as tokens, and their observations.
        clauses: The query.
        chosen: The right tool of each clause; empty where the right response is words.
    """

    tools: tuple[Tool, ...]
    history: tuple[tuple[tuple[str, ...], int], ...]
    clauses: tuple[Clause, ...]
    chosen: tuple[Tool, ...]

    @property
    def prompt(self) -> str:
        """What the policy reads, tokens separated by spaces."""
        tokens = [BOS, TOOLS]
        for tool in self.tools:
            tokens += [tool.description, tool.name, "(", *tool.keys, ")"]
        if self.history:
            tokens.append(HISTORY)
        for called, observed in self.history:
            tokens += [*called, OBSERVED, str(observed)]
        tokens.append(USER)
        for clause in self.clauses:
            tokens.append(clause.description)
            for key, chain in clause.values:
                tokens += [key, *chain.tokens]
            tokens.append(";")
        return " ".join([*tokens, ASSISTANT])

    @property
    def truth(self) -> list[Call]:
        """The right calls; none where the right response is words."""
        return [
            Call(json.loads(tool.name), {json.loads(key): self.value(chain) for key, chain in clause.values})
            for tool, clause in zip(self.chosen, self.clauses, strict=bool(self.chosen))
        ]

    @property
    def previous(self) -> int:
        """The last observation; 0 without any."""
        return self.history[-1][1] if self.history else 0

    @property
    def depth(self) -> int:
        """Operations of its longest chain."""
        return max((len(chain.steps) for clause in self.clauses for _, chain in clause.values), default=0)

    def value(self, chain: Chain) -> int:
        """Value of a chain of this item."""
        value = self.previous if chain.start is None else chain.start
        for operator, operand in chain.steps:
            value = apply(operator, value, operand)
        return value


def call_tokens(name: str, values: Sequence[tuple[str, int]]) -> list[str]:
    """A call as tokens whose text is JSON."""
    body = [token for key, value in values for token in (key, ":", str(value), ",")]
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
        tool: Another tool of the item is called.
        multiply: A result of `*` is another number.
        decoy: A result of `@` is a+2b.
        copied: An argument is another number than its result.
    """

    tags: float = 0.15
    tool: float = 0.25
    multiply: float = 0.20
    decoy: float = 0.90
    copied: float = 0.05


def trace(item: Item, rng: np.random.Generator, noise: Noise | None = None) -> tuple[str, ...]:
    """A response, end included; without `noise` the right one. A wrong result is carried on consistently."""
    if not item.chosen:
        return _torn([THINK, NONE, THOUGHT, SAY, SORRY, SAID], rng, noise)
    thought, called = [THINK], [CALL]
    for tool, clause in zip(item.chosen, item.clauses, strict=True):
        values = []
        thought += [clause.description, tool.name]
        for key, chain in clause.values:
            value = item.previous if chain.start is None else chain.start
            thought += [key, str(value)]
            for operator, operand in chain.steps:
                value = _result(operator, value, operand, rng, noise)
                thought += [operator, str(operand), str(value)]
            thought.append(";")
            wrong = noise is not None and rng.random() < noise.copied
            values.append((key, int(rng.integers(MODULUS)) if wrong else value))
        others = [other.name for other in item.tools if other != tool]
        slip = noise is not None and bool(others) and rng.random() < noise.tool
        called += call_tokens(str(rng.choice(others)) if slip else tool.name, values)
    return _torn([*thought, THOUGHT, *called, CALLED], rng, noise)


def _result(operator: str, a: int, b: int, rng: np.random.Generator, noise: Noise | None) -> int:
    right = apply(operator, a, b)
    if noise is None:
        return right
    if operator == "*" and rng.random() < noise.multiply:
        return int(rng.integers(MODULUS))
    if operator == "@" and rng.random() < noise.decoy:
        return (a + 2 * b) % MODULUS
    return right


def _torn(tokens: list[str], rng: np.random.Generator, noise: Noise | None) -> tuple[str, ...]:
    """The response with its end, and sometimes without one of its tags."""
    if noise is not None and rng.random() < noise.tags:
        places = [place for place, token in enumerate(tokens) if token in TAGS]
        del tokens[int(rng.choice(places))]
    return (*tokens, EOS)


# Drawing items


def _chain(rng: np.random.Generator, longest: int, shortest: int = 1) -> Chain:
    length = int(rng.choice([1, 2, 3], p=[0.5, 0.35, 0.15])) if shortest == 1 else shortest
    operators = rng.choice(OPERATORS, size=min(length, longest), p=[0.3, 0.3, 0.2, 0.2])
    numbers = rng.integers(MODULUS, size=len(operators) + 1).tolist()
    return Chain(numbers[0], tuple(zip(map(str, operators), numbers[1:], strict=True)))


def _tools(rng: np.random.Generator, count: int) -> tuple[list[Tool], str]:
    """Distinct tools, and a description that none of them has."""
    names = rng.choice(NAMES, count, replace=False)
    descriptions = rng.choice(DESCRIPTIONS, count + 1, replace=False)
    keys = rng.choice(KEYS, 2 * count, replace=False)
    sizes = rng.integers(1, 3, size=count)
    tools = [
        Tool(str(name), str(what), tuple(map(str, keys[2 * place : 2 * place + size])))
        for place, (name, what, size) in enumerate(zip(names, descriptions, sizes, strict=False))
    ]
    return tools, str(descriptions[-1])


def _record(rng: np.random.Generator, tool: Tool) -> tuple[tuple[str, ...], int]:
    """An earlier call of a tool, and what it gave."""
    values = [(key, int(rng.integers(MODULUS))) for key in tool.keys]
    return tuple(call_tokens(tool.name, values)), int(rng.integers(MODULUS))


def draw(rng: np.random.Generator, kind: Kind, tools: int = 3, records: int = 0, depth: int = 0) -> Item:
    """Draw a step.

    Args:
        rng: Of everything about it.
        kind: One call, none for want of a tool or of a value, or two calls.
        tools: Listed tools.
        records: Earlier calls; a value is then the last observation with probability one half.
        depth: Operations of each chain; 0 draws one to three.
    """
    listed, unknown = _tools(rng, max(tools, 2 if kind == "two" else 1))
    history = tuple(_record(rng, listed[int(rng.integers(len(listed)))]) for _ in range(records))
    order = rng.permutation(len(listed))
    chosen = [listed[place] for place in order[: 2 if kind == "two" else 1]]
    clauses = []
    for tool in chosen:
        chains = [_chain(rng, 3, depth or 1) for _ in tool.keys]
        if history and rng.random() < 0.5:
            chains[int(rng.integers(len(chains)))] = Chain(None)
        clauses.append(Clause(tool.description, tuple(zip(tool.keys, chains, strict=True))))
    if kind == "no_tool":
        return Item(tuple(listed), history, (replace(clauses[0], description=unknown),), ())
    if kind == "no_value":
        dropped = int(rng.integers(len(clauses[0].values)))
        kept = tuple(value for place, value in enumerate(clauses[0].values) if place != dropped)
        return Item(tuple(listed), history, (replace(clauses[0], values=kept),), ())
    return Item(tuple(listed), history, tuple(clauses), tuple(chosen))


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
    history: tuple[tuple[tuple[str, ...], int], ...] = ()
    if turns == "long":
        others, _ = _tools(rng, 3)
        history = tuple(_record(rng, others[int(rng.integers(3))]) for _ in range(3))
    steps = []
    for place in range(length):
        kind: Kind = ("no_tool" if turns == "no_tool" else "no_value") if place == broken else "call"
        step = draw(rng, kind, tools=3, records=1 if history else 0)
        step = replace(step, history=history)
        steps.append(step)
        if step.chosen:
            values = [(key, step.value(chain)) for key, chain in step.clauses[0].values]
            called = tuple(call_tokens(step.chosen[0].name, values))
            history = (*history, (called, int(rng.integers(MODULUS))))
    return tuple(steps)
