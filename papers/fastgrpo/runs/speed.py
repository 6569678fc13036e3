"""Measurements without training: passes, the best schedule, static trees at fixed batches, a still policy."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from common.models.recipe import build_model
from common.speculative.costs import Costs, candidates, interpolate, oracle_schedule, regret
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.networks import DraftNetwork
from common.speculative.profile import knee, latency_table
from common.speculative.scheduler import ConcurrencyAwareScheduler, Scheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import Probe
from common.speculative.tree import TreePolicy, path_log_probs
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks import ladder
from common.tasks.ladder import LadderConfig
from common.tasks.ladder.warm_start import encode, load, policy_folder, tokenizer
from papers.fastgrpo.runs.drafts import (
    PROBE_TREE,
    STATIC,
    Part,
    draft_recipe,
    pretrained,
    recipe,
    rotated,
    scalars,
    target_for,
    training_items,
    tree_of,
)

ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128)
LARGEST_PASS = 1024  # tokens of the largest pass that is timed
CURVE = (1, 4, 16, 32, 64, 96, 128, 192, 256)
"""Batch sizes of the single-token passes whose throughput shows the knee."""
BATCHES = (1, 8, 64)
BUDGETS = (4, 8, 16, 32)
"""Tokens of a row in the passes of the static schedules at fixed batches."""
TOP_KS, DEPTHS = (1, 2, 4, 8), (1, 2, 3, 4, 5)
KEPT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
GRID = candidates(KEPT, TOP_KS, DEPTHS)
ALPHAS = (0.5, 0.75, 1.0, 1.5)
DRAFT_ROWS, DRAFT_DEPTHS = (1, 8, 64), (1, 4)
LAYERS = (8, 16, 28)
"""Depths of a target whose passes are timed beside one and the same draft; the paper's 1.5B model has 28."""


def bench(config: Mapping[str, Any]) -> tuple[PreTrainedModel, DraftNetwork, Target]:
    """The warm start, its pre-trained draft, and the former with the latter's taps."""
    model = load(policy_folder(recipe(config)))
    return model, pretrained(draft_recipe(config), model), target_for(model, "two_head")


def profile(job: Job, _workspace: Path) -> Record:
    """Entry point: seconds of a pass by rows and tokens, the throughput curve, its knee, and the oracle.

    Emits ``c_peak``, and by the columns `rows`, `tokens`, `layers` and `schedule` of its parts ``seconds``,
    ``throughput``, ``regret``, ``oracle/...``, ``gain`` and ``best``.
    """
    config = job.config
    _, network, target = bench(config)
    context, repeats = config["profile_context"], config["profile_repeats"]
    table = timed_passes(target, ROWS, repeats, context)
    curve = latency_table(target, CURVE, (1,), context, repeats=2 * repeats)
    curve = curve.assign(throughput=curve["rows"] / curve["seconds"])
    costs = measured_costs(config, job.seeds[0], target, network, table)
    parts = [
        *parts_of(table, ["rows", "tokens"], ["seconds"]),
        *parts_of(curve, ["rows"], ["throughput"]),
        *parts_of(regrets(costs, config["c_peak"]), ["schedule"], ["regret"]),
        *parts_of(best_trees(costs), ["rows"], ["oracle/tokens", "oracle/top_k", "oracle/depth"]),
        *parts_of(by_depth(config, costs), ["layers", "rows"], ["gain", "best"]),
    ]
    return replace(scalars({"c_peak": float(knee(curve))}), parts=parts)


def parts_of(table: pd.DataFrame, labels: Sequence[str], names: Sequence[str]) -> Iterator[Part]:
    """One part of a record per line of a table."""
    for line in table.to_dict("records"):
        yield {label: line[label] for label in labels}, scalars({name: line[name] for name in names})


def timed_passes(target: Target, sizes: Sequence[int], repeats: int, context: int) -> pd.DataFrame:
    """Latency by rows and tokens a row, up to `LARGEST_PASS` tokens."""
    parts = [
        latency_table(target, [rows], [n for n in TOKENS if rows * n <= LARGEST_PASS], context, repeats)
        for rows in sizes
    ]
    return pd.concat(parts, ignore_index=True)


