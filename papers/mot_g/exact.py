"""What can be said about one mixture step without sampling, for small vocabularies and in float64.

Moments of Dirichlet weights; what draws without replacement cover; and the expected policy gradient of each
surrogate beside the gradient of the expected reward. Everything is vectorised over N instances.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Complex, Float, Int, Shaped

from common.tabular.draws import inclusion, masks, members, order_probabilities, orders, set_probabilities

Surrogate = Literal["multi", "single", "plackett_luce"]
SURROGATES: tuple[Surrogate, ...] = ("multi", "single", "plackett_luce")
STEP = 1e-30  # of the complex step, whose derivative has no cancellation


def dirichlet_diversity(
    normalised: Float[np.ndarray, "*s k"], concentration: float
) -> Float[np.ndarray, "*s"]:
    """E[1 - Σ w²] of w ~ Dir(c p̂): (1 - Σ p̂²) c / (c + 1)."""
    diversity: np.ndarray = 1 - (normalised**2).sum(axis=-1)
    return diversity * concentration / (concentration + 1)


def coverage(probabilities: Float[np.ndarray, "N V"], k: int) -> Float[np.ndarray, " N"]:
    """E[Σ_S p], the probability that the candidates hold."""
    found: np.ndarray = (inclusion(probabilities, k) * probabilities).sum(axis=1)
    return found


def chain_variance(
    probabilities: Float[np.ndarray, "N V"], embeddings: Float[np.ndarray, "N V D"], k: int
) -> Float[np.ndarray, " N"]:
    """E‖e - E[e]‖² of the mixture e = Σ_S p̂_j E_j between chains: what GRPO's group has to compare."""
    likely, held = set_probabilities(probabilities, k), members(probabilities.shape[1])
    sized = held.sum(axis=1) == k
    weights = held[sized] * probabilities[:, None]
    weights /= weights.sum(axis=-1, keepdims=True)
    mixtures, likely = weights @ embeddings, likely[:, sized, None]
    mean = (likely * mixtures).sum(axis=1, keepdims=True)
    found: np.ndarray = (likely[..., 0] * ((mixtures - mean) ** 2).sum(axis=-1)).sum(axis=1)
    return found


def softmax(logits: Shaped[np.ndarray, "N V"]) -> Shaped[np.ndarray, "N V"]:
    """Row by row, complex logits too."""
    weights = np.exp(logits - logits.real.max(axis=-1, keepdims=True))
    found: np.ndarray = weights / weights.sum(axis=-1, keepdims=True)
    return found


def reward_gradient(
    logits: Float[np.ndarray, "N V"], rewards: Float[np.ndarray, "N sets"], k: int, temperature: float = 1.0
) -> Float[np.ndarray, "N V"]:
    """∇ E[r(S)] in the logits of the sampling policy, by complex steps: no formula of a gradient is used."""
    vocabulary = logits.shape[1]
    chosen = orders(vocabulary, k)
    reward, gradient = rewards[:, masks(chosen)], np.empty_like(logits)
    for token in range(vocabulary):
        moved: Complex[np.ndarray, "N V"] = logits.astype(complex)
        moved[:, token] += 1j * STEP
        likely = order_probabilities(softmax(moved / temperature), chosen)
        gradient[:, token] = (likely * reward).sum(axis=1).imag / STEP
    return gradient


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
        surrogate: ℓ, see `papers.mot_g.method.mixture_log_prob`; ``"single"`` over representatives.
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
