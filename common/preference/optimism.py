"""Optimistic rewards: argmax over width(r) ≤ R of ℓ(r) + α [J*(r) - ⟨π_cal, r⟩], concave plus convex.

One run from the maximum-likelihood estimate would miss the optimistic maxima, which are the subject.
`Lattice` takes the best of finitely many rewards: the global maximum up to the step of the lattice. `Ascent`
is a local search from many starts; its docstring says where its maximum is the global one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from common.preference.bradley_terry import log_likelihood, log_sigmoid
from common.preference.tabular import gibbs_policy, kl, soft_value

TIE = 1e-9  # weight of the tie-break: of equally good rewards the one nearest to a constant wins
POINTS = 201  # lattice of a difference of two rewards
ENUMERABLE = 10  # arms up to which all corners of the box are scored
LEADING = 16  # corners from which an ascent starts
Rows = Float[np.ndarray, "S K"]
Points = Float[np.ndarray, "P K"]
Runs = Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Bandit:
    """One bandit per run, all with K arms; prompts are dropped.

    Attributes:
        rewards: True rewards r*.
        reference: π_ref.
        calibration: The fixed calibration policy, also π_0 of the methods that calibrate on the last iterate.
        beta: KL weight.
        width: Largest max(r) - min(r) that an estimate may have, R, one per run.
    """

    rewards: Rows
    reference: Rows
    calibration: Rows
    beta: float
    width: Float[np.ndarray, " S"]


def lattice(arms: int, width: float) -> Points:
    """Rewards of width at most `width` with the last one 0: 201 points for two arms, steps of R/20 to 0.25
    for three.

    Raises:
        ValueError: another number of arms.
    """
    if arms == 2:
        axes: list[np.ndarray] = [np.linspace(-width, width, POINTS)]
    elif arms == 3:
        step = 0.25 if width >= 5 else 0.125 if width >= 2 else width / 20
        half = round(width / step)
        axes = [step * np.arange(-half, half + 1)] * 2
    else:
        raise ValueError(f"the lattice covers 2 or 3 arms, not {arms}; use Ascent")
    mesh = np.meshgrid(*axes, [0.0], indexing="ij")
    points = np.stack([axis.ravel() for axis in mesh], axis=1)
    return points[np.ptp(points, axis=1) <= width + 1e-9]


def corners(arms: int, width: float) -> Points:
    """Corners of the box [0, R]^K, shifted so that the last reward is 0.

    Up to ten arms all 2^K - 1 that differ by more than a shift; beyond, those with one arm at R or one at 0.
    """
    if arms <= ENUMERABLE:
        raised = np.arange(2**arms - 1)[:, None] >> np.arange(arms) & 1
    else:
        raised = np.concatenate([np.eye(arms, dtype=int), 1 - np.eye(arms, dtype=int)])
    return width * (raised - raised[:, -1:])


class Lattice:
    """Global maximum over finitely many rewards, by default a lattice.

    The log-likelihood depends on win counts alone; it is kept as its values at the points, to which a
    comparison adds one precomputed row. Runs of the same bandit share these rows.

    Args:
        bandit: Runs of one bandit, or of several with equally many points.
        alpha: Weight of the bonus, one per run.
        points: Number of arms and width to the rewards, the last arm's 0.
    """

    def __init__(
        self,
        bandit: Bandit,
        alpha: Float[np.ndarray, " S"],
        points: Callable[[int, float], Points] = lattice,
    ) -> None:
        distinct = np.concatenate([bandit.rewards, bandit.reference, bandit.width[:, None]], axis=1)
        _, first, kind = np.unique(distinct, axis=0, return_index=True, return_inverse=True)
        self.kind: Int[np.ndarray, " S"] = kind.reshape(-1)
        width = bandit.width[first]
        self.rewards = np.stack([points(bandit.rewards.shape[1], float(size)) for size in width])
        reference = bandit.reference[first, None]
        self.columns = np.ascontiguousarray(self.rewards.transpose(0, 2, 1))
        self.labels = log_sigmoid(self.columns[:, :, None] - self.columns[:, None])
        self.policies = gibbs_policy(reference, self.rewards, bandit.beta)
        best = gibbs_policy(reference, bandit.rewards[first, None], bandit.beta)
        self.regrets = bandit.beta * kl(self.policies, best)
        nearest = TIE * np.var(self.rewards, axis=2) / width[:, None] ** 2
        soft = soft_value(reference, self.rewards, bandit.beta)
        self.alpha = alpha
        self.score = alpha[:, None] * soft[self.kind] - nearest[self.kind]
        self.calibration = np.full(bandit.rewards.shape, np.nan)
        self.stale: Bool[np.ndarray, " S"] = np.ones(len(alpha), dtype=bool)
        self.answer = np.zeros(len(alpha), dtype=np.int64)

    def observe(self, rows: Runs, winner: Runs, loser: Runs) -> None:
        """Add one comparison to each of the given runs."""
        self.score[rows] += self.labels[self.kind[rows], winner, loser]
        self.stale[rows] = True

    def maximise(self, calibration: Rows) -> tuple[Rows, Rows, Float[np.ndarray, " S"]]:
        """Optimistic rewards, their policies and regrets; runs without news keep their last answer."""
        rows = np.flatnonzero(self.stale | (calibration != self.calibration).any(axis=1))
        if len(rows):
            self.answer[rows] = self._objective(rows, calibration).argmax(axis=1)
            self.calibration = calibration
            self.stale[:] = False
        at = self.kind, self.answer
        return self.rewards[at], self.policies[at], self.regrets[at]

    def leading(self, calibration: Rows, count: int) -> Float[np.ndarray, "S N K"]:
        """The `count` best rewards of each run, or all if there are fewer, in no order."""
        objective = self._objective(np.arange(len(self.alpha)), calibration)
        count = min(count, objective.shape[1])
        best = np.argpartition(-objective, count - 1, axis=1)[:, :count]
        return self.rewards[self.kind[:, None], best]

    def _objective(self, rows: Runs, calibration: Rows) -> Float[np.ndarray, "N P"]:
        weights = self.alpha[rows, None] * calibration[rows]
        kinds = self.kind[rows] if len(self.columns) > 1 else slice(None)
        objective = self.score[rows]
        for arm in range(self.columns.shape[1] - 1):  # the last reward is 0
            objective -= weights[:, arm, None] * self.columns[kinds, arm]
        return objective


class Ascent:
    """Minorise-maximise ascent from many starts, for any number of arms and a bandit of its own per run.

    J* is minorised by its tangent, ℓ by a parabola with curvature n(a)/2 along coordinate a, where arm a was
    compared n(a) times. So a step is closed form, stays in the box and never lowers the objective. A reward
    of width at most R has a shift in [0, R]^K, and shifts change nothing. Starts: the last optimistic reward,
    the maximum-likelihood estimate, that estimate with one arm raised to R, and the best corners of the box.

    While a run has no comparison its objective is convex, so a corner maximises it: up to ten arms the answer
    of a search is then the global maximum. From the first comparison on, and beyond ten arms always, it is
    that of a local search, at least as good as the best corner that was scored, and stopped after `steps`.

    Args:
        bandit: One bandit per run.
        alpha: Weight of the bonus, one per run.
        steps: Steps per round and start.
        every: Rounds between searches from all starts; the rounds between follow the last optimistic reward.
    """

    def __init__(
        self, bandit: Bandit, alpha: Float[np.ndarray, " S"], steps: int = 8, every: int = 1
    ) -> None:
        self.bandit, self.alpha, self.steps, self.every = bandit, alpha, steps, every
        self.corners = Lattice(bandit, alpha, corners)
        runs, arms = bandit.rewards.shape
        self.best = gibbs_policy(bandit.reference, bandit.rewards, bandit.beta)
        self.wins = np.zeros((runs, arms, arms))
        self.current = np.repeat(bandit.width[:, None] / 2, arms, axis=1)
        self.likeliest = self.current.copy()
        self.round = 0

    def observe(self, rows: Runs, winner: Runs, loser: Runs) -> None:
        """Add one comparison to each of the given runs."""
        self.wins[rows, winner, loser] += 1
        self.corners.observe(rows, winner, loser)

    def maximise(self, calibration: Rows) -> tuple[Rows, Rows, Float[np.ndarray, " S"]]:
        """Optimistic rewards, their policies and regrets."""
        starts = [self.likeliest[:, None], self.current[:, None]]
        if self.round % self.every == 0:
            arms = self.current.shape[1]
            raised = np.where(
                np.eye(arms, dtype=bool), self.bandit.width[:, None, None], self.likeliest[:, None]
            )
            best = self.corners.leading(calibration, LEADING)
            starts += [self.likeliest[:, None], raised, best - best.min(axis=2, keepdims=True)]
        self.round += 1
        ends = self._climb(np.concatenate(starts, axis=1), calibration)
        self.likeliest, candidates = ends[:, 0], ends[:, 1:]
        highest = self.objective(candidates, calibration).argmax(axis=1)
        self.current = candidates[np.arange(len(ends)), highest]
        policy = gibbs_policy(self.bandit.reference, self.current, self.bandit.beta)
        return self.current, policy, self.bandit.beta * kl(policy, self.best)

    def objective(self, rewards: Float[np.ndarray, "S N K"], calibration: Rows) -> Float[np.ndarray, "S N"]:
        """ℓ(r) + α [J*(r) - ⟨π_cal, r⟩] of N candidates per run."""
        soft = soft_value(self.bandit.reference[:, None], rewards, self.bandit.beta)
        bonus = soft - (calibration[:, None] * rewards).sum(axis=2)
        return log_likelihood(rewards, self.wins[:, None]) + self.alpha[:, None] * bonus

    def _climb(self, starts: Float[np.ndarray, "S N K"], calibration: Rows) -> Float[np.ndarray, "S N K"]:
        """Ends of the ascents; the first start climbs the likelihood alone."""
        won = self.wins.sum(axis=2)[:, None]
        compared = self.wins + self.wins.transpose(0, 2, 1)
        curvature = np.maximum(compared.sum(axis=2)[:, None] / 2, 1e-9)  # without data: to the box
        alpha = self.alpha[:, None] * (np.arange(starts.shape[1]) > 0)
        rewards = starts
        for _ in range(self.steps):
            strength = np.exp(rewards)
            inverse = 1 / (strength[..., :, None] + strength[..., None, :])
            policy = gibbs_policy(self.bandit.reference[:, None], rewards, self.bandit.beta)
            slope = won - strength * np.einsum("sij,snij->sni", compared, inverse)
            slope = slope + alpha[..., None] * (policy - calibration[:, None])
            rewards = np.clip(rewards + slope / curvature, 0.0, self.bandit.width[:, None, None])
        return rewards


Solver = Lattice | Ascent
"""Keeps the comparisons of S runs and maximises the optimistic objective of each."""
