"""How long a draft's trees are accepted, exactly, at held-out prefixes; and what becomes of its greedy path.

Offline: the tree that decoding would grow at a prefix is scored by the target once, which gives the
expected acceptance length at temperature 1 (a sum over nodes) and the acceptance length at temperature 0
without a draw. Acceptance length τ counts the target's own token of each cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.speculative.drafts import SmallLMDraft
from common.speculative.networks import DraftNetwork
from common.speculative.packed import score_packed_trees
from common.speculative.target import Target
from common.speculative.texts import ScoredTrees, read_texts, score_trees
from common.speculative.tree import DraftTree, TreePolicy, TreeShape, expected_accept_length
from common.tasks.tridomain import DOMAINS, Domain, Item, items
from common.tasks.tridomain.warm_start import Texts, corpus, texts
from papers.gto.tree_reward import MODES, draft_tree_reward, longest_accepted_path

HELDOUT_SEED, POSITION_SEED = 2_000_000, 5
BATCH = 12  # conversations scored in one forward
Measured = dict[str, float]


class Prefixes(NamedTuple):
    """Held-out prefixes.

    Attributes:
        batches: Conversations.
        roots: P places in each, whose next token is the first that a tree proposes.
        domains: Domain of each conversation.
    """

    batches: list[Texts]
    roots: list[Int[Tensor, "B P"]]
    domains: list[list[Domain]]


@cache
def heldout(conversations: int, positions: int) -> Prefixes:
    """`positions` places, drawn once, in each of so many held-out conversations of every domain."""
    drawn = items(corpus(HELDOUT_SEED, 3 * conversations, "heldout"))
    chosen = sorted(drawn, key=lambda item: (DOMAINS.index(item.domain), len(item.tokens)))
    rng = np.random.default_rng(POSITION_SEED)
    found = Prefixes([], [], [])
    for start in range(0, len(chosen), BATCH):
        part: Sequence[Item] = chosen[start : start + BATCH]
        batch = texts(part)
        places = [np.sort(rng.choice(flags.nonzero()[:, 0].numpy(), positions)) for flags in batch.supervised]
        found.batches.append(batch)
        found.roots.append(torch.from_numpy(np.stack(places)))
        found.domains.append([item.domain for item in part])
    return found


def measure(
    network: DraftNetwork,
    target: Target,
    prefixes: Prefixes,
    policy: TreeShape,
    paths: bool = False,
    before: DraftNetwork | None = None,
) -> Measured:
    """What a draft's trees are worth.

    Args:
        network: The draft.
        target: The model it drafts for.
        prefixes: Where.
        policy: Shape of the trees.
        paths: Look at the draft's greedy path, too.
        before: Another draft, whose trees at the same prefixes are compared with this one's.

    Returns:
        ``tau1/<domain>`` (temperature 1), ``tau0/<domain>`` (greedy), and ``…/all``, the mean of the domains.
        With `paths` (Figure 2; the greedy path is the argmax chain of full depth): ``pruned/…``, the share of
        prefixes at which a node of it is not among those kept; ``agrees/…``, the share at which every node
        that greedy verification accepts lies on it; ``chain1/…`` and ``chain0/…``, its own τ. With `before`:
        see `concordance`.
    """
    parts: dict[str, list[Tensor]] = {}
    changes: dict[str, list[Tensor]] = {}
    for batch, roots, domains in zip(*prefixes, strict=True):
        text = read_texts(target, batch.ids)
        where = text.ids, text.features, roots
        own = score_trees(network, target, *where, policy)
        values = _accepted(own)
        if paths:
            chain = score_trees(network, target, *where, _chain(policy))
            alone = _accepted(chain)
            values |= _greedy_shares(own, chain.tree.tokens)
            values |= {"chain1": alone["tau1"], "chain0": alone["tau0"]}
        _collect(parts, [domain for domain in domains for _ in range(roots.shape[1])], values)
        if before is not None:
            other = score_trees(before, target, *where, policy)
            for name, change in _changes(other, own).items():
                changes.setdefault(name, []).append(change)
    return _means(parts) | (concordance(changes) if before is not None else {})


def oracle_acceptance(target: Target, prefixes: Prefixes, policy: TreePolicy) -> Measured:
    """What a copy of the target as a draft gives: τ and the shares of Figure 2.

    No tree of this shape is accepted longer, and its greedy path is the one that greedy decoding accepts.
    """
    parts: dict[str, list[Tensor]] = {}
    for batch, roots, domains in zip(*prefixes, strict=True):
        for row in range(len(batch.ids)):
            text, places = batch.ids[row : row + 1], roots[row : row + 1]
            tree, chain = (
                _oracle_trees(target, text[0], places[0], shape) for shape in (policy, _chain(policy))
            )
            own = ScoredTrees(tree, score_packed_trees(target, text, places, tree))
            values = _accepted(own) | _greedy_shares(own, chain.tokens)
            _collect(parts, [domains[row]] * roots.shape[1], values)
    return _means(parts)


@torch.no_grad()
def _oracle_trees(
    target: Target, text: Int[Tensor, " T"], roots: Int[Tensor, " P"], policy: TreePolicy
) -> DraftTree:
    trees = []
    for root in roots.tolist():
        draft = SmallLMDraft(target.model)
        draft.begin(text[:1], root + 1 + draft.slots(policy))
        draft.extend(torch.empty(0), text[None, 1 : root + 1], torch.tensor([root]))
        trees.append(draft.propose(policy))
    return DraftTree(
        *(torch.cat(part) for part in zip(*(vars(tree).values() for tree in trees), strict=True))
    )


def _chain(policy: TreeShape) -> TreePolicy:
    return TreePolicy(policy.depth, 1, policy.depth)


def _accepted(own: ScoredTrees) -> dict[str, Tensor]:
    return {"tau1": own.acceptance, "tau0": own.greedy_acceptance}


def _greedy_shares(own: ScoredTrees, chain: Int[Tensor, "B J"]) -> dict[str, Tensor]:
    depth = chain.shape[1]
    path = longest_accepted_path(own.tree, own.scores, depth)
    width = path.tokens.shape[1]  # a small tree may hold fewer nodes than the chain
    same = (path.tokens == chain[:, :width]) | (torch.arange(width) >= path.length[:, None])
    return {
        "pruned": (kept_of_chain(own.tree, chain) < depth).float(),
        "agrees": same.all(dim=1).float(),
    }


def kept_of_chain(tree: DraftTree, chain: Int[Tensor, "B J"]) -> Int[Tensor, " B"]:
    """How many tokens of a chain, from its start, are a path of the tree."""
    rows = torch.arange(len(chain))
    here, length = torch.full_like(rows, -1), torch.zeros_like(rows)
    running = torch.ones_like(rows, dtype=torch.bool)
    for step in range(chain.shape[1]):
        match: Bool[Tensor, "B N"] = (tree.parent == here[:, None]) & (tree.tokens == chain[:, step, None])
        running = running & match.any(dim=1)
        here = torch.where(running, match.to(torch.uint8).argmax(dim=1), here)
        length = length + running
    return length


def _changes(before: ScoredTrees, after: ScoredTrees) -> dict[str, Float[Tensor, " n"]]:
    """Changes of every reward, and of the expected accepted length, from one draft's trees to another's."""
    changes = {}
    for mode in MODES:
        first, second = (
            draft_tree_reward(part.tree, part.scores.log_p.double(), mode) for part in (before, after)
        )
        changes[mode] = second - first
    first, second = (expected_accept_length(p.tree, p.scores.log_p.double()) for p in (before, after))
    return changes | {"expected": second - first}


def concordance(changes: dict[str, list[Float[Tensor, " n"]]]) -> Measured:
    """Does the reward order two trees of a prefix as the expected accepted length does?

    Returns:
        ``differ``, the share of prefixes at which the expectations differ; among those,
        ``discordant/<mode>``, the share with changes of opposite signs, and ``kendall/<mode>``, concordant
        minus discordant shares.
    """
    whole = {name: torch.cat(parts) for name, parts in changes.items()}
    differ = whole["expected"].abs() > 1e-6
    measured = {"differ": float(differ.double().mean())}
    for mode in MODES:
        product = (whole[mode] * whole["expected"])[differ].sign()
        measured[f"discordant/{mode}"] = float((product < 0).double().mean())
        measured[f"kendall/{mode}"] = float(product.mean())
    return measured


def _collect(parts: dict[str, list[Tensor]], domains: Sequence[Domain], values: dict[str, Tensor]) -> None:
    names = np.array(domains)
    for name, value in values.items():
        for domain in DOMAINS:
            inside = torch.from_numpy(names == domain)
            if inside.any():
                parts.setdefault(f"{name}/{domain}", []).append(value[inside].double())


def _means(parts: dict[str, list[Tensor]]) -> Measured:
    """Mean of each domain, and the mean of the domains as ``<name>/all``."""
    found = {name: float(torch.cat(values).mean()) for name, values in parts.items()}
    kinds = dict.fromkeys(name.split("/")[0] for name in found)
    return found | {
        f"{kind}/all": float(np.mean([found[f"{kind}/{domain}"] for domain in DOMAINS])) for kind in kinds
    }
