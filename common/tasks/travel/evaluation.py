"""How well a planner plans: final pass rate, both verifiers, and what is made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedModel

from common.agents.episodes import Trajectory, World
from common.agents.lockstep import play
from common.rl.rollout import derived_generator
from common.tasks.travel import PARTS, Query
from common.tasks.travel.sandbox import CachedTools, Flaky, Tools, TravelSandbox, schedule
from common.tasks.travel.verification import FAILED, Verdict, share
from common.tasks.travel.warm_start import CODEC, RULES
from common.tasks.travel.worlds import Asked, queries

COOL = 0.3  # a second temperature: sampling at 1 hides how well facts are copied


def travel(
    policy: PreTrainedModel,
    queries: Sequence[Query],
    tools: Tools,
    seed: int,
    temperature: float = 1.0,
) -> list[Trajectory]:
    """One episode for each query."""
    worlds = [World(lambda: TravelSandbox(queries, tools), place) for place in range(len(queries))]
    generators = [derived_generator(seed, 0x7247, place) for place in range(len(queries))]
    return play(policy, worlds, CODEC, replace(RULES, temperature=temperature), generators)


def held_out(
    policy: PreTrainedModel, asked: Asked, count: int, seed: int
) -> tuple[dict[str, float], list[Trajectory]]:
    """`measured` on held-out queries, with ``cool/pass`` at the temperature `COOL` and ``noisy/pass`` without
    a cache; and the episodes.
    """
    questions, tools = queries(asked, "test", count), schedule(asked.timetable("test"))
    episodes = travel(policy, questions, CachedTools(tools), seed)
    flaky = Flaky(tools, np.random.default_rng([seed, 0xF1A]))
    others = {
        "cool/pass": travel(policy, questions, CachedTools(tools), seed, COOL),
        "noisy/pass": travel(policy, questions, flaky, seed),
    }
    passed = {name: measured(questions, played)["pass"] for name, played in others.items()}
    return {**measured(questions, episodes), **passed}, episodes


def verdict_of(trajectory: Trajectory) -> Verdict:
    """Of an episode; one that was cut off has failed."""
    found: Verdict = trajectory.info.get("verdict", FAILED)
    return found


def measured(queries: Sequence[Query], trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Shares of the queries: ``pass`` and ``trajectory``; of the itineraries: ``turn``, each part of
    ``turn/<part>`` and ``hallucination``, in which some part is not supported. ``pass`` also by number of
    sights and by kind of query, NaN where there is none; ``called``, episodes that asked all four calls;
    ``turns`` and ``entropy`` (nats a token).
    """
    verdicts = [verdict_of(each) for each in trajectories]
    formed = [verdict for verdict in verdicts if verdict.well_formed]
    values = {
        "pass": _mean(verdict.reward for verdict in verdicts),
        "trajectory": _mean(verdict.trajectory for verdict in verdicts),
        "well_formed": len(formed) / len(verdicts),
        "turn": _mean(verdict.consistent for verdict in formed),
        "hallucination": _mean(not verdict.consistent for verdict in formed),
        "called": _mean(
            set(query.calls) <= each.info.get("seen", {}).keys()
            for query, each in zip(queries, trajectories, strict=True)
        ),
        "turns": _mean(len(each.turns) for each in trajectories),
        "entropy": _mean(value for each in trajectories for turn in each.turns for value in turn.entropies),
    }
    values |= {f"turn/{name}": share(formed, place) for place, name in enumerate(PARTS)}
    pairs = list(zip(queries, verdicts, strict=True))
    for count in (1, 2, 3):
        values[f"pass/L{count}"] = _mean(v.reward for query, v in pairs if query.sights == count)
    for name, limited in (("constrained", True), ("unconstrained", False)):
        values[f"pass/{name}"] = _mean(v.reward for query, v in pairs if bool(query.limit) == limited)
    return values


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")
