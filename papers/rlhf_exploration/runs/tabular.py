"""The online loop on bandits: optimistic estimate, comparison, label; many seeds at once.

Two instances are built for a failure mode each, the others are random. Seeds share no random numbers and no
reduction, so a seed's record does not depend on the others in its job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from common.preference.bradley_terry import contrast_information, first_wins
from common.preference.optimism import Ascent, Bandit, Lattice, Solver
from common.preference.tabular import draw, soft_value, value
from common.study.jobs import Job, Record
from papers.rlhf_exploration.method import PROTOCOLS, Protocol

HARD_PRIOR_MASS = 0.95
NEAR_UNIFORM = 20.0  # Dirichlet parameter of the benign reference policies
CHECKPOINTS = 50
BATCH = 4  # responses of which "extremes" compares the best with the worst
Rows = Float[np.ndarray, "S K"]
Seeds = Float[np.ndarray, " S"]
Indices = Int[np.ndarray, " S"]


def two_arms(gaps: Seeds, beta: float) -> Bandit:
    """CE1, misaligned comparisons: calibrated by the good arm, optimism puts all mass on the bad one.

    The asymmetric calibration policy (0.9, 0.1) makes that start deterministic. R is the gap.
    """
    rows = np.ones((len(gaps), 1))
    rewards = np.stack([gaps, np.zeros_like(gaps)], axis=1)
    return Bandit(rewards, rows * [0.5, 0.5], rows * [0.9, 0.1], beta, gaps)


def saturated(seeds: int, beta: float, gap: float, mass: float) -> Bandit:
    """CE2, saturation: rewards G, G - 1 and 0; π_ref plays each of the two good arms with `mass`."""
    rows = np.ones((seeds, 1))
    reference = rows * [mass, mass, 1 - 2 * mass]
    width = np.full(seeds, gap + 1.0)  # one more than the true range
    return Bandit(rows * [gap, gap - 1.0, 0.0], reference, reference, beta, width)


def random_bandits(seeds: Sequence[int], beta: float, arms: int, kind: str) -> Bandit:
    """r* ~ U[0, 1]^K; π_ref ~ Dirichlet(1) ("random"), near uniform ("benign"), or on the worst arm.

    A seed's rewards are the same for every kind and β.

    Raises:
        ValueError: an unknown kind.
    """
    rewards, reference = np.empty((len(seeds), arms)), np.empty((len(seeds), arms))
    for row, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, arms])
        rewards[row] = rng.random(arms)
        match kind:
            case "random":
                reference[row] = rng.dirichlet(np.ones(arms))
            case "benign":
                reference[row] = rng.dirichlet(np.full(arms, NEAR_UNIFORM))
            case "hard_prior":
                reference[row] = (1 - HARD_PRIOR_MASS) / (arms - 1)
                reference[row, rewards[row].argmin()] = HARD_PRIOR_MASS
            case _:
                raise ValueError(f"unknown instance '{kind}'; choose ce1, ce2, random, benign or hard_prior")
    return Bandit(rewards, reference, reference, beta, np.ones(len(seeds)))


def bandit_of(config: Mapping[str, Any], seeds: Sequence[int]) -> Bandit:
    """The instance that a job's config names."""
    match config["instance"]:
        case "ce1":
            return two_arms(np.full(len(seeds), config["gap"]), config["beta"])
        case "ce2":
            return saturated(len(seeds), config["beta"], config["gap"], config["mass"])
    return random_bandits(seeds, config["beta"], config["arms"], config["instance"])


@dataclass(frozen=True)
class History:
    """What S runs of T rounds did.

    Attributes:
        regret: J(π*) - J(π_t), in units of the reward; the partner is not charged.
        movement: ‖π_t - π_cal‖_1, the size of the bonus gradient over α.
        mixed: Whether the two responses differed, so that the label said something.
        comparisons: Symmetric number of comparisons of each pair of arms up to each checkpoint.
    """

    regret: Float[np.ndarray, "S T"]
    movement: Float[np.ndarray, "S T"]
    mixed: Bool[np.ndarray, "S T"]
    comparisons: Float[np.ndarray, "S C K K"]


