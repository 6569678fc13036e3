"""Exact checks by enumeration in float64: entry points of the sweep `theory`.

Instances are random tables of `traces` traces, and in front of them boundary cases: a proposal that is the
prior, the posterior or nearly a single trace, traces that are always or hardly ever right, one trace only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from common.study.jobs import Job, Record
from papers.variational_reasoning import method
from papers.variational_reasoning.method import Traces

Instance = tuple[Traces, Traces, Traces]
MOST_DRAWS = 4  # K of the bounds
ANSWERS = (1, 2, 4, 16)


def instances(job: Job) -> tuple[Instance, torch.Generator]:
    """Prior, accuracy and proposal, ``[draws, traces]`` each, boundary cases first."""
    generator = torch.Generator().manual_seed(job.seeds[0])
    shape = int(job.config["draws"]), int(job.config["traces"])
    prior, proposal = (
        (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(-1) for _ in range(2)
    )
    accuracy = torch.rand(shape, generator=generator, dtype=torch.float64)
    accuracy[0], accuracy[1] = 1.0, 1e-6
    accuracy[2, 1:] = 1e-9
    proposal[3] = prior[3]
    proposal[4] = method.posterior(prior, accuracy)[4]
    proposal[5] = torch.cat([torch.tensor([1.0]), torch.full((shape[1] - 1,), 1e-9)]).double()
    proposal[5] /= proposal[5].sum()
    return (prior, accuracy, proposal), generator


def recorded(**errors: Tensor) -> Record:
    """A record with the largest absolute error of each instance."""
    series = {name: each.detach().abs().reshape(len(each), -1).amax(1) for name, each in errors.items()}
    return Record(series={name: each.numpy()[None] for name, each in series.items()})


def bounds(job: Job, _workspace: Path) -> Record:
    """C1, C2: order of the bounds, equality at the posterior, and both gradients against autograd.

    ``naive`` is the control: Eq. 15 without the log of the mean, which is another gradient.
    """
    (prior, accuracy, proposal), _ = instances(job)
    evidence = method.evidence(prior, accuracy).log()
    values = [method.iwae_bound(prior, accuracy, proposal, count) for count in range(1, MOST_DRAWS + 1)]
    rising = torch.stack([low - high for low, high in zip(values, [*values[1:], evidence], strict=True)], 1)
    best = method.posterior(prior, accuracy)
    equal = torch.stack(
        [method.iwae_bound(prior, accuracy, best, count) - evidence for count in range(1, MOST_DRAWS + 1)], 1
    )
    by_theta, by_phi, naive = _gradients((prior, accuracy, proposal))
    return recorded(
        falls=rising.clamp(min=0),
        equality=equal,
        elbo=values[0] - method.elbo(prior, accuracy, proposal),
        theta=by_theta,
        phi=by_phi,
        naive=naive,
    )


def _gradients(instance: Instance, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Autograd of L_K minus that of the surrogates, in the logits of π and of q."""
    prior, accuracy, proposal = instance
    policy, drawn = (each.log().requires_grad_() for each in (prior, proposal))
    pair = policy.softmax(-1), accuracy, drawn.softmax(-1)
    bound = method.iwae_bound(*pair, count).sum()
    exact = torch.autograd.grad(bound, (policy, drawn), retain_graph=True)
    by_theta, by_phi = (each.sum() for each in method.iwae_surrogates(*pair, count))
    (ours,) = torch.autograd.grad(by_theta, policy, retain_graph=True)
    (theirs,) = torch.autograd.grad(by_phi, drawn, retain_graph=True)
    tuples, chances = method.draws(pair[2].detach(), count)
    ratios = (prior * accuracy / proposal)[..., tuples]
    shares = ratios / ratios.sum(-1, keepdim=True)
    alone = -(chances * (shares * pair[2].log()[..., tuples]).sum(-1)).sum()
    (naive,) = torch.autograd.grad(alone, drawn)
    return exact[0] - ours, exact[1] - theirs, exact[1] - naive


