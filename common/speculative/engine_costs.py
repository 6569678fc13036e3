"""An engine held against its cost model: what a cycle costs beside passes and trees, timed on the engine, and
whole generations beside the sum of their parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from torch import Tensor

from common.speculative.costs import Costs
from common.speculative.generate import SpeculativeGenerator
from common.speculative.measured import timed_phases
from common.speculative.scheduler import Scheduler
from common.speculative.tree import TreePolicy

Scene = Callable[[Scheduler | None, int], tuple[SpeculativeGenerator, Sequence[Int[Tensor, " T"]]]]
"""An engine with a schedule, None for plain decoding without a draft, and prompts for so many rows."""


class Decoder(NamedTuple):
    """A schedule and the costs of its cycles: plain decoding keeps no features for a draft, so its own are
    lower.
    """

    schedule: Scheduler | None
    costs: Costs

    def cycle(self, rows: int) -> float:
        """Seconds of a cycle of so many rows; its trees are grown by a `TreePolicy`."""
        policy = self.schedule(rows) if self.schedule else None
        assert policy is None or isinstance(policy, TreePolicy)
        return self.costs.cycle(rows, policy)


@dataclass(frozen=True)
class Trials:
    """Generations in which every row writes as many tokens.

    Attributes:
        scene: What generates.
        rows: Batches.
        tokens: That a row writes.
        repeats: Generations of which the median is taken.
    """

    scene: Scene
    rows: Sequence[int]
    tokens: int
    repeats: int

    def rest_seconds(
        self, schedules: Mapping[int, Scheduler | None], seed: int
    ) -> dict[tuple[int, int], float]:
        """Seconds that a cycle spends on neither trees nor the target's pass, by rows and by the tokens of a
        row that each of the schedules asks for. No row is dropped, so that a cycle has all of them.
        """
        found = {}
        for rows in self.rows:
            for tokens, schedule in schedules.items():
                engine, prompts = self.scene(schedule, rows)
                engine.early_termination = False
                timed = (timed_phases(engine, prompts, self.tokens, seed) for _ in range(self.repeats))
                rests = [(own["verify"] + own["update"]) / stats.cycles for stats, own in timed]
                found[rows, tokens] = float(np.median(rests))
        return found

    def speedups(self, decoders: Mapping[str, Decoder], seed: int) -> pd.DataFrame:
        """How much faster than the decoder "plain" the others are, measured and by their cost models from the
        rows of every cycle; columns ``rows, decoder, measured, modelled``.
        """
        found = []
        for rows in self.rows:
            scenes = {name: self.scene(decoder.schedule, rows) for name, decoder in decoders.items()}
            paces: dict[str, list[tuple[float, float]]] = {name: [] for name in decoders}
            for turn in range(self.repeats):
                names = [*decoders]
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    stats, seconds = timed_phases(*scenes[name], self.tokens, seed + turn)
                    cycles = map(decoders[name].cycle, stats.active)
                    paces[name].append((sum(seconds.values()) / stats.tokens, sum(cycles) / stats.tokens))
            medians = {name: np.median(each, axis=0) for name, each in paces.items()}
            faster = {name: medians["plain"] / pace for name, pace in medians.items() if name != "plain"}
            found += [(rows, name, *both) for name, both in faster.items()]
        return pd.DataFrame(found, columns=["rows", "decoder", "measured", "modelled"])


def averaged(found: Sequence[Costs]) -> Costs:
    """The mean of several measurements, part by part."""

    def mean(part: str) -> Callable[..., float]:
        return lambda *sizes: float(np.mean([getattr(costs, part)(*sizes) for costs in found]))

    return Costs(*(mean(each.name) for each in fields(Costs)))
