"""Which of n responses to answer with, and the two controls between which any selector lies.

Rows are problems, columns the responses in the order in which they were drawn; every function returns the
column of each row.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

Chosen = Int[np.ndarray, " N"]
Rows = Bool[np.ndarray, "N K"]


def first_accepted(accepted: Rows) -> Chosen:
    """The first that a verifier accepts, and the last where it accepts none (arXiv:2509.22558, §4.4)."""
    return np.where(accepted.any(axis=1), accepted.argmax(axis=1), accepted.shape[1] - 1)


def highest(scores: Float[np.ndarray, "N K"]) -> Chosen:
    """The first of those with the highest score; NaN is the lowest."""
    return np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)


def majority(answers: Sequence[Sequence[Hashable]]) -> Chosen:
    """The first response with the most frequent answer; of equally frequent ones the answer that came first.

    Args:
        answers: Rows of equal length; None is no answer and is outvoted by any.
    """
    return np.array([_majority(row) for row in answers], dtype=np.int64)


def _majority(row: Sequence[Hashable]) -> int:
    given = [answer for answer in row if answer is not None]
    return row.index(max(given, key=given.count)) if given else 0


def at_random(shape: tuple[int, int], generator: np.random.Generator) -> Chosen:
    """The control without information: any response."""
    return generator.integers(shape[1], size=shape[0])


def oracle(correct: Rows) -> Chosen:
    """The control with all information: a right one where there is any."""
    return correct.argmax(axis=1)


def accuracy(correct: Rows, chosen: Chosen) -> float:
    """Share of problems whose chosen response is right."""
    return float(np.take_along_axis(correct, chosen[:, None], axis=1).mean())


def random_accuracy(correct: Rows) -> float:
    """What `at_random` reaches in expectation."""
    return float(correct.mean())


def expected_first_accepted(right: float, passes: float, slips: float, count: int) -> float:
    """Accuracy of `first_accepted` on independent responses to one problem, exact.

    P_k = Σ_{j<k-1} (1-a)^j p t + (1-a)^{k-1} p with a = p t + (1-p) f. An accept at the last place and a
    fall-back on it answer alike.

    Args:
        right: p, probability that a response is right.
        passes: t, that the verifier accepts a right one.
        slips: f, that it accepts a wrong one.
        count: k, number of responses.
    """
    accept = right * passes + (1 - right) * slips
    waiting = (1 - accept) ** np.arange(count)
    return float(waiting[:-1].sum() * right * passes + waiting[-1] * right)


def enumerated_first_accepted(right: float, passes: float, slips: float, count: int) -> float:
    """The same as a sum over the 4^k ways in which k responses are right or not, accepted or not."""
    states = np.array(list(product(range(4), repeat=count)))
    is_right, is_accepted = states < 2, states % 2 == 0
    chances = np.array(
        [right * passes, right * (1 - passes), (1 - right) * slips, (1 - right) * (1 - slips)]
    )[states].prod(axis=1)
    chosen = first_accepted(is_accepted)
    return float(chances @ is_right[np.arange(len(states)), chosen])
