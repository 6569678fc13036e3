"""Exact checks of the identities and closed forms behind the algorithms, on random bandits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.preference.bradley_terry import contrast_information, information
from common.preference.tabular import gibbs_policy, kl, soft_value, value
from common.study.jobs import Job, Record
from papers.rlhf_exploration.method import waiting_time, worth_of_a_direct_comparison

STEP = 1e-5  # of the central difference
Curves = dict[str, Float[np.ndarray, " N"]]


def identities(job: Job, _workspace: Path) -> Record:
    """Entry point: C1 on random (r, π_ref, π_cal, π, β).

    Config: `draws`, `arms`. Boundary instances are among them: equal rewards, a reference with almost all
    mass on one arm, β from 0.05 to 20.

    Returns:
        Absolute errors per instance. `regret`: J*(r) - J(π) against β KL(π ‖ π_r); `optimum`: J(π_r) against
        J*(r); `dpo`: J*(r) - ⟨π_cal, r⟩ against -β E_cal log(π_r / π_ref); `shift`: the bonus of r + c
        against that of r; `gradient`: π_r - π_cal against central differences; `flipped`, a control: the DPO
        form with the sign turned.
    """
    (seed,) = job.seeds
    draws, arms = int(job.config["draws"]), int(job.config["arms"])
    rng = np.random.default_rng([seed, draws, arms])
    rewards, shift = rng.normal(0, 2, (draws, arms)), rng.normal(0, 5, (draws, 1))
    reference, calibration, policy = rng.dirichlet(np.ones(arms), (3, draws))
    beta = np.exp(rng.uniform(np.log(0.05), np.log(20), draws))
    rewards[0] = 1.0
    reference[1] = np.r_[1 - 1e-9 * (arms - 1), np.full(arms - 1, 1e-9)]
    beta[:4] = 1.0, 1.0, 0.05, 20.0
    instances = zip(rewards, shift, reference, calibration, policy, beta, strict=True)
    errors = [identity_errors(*instance) for instance in instances]
    return Record(series={name: np.array([[row[name] for row in errors]]) for name in errors[0]})


def identity_errors(
    r: np.ndarray, shift: np.ndarray, ref: np.ndarray, cal: np.ndarray, policy: np.ndarray, beta: float
) -> dict[str, float]:
    """Errors of one instance; see `identities`."""
    best, optimum = gibbs_policy(ref, r, beta), soft_value(ref, r, beta)
    bonus = optimum - cal @ r
    divergence = -beta * (cal @ np.log(best / ref))
    shifted = soft_value(ref, r + shift, beta) - cal @ (r + shift)
    directions = STEP * np.eye(len(r))
    ahead, behind = (soft_value(ref, r + sign * directions, beta) for sign in (1, -1))
    numeric = (ahead - behind) / (2 * STEP) - cal
    errors = {
        "regret": optimum - value(policy, ref, r, beta) - beta * kl(policy, best),
        "optimum": optimum - value(best, ref, r, beta),
        "dpo": bonus - divergence,
        "shift": bonus - shifted,
        "gradient": np.abs(numeric - (best - cal)).max(),
        "flipped": bonus + divergence,
    }
    return {name: float(abs(error)) for name, error in errors.items()}


def horizons(job: Job, _workspace: Path) -> Record:
    """Entry point: `waiting` at the `betas` of the config, with commas between."""
    return _record(waiting(_numbers(job.config["betas"])))


def waiting(betas: Float[np.ndarray, " N"]) -> Curves:
    """Derivation 1: how long CE1 waits for its first informative pair.

    Returns:
        `beta`; `waiting`, the mean number of rounds until a ≠ b under π_t of the optimistic reward (0, 1) and
        uniform π_ref, by enumeration; `closed`, 1 + cosh(1/β); `leading`, e^{1/β} / 2.
    """
    policies = [gibbs_policy(np.array([0.5, 0.5]), np.array([0.0, 1.0]), beta) for beta in betas]
    mixed = np.array([2 * good * bad for good, bad in policies])
    leading = np.exp(1 / betas) / 2
    return {"beta": betas, "waiting": 1 / mixed, "closed": waiting_time(betas), "leading": leading}


def comparisons(job: Job, _workspace: Path) -> Record:
    """Entry point: `worth` at the `gaps` of the config, with commas between."""
    return _record(worth(_numbers(job.config["gaps"])))


def worth(gaps: Float[np.ndarray, " N"]) -> Curves:
    """Derivation 2: information about r(1) - r(2) per comparison, for rewards (G, G - 1, 0).

    Returns:
        `gap`; `indirect`, from comparisons split evenly between (1, 0) and (2, 0); `direct`; `ratio`;
        `closed`, what the ratio should be; `leading`, σ'(1) · 2 (1 + 1/e) e^G.
    """
    through = np.array([[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]])
    between = np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]])
    indirect, direct = (
        np.array([contrast_information(np.array([g, g - 1, 0.0]), design, 0, 1) for g in gaps])
        for design in (through, between)
    )
    return {
        "gap": gaps,
        "indirect": indirect,
        "direct": direct,
        "ratio": direct / indirect,
        "closed": worth_of_a_direct_comparison(gaps),
        "leading": 2 * information(np.array(1.0)) * (1 + np.exp(-1)) * np.exp(gaps),
    }


def _numbers(text: str) -> Float[np.ndarray, " N"]:
    return np.array([float(part) for part in text.split(",")])


def _record(curves: Curves) -> Record:
    return Record(series={name: values[None] for name, values in curves.items()})