def run_online(
    bandit: Bandit,
    protocol: Protocol,
    solver: Solver,
    uniforms: Float[np.ndarray, "S T U"],
    coin: bool = False,
) -> History:
    """T rounds of: r_t by the solver, a ~ π_t, b from the protocol's partner, a Bradley-Terry label.

    Args:
        bandit: One bandit per run.
        protocol: Calibration of the bonus and partner.
        solver: Holds α and the data of the runs.
        uniforms: Numbers of [0, 1), five per round: label, then up to four responses.
        coin: Labels are fair coins, a control.
    """
    runs, horizon = uniforms.shape[:2]
    arms, everyone = bandit.rewards.shape[1], np.arange(runs)
    regret, movement = np.empty((runs, horizon)), np.empty((runs, horizon))
    mixed = np.empty((runs, horizon), dtype=bool)
    counts, snapshots = np.zeros((runs, arms, arms)), [np.zeros((runs, arms, arms))]
    previous = bandit.calibration
    for t in range(horizon):
        calibration = previous if protocol.bonus == "prev" else bandit.calibration
        estimate, policy, regret[:, t] = solver.maximise(calibration)
        first, second = pair(protocol, bandit, policy, previous, estimate, uniforms[:, t, 1:])
        margin = bandit.rewards[everyone, first] - bandit.rewards[everyone, second]
        wins = first_wins(0 * margin if coin else margin, uniforms[:, t, 0])
        mixed[:, t] = first != second
        rows = np.flatnonzero(mixed[:, t])  # a pair of equal responses says nothing; the round still counts
        winner, loser = np.where(wins, first, second)[rows], np.where(wins, second, first)[rows]
        solver.observe(rows, winner, loser)
        counts[rows, winner, loser] += 1
        counts[rows, loser, winner] += 1
        movement[:, t] = np.abs(policy - calibration).sum(axis=1)
        previous = policy
        if (t + 1) * CHECKPOINTS // horizon > t * CHECKPOINTS // horizon:
            snapshots.append(counts.copy())
    return History(regret, movement, mixed, np.stack(snapshots, axis=1))


def pair(
    protocol: Protocol, bandit: Bandit, policy: Rows, previous: Rows, estimate: Rows, uniforms: Rows
) -> tuple[Indices, Indices]:
    """The two responses of a round."""
    if protocol.partner == "extremes":
        batch = np.stack([draw(policy, uniforms[:, i]) for i in range(BATCH)], axis=1)
        fitted = np.take_along_axis(estimate, batch, axis=1)
        picks = np.stack([fitted.argmax(axis=1), fitted.argmin(axis=1)], axis=1)
        first, second = np.take_along_axis(batch, picks, axis=1).T
        return first, second
    partners = {"self": policy, "ref": bandit.reference, "prev": previous}
    partner = partners.get(protocol.partner, np.full_like(policy, 1 / policy.shape[1]))
    return draw(policy, uniforms[:, 0]), draw(partner, uniforms[:, 1])


