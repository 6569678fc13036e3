"""Exact checks of the identities and closed forms behind the algorithms, on random bandits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.preference.bradley_terry import contrast_information, information
from common.preference.tabular import gibbs_policy, kl, soft_value, value
from common.study.jobs import Job, Record

STEP = 1e-5  # of the central difference


def identities(job: Job, workspace: Path) -> Record:  # noqa: ARG001
    """C1 on random (r, π_ref, π_cal, π, β): closed form, regret as a divergence, DPO form, shift invariance.

    Config: `draws`, `arms`. After the random instances come boundary ones: equal rewards, a reference with
    almost all mass on one arm, β from 0.05 to 20.

    Returns:
        Absolute errors per instance. `regret`: J*(r) - J(π) against β KL(π ‖ π_r); `optimum`: J(π_r) against
        J*(r); `dpo`: J*(r) - ⟨π_cal, r⟩ against -β E_cal log(π_r / π_ref); `shift`: the bonus of r + c
        against that of r; `gradient`: π_r - π_cal against central differences; `flipped`, a control: the DPO
        form with the sign turned.
    """
    (seed,) = job.seeds
    draws, arms = int(job.config["draws"] or 0), int(job.config["arms"] or 0)
    rng = np.random.default_rng([seed, draws, arms])
    rewards, shift = rng.normal(0, 2, (draws, arms)), rng.normal(0, 5, (draws, 1))
    reference, calibration, policy = rng.dirichlet(np.ones(arms), (3, draws))
    beta = np.exp(rng.uniform(np.log(0.05), np.log(20), draws))
    rewards[0] = 1.0
    reference[1] = np.r_[1 - 1e-9 * (arms - 1), np.full(arms - 1, 1e-9)]
    beta[:4] = 1.0, 1.0, 0.05, 20.0
    errors: dict[str, list[float]] = {name: [] for name in IDENTITIES}
    for row in zip(rewards, shift, reference, calibration, policy, beta, strict=True):
        for name, error in _identity_errors(*row).items():
            errors[name].append(error)
    return Record(series={name: np.array(values)[None] for name, values in errors.items()})


IDENTITIES = ("regret", "optimum", "dpo", "shift", "gradient", "flipped")


def _identity_errors(
    r: np.ndarray, shift: np.ndarray, ref: np.ndarray, cal: np.ndarray, policy: np.ndarray, beta: float
) -> dict[str, float]:
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


def horizons(job: Job, workspace: Path) -> Record:  # noqa: ARG001
    """Derivation 1: how long CE1 waits for its first informative pair, by enumeration of the four pairs.

    Config: `betas` with commas between.

    Returns:
        Series over β: `beta`; `waiting`, the mean number of rounds until a ≠ b under π_t of the optimistic
        reward (0, 1) and uniform π_ref; `closed`, 1 + cosh(1/β); `leading`, e^{1/β} / 2.
    """
    betas = np.array([float(part) for part in str(job.config["betas"]).split(",")])
    waiting = []
    for beta in betas:
        policy = gibbs_policy(np.array([0.5, 0.5]), np.array([0.0, 1.0]), beta)
        pairs = np.outer(policy, policy)
        waiting.append(1 / (pairs[0, 1] + pairs[1, 0]))
    series = {
        "beta": betas,
        "waiting": np.array(waiting),
        "closed": 1 + np.cosh(1 / betas),
        "leading": np.exp(1 / betas) / 2,
    }
    return Record(series={name: values[None] for name, values in series.items()})


def comparisons(job: Job, workspace: Path) -> Record:  # noqa: ARG001
    """Derivation 2: information about r(1) - r(2) from n comparisons against a bad arm, and from direct ones.

    Config: `gaps` with commas between; the rewards are (G, G - 1, 0).

    Returns:
        Series over G, per comparison: `gap`; `indirect`, from comparisons split evenly between (1, 0) and
        (2, 0); `direct`; `ratio`; `closed`, σ'(1) · 2 (1/σ'(G) + 1/σ'(G-1)), what the ratio should be;
        `leading`, σ'(1) · 2 (1 + 1/e) e^G.
    """
    gaps = np.array([float(part) for part in str(job.config["gaps"]).split(",")])
    through = np.array([[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]])
    between = np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 0]])
    indirect, direct = (
        np.array([contrast_information(np.array([g, g - 1, 0.0]), design, 0, 1) for g in gaps])
        for design in (through, between)
    )
    unit = information(np.array(1.0))
    series = {
        "gap": gaps,
        "indirect": indirect,
        "direct": direct,
        "ratio": direct / indirect,
        "closed": 2 * unit * (1 / information(gaps) + 1 / information(gaps - 1)),
        "leading": 2 * unit * (1 + np.exp(-1)) * np.exp(gaps),
    }
    return Record(series={name: values[None] for name, values in series.items()})
