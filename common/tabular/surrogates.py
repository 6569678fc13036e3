"""Surrogates of the likelihood of a mixture of tokens: where their expected policy gradient points.

A step draws k of V tokens without replacement and reads their mean, weighted with p̂, p normalised on them.
For small V, in float64 and without sampling, vectorised over N instances. The true gradient, and what the
draws cover, are in `common.tabular.draws`. Also the diversity of Dirichlet weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from common.tabular.draws import masks, order_probabilities, orders, softmax

Surrogate = Literal["multi", "single", "plackett_luce"]
SURROGATES: tuple[Surrogate, ...] = ("multi", "single", "plackett_luce")


def dirichlet_diversity(
    normalised: Float[np.ndarray, "*s k"], concentration: float
) -> Float[np.ndarray, "*s"]:
    """E[1 - Σ w²] of w ~ Dir(c p̂): (1 - Σ p̂²) c / (c + 1)."""
    diversity: np.ndarray = 1 - (normalised**2).sum(axis=-1)
    return diversity * concentration / (concentration + 1)


def surrogate_gradient(
    logits: Float[np.ndarray, "N V"],
    rewards: Float[np.ndarray, "N sets"],
    k: int,
    surrogate: Surrogate,
    temperature: float = 1.0,
    scored: float | None = None,
) -> Float[np.ndarray, "N V"]:
    """E[(r - E[r]) ∇ℓ], what GRPO follows on average with a surrogate ℓ, by enumeration of the draws.

    Args:
        logits: Of the policy.
        rewards: Of each set of candidates, the weights being a part of the environment.
        k: Candidates.
        surrogate: ℓ: ``"multi"`` is Σ_S p̂_j log p_j, ``"plackett_luce"`` the likelihood of the ordered draws,
            ``"single"`` log p of a token that is drawn with p̂, its mean over these.
        temperature: That tokens are drawn at.
        scored: That ℓ is taken at; the same by default.
    """
    chosen = orders(logits.shape[1], k)
    likely = order_probabilities(softmax(logits / temperature), chosen)
    reward = rewards[:, masks(chosen)]
    advantage = reward - (likely * reward).sum(axis=1, keepdims=True)
    scored = temperature if scored is None else scored
    slopes = _slopes(softmax(logits / scored), chosen, surrogate) / scored
    found: np.ndarray = ((likely * advantage)[..., None] * slopes).sum(axis=1)
    return found


def _slopes(
    probabilities: Float[np.ndarray, "N V"], chosen: Int[np.ndarray, "M k"], surrogate: Surrogate
) -> Float[np.ndarray, "N M V"]:
    """∇ℓ in the logits (over the temperature) for every order."""
    vocabulary = probabilities.shape[1]
    places = np.eye(vocabulary)[chosen]  # [M, k, V]
    if surrogate == "plackett_luce":
        left = 1 - (places.cumsum(axis=1) - places)
        rest = left * probabilities[:, None, None]
        slopes: np.ndarray = (places - rest / rest.sum(axis=-1, keepdims=True)).sum(axis=2)
        return slopes
    drawn = probabilities[:, chosen]
    weights = drawn / drawn.sum(axis=-1, keepdims=True)
    if surrogate == "multi":  # both factors of Σ p̂ log p
        logs = np.log(drawn)
        weights = weights * (1 + logs - (weights * logs).sum(axis=-1, keepdims=True))
    return np.einsum("nmk,mkv->nmv", weights, places) - probabilities[:, None]


def cosine(first: Float[np.ndarray, "N V"], second: Float[np.ndarray, "N V"]) -> Float[np.ndarray, " N"]:
    """Of the angle between two vectors."""
    product = (first * second).sum(axis=1)
    found: np.ndarray = product / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    return found
