"""The sandbox: tools behind a cache, and the episode in which they are called, as a `gymnasium.Env`.

A tool is asked once for each (tool, arguments, date) and its answer replayed from then on, so that all
episodes of a group see the same day, and no limit of calls is met. `Flaky` is the world without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import Env
from gymnasium.spaces import Text

from common.tasks.travel import CALL, Call, Options, Query, told
from common.tasks.travel.verification import FAILED, Judge, judge
from common.tasks.travel.worlds import Day, Timetable

Tools = Callable[[Query, Call], Options]
"""(query, call) -> what the tool returns; a query names its day."""


@dataclass
class CachedTools:
    """Answers are stored at the first call and replayed.

    Attributes:
        tools: Who is asked.
        stored: By call, and by whose day and home it is.
        asked: Calls that went through to the tools.
    """

    tools: Tools
    stored: dict[tuple[int, str, Call], Options] = field(default_factory=dict)
    asked: int = 0

    def __call__(self, query: Query, call: Call) -> Options:
        """The stored answer, or the tool's, which is stored."""
        key = (query.world, query.origin, call)
        if key not in self.stored:
            self.stored[key] = self.tools(query, call)
            self.asked += 1
        return self.stored[key]

    def refresh(self, share: float, dice: np.random.Generator) -> int:
        """Forget a share of the answers, as once a day; returns how many."""
        keys = list(self.stored)
        gone = dice.choice(len(keys), size=round(share * len(keys)), replace=False) if keys else ()
        for place in gone:
            del self.stored[keys[place]]
        return len(gone)


def schedule(timetable: Timetable) -> Tools:
    """Tools that know the days of a timetable."""
    return lambda query, call: Day(query.world, timetable).answer(query, call)


@dataclass
class Flaky:
    """Tools whose answers change from call to call.

    Attributes:
        tools: Who is asked.
        dice: Of the changes.
        changed: Probability that an entry is another day's.
        failing: Probability that nothing comes back.
    """

    tools: Tools
    dice: np.random.Generator
    changed: float = 0.3
    failing: float = 0.1

    def __call__(self, query: Query, call: Call) -> Options:
        """An answer that the next call need not repeat."""
        answer = self.tools(query, call)
        if self.dice.random() < self.failing:
            return {}
        other = {**answer, **self.tools(_elsewhere(query, int(self.dice.integers(10_000))), call)}
        return {label: (other if self.dice.random() < self.changed else answer)[label] for label in answer}


def _elsewhere(query: Query, world: int) -> Query:
    return Query(world, query.origin, query.destination, query.sights, query.cap)


class TravelSandbox(Env[str, str]):
    """Query, calls and their answers, and an itinerary, which ends the episode with its reward.

    The `info` of the last step holds the verdict. A call that is none gets an empty answer; more than
    `budget` tokens of the agent's end the episode with nothing.

    Args:
        queries: `reset(seed)` asks the one of that number.
        tools: Who answers calls.
        judge: Who judges the itinerary.
        budget: Tokens that the agent may write.
    """

    observation_space = Text(1000)
    action_space = Text(1000)

    def __init__(
        self, queries: Sequence[Query], tools: Tools, judge: Judge = judge, budget: int = 64
    ) -> None:
        self.queries, self.tools, self.judge, self.budget = queries, tools, judge, budget

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
        """The query of a number."""
        self.query = self.queries[seed or 0]
        self.seen: dict[Call, Options] = {}
        self.left = self.budget
        return " ".join(self.query.words), {"query": self.query}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Call a tool or answer."""
        words = action.split()
        self.left -= len(words)
        if self.left < 0:
            return "", 0.0, False, True, {"verdict": FAILED}
        if words[-1:] != [CALL]:
            verdict = self.judge(self.query, action, self.seen)
            return "", verdict.reward, True, False, {"verdict": verdict, "seen": self.seen}
        call = tuple(words[:-1])
        answer = self.tools(self.query, call)
        if answer:
            self.seen[call] = answer
        return " ".join(told(answer)), 0.0, False, False, {}
