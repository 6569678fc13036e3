"""The paper's delta: its equations as pure functions, then the config and the trainer.

Reads like the method section. Where official code and paper differ, the paper is the default and the code's
variant an option.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def reward_variance(p: Float[np.ndarray, "*prompts"]) -> Float[np.ndarray, "*prompts"]:
    """Variance of a 0/1 reward whose success rate is p: p (1 - p) (Eq. 1; replace by the paper's).

    Args:
        p: Success rates in [0, 1].

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError("success rates must lie in [0, 1]")
    return p * (1.0 - p)
