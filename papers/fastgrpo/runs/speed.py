"""Measurements without training: costs of passes, static trees at fixed batches, oracle, a still policy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.models.recipe import build_model
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import DraftNetwork
from common.speculative.profile import knee, latency_table
from common.speculative.scheduler import ConcurrencyAwareScheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import score_trees
from common.speculative.tree import TreePolicy, path_log_probs
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks import ladder
from common.tasks.ladder import LadderConfig
from common.tasks.ladder.warm_start import encode, load, policy_folder, tokenizer
from papers.fastgrpo.grid import (
    ALPHAS,
    BATCHES,
    BUDGETS,
    CURVE,
    DEPTHS,
    DRAFT_DEPTHS,
    DRAFT_ROWS,
    KEPT,
    LARGEST_PASS,
    LAYERS,
    ROWS,
    TOKENS,
    TOP_KS,
)
from papers.fastgrpo.runs.drafts import pretrained, target_for
from papers.fastgrpo.runs.observers import Probe
from papers.fastgrpo.runs.replay import STATIC, tree_of
from papers.fastgrpo.runs.training import draft_recipe, recipe, training_items
from papers.fastgrpo.systems import Costs, candidates, interpolate, oracle_schedule, regret

Values = dict[str, float]


def bench(config: Mapping[str, Any]) -> tuple[PreTrainedModel, DraftNetwork]:
    """The warm start and its pre-trained draft."""
    model = load(policy_folder(recipe(config)))
    return model, pretrained(draft_recipe(config), model)


def scalars(values: Mapping[str, float]) -> Record:
    """A record of one seed."""
    return Record({name: np.array([float(value)]) for name, value in values.items()})


def profile(job: Job, _workspace: Path) -> Record:
    """Entry point: seconds of a pass by rows and tokens, the throughput curve, its knee, and the oracle."""
    config = job.config
    model, network = bench(config)
    target = target_for(model, "two_head")
    repeats = config["profile_repeats"]
    found: Values = {}
    context = config["profile_context"]
    table = timed_passes(target, ROWS, repeats, context)
    for row in table.itertuples():
        found[f"seconds/{row.rows}/{row.tokens}"] = float(cast("float", row.seconds))
    curve = latency_table(target, CURVE, (1,), context, repeats=2 * repeats)
    throughput = curve.assign(throughput=curve["rows"] / curve["seconds"])
    for rows, value in zip(throughput["rows"], throughput["throughput"], strict=True):
        found[f"throughput/{rows}"] = float(value)
    found["c_peak"] = float(knee(throughput))
    costs = measured_costs(config, job.seeds[0], target, network, table, repeats)
    return scalars(found | schedules(costs, config["c_peak"]) | by_depth(config, costs))


def timed_passes(target: Target, sizes: Sequence[int], repeats: int, context: int) -> pd.DataFrame:
    """Latency by rows and tokens a row, up to `LARGEST_PASS` tokens."""
    parts = [
        latency_table(target, [rows], [n for n in TOKENS if rows * n <= LARGEST_PASS], context, repeats)
        for rows in sizes
    ]
    return pd.concat(parts, ignore_index=True)


def measured_costs(
    config: Mapping[str, Any],
    seed: int,
    target: Target,
    network: DraftNetwork,
    table: pd.DataFrame,
    repeats: int,
) -> Costs:
    """Seconds of a pass by its tokens, seconds of the draft, and expected acceptance tree by tree."""
    draft_table = draft_seconds(target, network, repeats, config["profile_context"])
    accepted = accepted_table(config, seed, target, network)

    @cache
    def propose(rows: int, top_k: int, depth: int) -> float:
        def level(levels: int) -> float:
            by_width = {
                width: interpolate({size: draft_table[size, width, levels] for size in DRAFT_ROWS})(rows)
                for width in TOP_KS
            }
            return interpolate(by_width)(top_k)

        shallow, deep = map(level, DRAFT_DEPTHS)
        return shallow + (deep - shallow) * (depth - DRAFT_DEPTHS[0]) / (DRAFT_DEPTHS[1] - DRAFT_DEPTHS[0])

    @cache
    def expected(top_k: int, depth: int, kept: int) -> float:
        return interpolate({width: accepted[width, depth](kept) for width in TOP_KS})(top_k)

    return Costs(verification(table), propose, expected)


def verification(table: pd.DataFrame) -> Callable[[int, int], float]:
    """Seconds of a pass by rows and tokens a row, by lines between the measured ones."""
    lines = {
        int(cast("int", rows)): interpolate(dict(zip(part["tokens"], part["seconds"], strict=True)))
        for rows, part in table.groupby("rows")
    }
    return cache(lambda rows, tokens: interpolate({size: line(tokens) for size, line in lines.items()})(rows))


def by_depth(config: Mapping[str, Any], costs: Costs) -> Values:
    """Gain of the rule and of the best tree over plain decoding, by depth of the target and rows.

    Drafting and acceptance are those of the trained policy and its draft; only the passes are another
    target's, whose weights do not matter for their time.
    """
    found: Values = {}
    grid, rule = candidates(KEPT, TOP_KS, DEPTHS), ConcurrencyAwareScheduler(config["c_peak"])
    for layers in LAYERS:
        model = build_model(replace(recipe(config).shape, layers=layers), tokenizer(), seed=0)
        timings = config["profile_repeats"], config["profile_context"]
        table = timed_passes(Target(model), DRAFT_ROWS, *timings)
        deep = replace(costs, verify=verification(table))
        for rows in DRAFT_ROWS:
            plain = deep.throughput(rows, None)
            best = max(deep.throughput(rows, policy) for policy in grid)
            found[f"gain/{layers}/{rows}"] = deep.throughput(rows, rule(rows)) / plain
            found[f"best/{layers}/{rows}"] = best / plain
    return found


@torch.inference_mode()
def draft_seconds(
    target: Target, network: DraftNetwork, repeats: int, context: int
) -> dict[tuple[int, int, int], float]:
    """Median seconds in which a draft proposes, by rows, top-k and depth."""
    found = {}
    for rows in DRAFT_ROWS:
        ids = torch.arange(context).expand(rows, -1) % target.vocabulary
        features = torch.randn(rows, context - 1, network.feature_size)
        for top_k in TOP_KS:
            for depth in DRAFT_DEPTHS:
                policy = TreePolicy(depth, top_k, min(64, top_k + (depth - 1) * top_k**2))
                draft = FeatureDraft(network)
                draft.begin(ids[:, 0], context + draft.slots(policy))
                draft.extend(features, ids[:, 1:], torch.full((rows,), context - 1))
                seconds = []
                for _ in range(repeats + 1):
                    clock = time.perf_counter()
                    draft.propose(policy)
                    seconds.append(time.perf_counter() - clock)
                found[rows, top_k, depth] = float(np.median(seconds[1:]))
    return found


@torch.inference_mode()
def accepted_table(config: Mapping[str, Any], seed: int, target: Target, network: DraftNetwork) -> Any:
    """Expected accepted draft tokens by top-k and depth, as a function of the tokens kept.

    The trees are grown to their full size once; a smaller one consists of its nodes of largest cumulative
    draft probability, so its expectation is a sum over those.
    """
    probe = probe_of(config, seed, target)
    found = {}
    for top_k in TOP_KS:
        for depth in DEPTHS:
            policy = TreePolicy(depth, top_k, max(KEPT))
            trees, scores = score_trees(network, target, *probe.where, policy)
            reached = path_log_probs(trees, scores.log_p).exp()
            order = path_log_probs(trees, trees.log_q).argsort(dim=1, descending=True, stable=True)
            sums = reached.gather(1, order).cumsum(dim=1).mean(dim=0)
            kept = {size: float(sums[size - 1]) for size in KEPT if size <= len(sums)}
            found[top_k, depth] = interpolate_flat({0: 0.0} | kept)
    return found


def interpolate_flat(table: Mapping[int, float]) -> Any:
    """Lines between sizes, constant beyond the last."""
    sizes, values = np.array(sorted(table)), np.array([table[size] for size in sorted(table)])
    return lambda size: float(np.interp(size, sizes, values))


def probe_of(config: Mapping[str, Any], seed: int, target: Target) -> Probe:
    """Rollouts of the warm start to measure acceptance on."""
    generation, prompts = rollouts(config, seed, SpeculativeGenerator(target))
    return Probe.of(generation, prompts)


def rollouts(
    config: Mapping[str, Any], seed: int, decoder: SpeculativeGenerator
) -> tuple[Any, list[list[int]]]:
    """One batch of rollouts with features, and the prompt of each."""
    items = training_items(config, seed)[: config["prompts"]]
    prompts = [encode(item.prompt) for item in items]
    params = SamplingParams(config["max_response"], eos_ids=(tokenizer().eos_token_id,))
    draws = torch.Generator().manual_seed(seed)
    found = decoder.generate(prompts, params, config["group_size"], draws, return_features=True)
    return found, [prompt.tolist() for prompt in prompts for _ in range(config["group_size"])]


def schedules(costs: Costs, c_peak: int) -> Values:
    """Mean regret over batch sizes of the rule, its variants and the best static tree; the oracle's trees."""
    rows = ROWS[:7]
    grid = candidates(KEPT, TOP_KS, DEPTHS)
    rules = {f"alpha_{alpha:g}": ConcurrencyAwareScheduler(c_peak, alpha=alpha) for alpha in ALPHAS}
    rules["floor"] = ConcurrencyAwareScheduler(c_peak, l_min=3)
    found = {f"regret/{name}": float(regret(rows, costs, grid, rule).mean()) for name, rule in rules.items()}
    static = [
        regret(rows, costs, grid, cast("Callable[[int], TreePolicy]", StaticScheduler(tree_of(size)))).mean()
        for size in STATIC
    ]
    found["regret/static"] = float(min(static))
    found["regret/plain"] = float(regret(rows, costs, grid, lambda _: None).mean())
    for count, policy in oracle_schedule(rows, costs, grid).items():
        shape = (policy.nodes + 1, policy.top_k, policy.depth) if policy else (1, 0, 0)
        for name, value in zip(("tokens", "top_k", "depth"), shape, strict=True):
            found[f"oracle/{name}/{count}"] = float(value)
    return found


