"""Exact checks: the early exit of the reward, and what replay does to groups (C4, C7)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from common.study.jobs import Job, Record
from common.tasks.travel import PARTS, Plan, Query
from common.tasks.travel.verification import Seen
from common.tasks.travel.worlds import Asked, Day, corrupted, oracle, queries
from papers.deeptravel.method import (
    HierarchicalReward,
    Law,
    ReplayBuffer,
    admitted,
    density,
    drawn,
    evicted,
    expected_replays,
    informative,
    replayed_density,
    turn_calls,
)

STREAMS: dict[str, Law] = {
    "solved": [(1.0, 8.0, 1.0)],
    "tail": [(0.8, 50.0, 1.0), (0.2, 4.0, 14.0)],
    "middling": [(1.0, 1.0, 1.0)],
    "hopeless": [(1.0, 1.0, 20.0)],
    "clogged": [(0.87, 20.0, 1.0), (0.08, 2.0, 8.0), (0.05, 1e-3, 1e3)],
}
"""Pass rates of streams; of the last one a twentieth is solved by nobody."""
SOLVABLE = 1e-3  # pass rate
GRID = np.linspace(0.0, 1.0, 2001)[1:-1]
BURN_IN = 0.25  # share of a process that is not counted: the buffer fills


def reward(job: Job, _workspace: Path) -> Record:
    """Entry point of C4: itineraries of an oracle, corrupted and not, judged with and without early exit.

    Config: `draws` itineraries.

    Emits series ``[1, draws]``: ``reward`` (difference of the rewards), ``count`` (turn calls ``made`` minus
    those due), ``gated`` and ``stopped`` (saved by R_traj = 0 and after a failure), ``passed`` (R_traj).
    """
    (seed,) = job.seeds
    rows = []
    for query, plan, seen in _answers(int(job.config["draws"]), seed):
        early, full = HierarchicalReward(), HierarchicalReward(early_exit=False)
        text = " ".join(plan.words)
        short, whole = early(query, text, seen), full(query, text, seen)
        made = early.calls["turn"]
        rows.append(
            {
                "reward": short.reward - whole.reward,
                "count": made - turn_calls(whole),
                "made": made,
                "gated": 0 if whole.trajectory else len(PARTS),
                "stopped": len(PARTS) - made if whole.trajectory else 0,
                "passed": whole.trajectory,
            }
        )
    return Record(series={name: np.array([[row[name] for row in rows]], dtype=float) for name in rows[0]})


def _answers(count: int, seed: int) -> list[tuple[Query, Plan, Seen]]:
    """Queries with an itinerary, of which two in three have one or more wrong numbers."""
    dice = np.random.default_rng(seed)
    asked = Asked(real=False)
    timetable, found = asked.timetable("train"), list[tuple[Query, Plan, Seen]]()
    for query in queries(asked, "train", count, seed=1):
        day = Day(query.world, timetable)
        plan = oracle(query, day, dice)
        assert plan is not None
        seen = {call: day.answer(query, call) for call in query.calls if dice.random() < 0.95}
        for _ in range(int(dice.integers(3))):
            plan = corrupted(plan, dice)
        found.append((query, plan, seen))
    return found


def groups(job: Job, _workspace: Path) -> Record:
    """Entry point of C7's formulas, by enumeration of what a group can show.

    Config: `group`, G.

    Emits errors ``[1, P]`` over pass rates: ``informative``, ``admitted``, ``evicted``, and ``replays``, V(p)
    minus the mean stay of a query in a `ReplayBuffer` over all sequences of outcomes.
    """
    size = int(job.config["group"])
    rates = np.linspace(0.0, 1.0, 101)
    outcomes = np.arange(size + 1)
    weights = stats.binom.pmf(outcomes, size, rates[:, None])
    mixed = ((outcomes > 0) & (outcomes < size)).astype(float)
    errors = {
        "informative": informative(rates, size) - weights @ mixed,
        "admitted": admitted(rates, size) - weights[:, 0],
        "evicted": evicted(rates, size) - weights @ (outcomes >= size / 2),
        "replays": expected_replays(rates, size, tries=3) - _stay(weights, tries=3),
    }
    return Record(series={name: np.abs(values)[None] for name, values in errors.items()})


def _stay(weights: np.ndarray, tries: int) -> np.ndarray:
    """Mean number of replays of one query, by letting the buffer see every sequence of outcomes."""
    size, total = weights.shape[1] - 1, np.zeros(len(weights))
    for sequence in product(range(size + 1), repeat=tries):
        buffer = ReplayBuffer(tries=tries, items={"query": 0})
        replays = 0
        for outcome in sequence:
            if "query" not in buffer.items:
                break
            buffer.update("query", outcome / size)
            replays += 1
        total += replays * weights[:, list(sequence)].prod(axis=1)
    return total


def steady(job: Job, _workspace: Path) -> Record:
    """Entry point of C7's sign: a stream and a buffer, and a policy that does not learn.

    Config: `stream`, a key of `STREAMS`; `kind` and `tries` of the buffer; `batches`, `queries` (of a batch),
    `group`, `every`, `share`.

    Emits scalars: ``change`` (share of informative groups with replay minus the stream's expectation),
    ``error`` (that share minus the closed form's, at the share that was replayed), ``replayed``, ``wasted``
    (share of the replays whose query nobody solves; NaN without replays).
    """
    config, law = job.config, STREAMS[job.config["stream"]]
    stream, teaches = density(law, GRID), informative(GRID, config["group"])
    fresh, again = float(stream @ teaches), float(replayed_density(GRID, stream, config["group"]) @ teaches)
    records = []
    for seed in job.seeds:
        found, replays, queries = _process(config, law, np.random.default_rng([seed, 0xC7]))
        replayed = len(replays) / queries
        closed = (1 - replayed) * fresh + replayed * again
        wasted = np.mean(np.array(replays) < SOLVABLE) if replays else np.nan
        records.append(
            {"change": found - fresh, "error": found - closed, "replayed": replayed, "wasted": wasted}
        )
    return Record({name: np.array([record[name] for record in records]) for name in records[0]})


def _process(
    config: Mapping[str, Any], law: Law, dice: np.random.Generator
) -> tuple[float, list[float], int]:
    """Share of informative groups, pass rates of the replays, number of queries; without the beginning."""
    size, batches, wide = (int(config[name]) for name in ("group", "batches", "queries"))
    buffer = ReplayBuffer(kind=config["kind"], tries=config["tries"])
    mixed, replays, start = 0, list[float](), int(BURN_IN * batches)
    for batch in range(batches):
        most = int(config["share"] * wide) if (batch + 1) % int(config["every"]) == 0 else 0
        again = buffer.draw(most, dice)
        for query in (*again, *drawn(law, wide - len(again), dice).tolist()):
            solved = int(dice.binomial(size, query))
            buffer.update(query, solved / size)
            mixed += batch >= start and 0 < solved < size
        replays += again if batch >= start else []
    queries = (batches - start) * wide
    return mixed / queries, replays, queries
