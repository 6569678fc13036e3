"""What can be settled exactly: losslessness by enumeration, greedy texts in float64, rooflines, the rule."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.speculative.costs import intensity
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.speculative.target import Target
from common.speculative.tree import DraftTree
from common.speculative.verify import SamplingParams, probabilities, verify_greedy
from common.study.jobs import Job, Record
from common.tasks import ladder
from common.tasks.ladder import LadderConfig
from common.tasks.ladder.warm_start import encode, load, policy_folder, tokenizer
from papers.fastgrpo.runs.drafts import draft_recipe, new_network, pretrained, recipe, target_for

VOCABULARY, LENGTH, NODES = 4, 3, 3
ROWS_OF_THE_RULE, PEAKS = range(1, 513), (16, 64, 160, 1000)


def errors(name: str, values: Any) -> Record:
    """A record of one seed with the errors of all instances."""
    return Record(series={name: np.asarray(values, dtype=float)[None]})


def lossless(job: Job, _workspace: Path) -> Record:
    """Entry point: distribution of texts of three tokens under token matching against the target's own.

    Every combination of the draws at all nodes is enumerated; nothing is sampled. Targets and trees are
    random, with temperature and nucleus.
    """
    rng = np.random.default_rng(job.seeds[0])
    gaps = []
    for _ in range(job.config["draws"]):
        params = SamplingParams(LENGTH, rng.uniform(0.5, 2.0), rng.choice([0.7, 0.9, 1.0]))
        table = processed_table(rng, params)
        tree, prefixes = random_tree(rng)
        steps = conditionals(table)
        law = speculative_law(table, steps, tree, prefixes)
        gaps.append(np.abs(law - steps.prod(axis=1)).max())
    return errors("lossless", gaps)


def processed_table(
    rng: np.random.Generator, params: SamplingParams
) -> dict[tuple[int, ...], Float[np.ndarray, " V"]]:
    """Processed next-token distribution after every prefix shorter than a text."""
    prefixes = [
        prefix for size in range(LENGTH) for prefix in itertools.product(range(VOCABULARY), repeat=size)
    ]
    logits = torch.from_numpy(2.0 * rng.standard_normal((len(prefixes), VOCABULARY)))
    return dict(zip(prefixes, probabilities(logits, params).numpy(), strict=True))


def random_tree(rng: np.random.Generator) -> tuple[DraftTree, list[tuple[int, ...]]]:
    """A tree of `NODES` nodes with distinct siblings, and the tokens on the path to each staged node."""
    prefixes: list[tuple[int, ...]] = [()]
    parents: list[int] = []
    while len(parents) < NODES:
        parent = int(rng.integers(len(prefixes)))
        child = (*prefixes[parent], int(rng.integers(VOCABULARY)))
        if len(child) < LENGTH and child not in prefixes:
            prefixes.append(child)
            parents.append(parent - 1)
    tokens = torch.tensor([[prefix[-1] for prefix in prefixes[1:]]])
    tree = DraftTree.of(tokens, torch.tensor([parents]), torch.zeros(1, NODES), LENGTH)
    return tree, prefixes


def speculative_law(
    table: Mapping[tuple[int, ...], Float[np.ndarray, " V"]],
    steps: Float[np.ndarray, "T L"],
    tree: DraftTree,
    prefixes: list[tuple[int, ...]],
) -> Float[np.ndarray, " T"]:
    """Probability of every text when one cycle of token matching is followed by plain sampling.

    Args:
        table: The target's distribution after every prefix.
        steps: From `conditionals`.
        tree: One draft tree.
        prefixes: Tokens on the path to each of its staged nodes.
    """
    draws = np.array(list(itertools.product(range(VOCABULARY), repeat=NODES + 1)))
    # All nodes are drawn, those off the accepted path too: the chances of what they draw sum to one.
    chance = np.prod([table[prefix][draws[:, node]] for node, prefix in enumerate(prefixes)], axis=0)
    emitted, counts = accepted_texts(tree, torch.from_numpy(draws))
    law = np.zeros(VOCABULARY**LENGTH)
    for count in range(1, emitted.shape[1] + 1):
        rows = counts == count
        # Texts are numbered in base V, so the continuations of a prefix are consecutive: `repeat` spreads the
        # chance of having emitted it over them, and the target draws the tokens that are missing.
        place = emitted[rows, :count] @ VOCABULARY ** np.arange(count - 1, -1, -1)
        after = np.bincount(place, weights=chance[rows], minlength=VOCABULARY**count)
        law += np.repeat(after, VOCABULARY ** (LENGTH - count)) * steps[:, count:].prod(axis=1)
    return law


def accepted_texts(
    tree: DraftTree, draws: Int[Tensor, "D N+1"]
) -> tuple[Int[np.ndarray, "D A"], Int[np.ndarray, " D"]]:
    """What the verifier emits, and how much, when the target's draw at each staged node is given."""
    many = tree.select_rows(torch.zeros(len(draws), dtype=torch.long))
    logits = torch.nn.functional.one_hot(draws, VOCABULARY).double()
    verdict = verify_greedy(logits, many, SamplingParams(LENGTH, temperature=0.0))
    staged = torch.cat([many.tokens[:, :1], many.tokens], dim=1)
    emitted = staged.gather(1, verdict.path).roll(-1, dims=1)  # the path starts at the root, before the text
    emitted.scatter_(1, verdict.accepted[:, None], verdict.next_token[:, None])
    return emitted.numpy(), (verdict.accepted + 1).numpy()


