"""Draws of tokens without replacement, by enumeration of their orders; a set of tokens is a bit mask.

Successive draws from p give an order with probability Π_m p_{j_m} / (1 - Σ_{l<m} p_{j_l}), the law of
Plackett and Luce. Everything is vectorised over N distributions.
"""

from __future__ import annotations

from functools import cache
from itertools import chain, combinations, permutations

import numpy as np
from jaxtyping import Complex, Float, Int, Shaped

STEP = 1e-30  # of the complex step, whose derivative has no cancellation


@cache
def orders(vocabulary: int, k: int) -> Int[np.ndarray, "M k"]:
    """Every order of k different tokens."""
    return np.array(list(permutations(range(vocabulary), k)))


def masks(chosen: Int[np.ndarray, "M k"]) -> Int[np.ndarray, " M"]:
    """The set of each order."""
    found: np.ndarray = (1 << chosen).sum(axis=-1)
    return found


def order_probabilities(
    probabilities: Shaped[np.ndarray, "N V"], chosen: Int[np.ndarray, "M k"]
) -> Shaped[np.ndarray, "N M"]:
    """Probability of each order of draws without replacement, Π_m p_{j_m} / (1 - Σ_{l<m} p_{j_l})."""
    drawn = probabilities[:, chosen]
    before = drawn.cumsum(axis=-1) - drawn
    found: np.ndarray = (drawn / (1 - before)).prod(axis=-1)
    return found


def set_probabilities(probabilities: Float[np.ndarray, "N V"], k: int) -> Float[np.ndarray, "N sets"]:
    """Probability that the first k draws are each of the 2^V sets; zero for those of another size."""
    vocabulary = probabilities.shape[1]
    chosen = orders(vocabulary, k)
    found = np.zeros((len(probabilities), 1 << vocabulary))
    np.add.at(found.T, masks(chosen), order_probabilities(probabilities, chosen).T)
    return found


@cache
def members(vocabulary: int) -> Float[np.ndarray, "sets V"]:
    """1 where a set holds a token."""
    return ((np.arange(1 << vocabulary)[:, None] >> np.arange(vocabulary)) & 1).astype(float)


def inclusion(probabilities: Float[np.ndarray, "N V"], k: int) -> Float[np.ndarray, "N V"]:
    """q_j(k), the probability that token j is among k draws without replacement."""
    return set_probabilities(probabilities, k) @ members(probabilities.shape[1])


def race_inclusion(probabilities: Float[np.ndarray, "N V"], k: int) -> Float[np.ndarray, "N V"]:
    """The probability that token j is among the first k of an exponential race with rates p.

    Of the others fewer than k arrive before j. By inclusion and exclusion over the set A of those that do,
    P(A before j, the rest behind) = Σ_{B ⊆ A} (-1)^|B| p_j / (p_j + Σ_{i not in A} p_i + Σ_B p_i).
    """
    vocabulary = probabilities.shape[1]
    found = np.zeros_like(probabilities)
    for token in range(vocabulary):
        own = probabilities[:, token]
        others = [other for other in range(vocabulary) if other != token]
        for ahead in _subsets(others, k - 1):
            behind = probabilities[:, [other for other in others if other not in ahead]].sum(axis=1)
            for part in _subsets(ahead, len(ahead)):
                rate = own + behind + probabilities[:, list(part)].sum(axis=1)
                found[:, token] += (-1) ** len(part) * own / rate
    return found


def _subsets(tokens: list[int] | tuple[int, ...], largest: int) -> chain[tuple[int, ...]]:
    """Every subset of at most so many."""
    return chain.from_iterable(combinations(tokens, size) for size in range(largest + 1))


def prefix_error(probabilities: Float[np.ndarray, "N V"], k: int) -> Float[np.ndarray, " N"]:
    """Largest difference between the law of k draws and that of the first k of all draws."""
    vocabulary = probabilities.shape[1]
    whole = orders(vocabulary, vocabulary)
    found = np.zeros((len(probabilities), 1 << vocabulary))
    np.add.at(found.T, masks(whole[:, :k]), order_probabilities(probabilities, whole).T)
    error: np.ndarray = np.abs(found - set_probabilities(probabilities, k)).max(axis=1)
    return error


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
