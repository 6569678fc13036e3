"""The models before a final one, π_θ0 and q_φ, and the traces of a seed; the sweep `reverse` (App. A.9)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.models.pocket import load_pocket
from common.models.recipe import cached, fit
from common.study.jobs import Job, Record
from common.tasks.countdown import EOS, Teacher, items
from common.tasks.countdown.evaluation import Solver
from common.tasks.countdown.training import (
    Demonstration,
    Draws,
    Sampled,
    demonstrated,
    demonstrations,
    draw,
    encode,
    hinted,
    leaks,
    token_log_probs,
    train,
)
from common.tasks.countdown.warm_start import BaseConfig, base_policy

Source = Literal["hint", "prior", "wrong", "overlap", "apart"]


@dataclass(frozen=True)
class Recipe:
    """π_θ0, or q_φ which sees the answer (`hinted`), of a base policy: supervised training on the first
    `used` of its demonstrations.
    """

    base: BaseConfig
    data_seed: int
    hinted: bool
    teacher: Teacher
    questions: int
    used: int
    steps: int
    batch: int
    learning_rate: float


def trained(recipe: Recipe) -> Solver:
    """The model of a recipe, trained on first use."""
    return Solver(*load_pocket(cached(recipe, lambda: _train(recipe))))


def started(base: BaseConfig, seed: int) -> Solver:
    """A fresh copy of a base policy."""
    return Solver(*load_pocket(base_policy(base, seed)))


def _train(recipe: Recipe) -> Solver:
    solver = started(recipe.base, recipe.data_seed)
    rows = demonstrations(recipe.teacher, recipe.questions, recipe.data_seed)[: recipe.used]
    shown = demonstrated(rows, recipe.hinted)
    train(solver, shown, recipe.steps, recipe.batch, recipe.learning_rate, recipe.data_seed)
    return solver


class World:
    """One seed's models, demonstrations, traces and held-out questions."""

    def __init__(self, job: Job) -> None:
        (self.seed,) = job.seeds
        self.config = job.config
        self.base, self.checkpoint = BaseConfig(steps=job.config["base_steps"]), self.seed % 3
        self.teacher = job.read(Teacher)
        self.draws = job.read(Draws, seed=self.seed)
        self.heldout = items("heldout", job.config["test_questions"], 0)
        self._drawn: dict[Source, Sampled] = {}

    @cached_property
    def demonstrations(self) -> list[Demonstration]:
        """The training set of the checkpoint."""
        return demonstrations(self.teacher, self.config["questions"], self.checkpoint)

    @property
    def probed(self) -> list[Demonstration]:
        """The first of them, whose gradients and prior traces are looked at."""
        return self.demonstrations[: self.config["probe_questions"]]

    def model(self, hinted: bool, used: int | None = None) -> Solver:
        """π_θ0 or q_φ, trained on all questions or the first of them."""
        size = self.config["questions"]
        sizes = {"questions": size, "used": used or size, "steps": self.config["stage_steps"]}
        rates = {"batch": self.config["batch"], "learning_rate": self.config["stage_rate"]}
        return trained(Recipe(self.base, self.checkpoint, hinted, self.teacher, **sizes, **rates))

    def sampled(self, source: Source) -> Sampled:
        """Stages 3 and 4, once for each source of traces (`runs.training.Arm`)."""
        if source not in self._drawn:
            self._drawn[source] = self._draw(source)
        return self._drawn[source]

    def _draw(self, source: Source) -> Sampled:
        half = len(self.demonstrations) // 2 if source in ("overlap", "apart") else None
        halves = {"overlap": self.demonstrations[:half], "apart": self.demonstrations[half:]}
        rows, policy = halves.get(source, self.demonstrations), self.model(False, half)
        if source == "prior":
            return draw(policy, policy, rows, [own.prompt() for own in rows], self.draws)
        return draw(policy, self.model(True, half), rows, hinted(rows, source == "wrong"), self.draws)


def reverse(job: Job, _workspace: Path) -> Record:
    """Leaks and entropy of q_φ as it is (``forward``), after the reverse KL, and after it with wrong hints.

    Scalars of an arm: ``leak`` (share of traces that hold nothing but the hinted solution, or no sound step
    while π_θ0 then answers right) and ``entropy`` (mean -log q_φ of a token of its own samples at temperature
    1, nats).
    """
    world, parts = World(job), []
    policy, start = world.model(False), world.model(True)
    for name in ("forward", "reverse", "wrong"):
        solver = Solver(copy.deepcopy(start.model), start.tokenizer)
        if name != "forward":
            descend(solver, policy, world, wrong=name == "wrong")
        draws = Draws(world.draws.traces, world.draws.answers, 1.0, world.seed)
        sampled = draw(policy, solver, world.probed, hinted(world.probed), draws)
        entropy = float(-(sampled.log_proposal / sampled.lengths).mean())
        scalars = {"leak": float(np.mean(leaks(sampled))), "entropy": entropy}
        parts.append(({"arm": name}, Record.of_one_seed(scalars, {})))
    return Record(parts=parts)


def descend(solver: Solver, policy: Solver, world: World, wrong: bool) -> None:
    """REINFORCE in place on log π_θ0(y*|q, z) - log q_φ(z|q, y') / π_θ0(z|q), centred within a question."""
    size, group = world.config["reverse_questions"], world.config["reverse_traces"]
    rng = np.random.default_rng([world.seed, 0xA9])

    def loss(step: int) -> Float[Tensor, ""]:
        rows = [world.demonstrations[at] for at in rng.choice(len(world.demonstrations), size, replace=False)]
        prompts = hinted(rows, wrong)
        traces = solver.traces(prompts, group, 1.0, world.seed * 1000 + step)
        pairs = [(own, prompt) for own, prompt in zip(rows, prompts, strict=True) for _ in range(group)]
        drawn = [(own.prompt(), z, f"{own.answer} {EOS}") for (own, _), z in zip(pairs, traces, strict=True)]
        scored = torch.from_numpy(policy.log_probs(drawn))
        ids = [encode(solver, (prompt, trace)) for (_, prompt), trace in zip(pairs, traces, strict=True)]
        solver.model.train()
        own = token_log_probs(solver, ids)[0].sum(dim=1)
        reward = (scored.sum(dim=1) - own.detach().double()).reshape(size, group)
        centred = (reward - reward.mean(dim=1, keepdim=True)).flatten()
        return -(centred / (centred.std() + 1e-6)).float().mul(own).mean()

    fit(solver.model.parameters(), loss, world.config["reverse_steps"], world.config["reverse_rate"])
    solver.model.eval()
