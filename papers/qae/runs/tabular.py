"""Tier B: a tabular autoregressive policy trained with each baseline, many seeds at once.

The advantages come from `papers.qae.method.quantile_advantages`, the function that the trainers use, with
the population standard deviation of Eq. 3.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float, Int

from common.study.jobs import Job, Record
from common.tabular.objective import Rollout
from common.tabular.simulator import AdvantageRule, Training
from common.tabular.simulator import simulate as run
from common.tabular.start import World, draw_start
from papers.qae.method import TOLERANCE, Mask, check_quantile, quantile_advantages

RATES = {"hard": (0.01, 0.03, 0.1), "broad": (0.02, 0.1, 0.3, 0.6)}
MASKS: dict[str, Mask] = {"quantile": "none", **{mask: mask for mask in get_args(Mask) if mask != "none"}}
BASELINES = ("mean", "sparse_mean", *MASKS)
AVERAGES = ("grad_norm", "clip_low", "clip_high")
DENSITY = 0.2  # share of the responses that the sparsity-matched control leaves their advantage


def simulate(job: Job, _workspace: Path) -> Record:
    """Entry point of tier B.

    Config: fields of `World` and `Training`; `mix`, a key of `RATES`; `baseline`, one of `BASELINES`
    ("sparse_mean" drops a random 80% of the mean baseline's responses); `k`, the level K, also of the gate
    that `gate_series` describes; `matched_grad_norm`: scale each batch's advantages to the mean baseline's
    first gradient norm on it.

    Returns:
        Series over T + 1 policies, exact: entropy, success. Series over T batches: mixed_groups, hard_groups,
        share_positive, share_zero, share_negative, share_zero_predicted, entropy_positive, entropy_zero,
        entropy_negative. Series whose step is the number of correct responses 0..G: group_counts, over the
        groups of all batches. Scalars: pass_at_16 of the last policy, exact; grad_norm, clip_low and
        clip_high, averaged over batches.

    Raises:
        ValueError: an unknown mix, baseline or optimizer, or k outside (0, 1).
    """
    for name, choices in {"mix": RATES, "baseline": BASELINES, "optimizer": ("adam", "sgd")}.items():
        if job.config[name] not in choices:
            raise ValueError(f"unknown {name} '{job.config[name]}'; choose one of {', '.join(choices)}")
    k, training = job.config["k"], job.read(Training)
    check_quantile(k)
    history = run(
        draw_start(job.read(World, rates=RATES[job.config["mix"]]), job.seeds),
        training,
        advantage_rule(job.config["baseline"], k),
        job.seeds,
        norm_rule=advantage_rule("mean", k) if job.config["matched_grad_norm"] else None,
    )
    gate = gate_series(history.counts, training.group_size, k)
    series = {**history.exact, **history.sampled, **gate}
    scalars = {name: np.nanmean(series.pop(name), axis=1) for name in AVERAGES}
    scalars["pass_at_16"] = series.pop("pass_at_16")[:, -1]
    return Record(scalars, series)


def advantage_rule(baseline: str, k: float) -> AdvantageRule:
    """The rule of a baseline; it visits the seeds one by one, so their number cannot change a rounding."""
    return partial(_advantages, baseline=baseline, k=k)


def _advantages(rollout: Rollout, baseline: str, k: float) -> Float[np.ndarray, "S P G"]:
    advantages = np.empty_like(rollout.rewards)
    for seed, rewards in enumerate(rollout.rewards):
        # The gate's permutation is drawn from the batch's own noise, so that it is the same in every company
        # of seeds: a uniform number times 2^53 is its whole mantissa, an integer.
        noise = int(rollout.noise[seed, 0, 0] * 2**53)
        advantages[seed] = quantile_advantages(
            torch.from_numpy(rewards.reshape(-1)),
            rewards.shape[-1],
            k=k if baseline in MASKS else None,
            std="population",
            mask=MASKS.get(baseline, "none"),
            generator=torch.Generator().manual_seed(noise),
        ).reshape(rewards.shape)
    if baseline == "sparse_mean":
        advantages = np.where(rollout.noise < DENSITY, advantages, 0.0)
    return advantages


def gate_series(
    counts: Int[np.ndarray, "S T P"], group_size: int, k: float
) -> dict[str, Float[np.ndarray, "S T"]]:
    """What Eq. 4 says of groups with these numbers of correct responses, whatever baseline trained them.

    Over the mixed groups of a batch: `hard_groups`, the share with p <= 1 - K, and `share_zero_predicted`,
    the share of responses whose advantage Eq. 4 makes zero (wrong ones of hard groups, correct ones of easy
    groups); NaN for a batch without mixed groups. `group_counts`: groups of the run by number correct, shape
    ``[S, G + 1]``.
    """
    mixed = (counts > 0) & (counts < group_size)
    wrong = group_size - counts
    hard = mixed & (wrong >= ceil(k * group_size - TOLERANCE))
    zero = np.where(hard, wrong, counts) * mixed
    values = np.arange(group_size + 1)
    with np.errstate(invalid="ignore"):
        return {
            "hard_groups": hard.sum(axis=-1) / mixed.sum(axis=-1),
            "share_zero_predicted": zero.sum(axis=-1) / (group_size * mixed.sum(axis=-1)),
            "group_counts": (counts[..., None] == values).sum(axis=(1, 2)).astype(np.float64),
        }
