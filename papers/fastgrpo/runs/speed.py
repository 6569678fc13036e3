"""Measurements without training: passes, the best schedule, static trees at fixed batches, a still policy."""

from __future__ import annotations

import itertools
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

from common.speculative.clock import clock_of
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
from common.tasks.ladder.warm_start import DATA_SEED, encode, load, policy_folder, tokenizer
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
CURVE = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128, 256)
"""Batch sizes of the single-token passes whose time shows the knee."""
BATCHES = (1, 8, 64)
BUDGETS = (4, 8, 16, 32)
"""Tokens of a row in the passes of the static schedules at fixed batches."""
REST = (1, 4, 16)
"""Tokens of a row in the cycles whose verdict and commit are timed."""
TIMED = 3
"""Generations whose median is held against the cost model."""
TOP_KS, DEPTHS = (1, 2, 4, 8), (1, 2, 3, 4, 5)
KEPT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
GRID = candidates(KEPT, TOP_KS, DEPTHS)
ALPHAS = (0.5, 0.75, 1.0, 1.5)
DRAFT_ROWS, DRAFT_DEPTHS = (1, 8, 64), (1, 4)


def bench(config: Mapping[str, Any]) -> tuple[PreTrainedModel, DraftNetwork, Target]:
    """The warm start, its pre-trained draft, and the former with the latter's taps."""
    model = load(policy_folder(recipe(config)))
    return model, pretrained(draft_recipe(config), model), target_for(model, "two_head")


def profile(job: Job, _workspace: Path) -> Record:
    """Entry point: seconds of a pass by rows and tokens, the throughput curve, its knee, and the oracle.

    Emits ``c_peak``, and by the columns `rows`, `tokens`, `schedule` and `decoder` of its parts ``seconds``,
    ``throughput``, ``regret``, ``oracle/...``, ``measured`` and ``modelled``.
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
        *parts_of(held_against(config, job.seeds[0], costs), ["rows", "decoder"], ["measured", "modelled"]),
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

    by_rows = {rows: interpolate(line) for rows, line in rest_seconds(config, seed).items()}

    @cache
    def rest(rows: int, tokens: int) -> float:
        return interpolate({size: line(tokens) for size, line in by_rows.items()})(rows)

    return Costs(verification(table), propose, expected, rest)


def rest_seconds(config: Mapping[str, Any], seed: int) -> dict[int, dict[int, float]]:
    """Seconds that a cycle spends on neither the draft's trees nor the target's pass, by rows and tokens.

    No row is dropped, so that a cycle has all of them.
    """
    found: dict[int, dict[int, float]] = {}
    for rows, tokens in itertools.product(BATCHES, REST):
        schedule = StaticScheduler(tree_of(tokens)) if tokens > 1 else None
        engine, prompts = fixed_length(config, schedule, rows, early_termination=False)
        stats = generated(engine, prompts, config["static_tokens"], seed).stats
        spent = stats.seconds["verify"] + stats.seconds["update"]
        found.setdefault(rows, {})[tokens] = spent / stats.cycles
    return found


def held_against(config: Mapping[str, Any], seed: int, costs: Costs) -> pd.DataFrame:
    """Speed-up over plain decoding, measured and by the cost model from the rows of every cycle."""
    schedules: dict[str, Scheduler] = {
        "4": StaticScheduler(tree_of(4)),
        "rule": ConcurrencyAwareScheduler(config["c_peak"]),
    }
    found = []
    for rows in BATCHES:
        paces = {name: paced(config, seed, costs, rows, each) for name, each in schedules.items()}
        plain = paced(config, seed, costs, rows, None)
        found += [(rows, name, plain[0] / pace[0], plain[1] / pace[1]) for name, pace in paces.items()]
    return pd.DataFrame(found, columns=["rows", "decoder", "measured", "modelled"])


def paced(
    config: Mapping[str, Any], seed: int, costs: Costs, rows: int, schedule: Scheduler | None
) -> tuple[float, float]:
    """Seconds a token, prefill left out: median measured, and of the cost model for the same cycles."""
    engine, prompts = fixed_length(config, schedule, rows)
    measured, modelled = [], []
    for turn in range(TIMED):
        stats = generated(engine, prompts, config["static_tokens"], seed + turn).stats
        model = sum(costs.cycle(active, schedule(active) if schedule else None) for active in stats.active)
        measured.append((sum(stats.seconds.values()) - stats.seconds["prefill"]) / stats.tokens)
        modelled.append(model / stats.tokens)
    return float(np.median(measured)), float(np.median(modelled))


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
            seconds, now = [], clock_of(target.device)
            for _ in range(repeats + 1):
                begin = now()
                draft.propose(policy)
                seconds.append(now() - begin)
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


def static(job: Job, _workspace: Path) -> Record:
    """Entry point: tokens per second at fixed batches, of static trees, the rule and plain decoding.

    No row ends: every one writes `static_tokens` tokens, so that the batch stays as it is. Emits ``speed`` by
    the columns `rows` and `schedule`.
    """
    (seed,) = job.seeds
    config = job.config
    schedulers: dict[str, Scheduler | None] = {
        "plain": None,
        **{str(size): StaticScheduler(tree_of(size)) for size in BUDGETS},
        "rule": ConcurrencyAwareScheduler(config["c_peak"]),
    }
    parts: list[Part] = []
    for rows in BATCHES:
        for name, scheduler in rotated(schedulers, seed):
            engine, prompts = fixed_length(config, scheduler, rows)
            stats = generated(engine, prompts, config["static_tokens"], seed).stats
            seconds = sum(stats.seconds.values()) - stats.seconds["prefill"]
            parts.append(({"rows": rows, "schedule": name}, scalars({"speed": stats.tokens / seconds})))
    return Record(parts=parts)


def fixed_length(
    config: Mapping[str, Any], scheduler: Scheduler | None, rows: int, early_termination: bool = True
) -> tuple[SpeculativeGenerator, list[Int[Tensor, " T"]]]:
    """The warm start's engine, and prompts of eight terms."""
    model, network, target = bench(config)
    sums = LadderConfig(seed=DATA_SEED + 2000, size=rows, terms=8)
    draft = FeatureDraft(network) if scheduler else None
    engine = SpeculativeGenerator(
        target if draft else Target(model), draft, scheduler, early_termination=early_termination
    )
    return engine, [encode(item.prompt) for item in ladder.items(sums)]


def generated(
    engine: SpeculativeGenerator, prompts: list[Int[Tensor, " T"]], tokens: int, seed: int
) -> Generation:
    """A generation in which every row writes as many tokens; what the first allocates is not timed."""
    draws = torch.Generator().manual_seed(seed)
    engine.generate(prompts, SamplingParams(4), generator=draws)
    return engine.generate(prompts, SamplingParams(tokens), generator=draws)


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
