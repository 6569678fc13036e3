"""Optimistic rewards of a known form: one arm at G, another at G - lead, all others at 0.

`common.preference.optimism` searches the box of all rewards, which has no exact maximiser beyond a few arms.
Here the best of K (K - 1) candidates is exact for any K.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from common.preference.bradley_terry import log_sigmoid
from common.preference.optimism import Bandit
from common.preference.tabular import gibbs_policy, kl

TIE = 1e-9  # candidates that explain the data equally well are tried in a random order
Rows = Float[np.ndarray, "S K"]
Runs = Int[np.ndarray, " N"]


class TwoGood:
    """Global maximum of likelihood plus bonus over the rewards of the known form.

    J* is the same for all of them under a uniform π_ref, so the bonus is -α ⟨π_cal, r⟩.

    Args:
        bandit: One bandit per run; its width is G.
        alpha: Weight of the bonus, one per run.
        lead: Of the best arm over the second.
        seeds: Draw the order in which equal candidates are tried, one per run.

    Raises:
        ValueError: π_ref is not uniform.
    """

    def __init__(
        self, bandit: Bandit, alpha: Float[np.ndarray, " S"], lead: float, seeds: Sequence[int]
    ) -> None:
        if np.ptp(bandit.reference) > 1e-12:
            raise ValueError("π_ref has to be uniform; under another one the candidates differ in J*")
        self.bandit, self.alpha, self.lead = bandit, alpha, lead
        arms = bandit.rewards.shape[1]
        self.best = gibbs_policy(bandit.reference, bandit.rewards, bandit.beta)
        orders = [np.random.default_rng([seed, arms, 1]).random((arms, arms)) for seed in seeds]
        self.score = -TIE * np.stack(orders)  # [run, best arm, second arm]
        self.score[:, np.arange(arms), np.arange(arms)] = -np.inf

    def observe(self, rows: Runs, winner: Runs, loser: Runs) -> None:
        """Add one comparison to each of the given runs."""
        first = self.bandit.width[rows, None]
        second, lead = first - self.lead, np.array(self.lead)
        between = self.score[rows, winner, loser], self.score[rows, loser, winner]
        self.score[rows, winner] += gain(first)
        self.score[rows, loser] += gain(-first)
        self.score[rows, :, winner] += gain(second)
        self.score[rows, :, loser] += gain(-second)
        self.score[rows, winner, loser] = between[0] + gain(lead)
        self.score[rows, loser, winner] = between[1] + gain(-lead)

    def maximise(self, calibration: Rows) -> tuple[Rows, Rows, Float[np.ndarray, " S"]]:
        """Optimistic rewards, their policies and regrets."""
        first = self.bandit.width[:, None, None]
        expected = first * calibration[:, :, None] + (first - self.lead) * calibration[:, None, :]
        objective = self.score - self.alpha[:, None, None] * expected
        shape, everyone = objective.shape[1:], np.arange(len(objective))
        best, next_best = np.unravel_index(objective.reshape(len(objective), -1).argmax(axis=1), shape)
        rewards = np.zeros_like(calibration)
        rewards[everyone, best] = self.bandit.width
        rewards[everyone, next_best] = self.bandit.width - self.lead
        policy = gibbs_policy(self.bandit.reference, rewards, self.bandit.beta)
        return rewards, policy, self.bandit.beta * kl(policy, self.best)


def gain(margin: np.ndarray) -> np.ndarray:
    """log σ(x) - log σ(0): what a comparison adds beyond the log 1/2 that it adds to all other candidates."""
    return log_sigmoid(margin) + np.log(2)
