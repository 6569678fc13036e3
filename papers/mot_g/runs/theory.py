"""Exact checks of mixture steps: moments, draws without replacement, and the bias of the surrogates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import roots_jacobi

from common.study.jobs import Job, Record
from common.tabular.draws import (
    chain_variance,
    coverage,
    inclusion,
    prefix_error,
    race_inclusion,
    reward_gradient,
    softmax,
)
from common.tabular.surrogates import SURROGATES, cosine, dirichlet_diversity, surrogate_gradient

SPREAD = 1.5  # standard deviation of random logits
NODES = 3  # of the quadrature, which is exact for polynomials of degree 5
SAMPLED_AT = 0.9  # the official code's temperature; it scores at 1


def moments(job: Job, _workspace: Path) -> Record:
    """Entry point: moments of Dirichlet weights by quadrature of their Beta marginals (C1).

    Config: `draws` instances of `vocabulary` weights.

    Emits series ``[1, draws]``: ``mean`` (E[w] - p̂, largest), ``diversity`` (E[1 - Σ w²] minus the form).
    """
    rng = np.random.default_rng(job.seeds[0])
    draws, size = int(job.config["draws"]), int(job.config["vocabulary"])
    weights = softmax(SPREAD * rng.standard_normal((draws, size)))
    concentrations = np.exp(rng.uniform(np.log(0.1), np.log(20.0), draws))
    found = np.array([_beta_moments(p, c) for p, c in zip(weights, concentrations, strict=True)])
    form = np.array([dirichlet_diversity(p, c) for p, c in zip(weights, concentrations, strict=True)])
    mean = np.abs(found[:, 0] - weights).max(axis=1)
    diversity = 1 - found[:, 1].sum(axis=1) - form
    return Record(series={"mean": mean[None], "diversity": diversity[None]})


def _beta_moments(weights: Float[np.ndarray, " k"], concentration: float) -> Float[np.ndarray, "2 k"]:
    """First and second moment of each Dirichlet weight, w_j ~ Beta(c p̂_j, c (1 - p̂_j))."""
    found = []
    for weight in weights:
        nodes, density = roots_jacobi(NODES, concentration * (1 - weight) - 1, concentration * weight - 1)
        values, density = (1 + nodes) / 2, density / density.sum()
        found.append(((density * values).sum(), (density * values**2).sum()))
    return np.array(found).T


def draws(job: Job, _workspace: Path) -> Record:
    """Entry point: draws without replacement by enumeration (C2).

    Config: `draws` instances of `vocabulary` tokens.

    Emits series ``[1, draws]``, each the largest over k = 1 to V: ``race`` (inclusion in an exponential race
    minus that by enumeration), ``first`` (q(1) - p), ``nested`` (law of a prefix), ``inclusion_falls`` and
    ``coverage_falls`` (by how much q_j(k) and the coverage fall with k), ``variance_rises``. Series over k:
    ``coverage`` and ``variance`` (over that of one token), means over the instances.
    """
    rng = np.random.default_rng(job.seeds[0])
    count, size = int(job.config["draws"]), int(job.config["vocabulary"])
    p = softmax(SPREAD * rng.standard_normal((count, size)))
    embeddings = rng.standard_normal((count, size, size))
    ks = range(1, size + 1)
    included = np.array([inclusion(p, k) for k in ks])
    covered = np.array([coverage(p, k) for k in ks])
    variance = np.array([chain_variance(p, embeddings, k) for k in ks])
    race = np.array([race_inclusion(p, k) for k in ks])
    series = {
        "race": np.abs(race - included).max(axis=(0, 2)),
        "first": np.abs(included[0] - p).max(axis=1),
        "nested": np.max([prefix_error(p, k) for k in ks], axis=0),
        "inclusion_falls": np.maximum(-np.diff(included, axis=0), 0.0).max(axis=(0, 2)),
        "coverage_falls": np.maximum(-np.diff(covered, axis=0), 0.0).max(axis=0),
        "variance_rises": np.maximum(np.diff(variance, axis=0), 0.0).max(axis=0),
        "coverage": covered.mean(axis=1),
        "variance": (variance / variance[0]).mean(axis=1),
    }
    return Record(series={name: values[None] for name, values in series.items()})


def surrogates(job: Job, _workspace: Path) -> Record:
    """Entry point: the expected gradient of each surrogate beside that of the expected reward (C3).

    Config: `draws` instances of `vocabulary` tokens for each seed; rewards of sets are standard normal.

    Emits by surrogate, over k = 1 to V - 1: ``cosine`` (mean over instances), ``smallest``; ``error``, the
    largest relative distance of the gradients over k, a number for each instance. ``cold`` is the
    ordered-draw likelihood of tokens that are drawn at 0.9 and scored at 1.
    """
    draws, size = int(job.config["draws"]), int(job.config["vocabulary"])
    found = [_compared(np.random.default_rng([seed, 0x3]), draws, size) for seed in job.seeds]
    names = ("cosine", "smallest", "error")
    parts = [
        (
            {"surrogate": surrogate},
            Record(series={name: np.array([one[surrogate][name] for one in found]) for name in names}),
        )
        for surrogate in found[0]
    ]
    return Record(parts=parts)


def _compared(rng: np.random.Generator, draws: int, size: int) -> dict[str, dict[str, np.ndarray]]:
    logits = SPREAD * rng.standard_normal((draws, size))
    rewards = rng.standard_normal((draws, 1 << size))
    kinds: dict[str, dict[str, Any]] = {name: {"surrogate": name} for name in SURROGATES}
    kinds["cold"] = {"surrogate": "plackett_luce", "temperature": SAMPLED_AT, "scored": 1.0}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, options in kinds.items():
        angles, errors = [], []
        for k in range(1, size):
            true = reward_gradient(logits, rewards, k, float(options.get("temperature", 1.0)))
            own = surrogate_gradient(logits, rewards, k, **options)
            angles.append(cosine(own, true))
            errors.append(np.linalg.norm(own - true, axis=1) / np.linalg.norm(true, axis=1))
        found[name] = {
            "cosine": np.mean(angles, axis=1),
            "smallest": np.min(angles, axis=1),
            "error": np.max(errors, axis=0),
        }
    return found
