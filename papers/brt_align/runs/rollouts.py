"""Whose rollouts are judged: those of pocket models that have read `delayed_hazard`, and of SmolLM2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from common.models.pocket import load_pocket
from common.models.pretrained import load_smollm2
from common.models.recipe import Policy, cached
from common.models.subject import Rollouts, Subject, record
from common.study.jobs import Job
from common.tasks.dark_turns import Openings
from common.tasks.delayed_hazard import World

SALT = 0xB27


@dataclass(frozen=True)
class Pool:
    """SmolLM2's rollouts, recorded once in float16 and kept beside the store.

    Attributes:
        layers: Recorded.
        pool: Openings.
        tokens: Of a continuation.
    """

    layers: tuple[int, ...]
    pool: int
    tokens: int

    def load(self) -> Rollouts:
        """The rollouts; the first call records them."""
        given = Openings().prompts(self.pool, np.random.default_rng(SALT))
        folder = cached(self, lambda: record(smollm2(self.layers, self.tokens), given, torch.float16))
        return Rollouts.load(folder, given)


@cache
def smollm2(layers: tuple[int, ...], tokens: int) -> Subject:
    """SmolLM2, loaded once by a process."""
    return Subject(Policy(*load_smollm2()), Openings(), tokens, layers, batch=50)


def prepared(job: Job) -> tuple[Subject, list[Rollouts]]:
    """The subject of a job, and its rollouts for training, validation and test; one seed a job.

    Config: `subject` (``"hazard"`` or ``"stories"``), `layers`, `train`, `validation`, `test`; for the first
    `model` and `escape`; for the second `pool` and `tokens`, whose rollouts all seeds share and split anew.
    """
    (seed,), own = job.seeds, job.config
    sizes, layers = [int(own[name]) for name in ("train", "validation", "test")], tuple(own["layers"])
    generator = np.random.default_rng([seed, SALT])
    if own["subject"] == "stories":
        recipe = Pool(layers, int(own["pool"]), int(own["tokens"]))
        order = torch.from_numpy(generator.permutation(recipe.pool)[: sum(sizes)])
        return smollm2(layers, recipe.tokens), recipe.load().part(order).split(*sizes)
    world = World(escape=float(own["escape"]))
    subject = Subject(Policy(*load_pocket(own["model"])), world, world.horizon, layers)
    return subject, record(subject, world.prompts(sum(sizes), generator)).split(*sizes)
