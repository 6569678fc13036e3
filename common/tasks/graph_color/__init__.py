"""Graph colouring of Reasoning Gym, in words: questions, metadata and verifier are the package's own.

A prompt lists the four or five vertices of a graph, each with its neighbours, ``v0:2 v1:3 v2:0 v3:1``. A
response repeats a vertex and gives its colour, one after the other in any order, and answers in the order of
the vertices, ``v2:0 1 v0:2 3 v3:1 2 v1:3 1 </think> v0 3 v1 1 v2 1 v3 2 <eos>``: the answer becomes the JSON
map that the verifier reads. A graph has many colourings; which colour a vertex may have depends on the
thoughts before, and one that fits now can leave a later vertex without any.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, count
from typing import Any, Literal

import numpy as np

PAD, BOS, EOS, THINK, END = "<pad>", "<bos>", "<eos>", "<think>", "</think>"
FEWEST, MOST = 4, 5  # vertices
COLOURS = ("1", "2", "3")
EDGE_PROBABILITY = 0.6
VERTICES = tuple(f"v{place}" for place in range(MOST))
LINKED = {
    f"{vertex}:{''.join(map(str, others))}": (vertex, *(VERTICES[other] for other in others))
    for place, vertex in enumerate(VERTICES)
    for size in range(MOST)
    for others in combinations([other for other in range(MOST) if other != place], size)
}
"""A vertex with its neighbours, as one word; the vertices that it is made of."""
VOCABULARY = (PAD, BOS, EOS, THINK, END, *VERTICES, *COLOURS, *LINKED)
MAX_RESPONSE = 4 * MOST + 4  # each vertex and its colour twice, two ends, and two to spare
HELDOUT_SHARE = 3  # one graph in three is held out
SPACING = 10**7  # Reasoning Gym makes question i of seed s from s + i
ASSETS = ("reasoning_gym", "pycosat")
"""What has to be installed."""

Split = Literal["train", "heldout"]


@dataclass(frozen=True)
class Item:
    """One graph.

    Attributes:
        vertices: Their number.
        edges: Pairs of vertices.
        entry: The question as Reasoning Gym has it, for its verifier.
    """

    vertices: int
    edges: tuple[tuple[int, int], ...]
    entry: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def prompt(self) -> str:
        """Tokens of the prompt, separated by spaces; it ends where the thoughts begin."""
        return " ".join([BOS, *map(self.linked, range(self.vertices)), THINK])

    @property
    def split(self) -> Split:
        """Split that owns this graph, whatever the seed."""
        return "heldout" if zlib.crc32(self.prompt.encode()) % HELDOUT_SHARE == 0 else "train"

    def neighbours(self, vertex: int) -> list[int]:
        """What a vertex shares an edge with, in order."""
        return sorted(begin + end - vertex for begin, end in self.edges if vertex in (begin, end))

    def linked(self, vertex: int) -> str:
        """A vertex with its neighbours, as a word."""
        return f"{VERTICES[vertex]}:{''.join(map(str, self.neighbours(vertex)))}"


@cache
def questions(seed: int) -> Any:
    """Reasoning Gym's data set of a seed; no two seeds share a question number."""
    import reasoning_gym  # a second, and torch-free modules of ours import this one

    return reasoning_gym.create_dataset(
        "graph_color",
        seed=seed * SPACING,
        size=SPACING,
        num_colors=len(COLOURS),
        min_num_vertices=FEWEST,
        max_num_vertices=MOST,
        edge_probability=EDGE_PROBABILITY,
    )


def stream(split: Split, seed: int) -> Iterator[Item]:
    """The graphs of a split in the order of Reasoning Gym's questions; small ones come again."""
    data = questions(seed)
    for place in count():
        entry = data[place]
        puzzle = entry["metadata"]["puzzle"]
        item = Item(len(puzzle["vertices"]), tuple(map(tuple, puzzle["edges"])), entry)
        if item.split == split:
            yield item


def heldout(size: int) -> list[Item]:
    """Different held-out graphs; a smaller `size` gives a prefix.

    Raises:
        ValueError: more than `LIMIT`.
    """
    if size > LIMIT:
        raise ValueError(f"{size} held-out graphs; there are about {LIMIT} with {FEWEST} or {MOST} vertices")
    distinct: dict[Item, None] = {}
    for item in stream("heldout", 0):
        distinct[item] = None
        if len(distinct) >= size:
            return list(distinct)
    raise AssertionError("a stream has no end")


LIMIT = 250


def write(item: Item, rng: np.random.Generator, slips: float = 0.0) -> str:
    """A greedy colouring in random order and its answer, without the end of sequence.

    Args:
        item: The graph.
        rng: Source of randomness; a vertex gets a colour that no neighbour has, any at all if none is left.
        slips: Rate at which a vertex gets any colour.
    """
    given: dict[int, str] = {}
    for vertex in rng.permutation(item.vertices).tolist():
        taken = {given.get(other) for other in item.neighbours(vertex)}
        free = [colour for colour in COLOURS if colour not in taken]
        given[vertex] = str(rng.choice(COLOURS if rng.random() < slips or not free else free))
    thoughts = (f"{item.linked(vertex)} {colour}" for vertex, colour in given.items())
    return " ".join([*thoughts, END, *(f"{VERTICES[vertex]} {given[vertex]}" for vertex in sorted(given))])


def answer(words: Sequence[str]) -> str | None:
    """The JSON map of a response that thinks once, answers with vertices and colours and ends; or None."""
    if words.count(END) != 1 or words[-1:] != [EOS]:
        return None
    told = words[words.index(END) + 1 : -1]
    vertices, colours = told[::2], told[1::2]
    if len(vertices) != len(colours) or not (set(vertices) <= set(VERTICES) and set(colours) <= set(COLOURS)):
        return None
    return json.dumps({vertex[1:]: int(colour) for vertex, colour in zip(vertices, colours, strict=True)})


def score(words: Sequence[str], item: Item) -> float:
    """Reasoning Gym's own: 1 for a colouring, 0.01 for a map that is none, 0 without a map."""
    return float(questions(0).score_answer(answer(words), item.entry))