def measured_costs(
    config: Mapping[str, Any], seed: int, target: Target, network: DraftNetwork, table: pd.DataFrame
) -> Costs:
    """Seconds of a pass by its tokens, seconds of the draft, and expected acceptance tree by tree."""
    seconds = draft_seconds(target, network, config["profile_repeats"], config["profile_context"])
    accepted = accepted_table(config, seed, target, network)

    @cache
    def propose(rows: int, top_k: int, depth: int) -> float:
        def level(levels: int) -> float:
            by_width = {
                width: interpolate({size: seconds[size, width, levels] for size in DRAFT_ROWS})(rows)
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


@torch.inference_mode()
def draft_seconds(
    target: Target, network: DraftNetwork, repeats: int, context: int
) -> dict[tuple[int, int, int], float]:
    """Median seconds in which a draft proposes, by rows, top-k and depth."""
    medians = {}
    for rows in DRAFT_ROWS:
        ids = torch.arange(context).expand(rows, -1) % target.vocabulary
        features = torch.randn(rows, context - 1, network.feature_size)
        for top_k, depth in itertools.product(TOP_KS, DRAFT_DEPTHS):
            policy = TreePolicy(depth, top_k, min(64, top_k + (depth - 1) * top_k**2))
            draft = FeatureDraft(network)
            draft.begin(ids[:, 0], context + draft.slots(policy))
            draft.extend(features, ids[:, 1:], torch.full((rows,), context - 1))
            seconds = []
            for _ in range(repeats + 1):
                clock = time.perf_counter()
                draft.propose(policy)
                seconds.append(time.perf_counter() - clock)
            medians[rows, top_k, depth] = float(np.median(seconds[1:]))
    return medians


@torch.inference_mode()
def accepted_table(
    config: Mapping[str, Any], seed: int, target: Target, network: DraftNetwork
) -> Mapping[tuple[int, int], Callable[[float], float]]:
    """Expected accepted draft tokens by top-k and depth, as a function of the tokens kept.

    The trees are grown to their full size once; a smaller one consists of its nodes of largest cumulative
    draft probability, so its expectation is a sum over those.
    """
    probe = Probe.of(*rollouts(config, seed, SpeculativeGenerator(target)))
    accepted = {}
    for top_k, depth in itertools.product(TOP_KS, DEPTHS):
        trees, scores = probe.trees(network, target, TreePolicy(depth, top_k, max(KEPT)))
        reached = path_log_probs(trees, scores.log_p).exp()
        order = path_log_probs(trees, trees.log_q).argsort(dim=1, descending=True, stable=True)
        sums = reached.gather(1, order).cumsum(dim=1).mean(dim=0)
        sizes = [size for size in KEPT if size <= len(sums)]
        # Beyond the last node that a tree can have nothing more is accepted: np.interp stays constant there.
        accepted[top_k, depth] = partial(
            np.interp, xp=[0, *sizes], fp=[0.0, *(float(sums[n - 1]) for n in sizes)]
        )
    return accepted


def rollouts(
    config: Mapping[str, Any], seed: int, decoder: SpeculativeGenerator
) -> tuple[Generation, list[list[int]]]:
    """One batch of rollouts with features, and the prompt of each."""
    prompts = [encode(item.prompt) for item in training_items(config, seed)[: config["prompts"]]]
    params = SamplingParams(config["max_response"], eos_ids=(tokenizer().eos_token_id,))
    draws = torch.Generator().manual_seed(seed)
    generation = decoder.generate(prompts, params, config["group_size"], draws, return_features=True)
    return generation, [prompt.tolist() for prompt in prompts for _ in range(config["group_size"])]


def regrets(costs: Costs, c_peak: int) -> pd.DataFrame:
    """Mean regret over batch sizes of the rule, its variants, the best static tree and plain decoding."""

    def mean(schedule: Callable[[int], Any]) -> float:
        return float(regret(ROWS[:7], costs, GRID, schedule).mean())

    rules = {f"alpha_{alpha:g}": ConcurrencyAwareScheduler(c_peak, alpha=alpha) for alpha in ALPHAS}
    rules["floor"] = ConcurrencyAwareScheduler(c_peak, l_min=3)
    means = {name: mean(rule) for name, rule in rules.items()}
    means["static"] = min(mean(StaticScheduler(tree_of(size))) for size in STATIC)
    means["plain"] = mean(lambda _: None)
    return pd.DataFrame(means.items(), columns=["schedule", "regret"])


def best_trees(costs: Costs) -> pd.DataFrame:
    """The oracle's trees by rows; a plain step is one token."""
    trees = oracle_schedule(ROWS[:7], costs, GRID).items()
    shapes = [
        (rows, *((tree.nodes + 1, tree.top_k, tree.depth) if tree else (1, 0, 0))) for rows, tree in trees
    ]
    return pd.DataFrame(shapes, columns=["rows", "oracle/tokens", "oracle/top_k", "oracle/depth"])


def by_depth(config: Mapping[str, Any], costs: Costs) -> pd.DataFrame:
    """Gain of the rule and of the best tree over plain decoding, by depth of the target and rows.

    Drafting and acceptance are those of the trained policy and its draft; only the passes are another
    target's, whose weights do not matter for their time.
    """
    gains, rule = [], ConcurrencyAwareScheduler(config["c_peak"])
    for layers in LAYERS:
        model = build_model(replace(recipe(config).shape, layers=layers), tokenizer(), seed=0)
        timings = config["profile_repeats"], config["profile_context"]
        deep = replace(costs, verify=verification(timed_passes(Target(model), DRAFT_ROWS, *timings)))
        for rows in DRAFT_ROWS:
            plain = deep.throughput(rows, None)
            best = max(deep.throughput(rows, policy) for policy in GRID)
            gains.append((layers, rows, deep.throughput(rows, rule(rows)) / plain, best / plain))
    return pd.DataFrame(gains, columns=["layers", "rows", "gain", "best"])


def static(job: Job, _workspace: Path) -> Record:
    """Entry point: tokens per second at fixed batches, of static trees, the rule and plain decoding.

    No row ends: every one writes `static_tokens` tokens, so that the batch stays as it is. Emits ``speed`` by
    the columns `rows` and `schedule`.
    """
    (seed,) = job.seeds
    config = job.config
    model, network, target = bench(config)
    sums = LadderConfig(seed=seed, size=max(BATCHES), terms=8)
    prompts = [encode(item.prompt) for item in ladder.items(sums)]
    schedulers: dict[str, Scheduler | None] = {
        "plain": None,
        **{str(size): StaticScheduler(tree_of(size)) for size in BUDGETS},
        "rule": ConcurrencyAwareScheduler(config["c_peak"]),
    }
    parts: list[Part] = []
    for rows in BATCHES:
        for name, scheduler in rotated(schedulers, seed):
            draft = FeatureDraft(network) if scheduler else None
            decoder = SpeculativeGenerator(target if draft else Target(model), draft, scheduler)
            speed = tokens_per_second(decoder, prompts[:rows], config["static_tokens"], seed)
            parts.append(({"rows": rows, "schedule": name}, scalars({"speed": speed})))
    return Record(parts=parts)


def tokens_per_second(
    decoder: SpeculativeGenerator, prompts: list[Int[Tensor, " T"]], tokens: int, seed: int
) -> float:
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
    _, network, target = bench(config)
    decoder = SpeculativeGenerator(target, FeatureDraft(network), ConcurrencyAwareScheduler(config["c_peak"]))
    curve = [
        Probe.of(*rollouts(config, seed + 1_000 * (iteration + 1), decoder)).measure(
            network, target, PROBE_TREE
        )
        for iteration in range(0, config["iterations"], config["every"])
    ]
    return Record(parts=[({"draft": "frozen"}, Record(series={"acceptance": np.array([curve])}))])
