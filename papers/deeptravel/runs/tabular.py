"""Replay where a policy is a table: a logit for each query, moved by GRPO and a little by all others' moves.

The score of a Bernoulli logit under group-normalised advantages is the group's standard deviation, so that a
group whose rewards are equal moves nothing. A share of every move is everybody's: what is learned on one
query helps the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit

from common.study.errors import unknown
from common.study.jobs import Job, Record
from papers.deeptravel.method import Law, Replay, ReplayBuffer, drawn

REGIMES: dict[str, Law] = {
    "typical": [(1.0, 0.8, 1.2)],
    "tail": [(0.8, 50.0, 1.0), (0.2, 4.0, 14.0)],
    "hopeless": [(1.0, 0.15, 12.0)],
}
"""The warm start's pass rates: with the mean of the paper's; mostly solved but for a fifth; hopeless."""
ARMS: dict[str, dict[str, object]] = {
    "grpo": {"replay": ""},
    "rarl": {},
    "random": {"replay": "random"},
    "solved": {"replay": "solved"},
}
"""What an arm changes in `Training`."""
HARD = 0.25  # share of the queries, those with the smallest pass rates at first


@dataclass(frozen=True)
class Training:
    """How all arms are trained.

    Attributes:
        regime: A key of `REGIMES`.
        queries: Of the stream, which passes through them in random orders.
        batches: Rollout batches.
        batch: Queries of a batch.
        group: G.
        rate: How far a group of standard deviation 1 moves its query's logit.
        transfer: Share of that by which it moves all others.
        replay: Kind of the buffer.
        every, share: Of the replay.
    """

    regime: str = "typical"
    queries: int = 200
    batches: int = 150
    batch: int = 8
    group: int = 8
    rate: float = 0.5
    transfer: float = 0.02
    replay: Replay = "failures"
    every: int = 2
    share: float = 0.5


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point of an arm.

    Config: fields of `Training`, and `arm`, a key of `ARMS`.

    Emits series over batches: ``hard`` and ``overall`` (pass rate of hard and of all queries, after the
    batch), ``silent`` (groups whose rewards are equal), ``buffer`` (its size), ``replayed`` (share).

    Raises:
        StudyError: unknown arm or regime.
    """
    arm, regime = job.config["arm"], job.config["regime"]
    if arm not in ARMS or regime not in REGIMES:
        raise unknown("arm or regime", f"{arm}, {regime}", [*ARMS, *REGIMES])
    training = replace(job.read(Training), **ARMS[arm])  # type: ignore[arg-type]
    runs = [Table(training, seed).run() for seed in job.seeds]
    return Record(series={name: np.array([run[name] for run in runs]) for name in runs[0]})


class Table:
    """A policy over queries, and what it is asked."""

    def __init__(self, training: Training, seed: int) -> None:
        self.training, self.dice = training, np.random.default_rng([seed, 0x7AB])
        rates = drawn(REGIMES[training.regime], training.queries, self.dice)
        self.logits: Float[np.ndarray, " Q"] = logit(rates.clip(1e-6, 1 - 1e-6))
        self.hard = rates <= np.quantile(rates, HARD)
        self.buffer = ReplayBuffer(training.replay or "failures")
        self.stream: list[int] = []

    @property
    def rates(self) -> Float[np.ndarray, " Q"]:
        """Pass rates as they are."""
        return expit(self.logits)

    def run(self) -> dict[str, list[float]]:
        """Train; what every batch showed."""
        seen = [self.step(batch) for batch in range(self.training.batches)]
        return {name: [each[name] for each in seen] for name in seen[0]}

    def step(self, batch: int) -> dict[str, float]:
        """One rollout batch and its update."""
        own = self.training
        replaying = bool(own.replay) and (batch + 1) % own.every == 0
        again = self.buffer.draw(int(own.share * own.batch), self.dice) if replaying else []
        asked = [*again, *(self._next() for _ in range(own.batch - len(again)))]
        solved = self.dice.binomial(own.group, self.rates[asked]) / own.group
        moves = own.rate * np.sqrt(solved * (1 - solved))
        self.logits += own.transfer * moves.sum()
        np.add.at(self.logits, asked, (1 - own.transfer) * moves)
        for query, mean in zip(asked, solved.tolist(), strict=True):
            self.buffer.update(query, mean)
        return {
            "hard": float(self.rates[self.hard].mean()),
            "overall": float(self.rates.mean()),
            "silent": float((moves == 0).mean()),
            "buffer": float(len(self.buffer.items)),
            "replayed": len(again) / len(moves),
        }

    def _next(self) -> int:
        if not self.stream:
            self.stream = self.dice.permutation(self.training.queries).tolist()
        return self.stream.pop()
