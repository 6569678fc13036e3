"""Exact checks of Lemma 2 and Theorems 1 and 2, by enumeration of small autoregressive policies (C1 to C3),
and of what the released weights look at (C12).

A policy writes T tokens of V symbols; its logits at each place depend on what was written before. They are
linear in parameters that all places share, with one Jacobian for each place, so that gradients of different
tokens can point the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.agents.call_regions import call_regions
from common.study.jobs import Job, Record
from common.tasks import toolcall
from papers.rest.method import (
    Weighting,
    entropy_bound,
    optimal_weights,
    score_size,
    token_weights,
    variance_bound,
)

LENGTH, SYMBOLS, PARAMETERS = 3, 3, 4
RIVALS = 20
"""Random feasible weights that the optimum is held against."""


def lemma(job: Job, _workspace: Path) -> Record:
    """Entry point: Lemma 2 on random distributions. Config: `draws`.

    Emits series ``[1, draws]``: ``size`` (E||s||² by enumeration minus the closed form), ``excess`` (how far
    the closed form lies above 1 - e^-H).
    """
    generator = np.random.default_rng(job.seeds[0])
    draws = int(job.config["draws"])
    scale = generator.uniform(0.1, 6.0, (draws, 1))
    p = torch.from_numpy(scale * generator.standard_normal((draws, 8))).softmax(dim=-1)
    scores = torch.eye(8, dtype=p.dtype) - p[:, None]
    size = (p * scores.square().sum(dim=-1)).sum(dim=-1)
    entropies = -(p * p.log()).sum(dim=-1)
    closed = score_size(p)
    series = {"size": size - closed, "excess": (closed - entropy_bound(entropies)).clamp(min=0.0)}
    return Record(series={name: value[None].numpy() for name, value in series.items()})


@dataclass(frozen=True)
class Policies:
    """R random policies, all their texts enumerated.

    Attributes:
        law: Probability of each of the S texts.
        gradients: ∇log π of each token of each text in the shared parameters.
        sizes: 1 - e^-H of each place, mean over texts.
        jacobians: ||J_t||_F² of each place.
    """

    law: Float[Tensor, "R S"]
    gradients: Float[Tensor, "R S T P"]
    sizes: Float[Tensor, "R T"]
    jacobians: Float[Tensor, "R T"]

    @property
    def beta(self) -> Float[Tensor, "R T"]:
        """E ||J_tᵀ s_t||², the exact second moment of a token's gradient."""
        return (self.law[..., None] * self.gradients.square().sum(dim=-1)).sum(dim=1)

    def mean(self, factors: Float[Tensor, "R S"], weights: Float[Tensor, "R T"]) -> Float[Tensor, "R P"]:
        """E[A Σ_t w_t ∇log π_t] for A given by text."""
        weighed = (self.gradients * weights[:, None, :, None]).sum(dim=2)
        return ((self.law * factors)[..., None] * weighed).sum(dim=1)

    def variance(self, factors: Float[Tensor, "R S"], weights: Float[Tensor, "R T"]) -> Float[Tensor, " R"]:
        """Trace of the covariance of A Σ_t w_t ∇log π_t for A given by text."""
        weighed = (self.gradients * weights[:, None, :, None]).sum(dim=2)
        second = (self.law * factors.square() * weighed.square().sum(dim=-1)).sum(dim=1)
        return second - self.mean(factors, weights).square().sum(dim=-1)


def policies(draws: int, generator: np.random.Generator) -> Policies:
    """Random policies; the sharpness of their distributions varies by place."""
    texts = np.array(list(product(range(SYMBOLS), repeat=LENGTH)))
    law = torch.ones(draws, len(texts), dtype=torch.float64)
    gradients, sizes, jacobians = [], [], []
    for place in range(LENGTH):
        scale = generator.uniform(0.2, 4.0, (draws, 1, 1))
        logits = torch.from_numpy(scale * generator.standard_normal((draws, SYMBOLS**place, SYMBOLS)))
        jacobian = torch.from_numpy(generator.standard_normal((draws, SYMBOLS, PARAMETERS)))
        p = logits.softmax(dim=-1)[:, _prefix(texts, place)]
        scores = torch.eye(SYMBOLS, dtype=p.dtype)[texts[:, place]] - p
        gradients.append(scores @ jacobian)
        entropy = -(p * p.log()).sum(dim=-1)
        before = law
        law = law * p.gather(2, torch.from_numpy(texts[None, :, place, None]).expand(draws, -1, 1))[..., 0]
        seen = before / SYMBOLS ** (LENGTH - place)
        sizes.append((seen * entropy_bound(entropy)).sum(dim=1))
        jacobians.append(jacobian.square().sum(dim=(1, 2)))
    stacks = (torch.stack(each, dim=1) for each in (sizes, jacobians))
    return Policies(law, torch.stack(gradients, dim=2), *stacks)


