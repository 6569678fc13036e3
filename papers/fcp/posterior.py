"""Verbal feedback as a condition, exactly: the feedback posterior, its link to RL, rounds of bootstrapping.

Distributions over responses o (last axis, O) and critiques c (C) of one question, with any leading axes.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from common.tabular.optimizers import Adam

Responses = Float[np.ndarray, "*S O"]
Joint = Float[np.ndarray, "*S C O"]


def joint(pi_ref: Responses, p_env: Joint) -> Joint:
    """P_off(o, c) = π_ref(o) p_env(c|o), the pairs of the offline data (Eq. 1, arXiv:2509.22638)."""
    return pi_ref[..., None, :] * p_env


def posterior(pairs: Joint) -> Joint:
    """P(o|c) of a joint distribution of responses and critiques (Eq. 1)."""
    return pairs / pairs.sum(axis=-1, keepdims=True)


def fit(pairs: Joint, steps: int = 400, learning_rate: float = 0.3) -> Joint:
    """Minimise E_{(o, c)}[-log π_θ(o|c)] over free logits with Adam (Eq. 3).

    The rate falls to 0 as a cosine. The gradient in the logits of π(.|c) is P(c) (π(.|c) - P(.|c)).
    """
    target = np.moveaxis(pairs, -1, 0).reshape(pairs.shape[-1], -1)
    marginal = target.sum(axis=0)
    table = np.zeros_like(target)
    optimizer = Adam(table, learning_rate, betas=(0.9, 0.95))  # forget the large gradients of the start
    optimizer.begin(np.arange(table.shape[1]))
    for step in range(steps):
        optimizer.learning_rate = learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        optimizer.step(marginal * _softmax(optimizer.values) - target)
    return np.moveaxis(_softmax(optimizer.values).reshape(pairs.shape[-1], *pairs.shape[:-1]), 0, -1)


def _softmax(logits: Float[np.ndarray, "O R"]) -> Float[np.ndarray, "O R"]:
    weights = np.exp(logits - logits.max(axis=0))
    return weights / weights.sum(axis=0)


def divergence(p: Responses, q: Responses) -> Float[np.ndarray, "*S"]:
    """KL(p‖q) in nats; 0 log 0 = 0."""
    ratio = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(p > 0, q, 1.0))
    return (p * ratio).sum(axis=-1)


def kl_regularised(pi: Responses, pi_ref: Responses, p_plus: Responses) -> Float[np.ndarray, "*S"]:
    """E_π[log p_env(c+|o)] - KL(π‖π_ref): RL on the log-probability of praise, KL weight 1 (Eq. 2).

    `p_plus` is p_env(c+|o), positive where π is.
    """
    reward = np.log(np.where(pi > 0, p_plus, 1.0))
    return (pi * reward).sum(axis=-1) - divergence(pi, pi_ref)


def bootstrap_round(pi_plus: Responses, p_env: Joint) -> Joint:
    """One exact online round: roll out under c+, critique afresh, fit all pairs (Eqs. 4 and 5).

    Returns π_{t+1}(o|c) for every c from π_t(o|c+).
    """
    return posterior(joint(pi_plus, p_env))


def bootstrap_closed_form(pi_plus: Responses, p_plus: Responses, rounds: int) -> Responses:
    """π_0(o|c+) p_env(c+|o)^t, normalised: KL-regularised RL with weight 1/t.

    Own derivation from Eq. 4 with a point mass on c+; computed in logs.
    """
    with np.errstate(divide="ignore"):
        logits = np.log(pi_plus) + rounds * np.log(p_plus)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)