def noise(seeds: Sequence[int], horizon: int) -> Float[np.ndarray, "S T U"]:
    """The random numbers of a run, the same for every protocol, so that methods are paired by seed."""
    return np.stack([np.random.default_rng([seed, horizon]).random((horizon, 1 + BATCH)) for seed in seeds])


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point of the bandit sweeps.

    Config: `instance` with `beta` and `gap`, `mass` or `arms`; `protocol`, `horizon`, `alpha`, `coin`.

    Returns:
        Series over 51 checkpoints (0, T/50, ..., T), cumulative: `regret`, `mixed` (share of rounds with two
        different responses, up to there), `information` (Fisher information about the difference of the two
        best arms). Scalars: `total` and `half`, the regret after T and T/2 rounds; `first`, the regret of the
        first round; `partner`, the regret of the second responses' policies; `residual`, the mean of
        ‖π_t - π_cal‖_1 over the last tenth; `gain`, the mean of J(π_t) - J(π_ref) over the second half.
    """
    config, protocol = job.config, PROTOCOLS[job.config["protocol"]]
    bandit = bandit_of(config, job.seeds)
    alpha = np.full(len(job.seeds), 0.0 if protocol.bonus == "none" else float(config["alpha"]))
    every = max(1, bandit.rewards.shape[1] // 5)
    lattice = config["instance"] in ("ce1", "ce2")
    solver: Solver = Lattice(bandit, alpha) if lattice else Ascent(bandit, alpha, every=every)
    history = run_online(bandit, protocol, solver, noise(job.seeds, config["horizon"]), config["coin"])
    return Record(scalars_of(history, bandit, protocol), series_of(history, bandit))


def scalars_of(history: History, bandit: Bandit, protocol: Protocol) -> dict[str, Seeds]:
    """One number per seed; see `simulate`."""
    regret, horizon = history.regret, history.regret.shape[1]
    optimum = soft_value(bandit.reference, bandit.rewards, bandit.beta)
    reached = optimum - regret[:, horizon // 2 :].mean(axis=1)
    return {
        "total": regret.sum(axis=1),
        "half": regret[:, : horizon // 2].sum(axis=1),
        "first": regret[:, 0].copy(),
        "partner": partner_regret(history, bandit, protocol),
        "residual": history.movement[:, -max(1, horizon // 10) :].mean(axis=1),
        "gain": reached - value(bandit.reference, bandit.reference, bandit.rewards, bandit.beta),
    }


def partner_regret(history: History, bandit: Bandit, protocol: Protocol) -> Seeds:
    """Regret of the policy behind the second response, summed over rounds."""
    total, horizon = history.regret.sum(axis=1), history.regret.shape[1]
    optimum = soft_value(bandit.reference, bandit.rewards, bandit.beta)

    def gap(policy: Rows) -> Seeds:
        return optimum - value(policy, bandit.reference, bandit.rewards, bandit.beta)

    match protocol.partner:
        case "prev":
            return total - history.regret[:, -1] + gap(bandit.calibration)
        case "ref":
            return horizon * gap(bandit.reference)
        case "uniform":
            return horizon * gap(np.full_like(bandit.reference, 1 / bandit.reference.shape[1]))
    return total


def series_of(history: History, bandit: Bandit) -> dict[str, Float[np.ndarray, "S C"]]:
    """Curves over checkpoints; see `simulate`."""
    horizon = history.regret.shape[1]
    ends = np.arange(CHECKPOINTS + 1) * horizon // CHECKPOINTS
    regret, mixed = (
        np.concatenate([np.zeros((len(rounds), 1)), np.cumsum(rounds, axis=1)], axis=1)[:, ends]
        for rounds in (history.regret, history.mixed.astype(float))
    )
    best = np.argsort(-bandit.rewards, axis=1, kind="stable")[:, :2]
    information = [
        [contrast_information(rewards, counts, *map(int, arms)) for counts in snapshots]
        for rewards, arms, snapshots in zip(bandit.rewards, best, history.comparisons, strict=True)
    ]
    return {
        "regret": regret,
        "mixed": mixed / np.maximum(ends, 1),
        "information": np.array(information),
    }


def envelope(job: Job, _workspace: Path) -> Record:
    """Entry point of the exponent sweep: CE1 with each of several gaps, R = gap, at one horizon.

    Config: `beta`, `protocol`, `horizon`, `alpha`, and `gaps` with commas between.

    Returns:
        Series `regret` whose step is the gap's place in the list: the regret after T rounds.
    """
    config, protocol = job.config, PROTOCOLS[job.config["protocol"]]
    gaps = np.array([float(part) for part in config["gaps"].split(",")])
    bandit = two_arms(np.tile(gaps, len(job.seeds)), config["beta"])
    solver = Lattice(bandit, np.full(len(bandit.rewards), float(config["alpha"])))
    uniforms = np.repeat(noise(job.seeds, config["horizon"]), len(gaps), axis=0)
    regret = run_online(bandit, protocol, solver, uniforms).regret.sum(axis=1)
    return Record(series={"regret": regret.reshape(len(job.seeds), len(gaps))})