def _prefix(texts: Int[np.ndarray, "S T"], place: int) -> Int[np.ndarray, " S"]:
    """Number of what was written before a place."""
    return sum((texts[:, at] * SYMBOLS**at for at in range(place)), np.zeros(len(texts), dtype=np.int64))


def variance(job: Job, _workspace: Path) -> Record:
    """Entry point: Theorems 1 and 2 on `draws` random policies, advantages and weights.

    Emits series ``[1, draws]``: ``optimum`` (bound at w* minus T² / Σ β⁻¹ relative, and how far random
    feasible weights get below it), ``independent`` (variance over E[A²] Σ β w², minus 1, for A that is
    independent of the text and centred), ``excess_<weights>`` (how far the variance lies above the bound,
    relative to it, for A given by the text; 0 below it) and ``excess_entropy_<weights>`` (the same with
    ||J||² (1 - e^-H) for β), by weights uniform, inverse and random; ``bias`` (||E g^w - E g|| over ||E g||,
    and the cosine of the two as ``cosine``, inverse weights).
    """
    generator = np.random.default_rng(job.seeds[0])
    draws = int(job.config["draws"])
    own = policies(draws, generator)
    beta, rough = own.beta, own.jacobians * own.sizes
    random = torch.from_numpy(generator.dirichlet(np.ones(LENGTH), size=draws)) * LENGTH
    advantages = torch.from_numpy(generator.standard_normal(own.law.shape))
    advantages -= (own.law * advantages).sum(dim=1, keepdim=True)
    second = (own.law * advantages.square()).sum(dim=1)
    kinds = {"uniform": torch.ones_like(beta), "inverse": optimal_weights(beta), "random": random}
    series = {"optimum": _optimum(beta, generator), "independent": _independent(own, random)}
    for name, weights in kinds.items():
        spread = own.variance(advantages, weights)
        for prefix, size in {"excess": beta, "excess_entropy": rough}.items():
            series[f"{prefix}_{name}"] = (spread / variance_bound(size, weights, second) - 1).clamp(min=0.0)
    plain, weighed = (own.mean(advantages, kinds[name]) for name in ("uniform", "inverse"))
    series["bias"] = (weighed - plain).norm(dim=1) / plain.norm(dim=1)
    series["cosine"] = torch.nn.functional.cosine_similarity(weighed, plain, dim=1)
    return Record(series={name: value[None].numpy() for name, value in series.items()})


def _optimum(beta: Float[Tensor, "R T"], generator: np.random.Generator) -> Float[Tensor, " R"]:
    one = torch.ones(len(beta), dtype=beta.dtype)
    closed = LENGTH**2 / (1.0 / beta).sum(dim=1)
    least = variance_bound(beta, optimal_weights(beta), one)
    worse = torch.from_numpy(generator.dirichlet(np.ones(LENGTH), size=(RIVALS, len(beta)))) * LENGTH
    below = (least - variance_bound(beta, worse, one)).clamp(min=0.0).amax(dim=0)
    return ((least - closed).abs() + below) / closed


def _independent(own: Policies, weights: Float[Tensor, "R T"]) -> Float[Tensor, " R"]:
    """A = ±a with equal chances whatever the text: the mean is 0, and the variance that of a constant A = a
    without its mean.
    """
    one = torch.ones_like(own.law)
    second = own.variance(one, weights) + own.mean(one, weights).square().sum(dim=-1)
    return second / variance_bound(own.beta, weights, torch.ones(len(weights), dtype=weights.dtype)) - 1


def audit(job: Job, _workspace: Path) -> Record:
    """Entry point: whether weights see the policy. Config: `draws` responses.

    Emits ``[1, draws]`` ``code`` and ``paper``, the largest change of a response's weights between two random
    tables of entropies, at one text and RL step.
    """
    generator = np.random.default_rng(job.seeds[0])
    draws = int(job.config["draws"])
    texts = [list(toolcall.trace(item, generator, toolcall.Noise())) for item in toolcall.items(0, draws)]
    masks = call_regions(texts, " ")
    mask = torch.tensor([[place < len(text) for place in range(masks["think"].shape[1])] for text in texts])
    tables = [torch.from_numpy(generator.exponential(size=mask.shape)) for _ in range(2)]
    step = float(generator.uniform(0, 300))
    forms: dict[str, Weighting] = {"code": Weighting("code"), "paper": Weighting("paper")}
    changes = {
        name: (
            token_weights(masks, mask, form, step, tables[0])
            - token_weights(masks, mask, form, step, tables[1])
        )
        for name, form in forms.items()
    }
    return Record(series={name: change.abs().amax(dim=1)[None].numpy() for name, change in changes.items()})
