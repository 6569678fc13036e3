"""The KL-regularised objective J(π) = ⟨π, r⟩ - β KL(π ‖ π_ref) over K responses, and its closed forms."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, rel_entr

Rows = Float[np.ndarray, "*B K"]


def soft_value(reference: Rows, rewards: Rows, beta: float) -> Float[np.ndarray, "*B"]:
    """J*(r) = max_π J(π) = β log Σ_a π_ref(a) exp(r(a) / β), convex in r, in units of the reward.

    Raises:
        ValueError: β is not positive.
    """
    _positive(beta)
    return np.asarray(beta * logsumexp(rewards / beta, axis=-1, b=reference))


def gibbs_policy(reference: Rows, rewards: Rows, beta: float) -> Rows:
    """The maximiser π_r(a) ∝ π_ref(a) exp(r(a) / β); responses outside the support of π_ref keep mass 0.

    Raises:
        ValueError: β is not positive.
    """
    _positive(beta)
    with np.errstate(divide="ignore"):
        logits = np.log(reference) + rewards / beta
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def kl(policy: Rows, reference: Rows) -> Float[np.ndarray, "*B"]:
    """KL(policy ‖ reference) in nats; infinite where the policy leaves the reference's support."""
    return rel_entr(policy, reference).sum(axis=-1)


def value(policy: Rows, reference: Rows, rewards: Rows, beta: float) -> Float[np.ndarray, "*B"]:
    """J(π) = ⟨π, r⟩ - β KL(π ‖ π_ref), in units of the reward."""
    return (policy * rewards).sum(axis=-1) - beta * kl(policy, reference)


def draw(policy: Rows, uniforms: Float[np.ndarray, "*B"]) -> np.ndarray:
    """One response per row by inverting the cumulative distribution at the given numbers of [0, 1)."""
    edges = np.cumsum(policy, axis=-1)[..., :-1]
    return (uniforms[..., None] >= edges).sum(axis=-1)


def _positive(beta: float) -> None:
    if not beta > 0:
        raise ValueError(f"beta is {beta}; the KL weight has to be positive")