def conditionals(table: Mapping[tuple[int, ...], Float[np.ndarray, " V"]]) -> Float[np.ndarray, "T L"]:
    """Probability of each token of every text, given those before it."""
    full = itertools.product(range(VOCABULARY), repeat=LENGTH)
    return np.array([[table[text[:place]][text[place]] for place in range(LENGTH)] for text in full])


def greedy(job: Job, _workspace: Path) -> Record:
    """Entry point: rows of a ragged batch of eight whose greedy text is not that of plain decoding.

    The policy and its draft in float64, with the paper's schedule; a trained and a random draft.
    """
    config = job.config
    model = load(policy_folder(recipe(config)))
    networks = [pretrained(draft_recipe(config), model), new_network("two_head", model, 0)]
    model.double()
    params = SamplingParams(config["max_response"], temperature=0.0, eos_ids=(tokenizer().eos_token_id,))
    items = ladder.items(LadderConfig(seed=job.seeds[0], size=config["texts"]))
    wrong = []
    for start in range(0, len(items), 8):
        prompts = [encode(item.prompt) for item in items[start : start + 8]]
        plain = SpeculativeGenerator(Target(model)).generate(prompts, params).tokens
        for network in networks:
            draft = FeatureDraft(network.double())
            rule = ConcurrencyAwareScheduler(config["c_peak"])
            ours = SpeculativeGenerator(target_for(model, "two_head"), draft, rule)
            texts = ours.generate(prompts, params).tokens
            wrong += [not torch.equal(a, b) for a, b in zip(plain, texts, strict=True)]
    return errors("greedy", wrong)


def roofline(job: Job, _workspace: Path) -> Record:
    """Entry point: relative error of I = 2n/s · dd'/(dd' + n(d + d')) on random shapes."""
    rng = np.random.default_rng(job.seeds[0])
    gaps = []
    for _ in range(job.config["draws"]):
        tokens, inner, outer = rng.integers(1, 8192, size=3).tolist()
        element = float(rng.choice([1, 2, 4]))
        below = inner * outer / (inner * outer + tokens * (inner + outer))
        gaps.append(intensity(tokens, inner, outer, element) / (2 * tokens / element * below) - 1)
    return errors("roofline", gaps)


def rule(job: Job, _workspace: Path) -> Record:  # noqa: ARG001
    """Entry point: tokens by which a pass of the rule exceeds C_peak, for every batch size."""
    excess = []
    for peak, rows in itertools.product(PEAKS, ROWS_OF_THE_RULE):
        policy = ConcurrencyAwareScheduler(peak)(rows)
        excess.append(0 if policy is None else max(0, rows * (policy.nodes + 1) - peak))
    return errors("rule", excess)
