"""What the oracle calls of each lead have come to, by a policy's proposals or by a search without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.tasks.molecules.assay import Assay, Bench
from common.tasks.molecules.designs import Lead, Space
from common.tasks.molecules.goals import Task
from common.tasks.molecules.search import SEARCHES

BUDGETS = (5, 10, 15, 25, 50)
LONGEST_PATH = 6


@dataclass
class Progress:
    """What the calls of one lead have come to.

    Attributes:
        curve: Best improvement over the lead after each call.
        solved: Calls at the first success; infinite without.
        similarity: Of the best molecule to the lead.
        proposals, valid: Proposals, and those that are admissible molecules.
        path: Each molecule that was better than all before it, with the calls so far.
    """

    curve: list[float] = field(default_factory=list)
    solved: float = np.inf
    similarity: float = 1.0
    proposals: int = 0
    valid: int = 0
    path: list[tuple[int, str]] = field(default_factory=list)

    @property
    def best(self) -> float:
        """Improvement of the best molecule."""
        return self.curve[-1] if self.curve else 0.0

    def take(self, info: Mapping[str, Any], task: Task, lead: Mapping[str, float]) -> float | None:
        """Take note of what became of a proposal; returns its improvement, None where it has no values."""
        self.proposals += 1
        good = info["outcome"] == "ok"
        merit = task.merit(info["values"], lead) if good else -np.inf
        self.valid += good or info["outcome"] == "same"
        best = max(self.best, merit)
        if merit > self.best:
            self.similarity = info["similarity"]
            self.path.append((info["calls"], info["smiles"]))
        if info["charged"]:
            self.curve.append(best)
        elif self.curve:
            self.curve[-1] = best
        if info["success"]:
            self.solved = min(self.solved, info["calls"])
        return merit if good else None


def measured(progress: Sequence[Progress], budget: int) -> dict[str, float]:
    """Success and mean improvement at several budgets; similarity, share of admissible proposals, calls."""
    solved = np.array([each.solved for each in progress])
    values = {
        "success": float((solved <= budget).mean()),
        "gain": float(np.mean([each.best for each in progress])),
        "similarity": float(np.mean([each.similarity for each in progress])),
        "admissible": float(np.mean([each.valid / max(1, each.proposals) for each in progress])),
        "calls": float(np.mean([len(each.curve) for each in progress])),
    }
    for most in (each for each in BUDGETS if each <= budget):
        values[f"success_at/{most}"] = float((solved <= most).mean())
        gains = [each.curve[min(most, len(each.curve)) - 1] if each.curve else 0.0 for each in progress]
        values[f"gain_at/{most}"] = float(np.mean(gains))
    return values


def longest_path(progress: Sequence[Progress], leads: Sequence[Lead]) -> list[tuple[int, str]]:
    """The lead that was improved most often, and the last of its improvements: calls and SMILES of each."""
    lead, longest = max(zip(leads, progress, strict=True), key=lambda pair: len(pair[1].path))
    return [(0, lead.smiles), *longest.path[-LONGEST_PATH + 1 :]]


def searched(name: str, space: Space, lead: Lead, bench: Bench, seed: int) -> Progress:
    """A search of `common.tasks.molecules.search.SEARCHES` on one lead, which stops at its first success."""
    assay = bench.assay(lead.smiles)
    found = SEARCHES[name](space, lead, assay, np.random.default_rng([seed, len(lead.smiles)]))
    best = assay.judge(space.smiles(lead, found.design))
    solved = found.calls if found.success else np.inf
    return Progress(found.curve, solved, best.similarity, max(1, found.calls), max(1, found.calls))


def proved(space: Space, lead: Lead, assay: Assay) -> bool:
    """Whether the lead's stored witness succeeds when it is assayed again."""
    verdict = assay.judge(space.smiles(lead, lead.witness))
    return verdict.outcome == "ok" and assay.task.passed(verdict.values, assay.lead_values)
