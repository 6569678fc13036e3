"""Bandits of the study: two hard instances built for a failure mode each, and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

HARD_PRIOR_MASS = 0.95
NEAR_UNIFORM = 20.0  # Dirichlet parameter of the benign reference policies
Rows = Float[np.ndarray, "S K"]


@dataclass(frozen=True)
class Bandit:
    """One bandit per run, all with K arms; prompts are dropped.

    Attributes:
        rewards: True rewards r*.
        reference: π_ref.
        calibration: The fixed calibration policy, also π_0 of the methods that calibrate on the last iterate.
        beta: KL weight.
        width: Largest max(r) - min(r) that an estimate may have, R, one per run.
    """

    rewards: Rows
    reference: Rows
    calibration: Rows
    beta: float
    width: Float[np.ndarray, " S"]


def two_arms(gaps: Float[np.ndarray, " S"], beta: float) -> Bandit:
    """CE1, misaligned comparisons: calibrated by the good arm, optimism puts all mass on the bad one.

    The asymmetric calibration policy (0.9, 0.1) makes that start deterministic. R is the gap.
    """
    rows = np.ones((len(gaps), 1))
    rewards = np.stack([gaps, np.zeros_like(gaps)], axis=1)
    return Bandit(rewards, rows * [0.5, 0.5], rows * [0.9, 0.1], beta, gaps)


def saturated(seeds: int, beta: float, gap: float, mass: float) -> Bandit:
    """CE2, saturation: rewards G, G - 1 and 0; π_ref plays each of the two good arms with `mass`."""
    rows = np.ones((seeds, 1))
    reference = rows * [mass, mass, 1 - 2 * mass]
    width = np.full(seeds, gap + 1.0)  # one more than the true range
    return Bandit(rows * [gap, gap - 1.0, 0.0], reference, reference, beta, width)


def random_bandits(seeds: Sequence[int], beta: float, arms: int, kind: str) -> Bandit:
    """r* ~ U[0, 1]^K; π_ref ~ Dirichlet(1) ("random"), near uniform ("benign"), or on the worst arm.

    A seed's rewards are the same for every kind and β.

    Raises:
        ValueError: an unknown kind.
    """
    rewards, reference = np.empty((len(seeds), arms)), np.empty((len(seeds), arms))
    for row, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, arms])
        rewards[row] = rng.random(arms)
        match kind:
            case "random":
                reference[row] = rng.dirichlet(np.ones(arms))
            case "benign":
                reference[row] = rng.dirichlet(np.full(arms, NEAR_UNIFORM))
            case "hard_prior":
                reference[row] = (1 - HARD_PRIOR_MASS) / (arms - 1)
                reference[row, rewards[row].argmin()] = HARD_PRIOR_MASS
            case _:
                raise ValueError(f"unknown kind '{kind}'; choose random, benign or hard_prior")
    return Bandit(rewards, reference, reference, beta, np.ones(len(seeds)))
