"""Bradley-Terry preferences: P(a ≻ b) = σ(r(a) - r(b)).

Only differences of rewards enter, so a reward is identified up to a constant.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit

Counts = Float[np.ndarray, "*B K K"] | Int[np.ndarray, "*B K K"]


def log_sigmoid(margin: Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
    """log σ(x) without overflow."""
    return -np.logaddexp(0.0, -np.asarray(margin, dtype=np.float64))


def preference(margin: Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
    """Probability that the response whose reward is larger by `margin` is preferred."""
    return np.asarray(expit(margin))


def first_wins(margin: Float[np.ndarray, "*B"], uniforms: Float[np.ndarray, "*B"]) -> np.ndarray:
    """Labels: True where the first response of a pair, ahead by `margin`, is preferred."""
    return uniforms < preference(margin)


def log_likelihood(rewards: Float[np.ndarray, "*B K"], wins: Counts) -> Float[np.ndarray, "*B"]:
    """Σ_{a,b} wins[a, b] log σ(r(a) - r(b)) with wins[a, b] the number of times that a beat b."""
    margins = rewards[..., :, None] - rewards[..., None, :]
    return (wins * log_sigmoid(margins)).sum(axis=(-2, -1))


def information(margin: Float[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
    """Fisher information σ(x) σ(-x) of one comparison about its margin x."""
    return preference(margin) * preference(-np.asarray(margin))


def contrast_information(
    rewards: Float[np.ndarray, " K"], comparisons: Float[np.ndarray, "K K"], first: int, second: int
) -> float:
    """Fisher information about r(first) - r(second) in a set of comparisons, all other rewards unknown.

    The information matrix is the Laplacian of a graph with edge weights n(a, b) σ'(r(a) - r(b)); the answer
    is the effective conductance between the two nodes, 0 if no path of comparisons joins them.

    Args:
        rewards: The true rewards.
        comparisons: Number of comparisons of each pair, symmetric; the diagonal is not read.
        first: A response.
        second: Another one.

    Raises:
        ValueError: both are the same response.
    """
    if first == second:
        raise ValueError(f"a contrast needs two responses, got {first} twice")
    weights = comparisons * information(rewards[:, None] - rewards)
    np.fill_diagonal(weights, 0.0)
    joined = _component(weights > 0, first)
    if second not in joined:
        return 0.0
    part = weights[np.ix_(joined, joined)]
    laplacian = np.diag(part.sum(axis=1)) - part
    contrast = np.zeros(len(joined))
    contrast[[joined.index(first), joined.index(second)]] = 1.0, -1.0
    grounded = np.linalg.solve(laplacian[1:, 1:], contrast[1:])
    return float(1.0 / (contrast[1:] @ grounded))


def _component(edges: np.ndarray, start: int) -> list[int]:
    """Nodes that a path joins to `start`, sorted."""
    found, waiting = {start}, [start]
    while waiting:
        fresh = set(np.flatnonzero(edges[waiting.pop()]).tolist()) - found
        found |= fresh
        waiting.extend(fresh)
    return sorted(found)
