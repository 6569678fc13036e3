"""How long a draft's trees are accepted: exactly at held-out prefixes, and decoded by the clock.

Offline: the tree that decoding would grow at a prefix is scored by the target once, which gives the
expected acceptance length at temperature 1 (a sum over nodes) and the acceptance length at temperature 0
without a draw. Acceptance length τ counts the target's own token of each cycle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.speculative.checkpoint import Checkpoint
from common.speculative.drafts import Draft, FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import DraftNetwork
from common.speculative.packed import score_packed_trees
from common.speculative.profile import timed_in_turn
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import ScoredTrees, read_texts, score_trees, target_trees
from common.speculative.tree import EAGLE_TREE, TreePolicy, TreeShape, shared_prefix
from common.speculative.verify import SamplingParams
from common.study.jobs import Job, Record
from common.tasks.tridomain import DOMAINS, items
from common.tasks.tridomain.evaluation import Prefixes, domain_means, heldout_prefixes, learnt
from common.tasks.tridomain.warm_start import TargetRecipe, corpus, encode, load, tokenizer
from papers.gto.runs.training import TuneRecipe, read_recipe, target_for, trained, tuned
from papers.gto.tree_reward import longest_accepted_path

PROMPT_SEED = 4_000_000
LOOKUP, CHAIN = TreePolicy(8, 1, 8), TreePolicy(4, 1, 4)  # of PLD and SPS
Measures = dict[str, float]
Values = dict[str, Float[Tensor, " n"]]
"""Name to one value per tree."""

# Exactly, at held-out prefixes


def evaluate(job: Job, _workspace: Path) -> Record:
    """Entry point: one arm with one seed, evaluated at held-out prefixes.

    Config: `arm` (``untuned`` is Phase I alone), the recipe (`read_recipe`), `conversations` and `positions`
    of the held-out set, `shapes` ("depth:top_k:budget,…", further tree shapes), `paths` (Figure 2).

    Emits `acceptance`, with suffix ``@<shape>`` for further shapes, on a quarter of the prefixes; the log of
    training.
    """
    torch.set_num_threads(1)
    config, recipe = job.config, read_recipe(job.config, job.seeds[0])
    target = target_for(recipe.draft.target, recipe.draft.kind)
    draft = Checkpoint(trained(recipe.draft)) if config["arm"] == "untuned" else tuned(recipe)
    prefixes = heldout_prefixes(config["conversations"], config["positions"])
    few = heldout_prefixes(max(1, config["conversations"] // 4), config["positions"])
    values = acceptance(draft.network, target, prefixes, recipe.tree, config["paths"])
    for shape in filter(None, config["shapes"].split(",")):
        other = acceptance(draft.network, target, few, TreePolicy(*map(int, shape.split(":"))))
        values |= {f"{name}@{shape}": value for name, value in other.items()}
    series = {name: np.array([curve]) for name, curve in draft.log.items()}
    return Record(_record(values).scalars, series)


def oracle(job: Job, _workspace: Path) -> Record:
    """Entry point: what the trees of the target itself give, the ceiling for a tree shape.

    Config: as `evaluate`.
    """
    torch.set_num_threads(1)
    config, recipe = job.config, read_recipe(job.config, job.seeds[0])
    target = target_for(recipe.draft.target, recipe.draft.kind)
    prefixes = heldout_prefixes(config["conversations"], config["positions"])
    return _record(ceiling(target, prefixes, recipe.tree))


def target_quality(job: Job, _workspace: Path) -> Record:
    """Entry point: is the target worth drafting for? Its size, and what it has `learnt`.

    Config: the recipe (`read_recipe`), `conversations` per domain.
    """
    torch.set_num_threads(1)
    model = load(read_recipe(job.config, job.seeds[0]).draft.target)
    values = {"parameters": float(model.num_parameters())}
    return _record(values | learnt(model, job.config["conversations"]))


def _record(values: Measures) -> Record:
    return Record({name: np.array([value]) for name, value in values.items()})


def acceptance(
    network: DraftNetwork, target: Target, prefixes: Sequence[Prefixes], shape: TreeShape, paths: bool = False
) -> Measures:
    """What a draft's trees are worth.

    Args:
        network: The draft.
        target: The model it drafts for.
        prefixes: Where.
        shape: Shape of the trees.
        paths: Look at the draft's greedy path, too.

    Returns:
        ``tau1/<domain>`` (temperature 1), ``tau0/<domain>`` (greedy), and ``…/all``, the mean of the domains.
        With `paths` (Figure 2; the greedy path is the argmax chain of full depth): ``pruned/…``, the share of
        prefixes at which a node of it is not among those kept; ``agrees/…``, the share at which every node
        that greedy verification accepts lies on it; ``chain1/…`` and ``chain0/…``, its own τ.
    """

    def scored(part: Prefixes, of: TreeShape) -> ScoredTrees:
        features = read_texts(target, part.ids).features
        return score_trees(network, target, part.ids, features, part.roots, of)

    def values(part: Prefixes) -> Values:
        own = scored(part, shape)
        if not paths:
            return taus(own)
        chain = scored(part, greedy_chain(shape))
        alone = {name.replace("tau", "chain"): value for name, value in taus(chain).items()}
        return taus(own) | greedy_shares(own, chain.tree.tokens) | alone

    return domain_means((part.domains, values(part)) for part in prefixes)


def ceiling(target: Target, prefixes: Sequence[Prefixes], policy: TreePolicy) -> Measures:
    """What a copy of the target as a draft gives: τ and the shares of Figure 2.

    No tree of this shape is accepted longer, and its greedy path is the one that greedy decoding accepts.
    """

    def values(row: Prefixes) -> Values:
        tree, chain = (
            target_trees(target, row.ids[0], row.roots[0], shape) for shape in (policy, greedy_chain(policy))
        )
        own = ScoredTrees(tree, score_packed_trees(target, row.ids, row.roots, tree))
        return taus(own) | greedy_shares(own, chain.tokens)

    return domain_means((row.domains, values(row)) for part in prefixes for row in part.rows())


def greedy_chain(shape: TreeShape) -> TreePolicy:
    """The argmax path as a tree."""
    return TreePolicy(shape.depth, 1, shape.depth)


def taus(own: ScoredTrees) -> Values:
    """Acceptance length of each tree at both temperatures."""
    return {"tau1": own.acceptance, "tau0": own.greedy_acceptance}


def greedy_shares(own: ScoredTrees, chain: Int[Tensor, "n J"]) -> Values:
    """1 where a tree lacks a node of the greedy path, and 1 where all that is accepted lies on it."""
    depth = chain.shape[1]
    path = longest_accepted_path(own.tree, own.scores, depth)
    width = path.tokens.shape[1]  # a small tree may hold fewer nodes than the chain
    same = (path.tokens == chain[:, :width]) | (torch.arange(width) >= path.length[:, None])
    return {"pruned": (shared_prefix(own.tree, chain) < depth).float(), "agrees": same.all(dim=1).float()}


# Decoded


def engines(recipe: TuneRecipe, continual: TuneRecipe, sps: TargetRecipe) -> dict[str, SpeculativeGenerator]:
    """The arms of the clock: the same target, loop, cache and verifier; only what proposes differs."""
    target, tapped = (target_for(recipe.draft.target, kind) for kind in ("eagle3", "eagle"))
    plain, eagle = Target(target.model), replace(recipe.draft, kind="eagle")
    drafts: dict[str, tuple[Target, Draft, TreeShape]] = {
        "pld": (plain, PromptLookupDraft(), LOOKUP),
        "sps": (plain, SmallLMDraft(load(sps)), CHAIN),
        "eagle": (tapped, FeatureDraft(trained(eagle)), EAGLE_TREE),
        "eagle2": (tapped, FeatureDraft(trained(eagle)), recipe.tree),
        "eagle3": (target, FeatureDraft(trained(recipe.draft)), recipe.tree),
        "continual": (target, FeatureDraft(tuned(continual).network), recipe.tree),
        "gto": (target, FeatureDraft(tuned(recipe).network), recipe.tree),
    }
    return {
        "vanilla": SpeculativeGenerator(plain),
        **{
            name: SpeculativeGenerator(of, draft, StaticScheduler(shape))
            for name, (of, draft, shape) in drafts.items()
        },
    }


def speed(job: Job, _workspace: Path) -> Record:
    """Entry point: every arm on held-out prompts, prompt by prompt in turn, batch size 1, on one thread.

    Config: the recipe of GTO, `continual_rate` (learning rate of the continual arm), `sps_layers`,
    `sps_steps`, `prompts` (a domain), `tokens` (longest completion), `repeats`.

    Emits parts by `arm`: ``speed<T>/<domain>`` (tokens per second over the sum of the prompts' median
    seconds), ``sr<T>/…`` (relative to plain decoding), ``tau<T>/…`` for T of 0 and 1, and ``…/all``, the mean
    of the domains.
    """
    torch.set_num_threads(1)
    (seed,) = job.seeds
    config, recipe = job.config, read_recipe(job.config, seed)
    continual = replace(recipe, omega=0.0, learning_rate=config["continual_rate"])
    sps = TargetRecipe(layers=config["sps_layers"], steps=config["sps_steps"], batch=16)
    arms = engines(recipe, continual, sps)
    values: dict[str, Measures] = {arm: {} for arm in arms}
    for temperature in (0, 1):
        for arm, own in decoded(arms, job, temperature).items():
            values[arm] |= own
    return Record(parts=[({"arm": arm}, _record(own)) for arm, own in values.items()])


def decoded(arms: Mapping[str, SpeculativeGenerator], job: Job, temperature: int) -> dict[str, Measures]:
    """Speed and τ of every arm at a temperature."""
    (seed,), config = job.seeds, job.config
    params = SamplingParams(config["tokens"], float(temperature), eos_ids=(tokenizer().eos_token_id,))
    problems = items(corpus(PROMPT_SEED, len(DOMAINS) * config["prompts"], "heldout"))
    values: dict[str, Measures] = {arm: {} for arm in arms}
    for domain in DOMAINS:
        prompts = [encode(item.prompt) for item in problems if item.domain == domain]
        timed_in_turn(arms, prompts[:1], params, [seed], 1)  # warms up
        seeds = [seed * 1000 + number for number in range(len(prompts))]
        totals = timed_in_turn(arms, prompts, params, seeds, config["repeats"])
        plain = totals["vanilla"].tokens / totals["vanilla"].seconds
        for arm, total in totals.items():
            rate = total.tokens / total.seconds
            each = {"speed": rate, "sr": rate / plain, "tau": total.tokens / total.cycles}
            values[arm] |= {f"{kind}{temperature}/{domain}": value for kind, value in each.items()}
    for own in values.values():
        for kind in ("speed", "sr", "tau"):
            over = [own[f"{kind}{temperature}/{domain}"] for domain in DOMAINS]
            own[f"{kind}{temperature}/all"] = float(np.mean(over))
    return values
