"""Variational reasoning as pure functions (arXiv:2509.22637).

A question has traces z and answers y, of which those in Y_q are correct. The policy gives π(z) and π(y|z), a
proposal gives q(z) and has seen a correct answer. The *accuracy* of a trace is π(Y_q|z), the *evidence*
P(Y_q) its mean under π(z), and the posterior P(z|Y_q) what training is after. `iwae_bound` and what follows
it are exact, over enumerable traces; `trace_weights` is what training on sampled traces uses.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Traces = Float[Tensor, "*B Z"]
"""A distribution over the traces of a question, or a number for each of them."""
Ratio = Literal["geo", "raw", "none"]
Estimator = Literal["acc", "gml", "lik"]
Factor = Literal["rft", "grpo", "variational"]


# The posterior and its bounds (Eqs. 1 to 5)


def evidence(prior: Traces, accuracy: Traces) -> Float[Tensor, "*B"]:
    """P(Y_q) = Σ_z π(z) π(Y_q|z)."""
    return (prior * accuracy).sum(-1)


def posterior(prior: Traces, accuracy: Traces) -> Traces:
    """P(z|Y_q) ∝ π(z) π(Y_q|z)."""
    return prior * accuracy / evidence(prior, accuracy)[..., None]


def divergence(p: Traces, q: Traces) -> Float[Tensor, "*B"]:
    """KL(p‖q) in nats; a trace that p never takes adds nothing."""
    safe = torch.where(p > 0, p / q, 1.0)
    return (p * safe.log()).sum(-1)


def elbo(prior: Traces, accuracy: Traces, proposal: Traces) -> Float[Tensor, "*B"]:
    """E_q log π(Y_q|z) - KL(q‖π) (Eq. 4)."""
    return (proposal * accuracy.log()).sum(-1) - divergence(proposal, prior)


def draws(proposal: Traces, count: int) -> tuple[Int[Tensor, "N K"], Float[Tensor, "*B N"]]:
    """All K-tuples of traces, and their probabilities under independent draws from the proposal."""
    traces = torch.arange(proposal.shape[-1])
    tuples = torch.cartesian_prod(*[traces] * count).reshape(-1, count)
    return tuples, proposal[..., tuples].prod(-1)


def iwae_bound(prior: Traces, accuracy: Traces, proposal: Traces, count: int) -> Float[Tensor, "*B"]:
    """L_K = E log (1/K) Σ_k ρ_k with ρ = π(z) π(Y_q|z) / q(z) (Eq. 5); L_1 is the ELBO."""
    tuples, chances = draws(proposal, count)
    ratios = prior * accuracy / proposal
    return (chances * ratios[..., tuples].mean(-1).log()).sum(-1)


def iwae_surrogates(
    prior: Traces, accuracy: Traces, proposal: Traces, count: int
) -> tuple[Float[Tensor, "*B"], Float[Tensor, "*B"]]:
    """Functions of θ and of φ whose gradients are those of L_K (Eqs. 6 and 15).

    The first is E Σ_k ρ̃_k log π(z_k, Y_q), the second E Σ_k (log (1/K) Σ_j ρ_j - ρ̃_k) log q(z_k), with
    ρ̃ = ρ / Σ_j ρ_j and everything but these logs held fixed.
    """
    tuples, chances = draws(proposal.detach(), count)
    ratios = (prior * accuracy / proposal).detach()[..., tuples]
    shares = ratios / ratios.sum(-1, keepdim=True)
    joint, drawn = (prior * accuracy).log()[..., tuples], proposal.log()[..., tuples]
    gains = ratios.mean(-1, keepdim=True).log() - shares
    return (chances * (shares * joint).sum(-1)).sum(-1), (chances * (gains * drawn).sum(-1)).sum(-1)


# Two estimators of π(Y_q|z) (Theorem 1)


def likelihood_variance(correct: Float[Tensor, "*B Y"]) -> Float[Tensor, "*B"]:
    """Variance of |Y_q| π(y|z), y uniform on Y_q, from the probabilities of the correct answers."""
    return correct.shape[-1] * correct.square().sum(-1) - correct.sum(-1).square()


def accuracy_variance(correct: Float[Tensor, "*B Y"]) -> Float[Tensor, "*B"]:
    """Variance of 1(y in Y_q), y drawn from π(y|z)."""
    p = correct.sum(-1)
    return p * (1 - p)


def worst_case_variances(p: float, answers: int) -> tuple[float, float]:
    """The largest of both at π(Y_q|z) = p: (|Y_q| - 1) p² and p (1 - p); they cross at p = 1 / |Y_q|."""
    return (answers - 1) * p**2, p * (1 - p)


def importance_variance(prior: Traces, accuracy: Traces, behaviour: Traces) -> Float[Tensor, "*B"]:
    """Variance of π(z) π(Y_q|z) / q(z) under q (App. A.8); it is 0 at the posterior."""
    joint = prior * accuracy
    return torch.where(joint > 0, joint.square() / behaviour, 0.0).sum(-1) - joint.sum(-1).square()


# Forward KL and the factors that other methods put before it (Eqs. 9 to 12, 20 to 25)


def forward_kl_gradient(prior: Traces, accuracy: Traces) -> Traces:
    """-∇ KL(P(z|Y_q)‖π) in the logits of π(z), at the π that the posterior belongs to: P(z|Y_q) - π(z)."""
    return posterior(prior, accuracy) - prior


def difficulty_factor(kind: Factor, chance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """What multiplies the gradient above, for P(Y_q) = `chance`.

    Rejection sampling and RL with a binary reward have P (Eqs. 10 and 11), GRPO with standardised rewards
    sqrt(P / (1 - P)) (Eq. 12), this method 1.
    """
    match kind:
        case "rft":
            return chance
        case "grpo":
            return (chance / (1 - chance)).sqrt()
    return torch.ones_like(chance)


def shaped_optimum(
    prior: Traces, accuracy: Traces, form: Traces, rewards: tuple[float, float, float], debiased: bool
) -> Traces:
    """The π at which the gradient of a shaped reward vanishes, its posteriors held fixed (Eqs. 21 and 25).

    Args:
        prior: The π that the posteriors belong to.
        accuracy: Probability that the answer to a trace is correct.
        form: Probability that it has the right format, which every correct one has.
        rewards: α of a correct answer, β of the format alone, γ of neither.
        debiased: Divide each part of the reward by its probability.
    """
    alpha, beta, gamma = rewards
    weights = torch.tensor([alpha - beta, beta - gamma], dtype=prior.dtype)
    if not debiased:
        weights = weights * torch.stack([evidence(prior, accuracy), evidence(prior, form)], -1)
    shares = (weights / weights.sum(-1, keepdim=True))[..., None, :]
    parts = torch.stack([posterior(prior, accuracy), posterior(prior, form)], -1)
    return (shares * parts).sum(-1)


# Weights of sampled traces (Eqs. 8 and 9)


def answer_scores(
    estimator: Estimator,
    correct: Float[Tensor, "*B n"] | None = None,
    log_likelihood: Float[Tensor, "*B"] | None = None,
    lengths: Int[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    """Log of an estimate of π(Y_q|z).

    ``acc`` is the share of n answers to the trace that are correct (-inf for none), ``lik`` the likelihood of
    the reference answer and ``gml`` the geometric mean over its tokens.

    Raises:
        ValueError: what the estimator reads is not given.
    """
    if estimator == "acc" and correct is not None:
        return correct.double().mean(-1).log()
    if estimator == "lik" and log_likelihood is not None:
        return log_likelihood
    if estimator == "gml" and log_likelihood is not None and lengths is not None:
        return log_likelihood / lengths
    raise ValueError(f"the estimator '{estimator}' lacks what it reads, or is none of acc, gml and lik")


def log_ratios(
    log_policy: Float[Tensor, "*B"],
    log_proposal: Float[Tensor, "*B"],
    lengths: Int[Tensor, "*B"],
    ratio: Ratio = "geo",
) -> Float[Tensor, "*B"]:
    """log π(z|q) / q(z|q, y'), divided by the tokens of the *trace* for ``geo``; 0 for ``none``.

    The geometric mean is a surrogate with bias and little variance: a raw ratio grows with the length.
    """
    raw = log_policy - log_proposal
    return {"geo": raw / lengths, "raw": raw, "none": torch.zeros_like(raw)}[ratio]


def trace_weights(ratios: Float[Tensor, "Q K"], scores: Float[Tensor, "Q K"]) -> Float[Tensor, "Q K"]:
    """ρ̃: exp(ratios + scores), normalised within a question (Eqs. 6 and 8).

    A trace whose score is -inf has no weight; neither has any trace of a question without another, which
    the caller answers with the question's demonstration. With ratios of 0 these are the weights of Eq. 9.
    """
    found = (ratios + scores).softmax(-1)
    return torch.where(scores.isneginf().all(-1, keepdim=True), 0.0, found)


def effective_size(weights: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
    """(Σ w)² / Σ w²: K for equal weights, 1 for a single one, 0 without any."""
    total = weights.square().sum(-1)
    return torch.where(total > 0, weights.sum(-1).square() / total, 0.0)