def estimators(job: Job, _workspace: Path) -> Record:
    """Theorem 1: variances against enumeration, worst cases at the vertices, and where they cross."""
    generator = torch.Generator().manual_seed(job.seeds[0])
    parts: dict[str, list[Tensor]] = {"formula": [], "vertex": [], "excess": [], "crossing": []}
    for answers in ANSWERS:
        p = torch.rand(int(job.config["draws"]), 1, generator=generator, dtype=torch.float64)
        p[:3, 0] = torch.tensor([0.0, 1.0, 1 / answers])
        noise = torch.rand(len(p), answers, generator=generator, dtype=torch.float64)
        correct = p * noise / noise.sum(-1, keepdim=True)
        vertex = torch.zeros_like(correct)
        vertex[:, :1] = p
        worst, coin = method.worst_case_variances(p[:, 0], answers)  # type: ignore[arg-type]
        values = answers * correct
        enumerated = ((values - p) ** 2).mean(-1)
        parts["formula"] += [
            method.likelihood_variance(correct) - enumerated,
            method.accuracy_variance(correct) - _coin(correct.sum(-1)),
            method.accuracy_variance(correct) - coin,
        ]
        parts["vertex"].append(method.likelihood_variance(vertex) - worst)
        parts["excess"].append((method.likelihood_variance(correct) - worst).clamp(min=0))
        gap = (worst - coin) / p[:, 0].clamp(min=1e-300)  # |Y_q| p - 1
        parts["crossing"].append(torch.where(p[:, 0] > 0, gap - (answers * p[:, 0] - 1), 0.0))
    return recorded(**{name: torch.cat(each) for name, each in parts.items()})


def _coin(p: Tensor) -> Tensor:
    """Variance of a coin by its two outcomes."""
    return p * (1 - p) ** 2 + (1 - p) * p**2


def forward_kl(job: Job, _workspace: Path) -> Record:
    """C4, C5: gradients of Eqs. 9 to 12 and 21 against autograd, and the optimum of shaped rewards.

    ``unnormalised`` is the control: Eq. 9 with weights that are not normalised within the question is P times
    the gradient.
    """
    (prior, accuracy, proposal), generator = instances(job)
    chance, away = method.evidence(prior, accuracy)[:, None], method.forward_kl_gradient(prior, accuracy)
    target = method.posterior(prior, accuracy)
    form = accuracy + (1 - accuracy) * torch.rand(accuracy.shape, generator=generator, dtype=torch.float64)
    spread = (chance * (1 - chance)).clamp(min=1e-300).sqrt()
    advantage = (accuracy - chance) / spread

    def policy(value: Callable[[Tensor], Tensor], at: Tensor = prior) -> Tensor:
        logits = at.log().requires_grad_()
        return torch.autograd.grad(value(logits).sum(), logits)[0]

    def log(logits: Tensor) -> Tensor:
        return logits.log_softmax(-1)

    rft = policy(lambda logits: prior * accuracy * log(logits))
    binary = policy(lambda logits: logits.softmax(-1) * accuracy)
    grpo = policy(lambda logits: prior * advantage * log(logits))
    wake = policy(lambda logits: target * log(logits), proposal)
    bare = policy(lambda logits: prior * accuracy * log(logits), proposal)
    solvable = chance < 1 - 1e-12  # without failures GRPO's reward has no variance and no gradient
    return recorded(
        rft=rft - chance * away,
        binary=binary - chance * away,
        grpo=torch.where(solvable, grpo - method.difficulty_factor("grpo", chance) * away, 0.0),
        wake=wake - (target - proposal),
        unnormalised=bare - chance * (target - proposal),
        **_shaped(prior, accuracy, form, policy),
    )


