"""Inference: policies that restart from elites within each lead's budget, and searches without a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.agents.lockstep import play
from common.models.pocket import load_policy
from common.rl.rollout import derived_generator
from common.study.jobs import Job, Record
from common.tasks.molecules.assay import Assay, Bench
from common.tasks.molecules.designs import Lead
from common.tasks.molecules.goals import Task
from common.tasks.molecules.search import SEARCHES
from common.tasks.molecules.warm_start import Setting, codec, rules, warm_start, world
from papers.polo.method import Elites

BUDGETS = (5, 10, 15, 25, 50)
POOLS = {
    "evolutionary": Elites(),
    "independent": Elites(restart=0.0),
    "any": Elites(tournament=1),
}
SLACK = 3  # rounds that a policy whose proposals cost nothing may spend, as a multiple of what it needs


@dataclass
class Progress:
    """What the calls of one lead have come to.

    Attributes:
        curve: Best improvement over the lead after each call.
        solved: Calls at the first success; infinite without.
        similarity: Of the best molecule to the lead.
        proposals, valid: Proposals, and those that are admissible molecules.
        elites: Designs to restart from.
    """

    curve: list[float] = field(default_factory=list)
    solved: float = np.inf
    similarity: float = 1.0
    proposals: int = 0
    valid: int = 0
    elites: Elites = field(default_factory=Elites)

    @property
    def best(self) -> float:
        """Improvement of the best molecule."""
        return self.curve[-1] if self.curve else 0.0

    def take(self, design: tuple[str, ...], info: dict[str, Any], task: Task, lead: dict[str, float]) -> None:
        """Take note of a proposal and what became of it."""
        self.proposals += 1
        good = info["outcome"] == "ok"
        merit = task.merit(info["values"], lead) if good else -np.inf
        self.valid += good or info["outcome"] == "same"
        best = max(self.best, merit)
        if good and merit > self.best:
            self.similarity = info["similarity"]
        if good:
            self.elites.add(design, merit)
        if info["charged"]:
            self.curve.append(best)
        elif self.curve:
            self.curve[-1] = best
        if info["success"]:
            self.solved = min(self.solved, info["calls"])


def optimise(
    model: PreTrainedModel,
    words: PreTrainedTokenizerBase,
    setting: Setting,
    leads: Sequence[Lead],
    bench: Bench,
    turns: int,
    elites: Elites,
    seed: int,
) -> list[Progress]:
    """Spend each lead's budget on trajectories from the lead or from one of its elites.

    All leads play a trajectory in lockstep, round after round, until their budgets are spent. Each has a pool
    like `elites`.
    """
    rng = np.random.default_rng(seed)
    space, text, limits = setting.space, codec(words), rules(words, turns)
    progress = [Progress(elites=replace(elites, merits={})) for _ in leads]
    for round_ in range(SLACK * -(-bench.budget // turns)):
        open_ = [row for row, lead in enumerate(leads) if bench.assay(lead.smiles).calls < bench.budget]
        if not open_:
            break
        told: list[list[Any]] = [[] for _ in open_]
        worlds = [
            world(space, bench, leads, turns, row, progress[row].elites.start(rng), notes)
            for row, notes in zip(open_, told, strict=True)
        ]
        play(model, worlds, text, limits, [derived_generator(seed, round_, row) for row in open_])
        for row, notes in zip(open_, told, strict=True):
            lead = bench.assay(leads[row].smiles).lead_values
            for design, info in notes:
                progress[row].take(design, info, bench.task, lead)
    return progress


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


def methods(job: Job, _workspace: Path) -> Record:
    """Entry point: the warm start with and without restarts from elites, and searches without a policy.

    Config: `Setting`, `Recipe` and ``budget``, ``turns``.

    Returns:
        Parts by ``method``, with the numbers of `measured`; ``witness``, the share of the test leads whose
        stored witness succeeds when it is assayed again.
    """
    (seed,) = job.seeds
    setting, budget, turns = job.read(Setting), int(job.config["budget"]), int(job.config["turns"])
    leads = setting.leads("test")
    model, words = load_policy(str(warm_start(job.config, seed)))
    found = {}
    for name, elites in POOLS.items():
        bench = setting.bench(budget)
        found[name] = optimise(model, words, setting, leads, bench, turns, elites, seed)
    for name in SEARCHES:
        found[name] = [_searched(name, setting, lead, budget, seed) for lead in leads]
    parts = [
        ({"method": name}, Record.of_one_seed(measured(progress, budget), {}))
        for name, progress in found.items()
    ]
    proved = [_proved(setting, lead) for lead in leads]
    return Record({"witness": np.array([np.mean(proved)])}, parts=parts)


def _searched(name: str, setting: Setting, lead: Lead, budget: int, seed: int) -> Progress:
    assay = _assay(setting, lead, budget)
    found = SEARCHES[name](setting.space, lead, assay, np.random.default_rng([seed, len(lead.smiles)]))
    best = assay.judge(setting.space.smiles(lead, found.design))
    solved = found.calls if found.success else np.inf
    return Progress(found.curve, solved, best.similarity, max(1, found.calls), max(1, found.calls))


def _proved(setting: Setting, lead: Lead) -> bool:
    assay = _assay(setting, lead, 1)
    verdict = assay.judge(setting.space.smiles(lead, lead.witness))
    return verdict.outcome == "ok" and assay.task.passed(verdict.values, assay.lead_values)


def _assay(setting: Setting, lead: Lead, budget: int) -> Assay:
    return setting.bench(budget).assay(lead.smiles)
