"""Exact checks of the turn-level loss, in float64 on random trajectories."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.study.jobs import Job, Record
from papers.polo.method import implicit_scores, lambda_weights, preference_loss, preference_pairs

TURNS = 5
TOKENS = 3
LADDER = (-0.5, -0.3, 0.0, 0.05, 0.4, 5.0)  # rewards with ties, as the environment's penalties have


def pairs(job: Job, _workspace: Path) -> Record:
    """Entry point: how many comparisons a trajectory gives.

    Config: ``draws`` random trajectories, with distinct rewards and with ties.

    Emits ``distinct``, the count minus T(T - 1)/2; ``ties``, the count minus that of pairs that differ;
    ``capped``, the count minus the smaller of that and the cap; ``mean`` pairs with the cap.
    """
    rng = np.random.default_rng(job.seeds[0])
    draws = int(job.config["draws"])
    distinct = torch.from_numpy(rng.permuted(np.tile(np.arange(TURNS) * 0.1, (draws, 1)), axis=1))
    tied = torch.from_numpy(rng.choice(LADDER, size=(draws, TURNS)))
    differ = (tied[:, :, None] != tied[:, None, :]).sum(dim=(1, 2)) // 2
    counts = [preference_pairs(*given).sum(dim=(1, 2)) for given in ((distinct, 0), (tied, 0), (tied, 6))]
    errors = {
        "distinct": counts[0] - math.comb(TURNS, 2),
        "ties": counts[1] - differ,
        "capped": counts[2] - differ.clamp(max=6),
        "mean": counts[2],
    }
    return Record(series={name: values.double().numpy()[None] for name, values in errors.items()})


def invariance(job: Job, _workspace: Path) -> Record:
    """Entry point: a strictly increasing transform of the rewards, r → e^{2r}.

    Emits ``uncapped``, the change of the unweighted loss without a cap; ``capped`` and ``weighted``, 1 where
    the cap, or the weights, let it change by more than 1e-9.
    """
    scores, rewards = _drawn(job)
    moved = torch.exp(2 * rewards)
    kinds = {"uncapped": (0, False), "capped": (6, False), "weighted": (0, True)}
    changes = {
        name: _losses(scores, moved, *kind) - _losses(scores, rewards, *kind) for name, kind in kinds.items()
    }
    series = {name: (change.abs() > 1e-9).double().numpy()[None] for name, change in changes.items()}
    return Record(series=series | {"uncapped": changes["uncapped"].numpy()[None]})


def locality(job: Job, _workspace: Path) -> Record:
    """Entry point: where the gradient of one cumulative pair falls.

    Emits ``outside``, the largest gradient on a token that is not between the two turns; ``sign``, tokens
    between them that a descent moves the wrong way; ``closed_form``, the largest difference to
    -Δ σ(s_b - s_a) β on each of them.
    """
    rng = np.random.default_rng(job.seeds[0])
    found: dict[str, list[float]] = {"outside": [], "sign": [], "closed_form": []}
    turns = torch.arange(TURNS).repeat_interleave(TOKENS)[None]
    for _ in range(int(job.config["draws"])):
        better, worse = rng.choice(TURNS, size=2, replace=False)
        ratio = torch.from_numpy(rng.normal(size=(1, TURNS * TOKENS))).requires_grad_()
        rewards = torch.full((1, TURNS), math.nan, dtype=torch.float64)
        rewards[0, better], rewards[0, worse] = rng.normal() + 4, -rng.random()
        scores = implicit_scores(ratio, torch.ones_like(turns), turns, TURNS, 0.5)
        (gradient,) = torch.autograd.grad(preference_loss(scores, rewards), ratio)
        between = (turns > min(better, worse)) & (turns <= max(better, worse))
        direction = -1.0 if better > worse else 1.0
        slope = lambda_weights(scores, rewards)[0, better, worse] * torch.sigmoid(
            scores[0, worse] - scores[0, better]
        )
        found["outside"].append(float(gradient[~between].abs().max()))
        found["sign"].append(float((gradient[between] * direction <= 0).sum()))
        found["closed_form"].append(float((gradient[between] - direction * 0.5 * slope.detach()).abs().max()))
    return Record(series={name: np.array([values]) for name, values in found.items()})


def _drawn(job: Job) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    rng = np.random.default_rng(job.seeds[0])
    shape = int(job.config["draws"]), TURNS
    return torch.from_numpy(rng.normal(size=shape)), torch.from_numpy(rng.normal(size=shape))


def _losses(scores: Tensor, rewards: Tensor, most: int, weighted: bool) -> Float[Tensor, " N"]:
    rows = zip(scores.split(1), rewards.split(1), strict=True)
    return torch.stack([preference_loss(score, reward, most, weighted) for score, reward in rows])
