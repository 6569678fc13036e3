"""Inference: policies that restart from elites within each lead's budget, and searches without a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.agents.lockstep import play
from common.models.pocket import load_policy
from common.rl.rollout import derived_generator
from common.study.jobs import Job, Record
from common.tasks.molecules.assay import Bench
from common.tasks.molecules.designs import Lead
from common.tasks.molecules.progress import Progress, measured, proved, searched
from common.tasks.molecules.search import SEARCHES
from common.tasks.molecules.warm_start import Setting, codec, rules, warm_start, world
from papers.polo.method import Elites

POOLS = {
    "evolutionary": Elites(),
    "independent": Elites(restart=0.0),
    "any": Elites(tournament=1),
}
SLACK = 3  # rounds that a policy whose proposals cost nothing may spend, as a multiple of what it needs


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
    progress, pools = [Progress() for _ in leads], [replace(elites, merits={}) for _ in leads]
    for round_ in range(SLACK * -(-bench.budget // turns)):
        open_ = [row for row, lead in enumerate(leads) if bench.assay(lead.smiles).calls < bench.budget]
        if not open_:
            break
        told: list[list[Any]] = [[] for _ in open_]
        worlds = [
            world(space, bench, leads, turns, row, pools[row].start(rng), notes)
            for row, notes in zip(open_, told, strict=True)
        ]
        play(model, worlds, text, limits, [derived_generator(seed, round_, row) for row in open_])
        for row, notes in zip(open_, told, strict=True):
            lead = bench.assay(leads[row].smiles).lead_values
            for design, info in notes:
                merit = progress[row].take(info, bench.task, lead)
                if merit is not None:
                    pools[row].add(design, merit)
    return progress


def methods(job: Job, _workspace: Path) -> Record:
    """Entry point: the warm start with and without restarts from elites, and searches without a policy.

    Config: `Setting`, `Recipe` and ``turns``.

    Returns:
        Parts by ``method``, with the numbers of `measured`; ``witness``, the share of the test leads whose
        stored witness succeeds when it is assayed again.
    """
    (seed,) = job.seeds
    setting, turns = job.read(Setting), int(job.config["turns"])
    leads, budget, space = setting.leads("test"), setting.budget, setting.space
    model, words = load_policy(str(warm_start(job.config, seed)))
    found = {
        name: optimise(model, words, setting, leads, setting.bench(budget), turns, elites, seed)
        for name, elites in POOLS.items()
    }
    for name in SEARCHES:
        bench = setting.bench(budget)
        found[name] = [searched(name, space, lead, bench, seed) for lead in leads]
    parts = [
        ({"method": name}, Record.of_one_seed(measured(progress, budget), {}))
        for name, progress in found.items()
    ]
    again = [proved(space, lead, setting.bench(1).assay(lead.smiles)) for lead in leads]
    return Record({"witness": np.array([np.mean(again)])}, parts=parts)
