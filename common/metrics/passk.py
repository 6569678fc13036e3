"""The unbiased pass@k estimator."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike


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
