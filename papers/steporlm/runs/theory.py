"""Exact checks: luck of errors, a tour without subtour constraints, real models, best-of-k, gradients."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import torch

from common.preference.selection import enumerated_first_accepted, expected_first_accepted
from common.study.jobs import Job, Record, Scalar
from common.tasks.or_models import gmpl, job_shop
from common.tasks.or_models.corruption import KINDS, lucky_share, lucky_table
from common.tasks.or_models.solver import solve
from common.tasks.or_models.tours import COSTS, assignment, miller_tucker_zemlin, shortest_tour
from papers.steporlm.method import weighted_dpo, weighted_dpo_gradient

REPORTED_TOUR = 158.0
RATES = (0.2, 0.5, 0.6)
"""Shares of the unverified corpus that carry an error, at which the dial is read."""
VERIFIERS: Mapping[str, tuple[float, float]] = {
    "perfect (t = 1, f = 0)": (1.0, 0.0),
    "good (t = 0.9, f = 0.3)": (0.9, 0.3),
    "timid (t = 0.3, f = 0.05)": (0.3, 0.05),
    "blind (t = f = 0.5)": (0.5, 0.5),
}
ACCURACY = 0.6  # of the policy whose best of k is drawn
SLOW = ("food2", "huge", "jssp", "trick", "tsp")  # take a solver so long that a time limit would decide
MOST = 16
PLAYED = 4  # solutions whose outcomes are enumerated


def lucky(job: Job, _workspace: Path) -> Record:
    """Entry point: how often each error leaves the optimum as it is, and what this makes of a corpus.

    Config: `size` problems a family, and in all for the shares of a corpus.

    Emits parts by ``family``, ``error``: `lucky`, `instances`; by ``kinds`` (of errors), ``rate``: `share` of
    lucky ones in a verified corpus.
    """
    (seed,), size = job.seeds, job.config["size"]
    parts: list[tuple[Mapping[str, Scalar], Record]] = [
        (
            {"family": row.family, "error": row.kind},
            Record.of_one_seed({"lucky": row.lucky / row.n, "instances": row.n}, {}),
        )
        for row in lucky_table(size, seed)
    ]
    for kinds, rate in product(KINDS, RATES):
        share = lucky_share(size, seed, kinds, rate)
        parts.append(({"kinds": kinds, "rate": rate}, Record.of_one_seed({"share": share}, {})))
    return Record(parts=parts)


def tours(_job: Job, _workspace: Path) -> Record:
    """Entry point: three optima of ComplexLP 74; emits `error`, each minus the reported 158."""
    optima = (
        solve(assignment(COSTS)).objective,
        solve(miller_tucker_zemlin(COSTS)).objective,
        shortest_tour(COSTS).cost,
    )
    return Record.of_one_seed({}, {"error": [value - REPORTED_TOUR for value in optima]})


def real_models(job: Job, _workspace: Path) -> Record:
    """Entry point: two solvers on real models, and on a job shop of 1963 whose optimum is known.

    Config: `models`, how many of those that come with GLPK, all if 0; `seconds` a model.

    Emits parts by ``model``: the optima `glpk` and `highs`, and their `difference`, relative to one at least.
    Models without an objective or an optimum have none. Emits `makespan`, what is proved of that of ft06 from
    below and from above, minus the known one.
    """
    files = gmpl.models()[: job.config["models"] or None]
    found = (gmpl.compare(path, job.config["seconds"]) for path in files if path.stem not in SLOW)
    parts: list[tuple[Mapping[str, Scalar], Record]] = []
    for one in (one for one in found if one.agreement in ("agree", "differ")):
        difference = np.nan_to_num(abs(one.highs - one.glpk) / max(1.0, abs(one.glpk)), nan=np.inf)
        optima = {"glpk": one.glpk, "highs": one.highs, "difference": float(difference)}
        parts.append(({"model": one.name}, Record.of_one_seed(optima, {})))
    bounds = job_shop.makespan_bounds(job_shop.FT06, job.config["seconds"])
    own = Record.of_one_seed({}, {"makespan": [bound - job_shop.FT06.best for bound in bounds]})
    return Record(own.scalars, own.series, parts)


def best_of(job: Job, _workspace: Path) -> Record:
    """Entry point: the closed form against the sum over all outcomes of k solutions.

    Config: `draws` of accuracy p and verifier (t, f), every tenth at t = 1, f = 0 and another at t = f.

    Emits `error` of each draw, and parts by ``verifier``: `accuracy` of k = 1, 2, ...
    """
    (seed,) = job.seeds
    rates = np.random.default_rng(seed).random((job.config["draws"], 3))
    rates[::10, 1:] = 1.0, 0.0
    rates[1::10, 2] = rates[1::10, 1]
    errors = [
        enumerated_first_accepted(p, t, f, count) - expected_first_accepted(p, t, f, count)
        for place, (p, t, f) in enumerate(rates.tolist())
        for count in (1 + place % PLAYED,)
    ]
    parts: list[tuple[Mapping[str, Scalar], Record]] = [
        ({"verifier": name}, Record.of_one_seed({}, {"accuracy": curve(*verifier)}))
        for name, verifier in VERIFIERS.items()
    ]
    own = Record.of_one_seed({}, {"error": errors})
    return Record(own.scalars, own.series, parts)


def curve(passes: float, slips: float) -> list[float]:
    """Accuracy of the first accepted of 1, 2, ... solutions."""
    return [expected_first_accepted(ACCURACY, passes, slips, count) for count in range(1, MOST + 1)]


def gradients(job: Job, _workspace: Path) -> Record:
    """Entry point: identities of Eq. 1 in double precision.

    Config: `draws` pairs.

    Emits per pair `closed_form`, the gradient by differentiation minus the closed form; `scale`, the gradient
    with a weight minus weight times that without; `free`, the loss with weights of one minus reference-free
    DPO's; `constant`, the loss minus that with a reference that likes both solutions alike.
    """
    (seed,), draws = job.seeds, job.config["draws"]
    generator = torch.Generator().manual_seed(seed)
    sums = -60 * torch.rand(3, draws, generator=generator, dtype=torch.float64)
    weights = torch.rand(draws, generator=generator, dtype=torch.float64)
    ones = torch.ones_like(weights)
    by_weight, plain = (_gradient(sums, part) for part in (weights, ones))
    rows = [
        (
            weighted_dpo(chosen, rejected, torch.ones_like(weight))
            + torch.log(torch.sigmoid(0.1 * (chosen - rejected))).sum(),
            weighted_dpo(chosen, rejected, weight)
            - weighted_dpo(chosen, rejected, weight, reference=(alike, alike)),
        )
        for chosen, rejected, alike, weight in zip(*sums[..., None], weights[:, None], strict=True)
    ]
    free, constant = (np.array([float(row[place]) for row in rows]) for place in (0, 1))
    series = {
        "closed_form": (by_weight - weighted_dpo_gradient(sums[0] - sums[1], weights)).numpy() * draws,
        "scale": (by_weight - weights * plain).numpy() * draws,
        "free": free,
        "constant": constant,
    }
    return Record.of_one_seed({}, series)


def _gradient(sums: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    chosen = sums[0].clone().requires_grad_()
    (found,) = torch.autograd.grad(weighted_dpo(chosen, sums[1], weights), chosen)
    return found
