"""Searches on designs within an assay's budget: the witness that a lead can be improved, and baselines.

Each stops at the first success, with an empty budget, or when nothing new turns up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from common.study.errors import StudyError
from common.tasks.molecules.assay import Assay
from common.tasks.molecules.designs import Lead, Space
from common.tasks.molecules.goals import Oracle, Task

Design = tuple[str, ...]
PROOF = 150  # calls that a witness may take: of those found within 500, nearly all are found by then
PATIENCE = 20  # proposals for each call of the budget; those that cost nothing must not go on for ever


@dataclass
class Found:
    """What a search came to.

    Attributes:
        design: The best one.
        merit: Its weighted improvement over the lead.
        success: The task is solved.
        calls: Oracle calls of the search.
        curve: Best merit after each call.
    """

    design: Design
    merit: float = 0.0
    success: bool = False
    calls: int = 0
    curve: list[float] = field(default_factory=list)


class _Stop(Exception):
    """Success, or nothing left to spend."""


class _Search:
    """Designs tried so far and the best of them."""

    def __init__(self, space: Space, lead: Lead, assay: Assay) -> None:
        self.space, self.lead, self.assay = space, lead, assay
        self.choices = space.choices(lead)
        self.found = Found(lead.design)
        self.merits: dict[Design, float | None] = {lead.design: 0.0}
        self._left = PATIENCE * assay.budget

    def merit(self, design: Design) -> float | None:
        """Merit of a design, None where it has no values; keeps the best."""
        self._left -= 1
        if self._left < 0:
            raise _Stop
        if design not in self.merits:
            self.merits[design] = self._tried(design)
        return self.merits[design]

    def _tried(self, design: Design) -> float | None:
        verdict = self.assay.judge(self.space.smiles(self.lead, design))
        if verdict.outcome == "exhausted":
            raise _Stop
        merit = None
        if verdict.outcome == "ok":
            merit = self.assay.task.merit(verdict.values, self.assay.lead_values)
            if merit > self.found.merit:
                self.found.design, self.found.merit = design, merit
        if verdict.charged:
            self.found.calls += 1
            self.found.curve.append(self.found.merit)
        if verdict.outcome == "ok" and self.assay.task.passed(verdict.values, self.assay.lead_values):
            self.found.design, self.found.merit, self.found.success = design, merit or 0.0, True
            raise _Stop
        return merit

    def edits(self, design: Design) -> Iterator[Design]:
        """All designs that differ in one place."""
        for place, tokens in enumerate(self.choices):
            for token in tokens:
                if token != design[place]:
                    yield (*design[:place], token, *design[place + 1 :])

    def mutated(self, design: Design, rng: np.random.Generator) -> Design:
        """One place drawn anew."""
        place = int(rng.integers(len(design)))
        tokens = self.choices[place]
        return (*design[:place], tokens[rng.integers(len(tokens))], *design[place + 1 :])


def _run(search: _Search, go: Callable[[], None]) -> Found:
    with suppress(_Stop):
        go()
    return search.found


def best_first(space: Space, lead: Lead, assay: Assay, rng: np.random.Generator) -> Found:
    """Local search: try every one-place edit of the best design whose edits were not tried yet."""
    search = _Search(space, lead, assay)

    def go() -> None:
        fresh = {lead.design}
        while fresh:
            best = max(fresh, key=lambda design: search.merits[design] or 0.0)
            edits = list(search.edits(best))
            fresh.remove(best)
            for index in rng.permutation(len(edits)):
                new = edits[index] not in search.merits
                if search.merit(edits[index]) is not None and new:
                    fresh.add(edits[index])

    return _run(search, go)


def evolution(
    space: Space,
    lead: Lead,
    assay: Assay,
    rng: np.random.Generator,
    population: int = 20,
    crossover: float = 0.5,
    tournament: int = 3,
) -> Found:
    """Steady-state genetic algorithm: tournaments, uniform crossover, one mutation; the worst leaves."""
    search = _Search(space, lead, assay)

    def chosen(members: list[Design]) -> Design:
        drawn = rng.choice(len(members), size=min(tournament, len(members)), replace=False)
        return max((members[index] for index in drawn), key=lambda design: search.merits[design] or 0.0)

    def go() -> None:
        members = [lead.design]
        while True:
            child = chosen(members)
            if rng.random() < crossover:
                other = chosen(members)
                child = tuple(a if rng.random() < 0.5 else b for a, b in zip(child, other, strict=True))
            child = search.mutated(child, rng)
            if search.merit(child) is not None and child not in members:
                members.append(child)
                if len(members) > population:
                    members.remove(min(members, key=lambda design: search.merits[design] or 0.0))

    return _run(search, go)


def random_edits(space: Space, lead: Lead, assay: Assay, rng: np.random.Generator, most: int = 2) -> Found:
    """Edits of the lead in one to `most` places, uniformly."""
    search = _Search(space, lead, assay)

    def go() -> None:
        while True:
            design = lead.design
            for _ in range(int(rng.integers(1, most + 1))):
                design = search.mutated(design, rng)
            search.merit(design)

    return _run(search, go)


SEARCHES: dict[str, Callable[[Space, Lead, Assay, np.random.Generator], Found]] = {
    "local": best_first,
    "evolution": evolution,
    "random": random_edits,
}


@dataclass(frozen=True)
class Survey:
    """Leads that were proved to be improvable, and how many molecules it took to find them.

    Attributes:
        leads: With witnesses.
        seen: Molecules looked at.
        covered: Those that are designs of the space.
        admitted: Those of them that the task takes, and that keep its limits themselves.
        solved: Those of them for which a witness was found, however soon.
    """

    leads: tuple[Lead, ...]
    seen: int
    covered: int
    admitted: int
    solved: int

    @property
    def solvable(self) -> float:
        """Share of the admitted leads for which a witness was found."""
        return self.solved / self.admitted


def survey(
    space: Space,
    candidates: Iterable[Lead | None],
    task: Task,
    oracles: dict[str, Oracle],
    count: int,
    budget: int = PROOF,
    fewest: int = 0,
) -> Survey:
    """The first `count` candidates of distinct molecules that the task admits and local search solves.

    Args:
        space: What may be designed.
        candidates: Leads; None for a molecule that is none.
        task: What is asked for.
        oracles: Functions of its properties.
        count: Leads wanted.
        budget: Most oracle calls for a witness.
        fewest: Oracle calls that a witness has to take: easier leads are left out.

    Raises:
        StudyError: there are too few.
    """
    leads: dict[str, Lead] = {}
    seen = covered = admitted = solved = 0
    known = set()
    for candidate in candidates:
        if len(leads) == count:
            break
        seen += 1
        if candidate is None or candidate.smiles in known:
            continue
        known.add(candidate.smiles)
        covered += 1
        assay = Assay(candidate.smiles, task, oracles, budget)
        if not task.admits(assay.lead_values) or assay.judge(candidate.smiles).outcome != "ok":
            continue
        admitted += 1
        found = best_first(space, candidate, assay, np.random.default_rng(admitted))
        solved += found.success
        if found.success and found.calls >= fewest:
            leads[candidate.smiles] = replace(candidate, witness=found.design, witness_calls=found.calls)
    if len(leads) < count:
        raise StudyError(
            f"{count} leads for '{task.name}' wanted; of {seen} molecules {covered} are designs, the task "
            f"takes {admitted} of these, and {len(leads)} can be improved within {budget} calls, "
            f"{fewest} of them at least"
        )
    return Survey(tuple(leads.values()), seen, covered, admitted, solved)
