"""EAGLE-3 with a draft vocabulary of its own: a head over the target's most frequent tokens.

The head is read once for every level of a tree. Over the 49,152 tokens of SmolLM2 it has 28 M weights, five
times those of the rest of the network; over the few thousand that nearly all text consists of it costs
little. A token that is left out is never proposed: acceptance may suffer, outputs do not change.
(arXiv:2503.01840; its code calls the maps d2t and t2d)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.speculative.drafts import FeatureDraft
from common.speculative.networks import DraftNetwork, Eagle3Network
from common.speculative.tree import DraftTree, Expand, TreeShape
from common.speculative.unroll import TextUnroll, unroll_text


def frequent_tokens(text: Int[Tensor, " t"], vocabulary: int, count: int) -> Int[Tensor, " k"]:
    """The `count` most frequent of V tokens, ids ascending; of equally frequent ones the smaller ids."""
    seen = torch.bincount(text, minlength=vocabulary)
    return seen.sort(descending=True, stable=True).indices[:count].sort().values


class ReducedEagle3Network(Eagle3Network):
    """EAGLE-3 whose head has k of the target's V tokens; it starts as the target's rows for them.

    Args:
        target: The model to draft for.
        kept: Ids of the k tokens, ascending; a token's index among them is its draft id.
    """

    kept: Tensor

    def __init__(self, target: PreTrainedModel, kept: Int[Tensor, " k"]) -> None:
        super().__init__(target)
        self.lm_head = nn.Linear(self.hidden, len(kept), bias=False)
        self.lm_head.weight.data.copy_(self._shared[1].weight.data[kept])
        self.register_buffer("kept", kept.clone())

    def draft_logits(self, state: Float[Tensor, "*B d"]) -> Float[Tensor, "*B k"]:
        """Logits of the kept tokens."""
        return self.lm_head(self.out_norm(state))

    def kept_logits(self, state: Float[Tensor, "*B d"]) -> Float[Tensor, "*B k"]:
        """The target's logits of the kept tokens, from the state that its head reads; without gradient."""
        return F.linear(state, self._shared[1].weight.detach()[self.kept])

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """Logits of all tokens: minus infinity for those that are not kept."""
        own = self.draft_logits(state)
        return own.new_full((*own.shape[:-1], self.vocabulary), -torch.inf).index_copy(-1, self.kept, own)


class _DraftVocabulary:
    """The network with its k tokens for a vocabulary: nothing of V columns is computed."""

    def __init__(self, network: ReducedEagle3Network) -> None:
        self._network = network
        self.logits = network.draft_logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


@dataclass(frozen=True)
class _Translated:
    """A shape of trees that grows over draft ids and is read by the network, and by the target, as tokens."""

    shape: TreeShape
    kept: Int[Tensor, " k"]

    def grow(self, first: Float[Tensor, "B k"], expand: Expand) -> DraftTree:
        tree = self.shape.grow(first, lambda ids, *where: expand(self.kept[ids], *where))
        return replace(tree, tokens=self.kept[tree.tokens])


class ReducedDraft(FeatureDraft):
    """A reduced network as a draft, its softmax and its ranking over k tokens alone."""

    network: ReducedEagle3Network

    def propose(self, policy: TreeShape) -> DraftTree:
        """Trees of the policy's shape."""
        return self._grow(cast(TreeShape, _Translated(policy, self.network.kept)))

    def _logits(self, state: Tensor) -> Tensor:
        return self.network.draft_logits(state)


def unroll_reduced(
    network: ReducedEagle3Network,
    ids: Int[Tensor, "B T"],
    features: Float[Tensor, "B T F"],
    logits: Float[Tensor, "B T k"],
    supervised: Bool[Tensor, "B T"],
    steps: int,
) -> TextUnroll:
    """`unroll_text` over draft ids: matched is the target's law among the kept tokens.

    Args:
        network: The draft.
        ids: Texts.
        features: The target's.
        logits: The target's, of the kept tokens.
        supervised: Places t whose prediction (of token t + 1) counts: there the target's likeliest token
            should be a kept one, as no weights could be right elsewhere.
        steps: Steps of training-time test.
    """
    view = cast(DraftNetwork, _DraftVocabulary(network))
    return unroll_text(view, ids, features, logits, supervised, steps)
