"""Final models: arms of one seed that share its traces; entry points of the sweeps `main` and `ablations`.

A record's parts have the column ``arm``. Scalars of an arm are of samples on the held-out questions:
``accuracy``, ``easy``, ``hard``, ``length`` and ``pass@k/hard`` and ``pass@k/easy`` up to the number of
samples; curves over optimizer steps are ``loss`` and ``norm``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats

from common.study.jobs import Job, Record, Scalar
from common.tasks.countdown import EOS
from common.tasks.countdown.evaluation import Solved, solve
from common.tasks.countdown.training import Row, Sampled, demonstrated, draw, gradient_norms, train
from papers.variational_reasoning.method import (
    Estimator,
    answer_scores,
    effective_size,
    log_ratios,
    trace_weights,
)
from papers.variational_reasoning.runs.proposals import Source, World, started

POWERS = (1, 2, 4, 8, 16, 32)  # k of pass@k
BIN, BINS = 10, 4  # tokens of a bin of trace lengths, which are below 40


@dataclass(frozen=True)
class Arm:
    """What a final model is trained on.

    Attributes:
        source: Whose traces: q_φ's with its hint, π_θ0's, q_φ's with another question's hint; or those of
            models trained on half of the questions, for this half (``overlap``) or the other (``apart``).
        weights: ρ̃, equal, ρ̃ shuffled over the traces of a question, or none: demonstrations alone.
        count: Traces of a question; None for all that were drawn.
        single: Keep the best trace of a question.
        mix: Train on the demonstrations too.
        naive: Mean loss over tokens in the place of Dr. SFT.
    """

    source: Source = "hint"
    weights: Literal["rho", "uniform", "shuffled", "demonstrations"] = "rho"
    estimator: Estimator = "acc"
    count: int | None = None
    single: bool = False
    mix: bool = False
    naive: bool = False


# fmt: off
ARMS: dict[str, Arm] = {
    "sft": Arm(weights="demonstrations"), "acc": Arm(),
    "uniform": Arm(weights="uniform"), "shuffled": Arm(weights="shuffled"),
    "without": Arm("prior"), "wrong": Arm("wrong"), "overlap": Arm("overlap"), "apart": Arm("apart"),
    "gml": Arm(estimator="gml"), "lik": Arm(estimator="lik"),
    "k1": Arm(count=1), "k2": Arm(count=2), "k4": Arm(count=4),
    "single": Arm(single=True), "single_mix": Arm(single=True, mix=True), "mix": Arm(mix=True),
    "naive": Arm(naive=True),
}
# fmt: on


def weights_of(sampled: Sampled, arm: Arm, rng: np.random.Generator) -> Float[np.ndarray, "Q K"]:
    """Weights of the traces, one in sum for each question that has a usable trace, zero for the others."""
    if arm.weights == "uniform":
        return np.full(sampled.lengths.shape, 1 / sampled.lengths.shape[1])
    scores = answer_scores(
        arm.estimator,
        torch.from_numpy(sampled.correct),
        torch.from_numpy(sampled.log_answer),
        torch.from_numpy(sampled.answer_lengths)[:, None],
    )
    policy, proposal = map(torch.from_numpy, (sampled.log_policy, sampled.log_proposal))
    ratios = log_ratios(policy, proposal, torch.from_numpy(sampled.lengths))
    scores = scores.clone()
    scores[:, arm.count or scores.shape[1] :] = -torch.inf
    found: np.ndarray = trace_weights(ratios, scores).numpy()
    if arm.weights == "shuffled":
        return rng.permuted(found, axis=1)
    if arm.single:
        best = found.argmax(axis=1)[:, None] == np.arange(found.shape[1])
        return np.where(best & (found > 0), 1.0, 0.0)
    return found


def weighted(sampled: Sampled, weights: Float[np.ndarray, "Q K"], estimator: Estimator) -> list[Row]:
    """Rows of the traces that have weight; a question without any is answered by its demonstration."""
    rows = []
    for own, traces, answers, shares in zip(
        sampled.demonstrations, sampled.traces, sampled.answers, weights, strict=True
    ):
        rows += [] if shares.any() else demonstrated([own])
        for trace, answer, share in zip(traces, answers, shares, strict=True):
            if share > 0:
                kept = answer if estimator == "acc" else own.answer
                rows.append(Row(own.prompt(), f"{trace} {kept} {EOS}", float(share)))
    return rows


def rows_of(world: World, arm: Arm) -> list[Row]:
    """What an arm is trained on; weights have a mean of one."""
    if arm.weights == "demonstrations":
        return demonstrated(world.demonstrations)
    sampled = world.sampled(arm.source)
    weights = weights_of(sampled, arm, np.random.default_rng([world.seed, 0x5A]))
    rows = weighted(sampled, weights, arm.estimator)
    rows += demonstrated(sampled.demonstrations) if arm.mix else []
    mean = float(np.mean([row.weight for row in rows]))
    return [replace(row, weight=row.weight / mean) for row in rows]


def measured(solved: Solved) -> dict[str, float]:
    """Scalars of an arm."""
    values = {
        "accuracy": solved.rate(),
        "easy": solved.rate(hard=False),
        "hard": solved.rate(hard=True),
        "length": float(solved.lengths.mean()),
    }
    powers = [k for k in POWERS if k <= solved.correct.shape[1]]
    for name, hard in (("easy", False), ("hard", True)):
        values |= {f"pass@{k}/{name}": solved.passed(k, hard) for k in powers}
    return values


def arm_record(world: World, name: str, samples: int) -> tuple[Mapping[str, Scalar], Record]:
    """Train an arm from the base policy and measure it."""
    arm, solver = ARMS[name], started(world.base, world.checkpoint)
    steps, batch, rate = (world.config[each] for each in ("steps", "batch", "learning_rate"))
    curves = train(solver, rows_of(world, arm), steps, batch, rate, world.seed, arm.naive)
    solved = solve(solver, world.heldout, samples, world.draws.temperature, world.seed)
    return {"arm": name}, Record.of_one_seed(measured(solved), curves)


def main(job: Job, _workspace: Path) -> Record:
    """Entry point: the base policy and the primary arms of one seed, and what its traces show.

    Scalars beside those of `diagnosed` and `slopes`: ``verified`` and ``verified_prior``, the accuracy of
    q_φ's and of π_θ0's traces on the probed questions.
    """
    world, rng = World(job), np.random.default_rng([job.seeds[0], 0x11])
    sampled, policy, probed = world.sampled("hint"), world.model(False), world.probed
    own = draw(policy, policy, probed, [each.prompt() for each in probed], world.draws)
    scalars, series = diagnosed(sampled, rng)
    scalars["verified"] = float(sampled.accuracy[: len(probed)].mean())
    scalars["verified_prior"] = float(own.accuracy.mean())
    scalars |= slopes(own.accuracy.mean(axis=1), gradient_norms(policy, own), rng)
    record = Record.of_one_seed(scalars, series)
    arms, samples = str(job.config["arms"]).split(), job.config["samples"]
    base = started(world.base, world.checkpoint)
    solved = solve(base, world.heldout, samples, world.draws.temperature, world.seed)
    parts = [({"arm": "base"}, Record.of_one_seed(measured(solved), {}))]
    return replace(record, parts=[*parts, *(arm_record(world, name, samples) for name in arms)])


def ablations(job: Job, _workspace: Path) -> Record:
    """Entry point: arms of one seed, each alone; those of `many` with as many samples as pass@k needs."""
    world, many = World(job), str(job.config["many"]).split()
    samples = {name: job.config["many_samples" if name in many else "samples"] for name in ARMS}
    return Record(parts=[arm_record(world, name, samples[name]) for name in str(job.config["arms"]).split()])


# What the traces show


def diagnosed(sampled: Sampled, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Weights and ratios of q_φ's traces.

    Scalars: ``unequal`` (1 - ESS/K of ρ̃), ``answered`` (share of questions with a usable trace),
    ``length_<raw|geo|control>`` (size of the correlation of length and log ratio), ``rank`` and
    ``rank_control`` (Spearman of both weights within a question). Series: means by bin of trace length.
    """
    weights = weights_of(sampled, ARMS["acc"], rng)
    usable = weights.any(axis=1)
    raw = sampled.log_policy - sampled.log_proposal
    lengths, flat = sampled.lengths.ravel(), raw.ravel()
    strange = rng.permutation(flat).reshape(raw.shape)
    effective = effective_size(torch.from_numpy(weights[usable])).numpy()
    scalars = {
        "unequal": float((1 - effective / weights.shape[1]).mean()) if usable.any() else 0.0,
        "answered": float(usable.mean()),
        "length_raw": abs(float(np.corrcoef(lengths, flat)[0, 1])),
        "length_geo": abs(float(np.corrcoef(lengths, flat / lengths)[0, 1])),
        "length_control": abs(float(np.corrcoef(rng.permutation(lengths), flat)[0, 1])),
        "rank": _agreement(raw / sampled.lengths, raw, sampled.accuracy),
        "rank_control": _agreement(strange / sampled.lengths, raw, sampled.accuracy),
    }
    bins = np.minimum(lengths // BIN, BINS - 1)
    inside = [bins == each for each in range(BINS)]
    parts = {"raw_ratio": flat, "token_ratio": flat / lengths}
    return scalars, {
        name: [float(values[own].mean()) if own.any() else np.nan for own in inside]
        for name, values in parts.items()
    }


def _agreement(token: np.ndarray, raw: np.ndarray, accuracy: np.ndarray) -> float:
    """Mean over questions of the Spearman correlation of both weights, over traces that have any."""
    found = []
    for geometric, whole, right in zip(token, raw, accuracy, strict=True):
        kept = right > 0
        if kept.sum() > 2:
            scores = np.log(right[kept])
            found.append(stats.spearmanr(geometric[kept] + scores, whole[kept] + scores).statistic)
    return float(np.nanmean(found)) if found else np.nan


def slopes(
    chance: Float[np.ndarray, " Q"], norms: Float[np.ndarray, " Q"], rng: np.random.Generator
) -> dict[str, float]:
    """Slope of log norm over log P: all, below 0.3 (``low``) and above, and ``control``, norms shuffled."""
    seen = (chance > 0) & (norms > 0)
    x, y, low = np.log(chance[seen]), np.log(norms[seen]), chance[seen] < 0.3
    parts = {
        "slope": (x, y),
        "slope_control": (x, rng.permutation(y)),
        "slope_low": (x[low], y[low]),
        "slope_high": (x[~low], y[~low]),
    }
    return {
        name: float(np.polyfit(a, b, 1)[0]) if len(set(a)) > 1 else np.nan for name, (a, b) in parts.items()
    }
