"""OpChain with problems too hard to guess: a response counts only if every step of it is right.

A value modulo 11 can be guessed, the answer to a mathematical problem hardly. The warm start applies the rule
of `@` rightly in one case of fourteen; where it has to do so twice, nearly all groups of responses fail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.tasks import opchain
from common.tasks.opchain import Item, Split


def chains(size: int, seed: int, split: Split, mix: tuple[float, float, float, float]) -> tuple[Item, ...]:
    """Distinct chains without `#`, drawn as `opchain.items` draws them."""
    chosen: dict[Item, None] = {}
    for index in range(size):
        rng = np.random.default_rng((opchain.SPLITS.index(split), seed, index))
        level = opchain.level_of(index, mix)
        item = opchain.draw(level, split, rng)
        while item in chosen or "#" in item.operators:
            item = opchain.draw(level, split, rng)
        chosen[item] = None
    return tuple(chosen)


def proven(completion: Sequence[str], item: Item) -> bool:
    """The answer is right, and so is the value of each step after its revisions."""
    values: list[str] = []
    for clause in " ".join(completion).split(" ; "):
        match clause.split():
            case ["so" | "let", _, _, value]:
                values.append(value)
            case [opchain.WAIT, value] if values:
                values[-1] = value
    return values == [*map(str, item.values)] and opchain.reward(completion, item) == 1
