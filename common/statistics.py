"""Statistics over seeds (t intervals and Holm decide, the bootstrap is for display, power sizes a study), and
pass@k over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.05
ROUNDING = 1e-12  # relative to the size of the numbers; what a sum of a few floats may be off


class Interval(NamedTuple):
    """A point estimate between two bounds, with the number of seeds behind it."""

    estimate: float
    low: float
    high: float
    n: int


def _vector(values: ArrayLike, name: str) -> Float[np.ndarray, " n"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"'{name}' must be one finite number per seed; got shape {array.shape}")
    return array


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of one number per seed.

    A single seed has no interval: its bounds are infinite. Equal values give bounds equal to the mean.

    Raises:
        ValueError: values not a non-empty vector of finite numbers, or confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1); got {confidence}")
    sample = _vector(values, "values")
    mean, n = float(sample.mean()), sample.size
    if n == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, n - 1) * sample.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def is_constant(values: ArrayLike) -> bool:
    """True if one number per seed does not vary but for rounding, so that it has no interval to speak of."""
    sample = _vector(values, "values")
    return bool(np.ptp(sample) <= ROUNDING * np.abs(sample).max())


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjustment: sorted p value i of k times (k - i), made monotone, at most 1."""
    adjusted, running = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = running
    return adjusted


def needed_seeds(values: ArrayLike, effect: float, power: float = 0.8, limit: int = 100_000) -> int:
    """Smallest n at which a two-sided 5 % t test finds a mean of `effect` with the given power.

    Uses the sample's standard deviation and the noncentral t distribution; at most `limit`.
    """
    if is_constant(values):
        return 2
    spread = float(np.std(_vector(values, "values"), ddof=1))

    def reached(n: int) -> float:
        critical = stats.t.ppf(1 - LEVEL / 2, n - 1)
        return float(stats.nct.sf(critical, n - 1, effect / spread * np.sqrt(n)))

    low, high = 2, 4
    while reached(high) < power and high < limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= power else (middle, high)
    return min(2 if reached(2) >= power else high, limit)


def interquartile_mean(scores: ArrayLike, axis: int = -1) -> Float[np.ndarray, ...]:
    """Mean of the middle half: a quarter of the values, rounded down, is cut off at each end."""
    return np.asarray(stats.trim_mean(np.asarray(scores, dtype=np.float64), 0.25, axis=axis))


def _matrix(scores: ArrayLike, name: str) -> Float[np.ndarray, "n tasks"]:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"'{name}' must be a finite [seeds, tasks] matrix; got shape {array.shape}")
    return array


def iqm_interval(scores: ArrayLike, rng: np.random.Generator, resamples: int = 2000) -> Interval:
    """Interquartile mean of `scores [seeds, tasks]` with a 95 % stratified percentile bootstrap.

    Seeds are redrawn within each task independently (Agarwal et al., arXiv:2108.13264).

    Raises:
        ValueError: not a finite matrix, or fewer than two seeds.
    """
    matrix = _matrix(scores, "scores")

    def statistic(*tasks: np.ndarray, axis: int) -> np.ndarray:
        return interquartile_mean(np.concatenate(tasks, axis=axis), axis=axis)

    low, high = _bootstrap(tuple(matrix.T), statistic, rng, resamples)
    return Interval(float(interquartile_mean(matrix.ravel())), low, high, matrix.shape[0])


def probability_of_improvement(
    method: ArrayLike, baseline: ArrayLike, rng: np.random.Generator, resamples: int = 2000
) -> Interval:
    """P(method > baseline) + P(equal)/2 for independent seeds, averaged over tasks, bootstrapped at 95 %.

    Args:
        method: ``[seeds, tasks]``.
        baseline: ``[seeds', tasks]``; seeds are not paired.

    Raises:
        ValueError: not finite matrices over the same tasks, or fewer than two seeds.
    """
    first, second = _matrix(method, "method"), _matrix(baseline, "baseline")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both need the same tasks; got {first.shape[1]} and {second.shape[1]}")
    tasks = first.shape[1]

    def statistic(*samples: np.ndarray, axis: int) -> np.ndarray:
        pairs = zip(samples[:tasks], samples[tasks:], strict=True)
        return np.mean([_exceeds(x, y, axis) for x, y in pairs], axis=0)

    low, high = _bootstrap((*first.T, *second.T), statistic, rng, resamples)
    estimate = float(statistic(*first.T, *second.T, axis=-1))
    return Interval(estimate, low, high, min(first.shape[0], second.shape[0]))


def _exceeds(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-2, -1))


def _bootstrap(
    samples: Sequence[np.ndarray],
    statistic: Callable[..., np.ndarray],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[float, float]:
    if min(sample.size for sample in samples) < 2:
        raise ValueError("a bootstrap needs at least two seeds")
    result = stats.bootstrap(
        samples, statistic, n_resamples=resamples, method="percentile", vectorized=True, axis=-1, rng=rng
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def pass_at_k(samples: int, correct: ArrayLike, k: int) -> Float[np.ndarray, ...]:
    """Probability that k of n samples, drawn without replacement, hold a correct one.

    Estimates 1 - (1-p)^k without bias by 1 - C(n-c, k) / C(n, k) (Chen et al., arXiv:2107.03374), as a
    product of ratios below 1, which neither overflows nor cancels.

    Args:
        samples: n, samples per prompt.
        correct: c, number of correct ones per prompt, any shape, integers in 0…n.
        k: Draws, 1 ≤ k ≤ n.

    Returns:
        One estimate per prompt, the shape of `correct`.

    Raises:
        ValueError: k outside 1…n, or a count outside 0…n or not whole.
    """
    counts = np.asarray(correct, dtype=np.float64)
    if not 1 <= k <= samples:
        raise ValueError(f"pass@k needs 1 ≤ k ≤ samples; got k={k}, samples={samples}")
    if counts.size and (counts.min() < 0 or counts.max() > samples or np.any(counts != np.floor(counts))):
        raise ValueError(f"counts of correct samples must be whole numbers from 0 to {samples}")
    drawn = np.arange(k)
    ratios = (samples - counts[..., None] - drawn) / (samples - drawn)
    return 1.0 - np.prod(np.maximum(ratios, 0.0), axis=-1)