def _shaped(
    prior: Tensor, accuracy: Tensor, form: Tensor, policy: Callable[[Callable[[Tensor], Tensor]], Tensor]
) -> dict[str, Tensor]:
    """Eq. 21, that only two differences matter, Eq. 25, and a debiased gradient that does not know P."""
    alpha, beta, gamma = rewards = (1.0, 0.25, -0.5)
    right, shape = method.posterior(prior, accuracy), method.posterior(prior, form)
    chances = [method.evidence(prior, each)[:, None] for each in (accuracy, form)]
    reward = alpha * accuracy + beta * (form - accuracy) + gamma * (1 - form)
    shaped = policy(lambda logits: logits.softmax(-1) * reward)
    shifted = policy(lambda logits: logits.softmax(-1) * (reward + 3.0))
    parts = (alpha - beta) * (right - prior), (beta - gamma) * (shape - prior)
    debiased = (alpha - beta) * accuracy / chances[0] + (beta - gamma) * form / chances[1]
    rarer = (alpha - beta) * 0.01 * accuracy / (0.01 * chances[0]) + (beta - gamma) * form / chances[1]
    errors = {
        "shaped": shaped - chances[0] * parts[0] - chances[1] * parts[1],
        "shift": shaped - shifted,
        "debiased": policy(lambda logits: logits.softmax(-1) * debiased) - parts[0] - parts[1],
        "rarer": policy(lambda logits: logits.softmax(-1) * rarer) - parts[0] - parts[1],
    }
    for name, unbiased in {"optimum": True, "biased_optimum": False}.items():
        best = method.shaped_optimum(prior, accuracy, form, rewards, unbiased)
        scale = (1.0, 1.0) if unbiased else tuple(chances)
        errors[name] = (alpha - beta) * scale[0] * (right - best) + (beta - gamma) * scale[1] * (shape - best)
    return errors


def behaviour(job: Job, _workspace: Path) -> Record:
    """C6: the variance of the importance estimate against enumeration, 0 at the posterior and above 0 beside
    it (``lower``: 1 where a perturbed posterior has none).
    """
    (prior, accuracy, proposal), generator = instances(job)
    estimates = prior * accuracy / proposal
    mean = method.evidence(prior, accuracy)
    enumerated = (proposal * (estimates - mean[:, None]) ** 2).sum(-1)
    best = method.posterior(prior, accuracy)
    noise = torch.randn(best.shape, generator=generator, dtype=torch.float64)
    perturbed = (best.log() + 0.1 * noise).softmax(-1)
    raised = method.importance_variance(prior, accuracy, perturbed) / mean.square()
    found = method.importance_variance(prior, accuracy, proposal)
    return recorded(
        formula=(found - enumerated) / enumerated.clamp(min=1.0),
        optimum=method.importance_variance(prior, accuracy, best),
        lower=(raised <= 0).double(),
    )


def factors(job: Job, _workspace: Path) -> Record:
    """C18: norms of the gradients against factors, accuracies any or 0 and 1 (``sure``); both over P."""
    (prior, accuracy, _), generator = instances(job)
    sure = (torch.rand(accuracy.shape, generator=generator) < 0.5).double()
    sure[:, 0], sure[:, 1] = 1.0, 0.0
    apart = (method.posterior(prior, sure) - method.posterior(prior, 1 - sure)).norm(dim=-1)
    chance, p = method.evidence(prior, accuracy), method.evidence(prior, sure)
    base = method.forward_kl_gradient(prior, accuracy).norm(dim=-1)
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    errors, shown = dict[str, Tensor](), dict[str, Tensor]()
    spread = p * (1 - p)
    shares: dict[method.Factor, Tensor] = {"rft": spread, "grpo": spread.sqrt(), "variational": 1 - p}
    for name, share in shares.items():
        error = _norms(name, prior, accuracy) - method.difficulty_factor(name, chance) * base
        errors[name] = torch.where(chance < 1 - 1e-12, error, 0.0)
        errors[f"sure_{name}"] = _norms(name, prior, sure) - share * apart
        factor = method.difficulty_factor(name, grid)
        shown |= {f"factor_{name}": factor, f"norm_{name}": (1 - grid) * factor}
    series = {name: each.numpy()[None] for name, each in shown.items()}
    return Record(series={**recorded(**errors).series, **series})


def _norms(kind: str, prior: Tensor, accuracy: Tensor) -> Float[Tensor, " B"]:
    """Norm of the z-part of a method's gradient in the logits of π, by its own definition."""
    chance = method.evidence(prior, accuracy)[:, None]
    spread = (chance * (1 - chance)).clamp(min=1e-300).sqrt()
    reward = {"rft": accuracy, "grpo": (accuracy - chance) / spread, "variational": accuracy / chance}[kind]
    logits = prior.log().requires_grad_()
    (gradient,) = torch.autograd.grad((prior * reward * logits.log_softmax(-1)).sum(), logits)
    return gradient.norm(dim=-1)
