"""Wall-clock on one thread: every arm through the same engine, prompt by prompt in turn, batch size 1."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.speculative.drafts import FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.profile import latency_table
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import grow_trees, read_texts
from common.speculative.tree import TreePolicy, TreeShape
from common.speculative.unroll import eagle3_loss, unroll_text
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks.tridomain import DOMAINS, items
from common.tasks.tridomain.warm_start import TargetRecipe, corpus, encode, load, tokenizer
from papers.gto.method import GTOTrainer
from papers.gto.runs.drafts import EAGLE_TREE, stacked, target_for, trained, training_texts
from papers.gto.runs.training import TuneRecipe, read_recipe, tuned

PROMPT_SEED = 4_000_000
LOOKUP, CHAIN = TreePolicy(8, 1, 8), TreePolicy(4, 1, 4)  # of PLD and SPS


def generators(
    recipe: TuneRecipe, continual: TuneRecipe, sps: TargetRecipe
) -> dict[str, SpeculativeGenerator]:
    """The arms: the same target, loop, cache and verifier; only what proposes differs."""
    target = target_for(recipe.draft.target, "eagle3")
    plain = Target(target.model)
    eagle = replace(recipe.draft, kind="eagle")
    policy = TreePolicy(recipe.depth, recipe.top_k, recipe.budget)

    def engine(model: Target, draft: Any, shape: TreeShape) -> SpeculativeGenerator:
        return SpeculativeGenerator(model, draft, StaticScheduler(shape))

    tapped = target_for(recipe.draft.target, "eagle")

    return {
        "vanilla": SpeculativeGenerator(plain),
        "pld": engine(plain, PromptLookupDraft(), LOOKUP),
        "sps": engine(plain, SmallLMDraft(load(sps)), CHAIN),
        "eagle": engine(tapped, FeatureDraft(trained(eagle)), EAGLE_TREE),
        "eagle2": engine(tapped, FeatureDraft(trained(eagle)), policy),
        "eagle3": engine(target, FeatureDraft(trained(recipe.draft)), policy),
        "continual": engine(target, FeatureDraft(tuned(continual).network), policy),
        "gto": engine(target, FeatureDraft(tuned(recipe).network), policy),
    }


def measure(job: Job, _workspace: Path) -> Record:
    """Entry point: tokens per second and τ of every arm on held-out prompts, arms in turn, one thread.

    Config: the recipe of GTO, `continual_rate` (learning rate of the continual arm), `sps_layers`,
    `sps_steps`, `prompts` (a domain), `tokens` (longest completion), `repeats`.

    Emits ``speed<T>/<arm>/<domain>`` (tokens per second over the sum of the prompts' median seconds),
    ``sr<T>/…`` (relative to plain decoding), ``tau<T>/…`` for T of 0 and 1; ``latency/…`` in seconds.
    """
    (seed,) = job.seeds
    torch.set_num_threads(1)
    config, recipe = job.config, read_recipe(job.config, seed)
    continual = replace(recipe, omega=0.0, learning_rate=float(config["continual_rate"]))
    sps = TargetRecipe(layers=int(config["sps_layers"]), steps=int(config["sps_steps"]), batch=16)
    arms = generators(recipe, continual, sps)
    values: dict[str, float] = {}
    for temperature in (0, 1):
        values |= _decoded(arms, config, temperature, seed)
    values |= _latencies(recipe)
    return Record({name: np.array([value]) for name, value in values.items()})


def _decoded(
    arms: dict[str, SpeculativeGenerator], config: Any, temperature: int, seed: int
) -> dict[str, float]:
    params = SamplingParams(int(config["tokens"]), float(temperature), eos_ids=(tokenizer().eos_token_id,))
    drawn = items(corpus(PROMPT_SEED, 3 * int(config["prompts"]), "heldout"))
    values: dict[str, float] = {}
    for domain in DOMAINS:
        prompts = [encode(item.prompt) for item in drawn if item.domain == domain]
        _round(arms, prompts[0], params, seed)  # warms up
        rounds = [
            [_round(arms, prompt, params, seed * 1000 + n) for n, prompt in enumerate(prompts)]
            for _ in range(int(config["repeats"]))
        ]
        totals = {name: _totals([[run[name] for run in runs] for runs in rounds]) for name in arms}
        plain = totals["vanilla"].tokens / totals["vanilla"].seconds
        for name, total in totals.items():
            values[f"speed{temperature}/{name}/{domain}"] = total.tokens / total.seconds
            values[f"sr{temperature}/{name}/{domain}"] = total.tokens / total.seconds / plain
            values[f"tau{temperature}/{name}/{domain}"] = total.tokens / total.cycles
    for kind in ("speed", "sr", "tau"):
        for name in arms:
            parts = [values[f"{kind}{temperature}/{name}/{domain}"] for domain in DOMAINS]
            values[f"{kind}{temperature}/{name}/all"] = float(np.mean(parts))
    return values


class _Timing(NamedTuple):
    """One completion."""

    seconds: float
    tokens: float
    cycles: float


def _round(
    arms: dict[str, SpeculativeGenerator], prompt: Tensor, params: SamplingParams, seed: int
) -> dict[str, _Timing]:
    """One prompt through every arm in turn, from the same seed."""
    found = {}
    for name, engine in arms.items():
        draws = torch.Generator().manual_seed(seed)
        clock = time.perf_counter()
        stats = engine.generate([prompt], params, generator=draws).stats
        found[name] = _Timing(time.perf_counter() - clock, stats.tokens, stats.cycles)
    return found


def _totals(rounds: list[list[_Timing]]) -> _Timing:
    """Sum over prompts of each prompt's median over rounds."""
    return _Timing(*np.median(np.array(rounds), axis=0).sum(axis=0).tolist())


def _latencies(recipe: TuneRecipe) -> dict[str, float]:
    """Seconds of a target forward of 1 and of N + 1 tokens, of a draft's tree, and of a training step."""
    target, network = target_for(recipe.draft.target, "eagle3"), trained(recipe.draft)
    policy = TreePolicy(recipe.depth, recipe.top_k, recipe.budget)
    table = latency_table(target, (1,), (1, policy.nodes + 1)).set_index("tokens")["seconds"]
    batch = stacked(training_texts(recipe.draft.data)[: recipe.batch])
    text, root = read_texts(target, batch.ids[:1]), batch.supervised[:1].nonzero()[:1, 1:]

    def token_step() -> None:
        reading = read_texts(target, batch.ids)
        unrolled = unroll_text(network, *reading[:2], reading.logits, batch.supervised, recipe.draft.unroll)
        eagle3_loss(unrolled).backward()

    return {
        "latency/one": float(table[1]),
        "latency/tree": float(table[policy.nodes + 1]),
        "latency/draft": _seconds(lambda: grow_trees(network, text.ids, text.features, root, policy), 15),
        "latency/token_step": _seconds(token_step, 5),
        "latency/gto_step": _seconds(_gto_step(recipe, batch), 5),
    }


def _gto_step(recipe: TuneRecipe, batch: Any) -> Callable[[], object]:
    target = target_for(recipe.draft.target, "eagle3")
    trainer = GTOTrainer(trained(recipe.draft), target, recipe.arguments(Path("unused")), [{}])
    trainer.log = lambda *_: None  # type: ignore[method-assign]
    inputs = {"ids": batch.ids, "supervised": batch.supervised}
    return lambda: trainer.compute_loss(trainer.model, inputs).backward()


def _seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        clock = time.perf_counter()
        work()
        found.append(time.perf_counter() - clock)
    return float(np.median(found))