def static(job: Job, _workspace: Path) -> Record:
    """Entry point: tokens per second at fixed batches, relative to plain decoding.

    No row ends: every one writes `static_tokens` tokens, so that the batch stays as it is.
    """
    (seed,) = job.seeds
    config = job.config
    model, network = bench(config)
    target = target_for(model, "two_head")
    prompts = [
        encode(item.prompt) for item in ladder.items(LadderConfig(seed=seed, size=max(BATCHES), terms=8))
    ]
    schedulers: dict[str, Any] = {
        "plain": None,
        **{str(size): StaticScheduler(tree_of(size)) for size in BUDGETS if size > 1},
        "rule": ConcurrencyAwareScheduler(config["c_peak"]),
    }
    found: Values = {}
    for rows in BATCHES:
        for name, scheduler in rotated(schedulers, seed):
            draft = FeatureDraft(network) if scheduler else None
            decoder = SpeculativeGenerator(target if draft else Target(model), draft, scheduler)
            speed = tokens_per_second(decoder, prompts[:rows], config["static_tokens"], seed)
            found[f"speed/{rows}/{name}"] = speed
    return scalars(found)


def rotated(arms: Mapping[str, Any], seed: int) -> list[tuple[str, Any]]:
    """The arms, starting with another one for every seed."""
    names = list(arms)
    start = seed % len(names)
    return [(name, arms[name]) for name in names[start:] + names[:start]]


def tokens_per_second(decoder: SpeculativeGenerator, prompts: list[Tensor], tokens: int, seed: int) -> float:
    """Speed of a generation in which every row writes as many tokens."""
    draws = torch.Generator().manual_seed(seed)
    decoder.generate(prompts, SamplingParams(4), generator=draws)
    clock = time.perf_counter()
    decoder.generate(prompts, SamplingParams(tokens), generator=draws)
    return len(prompts) * tokens / (time.perf_counter() - clock)


def still(job: Job, _workspace: Path) -> Record:
    """Entry point: the control of drift: a frozen draft on rollouts of a policy that does not move."""
    (seed,) = job.seeds
    config = job.config
    model, network = bench(config)
    target = target_for(model, "two_head")
    decoder = SpeculativeGenerator(target, FeatureDraft(network), ConcurrencyAwareScheduler(config["c_peak"]))
    curve = []
    for iteration in range(0, config["iterations"], config["every"]):
        generation, prompts = rollouts(config, seed + 1_000 * (iteration + 1), decoder)
        curve.append(Probe.of(generation, prompts).measure(network, target))
    return Record(series={"acceptance/frozen": np.array([curve])})
