"""Exact checks on random worlds: entry points of sweep `theory`; a record's series run over the draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from common.study.jobs import Job, Record
from common.tabular.optimizers import Adam
from papers.fcp.method import (
    Joint,
    Responses,
    bootstrap_closed_form,
    bootstrap_round,
    joint,
    kl_regularised,
    posterior,
)


def fit(pairs: Joint, steps: int = 400, learning_rate: float = 0.3) -> Joint:
    """Minimise E_{(o, c)}[-log π_θ(o|c)] over free logits with Adam (Eq. 3).

    The rate falls to 0 as a cosine. The gradient in the logits of π(.|c) is P(c) (π(.|c) - P(.|c)).
    """
    target = np.moveaxis(pairs, -1, 0).reshape(pairs.shape[-1], -1)
    marginal = target.sum(axis=0)
    table = np.zeros_like(target)
    optimizer = Adam(table, learning_rate, betas=(0.9, 0.95))  # forget the large gradients of the start
    optimizer.begin(np.arange(table.shape[1]))
    for step in range(steps):
        optimizer.learning_rate = learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        optimizer.step(marginal * _softmax(optimizer.values) - target)
    return np.moveaxis(_softmax(optimizer.values).reshape(pairs.shape[-1], *pairs.shape[:-1]), 0, -1)


def _softmax(logits: Float[np.ndarray, "O R"]) -> Float[np.ndarray, "O R"]:
    weights = np.exp(logits - logits.max(axis=0))
    return weights / weights.sum(axis=0)


def worlds(job: Job) -> tuple[Responses, Joint, np.random.Generator]:
    """π_ref [N, O] and p_env [N, C, O] from flat Dirichlets, and the generator to go on with."""
    rng = np.random.default_rng(job.seeds[0])
    draws, responses, critiques = (int(job.config[name] or 0) for name in ("draws", "responses", "critiques"))
    pi_ref = rng.dirichlet(np.ones(responses), size=draws)
    p_env = np.moveaxis(rng.dirichlet(np.ones(critiques), size=(draws, responses)), -1, -2)
    return pi_ref, p_env, rng


def offline(job: Job, _workspace: Path) -> Record:
    """C1: largest |π_θ - P_off| after fitting, with P_off(c) and, on a quarter of the draws, with three other
    marginals of c.

    ``reversed`` is the control: critiques shuffled over the responses, distance to π_ref, and
    ``reversed_posterior`` the distance to P_off.
    """
    pi_ref, p_env, rng = worlds(job)
    pairs = joint(pi_ref, p_env)
    target = posterior(pairs)
    errors = {"own": _distance(fit(pairs), target)}
    few = target[: len(target) // 4]
    for index in range(3):
        other = rng.dirichlet(np.ones(pairs.shape[1]), size=len(few))[..., None]
        errors[f"other_{index}"] = _distance(fit(few * other), few)
    shuffled = pairs.sum(axis=-1, keepdims=True) * pi_ref[:, None, :]
    learned = fit(shuffled)
    errors["reversed"] = _distance(learned, np.broadcast_to(pi_ref[:, None, :], learned.shape))
    errors["reversed_posterior"] = _distance(learned, target)
    return Record(series={name: values[None] for name, values in errors.items()})


def link_to_rl(job: Job, _workspace: Path) -> Record:
    """C2: error of Eq. 7, excess of a random policy over the optimum of Eq. 2, and the 0/1 verifier."""
    pi_ref, p_env, rng = worlds(job)
    plus = p_env[:, 0]
    best = posterior(joint(pi_ref, p_env))[:, 0]
    evidence = np.log((pi_ref * plus).sum(axis=-1))
    policy = rng.dirichlet(np.ones(pi_ref.shape[1]), size=len(pi_ref))
    value = kl_regularised(policy, pi_ref, plus)
    gap = (policy * np.log(policy / best)).sum(axis=-1)
    right = rng.integers(1, pi_ref.shape[1], size=(len(pi_ref), 1))
    verifier = (np.arange(pi_ref.shape[1]) < right).astype(float)
    correct = posterior(joint(pi_ref, np.stack([verifier, 1 - verifier], axis=1)))[:, 0]
    restricted = pi_ref * verifier
    series = {
        "identity": np.abs(value - (evidence - gap)),
        "optimum": np.abs(kl_regularised(best, pi_ref, plus) - evidence),
        "excess": np.maximum(value - evidence, 0.0),
        "verifier": np.abs((correct * verifier).sum(axis=-1) - 1)
        + _distance(correct, restricted / restricted.sum(axis=-1, keepdims=True)),
    }
    return Record(series={name: values[None] for name, values in series.items()})


def fixed_point(job: Job, _workspace: Path) -> Record:
    """C3: exact rounds against the closed form, and any fall of E[log p_env(c+|o)] from round to round.

    ``exponent_error`` is the control: the same rounds against a closed form one round behind.
    """
    pi_ref, p_env, _ = worlds(job)
    start = posterior(joint(pi_ref, p_env))[:, 0]
    plus, current = p_env[:, 0], start
    error, behind, fall = (np.zeros(len(start)) for _ in range(3))
    praise = (current * np.log(plus)).sum(axis=-1)
    for done in range(1, int(job.config["rounds"] or 0) + 1):
        current = bootstrap_round(current, p_env)[:, 0]
        error = np.maximum(error, _distance(current, bootstrap_closed_form(start, plus, done)))
        behind = np.maximum(behind, _distance(current, bootstrap_closed_form(start, plus, done - 1)))
        now = (current * np.log(plus)).sum(axis=-1)
        fall, praise = np.maximum(fall, praise - now), now
    series = {"error": error, "fall": fall, "exponent_error": behind}
    return Record(series={name: values[None] for name, values in series.items()})


def example(job: Job, _workspace: Path) -> Record:
    """For the figures: P_off and the fitted policy of one world, and rounds under two kinds of praise.

    In the second part response o has length o + 1, and every other response is likely to be right.
    ``praise_*`` and ``length_*`` are E[log p_env(c+|o)] and the expected length after each round, iterated
    and in closed form, for praise of correctness and for praise of correct and concise answers.
    """
    pi_ref, p_env, _ = worlds(job)
    pairs = joint(pi_ref[:1], p_env[:1])
    series = {"posterior": posterior(pairs).reshape(1, -1), "learned": fit(pairs).reshape(1, -1)}
    size, rounds = 12, int(job.config["rounds"] or 0)
    length = np.arange(1, size + 1)
    correct = np.where(length % 2 == 0, 0.9, 0.2)
    for name, plus in {"correct": correct, "concise": correct * np.exp(-length / size)}.items():
        start = np.full(size, 1 / size)
        current, path, closed = start, [], []
        for done in range(rounds + 1):
            path.append(current)
            closed.append(bootstrap_closed_form(start, plus, done))
            current = bootstrap_round(current, np.stack([plus, 1 - plus]))[0]
        for kind, policies in (("iterated", np.array(path)), ("closed", np.array(closed))):
            series[f"praise_{name}_{kind}"] = (policies @ np.log(plus))[None]
            series[f"length_{name}_{kind}"] = (policies @ length)[None]
    return Record(series=series)


def _distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Largest absolute difference of each draw."""
    return np.abs(left - right).reshape(len(left), -1).max(axis=1)
