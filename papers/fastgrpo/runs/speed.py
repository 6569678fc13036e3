"""Measurements without training: passes, the best schedule, static trees at fixed batches, a still policy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.costs import Costs, candidates, oracle_schedule, regret, surface
from common.speculative.drafts import FeatureDraft
from common.speculative.engine_costs import Decoder, Trials, averaged
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.latency import latency_knee, timed_passes
from common.speculative.measured import accepted_tokens, draft_seconds, timed_phases
from common.speculative.networks import DraftNetwork
from common.speculative.scheduler import ConcurrencyAwareScheduler, Scheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import Probe
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
REST = (4, 16)
"""Tokens of a row, one beside, in the cycles whose verdict and commit are timed."""
PASSES = 2
"""Timings of a pass or a draft in a round: parts and wholes take turns, because the machine's pace drifts."""
NO_TREES = ConcurrencyAwareScheduler(1)
"""Plain steps of an engine that keeps what the draft is to read."""
TOP_KS, DEPTHS = (1, 2, 4, 8), (1, 2, 3, 4, 5)
KEPT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
GRID = candidates(KEPT, TOP_KS, DEPTHS)
ALPHAS = (0.5, 0.75, 1.0, 1.5)
DRAFT_DEPTHS = (1, 4)


def bench(config: Mapping[str, Any]) -> tuple[PreTrainedModel, DraftNetwork, Target]:
    """The warm start, its pre-trained draft, and the former with the latter's taps."""
    model = load(policy_folder(recipe(config)))
    return model, pretrained(draft_recipe(config), model), target_for(model, "two_head")


def profile(job: Job, _workspace: Path) -> Record:
    """Entry point: seconds of a pass by rows and tokens, the throughput curve, its knee, and the oracle.

    Emits ``c_peak``, and by the columns `rows`, `tokens`, `schedule` and `decoder` of its parts ``seconds``,
    ``throughput``, ``regret``, ``oracle/...``, ``measured`` and ``modelled``.
    """
    config, (seed,) = job.config, job.seeds
    curve = timed_passes(bench(config)[2], CURVE, (1,), config["profile_context"], 5 * PASSES)
    curve = curve.assign(throughput=curve["rows"] / curve["seconds"])
    rounds = (one_round(config, seed + turn) for turn in range(1 + config["profile_repeats"]))
    tables, costs, speedups = zip(*rounds, strict=True)
    table, held = (
        pd.concat(found).groupby(by, as_index=False).median()
        for found, by in ((tables, ["rows", "tokens"]), (speedups, ["rows", "decoder"]))
    )
    means = averaged(costs)
    parts = [
        *parts_of(table, ["rows", "tokens"], ["seconds"]),
        *parts_of(curve, ["rows"], ["throughput"]),
        *parts_of(regrets(means, config["c_peak"]), ["schedule"], ["regret"]),
        *parts_of(best_trees(means), ["rows"], ["oracle/tokens", "oracle/top_k", "oracle/depth"]),
        *parts_of(held, ["rows", "decoder"], ["measured", "modelled"]),
    ]
    return replace(scalars({"c_peak": float(latency_knee(curve))}), parts=parts)


def parts_of(table: pd.DataFrame, labels: Sequence[str], names: Sequence[str]) -> Iterator[Part]:
    """One part of a record per line of a table."""
    for line in table.to_dict("records"):
        yield {label: line[label] for label in labels}, scalars({name: line[name] for name in names})


def one_round(config: Mapping[str, Any], seed: int) -> tuple[pd.DataFrame, Costs, pd.DataFrame]:
    """Seconds of passes, the cost model of speculation, and speed-ups over plain decoding beside it."""
    model, network, target = bench(config)
    context = config["profile_context"]
    passes = timed_passes(target, ROWS, TOKENS, context, PASSES, LARGEST_PASS)
    bare = timed_passes(Target(model), BATCHES, (1,), context, 5 * PASSES)
    trials = Trials(partial(fixed_length, config), BATCHES, config["static_tokens"], repeats=5)
    trees: dict[int, Scheduler | None] = {1: NO_TREES, **{n: StaticScheduler(tree_of(n)) for n in REST}}
    probe = Probe.of(*rollouts(config, seed, SpeculativeGenerator(target)))
    shapes = itertools.product(BATCHES, TOP_KS, DRAFT_DEPTHS)
    costs = Costs(
        seconds_of(passes),
        draft_seconds(target, network, shapes, context, PASSES),
        accepted_tokens(probe, target, network, TOP_KS, DEPTHS, KEPT),
        surface(trials.rest_seconds(trees, seed)),
    )
    plain = replace(costs, verify=seconds_of(bare), rest=surface(trials.rest_seconds({1: None}, seed)))
    rule = ConcurrencyAwareScheduler(config["c_peak"])
    decoders = {"plain": Decoder(None, plain), "4": Decoder(trees[4], costs), "rule": Decoder(rule, costs)}
    return passes, costs, trials.speedups(decoders, seed)


def seconds_of(passes: pd.DataFrame) -> Callable[[int, int], float]:
    """Seconds of a pass by rows and tokens of a row."""
    return surface({(rows, tokens): value for rows, tokens, value in passes.itertuples(index=False)})


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
            stats, seconds = timed_phases(engine, prompts, config["static_tokens"], seed)
            speed = scalars({"speed": stats.tokens / sum(seconds.values())})
            parts.append(({"rows": rows, "schedule": name}, speed))
    return Record(parts=parts)


def fixed_length(
    config: Mapping[str, Any], scheduler: Scheduler | None, rows: int
) -> tuple[SpeculativeGenerator, list[Int[Tensor, " T"]]]:
    """The warm start's engine, and prompts of eight terms."""
    model, network, target = bench(config)
    sums = LadderConfig(seed=DATA_SEED + 2000, size=rows, terms=8)
    draft = FeatureDraft(network) if scheduler else None
    engine = SpeculativeGenerator(target if draft else Target(model), draft, scheduler)
    return engine, [encode(item.prompt) for item in ladder.items(sums)]


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
