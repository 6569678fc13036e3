"""Many arms of which two are good, under a uniform π_ref: does it matter which pairs are compared?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float

from common.preference.optimism import Bandit, Solver
from common.preference.two_good import TwoGood
from common.study.jobs import Job, Record
from papers.rlhf_exploration.method import PROTOCOLS, Protocol
from papers.rlhf_exploration.runs.tabular import noise, run_online

LEAD = 1.0  # of the best arm over the second
Rows = Float[np.ndarray, "S K"]


class Bystander(TwoGood):
    """Labels pairs of π_ref, whatever it has learnt; its regret is that of the policy that it fitted."""

    def maximise(self, calibration: Rows) -> tuple[Rows, Rows, Float[np.ndarray, " S"]]:
        """Likeliest rewards, the policy that *plays*, and the regret of the fitted one."""
        rewards, _, regret = super().maximise(calibration)
        return rewards, self.bandit.reference, regret


def two_good(seeds: Sequence[int], arms: int, gap: float, beta: float) -> Bandit:
    """Rewards G and G - 1 on two arms that the seed draws, 0 on the others; π_ref is uniform.

    Raises:
        ValueError: fewer than three arms.
    """
    if arms < 3:
        raise ValueError(f"two good arms among {arms} leave no bad one; take at least three")
    rewards = np.zeros((len(seeds), arms))
    for row, seed in zip(rewards, seeds, strict=True):
        row[np.random.default_rng([seed, arms]).permutation(arms)[:2]] = gap, gap - LEAD
    uniform = np.full_like(rewards, 1 / arms)
    return Bandit(rewards, uniform, uniform, beta, np.full(len(seeds), gap))


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point: one protocol on `arms` arms.

    Config: `protocol`, of `PROTOCOLS` or "pairs": both responses uniform, no bonus; `arms`, `gap`, `beta`,
    `horizon`, `alpha`.

    Returns:
        Scalars: `total`, the regret after T rounds; `late`, its mean over the last tenth of them; `seen`, the
        share of rounds whose pair held a good arm and another one.
    """
    config, offline = job.config, job.config["protocol"] == "pairs"
    protocol = Protocol("none", "ref") if offline else PROTOCOLS[config["protocol"]]
    bandit, horizon = two_good(job.seeds, config["arms"], config["gap"], config["beta"]), config["horizon"]
    alpha = np.full(len(job.seeds), 0.0 if protocol.bonus == "none" else float(config["alpha"]))
    kind = Bystander if offline else TwoGood
    solver = cast(Solver, kind(bandit, alpha, LEAD, job.seeds))  # it has the methods of one
    history = run_online(bandit, protocol, solver, noise(job.seeds, horizon))
    good = bandit.rewards > 0
    seen = history.comparisons[:, -1] * (good[:, :, None] | good[:, None, :])
    return Record(
        {
            "total": history.regret.sum(axis=1),
            "late": history.regret[:, -max(1, horizon // 10) :].mean(axis=1),
            "seen": seen.sum(axis=(1, 2)) / (2 * horizon),
        }
    )
