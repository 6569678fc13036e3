"""Whole texts as a target reads them, and the trees that a draft would grow inside them.

What training a draft and measuring its acceptance offline have in common: no decoding, no draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.speculative.drafts import FeatureDraft, SmallLMDraft
from common.speculative.generate import Generation
from common.speculative.networks import DraftNetwork
from common.speculative.packed import TreeScores, score_packed_trees
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreeShape, expected_accept_length


class TextReading(NamedTuple):
    """What the target says about texts.

    Attributes:
        ids: Tokens, padded on the right.
        features: Tapped hidden states.
        logits: Of the token after each.
    """

    ids: Int[Tensor, "B T"]
    features: Float[Tensor, "B T F"]
    logits: Float[Tensor, "B T V"]


@torch.no_grad()
def read_texts(target: Target, ids: Int[Tensor, "B T"]) -> TextReading:
    """Run the target over whole texts, padded on the right."""
    length = ids.shape[1]
    places = torch.arange(length, device=ids.device)
    later = ids.new_full((length, length), torch.finfo(target.dtype).min, dtype=target.dtype).triu(1)
    reading = target.read(ids, places.expand(len(ids), -1), later.expand(len(ids), 1, -1, -1))
    return TextReading(ids, reading.features, reading.logits)


@torch.no_grad()
def grow_trees(
    network: DraftNetwork,
    ids: Int[Tensor, "B T"],
    features: Float[Tensor, "B S F"],
    roots: Int[Tensor, "B P"],
    policy: TreeShape,
) -> DraftTree:
    """The trees that decoding would grow below places of texts, those of a text in consecutive rows.

    Args:
        network: The draft.
        ids: Texts, padded on the right.
        features: The target's, of at least all tokens but the last.
        roots: Places whose next token the trees propose; at least 1, since the root's own entry pairs it with
            the feature before it.
        policy: Shape of the trees.
    """
    draft, rows = FeatureDraft(network), ids[:, 0]
    draft.begin(rows, ids.shape[1] + draft.slots(policy))
    draft.extend(features[:, : ids.shape[1] - 1], ids[:, 1:], torch.full_like(rows, ids.shape[1] - 1))
    each = torch.arange(len(ids), device=ids.device).repeat_interleave(roots.shape[1])
    return draft.at(each, roots.flatten() - 1).propose(policy)


@torch.no_grad()
def target_trees(
    target: Target, text: Int[Tensor, " T"], roots: Int[Tensor, " P"], policy: TreeShape
) -> DraftTree:
    """The trees that a copy of the target would grow below places of one text: no draft's are better."""
    trees = []
    for root in roots.tolist():
        draft = SmallLMDraft(target.model)
        draft.begin(text[:1], root + 1 + draft.slots(policy))
        draft.extend(torch.empty(0), text[None, 1 : root + 1], torch.tensor([root]))
        trees.append(draft.propose(policy))
    return DraftTree.cat(trees)


class ScoredTrees(NamedTuple):
    """Trees of a draft with the target's view of them."""

    tree: DraftTree
    scores: TreeScores

    @property
    def acceptance(self) -> Float[Tensor, " B"]:
        """Expected acceptance length τ at temperature 1, the target's own token counted; exact, no draw."""
        return 1.0 + expected_accept_length(self.tree, self.scores.log_p)

    @property
    def greedy_acceptance(self) -> Float[Tensor, " B"]:
        """τ of greedy decoding."""
        return 1.0 + self.scores.greedy_length(self.tree).float()


def score_trees(
    network: DraftNetwork,
    target: Target,
    ids: Int[Tensor, "B T"],
    features: Float[Tensor, "B S F"],
    roots: Int[Tensor, "B P"],
    policy: TreeShape,
) -> ScoredTrees:
    """`grow_trees`, and what the target makes of the trees."""
    tree = grow_trees(network, ids, features, roots, policy)
    return ScoredTrees(tree, score_packed_trees(target, ids, roots, tree))


@dataclass(frozen=True)
class Probe:
    """Places in rollouts at which drafts are compared.

    Attributes:
        ids: Texts, padded on the right.
        features: Of all tokens but the last.
        places: Roots of the trees.
    """

    ids: Int[Tensor, "B T"]
    features: Float[Tensor, "B S F"]
    places: Int[Tensor, "B P"]

    @classmethod
    def of(cls, generation: Generation, prompts: list[list[int]], rows: int = 16, each: int = 6) -> Probe:
        """About `rows` rollouts at equal distances, and `each` places, evenly spread, in every one.

        A prompt's last token is the first root; a short response has some of them twice.
        """
        texts, features, places = [], [], []
        for row in range(0, len(prompts), max(1, len(prompts) // rows)):
            prompt, response = torch.tensor(prompts[row]), generation.tokens[row]
            steps = [index * max(0, len(response) - 1) // max(1, each - 1) for index in range(each)]
            texts.append(torch.cat([prompt, response]))
            features.append((generation.features or [])[row])
            places.append([len(prompt) - 1 + step for step in steps])
        pad = torch.nn.utils.rnn.pad_sequence
        return cls(pad(texts, batch_first=True), pad(features, batch_first=True), torch.tensor(places))

    def trees(self, network: DraftNetwork, target: Target, policy: TreeShape) -> ScoredTrees:
        """The trees of a draft at these places."""
        return score_trees(network, target, self.ids, self.features, self.places, policy)

    def measure(self, network: DraftNetwork, target: Target, policy: TreeShape) -> float:
        """Mean expected acceptance length of a draft."""
        return float(self.trees(network, target, policy).acceptance.mean())
