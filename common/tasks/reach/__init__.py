"""Reach: which of eight goals can be reached in a layered graph, with thoughts that are one node a hop.

A prompt lists the edges of a graph of four layers: a start ``s``, six nodes ``a``, ten nodes ``b``, eight
goals ``g``. Three of the ``a`` follow the start, each leads to one ``b``, and one of these leads to a goal;
the other two are dead ends. The other ``a``, ``b`` and goals are linked in the same way and cannot be
reached. Every goal has one edge, so that only a search tells them apart. A response writes a walk and its
answer, ``a3 b1 g5 </think> g5 <eos>``; at a dead end ``-`` is written, and the answer is a guess. With one
``a`` behind the start, the walk is determined. Nodes are tokens, and so are the edges of a prompt, ``a3>b1``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

NAME = "reach"  # of the committed base policy, reach-0
PAD, BOS, EOS, THINK, END = "<pad>", "<bos>", "<eos>", "<think>", "</think>"
START, DEAD_END = "s", "-"
FIRST, MIDDLE, GOALS = (
    tuple(f"{layer}{place}" for place in range(width)) for layer, width in (("a", 6), ("b", 10), ("g", 8))
)
HOPS = (FIRST, MIDDLE, GOALS)
NODES = (START, *FIRST, *MIDDLE, *GOALS)
EDGES = tuple(
    f"{begin}>{end}"
    for begins, ends in zip(((START,), FIRST, MIDDLE), HOPS, strict=True)
    for begin in begins
    for end in ends
)
VOCABULARY = (PAD, BOS, EOS, THINK, END, DEAD_END, *NODES, *EDGES)
AMBIGUOUS, DETERMINED = 3, 1  # nodes that follow the start
CHANCE = 1 / len(GOALS)
MAX_RESPONSE = 8  # three thoughts, the end of thinking, an answer and the end, and two to spare
HELDOUT_SHARE = 5  # one graph in five is held out

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")


@dataclass(frozen=True)
class Item:
    """One graph.

    Attributes:
        starts: What follows the start, in the order of the prompt.
        edges: The other edges, those from ``a`` before those from ``b``.
        path: The walk to the goal, ``(a, b, g)``.
    """

    starts: tuple[str, ...]
    edges: tuple[tuple[str, str], ...]
    path: tuple[str, str, str]

    @property
    def prompt(self) -> str:
        """Tokens of the prompt, separated by spaces; it ends where the thoughts begin."""
        edges = [*((START, node) for node in self.starts), *self.edges]
        return " ".join([BOS, *(f"{begin}>{end}" for begin, end in edges), THINK])

    @property
    def goal(self) -> str:
        """The goal that can be reached."""
        return self.path[-1]

    @property
    def split(self) -> Split:
        """Split that owns this graph, whatever the seed."""
        return "heldout" if zlib.crc32(self.prompt.encode()) % HELDOUT_SHARE == 0 else "train"

    def follow(self, node: str) -> tuple[str, ...]:
        """Where the edges of a node lead."""
        return self.starts if node == START else tuple(end for begin, end in self.edges if begin == node)


def draw(branches: int, split: Split, rng: np.random.Generator) -> Item:
    """One graph of a split.

    Args:
        branches: Nodes that follow the start, `AMBIGUOUS` or `DETERMINED`.
        split: Which it belongs to.
        rng: Source of randomness.

    Raises:
        ValueError: as many branches as leave no node for the goals that cannot be reached.
    """
    if not 1 <= branches <= min(len(FIRST) - 1, len(MIDDLE) - len(GOALS) + 1):
        raise ValueError(f"branches is {branches}; expected 1 to {len(MIDDLE) - len(GOALS) + 1}")
    while True:
        item = _any(branches, rng)
        if item.split == split:
            return item


def _any(branches: int, rng: np.random.Generator) -> Item:
    first, middle, goals = ([layer[at] for at in rng.permutation(len(layer))] for layer in HOPS)
    walks = list(zip(first[:branches], middle, strict=False))
    others = middle[branches : branches + len(GOALS) - 1]
    apart = [(first[branches:][rng.integers(len(FIRST) - branches)], node) for node in others]
    upper, lower = [*walks, *apart], list(zip([middle[0], *others], goals, strict=True))
    edges = [part[at] for part in (upper, lower) for at in rng.permutation(len(part))]
    starts = tuple(first[at] for at in rng.permutation(branches))
    return Item(starts, tuple(edges), (first[0], middle[0], goals[0]))


def items(branches: int, split: Split, size: int, seed: int) -> list[Item]:
    """Distinct graphs; a smaller `size` gives a prefix. No two (branches, split, seed) share a generator."""
    rng = np.random.default_rng((branches, SPLITS.index(split), seed))
    distinct: dict[Item, None] = {}
    while len(distinct) < size:
        distinct[draw(branches, split, rng)] = None
    return list(distinct)


def write(item: Item, rng: np.random.Generator, slips: float = 0.0) -> str:
    """A random walk and its answer, without the end of sequence.

    Args:
        item: The graph.
        rng: Source of randomness.
        slips: Rate at which a hop lands on a random node of its layer.
    """
    walk, node = [], START
    for layer in HOPS:
        known = item.follow(node)
        if rng.random() < slips:
            node = layer[rng.integers(len(layer))]
        else:
            node = known[rng.integers(len(known))] if known else DEAD_END
        walk.append(node)
    answer = node if node in GOALS else GOALS[rng.integers(len(GOALS))]
    return " ".join([*walk, END, answer])


def stream(seed: int, slips: float) -> Iterator[tuple[Item, str]]:
    """Endless (graph, response) on training graphs, ambiguous and determined ones in turn.

    Args:
        seed: Of all that is drawn.
        slips: Rate of slips.
    """
    rng = np.random.default_rng((len(SPLITS), seed))
    while True:
        for branches in (AMBIGUOUS, DETERMINED):
            item = draw(branches, "train", rng)
            yield item, write(item, rng, slips)


def answer(words: Sequence[str]) -> str | None:
    """The answer of a response that thinks once, answers with one word and ends; None for any other."""
    match words:
        case [*thoughts, word, "<eos>"] if thoughts[-1:] == [END] and thoughts.count(END) == 1:
            return word
    return None


def reward(words: Sequence[str], item: Item) -> float:
    """1 if the response answers with the goal that can be reached."""
    return float(answer(words) == item.goal)
