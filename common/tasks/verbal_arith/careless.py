"""Authors of whom more than half never carry a ten: what the base policies imitate, and a critic to match.

Greedy decoding of a policy that imitates them does not carry; its samples do, often enough to learn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.tasks.verbal_arith import CODE, FILLER, LARGEST_NUMBER, SLIPS, SPLITS, Item, draw
from common.tasks.verbal_arith.words import ArithCritic

LENGTH_MENTIONED = 0.5


@dataclass(frozen=True)
class Authors:
    """The source that the base policy imitates.

    Attributes:
        steps: Share of responses that write their partial sums.
        filler: Share with one to six filler words.
        code: Share with the code marker.
        careless: Share of responses whose author never carries a ten.
        slips: Rate of another wrong partial sum; later steps carry a wrong value on.
    """

    steps: float = 0.6
    filler: float = 0.4
    code: float = 0.3
    careless: float = 0.55
    slips: float = 0.1

    def write(self, item: Item, rng: np.random.Generator) -> str:
        """A response, without the end of sequence."""
        careless = rng.random() < self.careless
        value, steps = item.operands[0], []
        for operand in item.operands[1:]:
            total = value + operand - 10 * (careless and value % 10 + operand % 10 >= 10)
            if rng.random() < self.slips:
                wrong = [total + slip for slip in SLIPS if 0 <= total + slip <= LARGEST_NUMBER]
                total = wrong[rng.integers(len(wrong))]
            steps.append(f"{value} + {operand} = {total}")
            value = total
        words = [CODE] if rng.random() < self.code else []
        if rng.random() < self.steps:
            words.append(" ; ".join(steps))
        if rng.random() < self.filler:
            words += [FILLER[i] for i in rng.integers(len(FILLER), size=rng.integers(1, 7))]
        return " ".join([*words, "#", str(value)])

    def stream(self, seed: int) -> Iterator[tuple[Item, str]]:
        """Endless (item, response) on training items."""
        rng = np.random.default_rng((len(SPLITS), seed))
        while True:
            item = draw("train", rng)
            yield item, self.write(item, rng)


class TerseCritic(ArithCritic):
    """Speaks of length in half of its critiques, so that fresh ones repeat praise that leaves it out."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.kept["concise"] = LENGTH_MENTIONED
