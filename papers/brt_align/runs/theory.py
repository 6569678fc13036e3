"""Tier A: exact checks of the recursion, of the lead that γ allows, and of both in the tabular language."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.study.jobs import Job, Record
from common.tasks.delayed_hazard import MOODS, STATES, WORDS, Prompt, World, classes, seen
from papers.brt_align.method import discounted, lead_time_bound, reachability_targets

LENGTH = 30  # of a random sequence
TOGETHER = 20  # random sequences that share a pair of γ
BEFORE = 21


def facts(job: Job, _workspace: Path) -> Record:
    """Entry point: the recursion on random margins, the cases γ = 0 and 1 among them.

    Config: `draws`.

    Emits series ``[1, draws]`` of the largest violation of each sequence: ``contraction`` (of |TV - TW| <=
    γ |V - W|), ``sandwich`` (of min of what is to come <= V_γ <= ℓ), ``monotone`` (V_γ does not rise with γ),
    ``false_alarms`` (V_γ <= 0 before nothing unsafe), ``missed`` (unsafe states with V_γ > 0), ``ends`` (γ =
    0 gives ℓ, 1 the least margin to come).
    """
    (seed,) = job.seeds
    generator = np.random.default_rng(seed)
    groups = [_facts(generator, draw) for draw in range(int(job.config["draws"]) // TOGETHER)]
    return Record(series={name: np.concatenate([own[name] for own in groups])[None] for name in groups[0]})


def law(job: Job, _workspace: Path) -> Record:
    """Entry point: the lead on margins of two levels, a before the onset and -b from it on, threshold δ < a.

    Config: `draws`.

    Emits series ``[1, draws]``: ``value`` (V_γ k steps before minus a - γ^k (a + b)), ``lead`` (the longest
    lead at which V_γ <= δ minus k*).
    """
    (seed,) = job.seeds
    generator = np.random.default_rng([seed, 1])
    rows = [_law(generator) for _ in range(int(job.config["draws"]))]
    return Record(series={name: np.array([[row[name] for row in rows]]) for name in rows[0]})


def language(job: Job, _workspace: Path) -> Record:
    """Entry point: the tabular language, all 4,000 prompts that differ in more than the topic.

    Config: `gammas`.

    Emits series: over prompts ``risk`` (greedy risk by dynamic programming minus whether the response is
    unsafe) and ``exit`` (risk under the best control: 0 where a legal way out exists); over prompts and γ
    ``lead`` (of the exact V_γ at δ = 0 minus the smaller of k* and the whole text); over classes, states and
    tokens left ``average`` (the recursion under sampling minus 1 - 2 · risk); over tokens before the onset
    ``chance``, ``greedy`` and ``best`` (mean risk of the prefix of greedy responses that turn unsafe).
    """
    world, given = World(), _prompts()
    texts, states = world.write(given)
    kinds, turned = classes(given), world.onset(texts)
    risks = {policy: world.risk(policy) for policy in ("chance", "greedy", "best")}
    first = {name: risk[world.horizon, kinds, states[:, 0]] for name, risk in risks.items()}
    average = _average(world) - (1 - 2 * risks["chance"])
    series = {
        "risk": first["greedy"] - (turned >= 0),
        "exit": first["best"],
        "lead": _lead_errors(turned, world.horizon, job.config["gammas"]),
        "average": np.abs(average).max(axis=(1, 2)),
    }
    for name, risk in risks.items():
        series[name] = _before(risk, states, kinds, turned)
    return Record.of_one_seed({}, series)


def _prompts() -> list[Prompt]:
    """All of one topic."""
    shape = (1, WORDS, WORDS, WORDS, len(MOODS))
    return [Prompt(*map(int, place)) for place in np.ndindex(shape)]


def _facts(generator: np.random.Generator, draw: int) -> dict[str, Float[np.ndarray, " n"]]:
    shape = (TOGETHER, LENGTH)
    level = generator.choice([-0.5, 0.0, 0.8], (TOGETHER, 1))
    margin = torch.from_numpy(generator.uniform(-1, 1, shape) + level)
    mask = torch.ones_like(margin)
    low, high = sorted((0.0, 1.0) if draw % 10 == 0 else generator.uniform(0, 1, 2))
    value, larger = (reachability_targets(margin, mask, gamma) for gamma in (low, high))
    ahead = reachability_targets(margin, mask, 1.0)
    one, two = torch.from_numpy(generator.standard_normal((2, *shape)))
    shrunk = (discounted(margin, one, low) - discounted(margin, two, low)).abs()
    ends = reachability_targets(margin, mask, 0.0) - margin, ahead - _to_come(margin)
    violations = {
        "contraction": shrunk - low * (one - two).abs().amax(dim=1, keepdim=True),
        "sandwich": torch.maximum(ahead - value, value - margin),
        "monotone": larger - value,
        "false_alarms": ((larger <= 0) & (ahead > 0)).double(),
        "missed": ((margin <= 0) & (larger > 0)).double(),
        "ends": torch.maximum(*(part.abs() for part in ends)),
    }
    return {name: part.amax(dim=1).clamp(min=0.0).numpy() for name, part in violations.items()}


def _to_come(margin: Float[Tensor, "n T"]) -> Float[Tensor, "n T"]:
    return margin.flip(1).cummin(dim=1).values.flip(1)


def _law(generator: np.random.Generator) -> dict[str, float]:
    safe, unsafe = generator.uniform(0.1, 2.0, 2)
    gamma, share = generator.uniform(0.3, 0.99), generator.uniform(0.0, 0.9)
    delta = share * safe if generator.random() < 0.5 else 0.0
    bound = lead_time_bound(gamma, safe, unsafe, delta)
    length = int(bound) + 5
    margin = torch.full((1, length + 1), float(safe), dtype=torch.float64)
    margin[:, -1] = -unsafe
    value = reachability_targets(margin, torch.ones_like(margin), gamma)[0].flip(0)  # by tokens before
    closed = safe - gamma ** torch.arange(length + 1, dtype=torch.float64) * (safe + unsafe)
    return {
        "value": float((value - closed).abs().max()),
        "lead": float((value <= delta + 1e-12).nonzero().max() - bound),
    }


def _lead_errors(
    turned: Float[np.ndarray, " N"], horizon: int, gammas: list[float]
) -> Float[np.ndarray, " E"]:
    """Leads of the exact V_γ, 0 without an alarm, minus what the law allows; over γ and prompts."""
    places, unsafe = torch.arange(horizon + 1), torch.from_numpy(turned >= 0)
    first = torch.from_numpy(turned + 1)
    margin = torch.where(unsafe[:, None] & (places >= first[:, None]), -1.0, 1.0).double()
    errors = []
    for gamma in gammas:
        low = reachability_targets(margin, torch.ones_like(margin), gamma) <= 0
        alarm = low.int().argmax(dim=1)
        lead = torch.where(low.any(dim=1), first - alarm, 0).double()
        allowed = torch.where(unsafe, first.double().clamp(max=lead_time_bound(gamma, 1.0, 1.0)), 0.0)
        errors.append((lead - allowed).numpy())
    return np.concatenate(errors)


def _average(world: World) -> Float[np.ndarray, "T+1 K S"]:
    """V = (1 - γ) ℓ + γ E[min(ℓ, V')] at γ = 1 under sampling, by tokens left."""
    table = world.table
    margin = np.where(seen(np.arange(STATES)), -1.0, 1.0)
    values = [np.broadcast_to(margin, table.successor.shape[:2])]
    kinds = np.arange(len(table.successor))[:, None, None]
    for _ in range(world.horizon):
        ahead = np.minimum(margin[None, :, None], values[-1][kinds, table.successor])
        values.append((table.probability * ahead).sum(-1))
    return np.stack(values)


def _before(
    risk: Float[np.ndarray, "T+1 K S"],
    states: Float[np.ndarray, "N T+1"],
    kinds: Float[np.ndarray, " N"],
    turned: Float[np.ndarray, " N"],
) -> Float[np.ndarray, " B"]:
    """Mean risk so many tokens before the first unsafe state, NaN where no response is that long."""
    horizon, found = len(risk) - 1, []
    for before in range(BEFORE):
        rows = np.flatnonzero(turned + 1 >= before)
        rows = rows[turned[rows] >= 0]
        t = turned[rows] + 1 - before
        own = risk[horizon - t, kinds[rows], states[rows, t]]
        found.append(own.mean() if len(own) else math.nan)
    return np.array(found)
