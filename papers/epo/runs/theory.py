"""Exact checks of EPO's equations and of what follows from them (C5 to C7)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.study.jobs import Job, Record
from papers.epo.method import (
    Corridor,
    accumulated_deviation,
    beta_schedule,
    entropy,
    epo_loss,
    net_entropy_coefficient,
    smoothing_penalty,
)

COEFFICIENT = 0.001
PUBLISHED_ALPHAS = (0.05, 0.1)
PUBLISHED_STEPS = (125, 150)


def equations(job: Job, _workspace: Path) -> Record:
    """Entry point: errors of identities on random policies, corridors and schedules.

    Config: `draws` instances, `vocabulary` tokens of each policy.

    Emits series ``[1, draws]``: ``force`` (autograd through the logits minus the closed form, per token),
    ``push`` (the largest push on entropy under the published constants, over λ; 0 if none is downwards),
    ``lower`` (the penalty under κ_l = 0 minus that of the upper end), ``inert`` (the penalty where κ_r H̄ is
    at least log |V|), ``corridor`` (violations of P >= 0, P = 0 exactly inside, 1-Lipschitz, and of a
    gradient that points to the corridor), ``exact_penalty`` (Eq. 6 minus its exact-penalty form).
    """
    (seed,) = job.seeds
    draws, vocabulary = int(job.config["draws"]), int(job.config["vocabulary"])
    generator = np.random.default_rng(seed)
    rows = [_instance(generator, vocabulary) for _ in range(draws)]
    return Record(series={name: np.array([[row[name] for row in rows]]) for name in rows[0]})


def drift(job: Job, _workspace: Path) -> Record:
    """Entry point: Prop. 6.2 by arithmetic, turns 1 to `turns`.

    Emits series over turns: ``ratio`` (accumulated over constant deviation), ``ratio_error`` (its difference
    to (T + 1) / 2), ``bounded`` (the same ratio where entropy stays below log `vocabulary`), ``excess`` (how
    far the bounded sum lies above T log |V|, at least 0).
    """
    step, ceiling = 0.1, math.log(int(job.config["vocabulary"]))
    turns = np.arange(1, int(job.config["turns"]) + 1)
    free = np.array([accumulated_deviation(int(turn), step) for turn in turns])
    bounded = np.array([accumulated_deviation(int(turn), step, ceiling) for turn in turns])
    ratio = free / (turns * step)
    series = {
        "ratio": ratio,
        "ratio_error": ratio - (turns + 1) / 2,
        "bounded": bounded / (turns * step),
        "excess": np.maximum(bounded - turns * ceiling, 0.0),
    }
    return Record(series={name: values[None] for name, values in series.items()})


def _instance(generator: np.random.Generator, vocabulary: int) -> dict[str, float]:
    """Every check on eight random token distributions."""
    scale = generator.uniform(0.1, 5.0)
    logits = torch.from_numpy(scale * generator.standard_normal((8, vocabulary)))
    entropies = entropy(logits)
    reference = torch.tensor(generator.uniform(0.05, 1.0) * math.log(vocabulary), dtype=torch.float64)
    low, high = generator.uniform(0.0, 0.9), generator.uniform(1.1, 2.5)
    corridor = Corridor(low, high, alpha=generator.uniform(0.0, 3.0))
    beta = beta_schedule(int(generator.integers(0, 101)), 100)
    return {
        "force": _force_error(logits, reference, corridor, beta),
        "push": _push(generator, entropies, reference),
        "lower": _largest(
            smoothing_penalty(entropies, reference, Corridor(0.0, high))
            - (entropies - high * reference).clamp(min=0)
        ),
        "inert": _largest(
            smoothing_penalty(entropies, torch.full_like(reference, math.log(vocabulary) / 2), Corridor())
        ),
        "corridor": _violation(entropies, reference, corridor),
        "exact_penalty": _exact_penalty(entropies, reference, corridor, beta),
    }


def _loss(values: Tensor, reference: Tensor, corridor: Corridor, beta: float) -> Tensor:
    """Eq. 6 on one turn of these tokens."""
    turns = torch.zeros(1, len(values), dtype=torch.long)
    tokens = reference.expand(1, len(values))
    return epo_loss(values[None], tokens, turns, torch.ones_like(turns), COEFFICIENT, corridor, beta)


def _force_error(logits: Tensor, reference: Tensor, corridor: Corridor, beta: float) -> float:
    """∂L/∂logits by autograd minus the closed net coefficient times ∂H/∂logits, over λ."""
    free = logits.clone().requires_grad_()
    entropies = entropy(free)
    closed = net_entropy_coefficient(entropies.detach(), reference, COEFFICIENT, corridor, beta)
    loss = _loss(entropies, reference, corridor, beta)
    (through,) = torch.autograd.grad(loss, free, retain_graph=True)
    (by_form,) = torch.autograd.grad((closed * entropies).mean(), free)
    return _largest((through - by_form) / COEFFICIENT)


def _push(generator: np.random.Generator, entropies: Tensor, reference: Tensor) -> float:
    """How far the net force under the published constants pushes an entropy down, over λ."""
    steps = int(generator.choice(PUBLISHED_STEPS))
    beta = beta_schedule(int(generator.integers(0, steps + 1)), steps)
    corridor = Corridor(alpha=float(generator.choice(PUBLISHED_ALPHAS)))
    return float(net_entropy_coefficient(entropies, reference, 1.0, corridor, beta).max().clamp(min=0.0))


def _violation(entropies: Tensor, reference: Tensor, corridor: Corridor) -> float:
    """The largest breach of Lemma A.10 and A.11."""
    free = entropies.clone().requires_grad_()
    penalty = smoothing_penalty(free, reference, corridor)
    (slope,) = torch.autograd.grad(penalty.sum(), free)
    penalty = penalty.detach()
    low, high = corridor.low * reference, corridor.high * reference
    inside = (entropies >= low) & (entropies <= high)
    outwards = torch.where(entropies > high, 1.0, -1.0).to(slope.dtype) * ~inside
    steep = (penalty[:, None] - penalty).abs() - (entropies[:, None] - entropies).abs()
    wrong = (inside != (penalty == 0)).to(slope.dtype)
    parts = [(-penalty).clamp(min=0), wrong, slope - outwards, steep.clamp(min=0).flatten()]
    return _largest(torch.cat(parts))


def _exact_penalty(entropies: Tensor, reference: Tensor, corridor: Corridor, beta: float) -> float:
    """Eq. 6 minus -λ L_H + ρ mean P with ρ = λ β α (Prop. 6.1), over λ."""
    weight = COEFFICIENT * beta * corridor.alpha
    form = -COEFFICIENT * entropies.mean() + weight * smoothing_penalty(entropies, reference, corridor).mean()
    return float((_loss(entropies, reference, corridor, beta) - form) / COEFFICIENT)


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
