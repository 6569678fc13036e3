"""Drafts: what proposes trees. All keep one entry per token that the target has committed.

A draft is told of each committed token together with the token after it (and, if it reads the target, its
feature), so that after an update its last entry ends with the root and the tree can start.
"""

from __future__ import annotations

import sys
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.cache import RaggedKVCache
from common.speculative.networks import DraftNetwork, attend
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreeShape


class Draft(Protocol):
    """What `SpeculativeGenerator` asks of a draft."""

    @property
    def context(self) -> int:
        """Longest text that it can read, in tokens."""

    def check(self, target: Target) -> None:
        """Refuse a target that the draft does not fit.

        Raises:
            ValueError: says what does not fit.
        """

    def begin(self, first: Int[Tensor, " B"], capacity: int) -> None:
        """Start B rows of at most `capacity` entries, staged ones too; `first` are their first tokens."""

    def extend(
        self, features: Float[Tensor, "B m F"], tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]
    ) -> None:
        """Add ``counts[b]`` entries to row b: features of committed tokens, and the token after each."""

    def propose(self, policy: TreeShape) -> DraftTree:
        """Trees below the last token of each row."""

    def slots(self, policy: TreeShape) -> int:
        """Entries that `propose` stages at once."""

    def select_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Keep the chosen rows, in this order."""

    def repeat_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Give every index in `rows` a row of its own."""


class _CachedDraft:
    """A draft that runs a network with a key-value cache of its own."""

    cache: RaggedKVCache

    def __init__(self) -> None:
        self._state: Tensor = torch.empty(0)  # output at the last entry of each row, (B, 1, d)

    def slots(self, policy: TreeShape) -> int:
        """The nodes that it runs on."""
        return policy.slots

    def select_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Keep the chosen rows, in this order."""
        self.cache.select_rows(rows)
        self._state = self._state[rows]

    def repeat_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Give every index in `rows` a row of its own."""
        self.cache.repeat_rows(rows)
        self._state = self._state[rows]

    def _run(
        self,
        hidden: Tensor,
        tokens: Int[Tensor, "B Q"],
        positions: Int[Tensor, "B Q"],
        visible: Bool[Tensor, "B Q E"],
    ) -> Float[Tensor, "B Q d"]:
        """States of Q staged entries, E of which (with those staged before) may be seen."""
        raise NotImplementedError

    def _extend(self, hidden: Tensor, tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]) -> Tensor:
        rows, width = tokens.shape
        steps = torch.arange(width, device=tokens.device)
        self.cache.stage(width)
        visible = (steps[:, None] >= steps).expand(rows, -1, -1)
        states = self._run(hidden, tokens, self.cache.lengths[:, None] + steps, visible)
        self.cache.commit(steps.expand(rows, -1), counts)
        last = (counts - 1).clamp(min=0)[:, None, None].expand(-1, -1, states.shape[-1])
        self._state = states.gather(1, last)
        return states

    def _grow(self, policy: TreeShape) -> DraftTree:
        state, staged = self._state, 0

        def expand(tokens: Tensor, parents: Tensor, visible: Tensor) -> Tensor:
            nonlocal state, staged
            width = state.shape[-1]
            above = state.gather(1, parents[..., None].expand(-1, -1, width))
            self.cache.stage(tokens.shape[1], staged)
            staged += tokens.shape[1]
            depth = visible.sum(dim=-1) - 1
            state = self._run(self._feedback(above), tokens, self.cache.lengths[:, None] + depth, visible)
            return self._logits(state)

        return policy.grow(self._logits(state)[:, 0], expand)

    def _feedback(self, state: Tensor) -> Tensor:
        return state

    def _logits(self, state: Tensor) -> Tensor:
        raise NotImplementedError


class FeatureDraft(_CachedDraft):
    """A network of the EAGLE family as a draft; grown in the policy's shape.

    Args:
        network: The network; its weights may change between generations.
    """

    def __init__(self, network: DraftNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def context(self) -> int:
        """The network's, which is that of the target it was built for."""
        return self.network.context

    def check(self, target: Target) -> None:
        """Refuse a target of other width, taps, vocabulary or arithmetic.

        Raises:
            ValueError: says what does not fit.
        """
        network = self.network
        if network.feature_size != target.feature_size:
            raise ValueError(
                f"the draft reads features of width {network.feature_size}, the target gives "
                f"{target.feature_size} ({len(target.taps)} taps of hidden size {target.hidden}); "
                "build the draft for this target, or tap what it was built for"
            )
        if network.vocabulary != target.vocabulary:
            raise ValueError(
                f"the draft has a vocabulary of {network.vocabulary} tokens, the target of "
                f"{target.vocabulary}"
            )
        weights = next(network.parameters())
        if (weights.dtype, weights.device) != (target.dtype, target.device):
            raise ValueError(
                f"the draft is {weights.dtype} on {weights.device}, the target {target.dtype} on "
                f"{target.device}; move the draft with `.to(device, dtype)`"
            )

    def begin(self, first: Int[Tensor, " B"], capacity: int) -> None:
        """Start B rows; the first token has no feature before it and is not an entry."""
        self.cache = RaggedKVCache(1, torch.zeros_like(first), capacity)

    def extend(
        self, features: Float[Tensor, "B m F"], tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]
    ) -> None:
        """Add entries of true target features."""
        self._states = self._extend(self.network.fuse(features), tokens, counts)

    def at(self, rows: Int[Tensor, " n"], entries: Int[Tensor, " n"]) -> FeatureDraft:
        """A draft whose row i stands where row ``rows[i]`` stood after its entry number ``entries[i]``.

        Of the entries of the last `extend`, which has to have been the first.
        """
        draft = FeatureDraft(self.network)
        draft.cache = self.cache.copy_rows(rows)
        draft.cache.truncate(entries + 1)
        draft._state = self._states[rows, entries][:, None]
        return draft

    def propose(self, policy: TreeShape) -> DraftTree:
        """Trees of the policy's shape."""
        return self._grow(policy)

    def _run(self, hidden: Tensor, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        query, key, value, residual = self.network.project(hidden, tokens, positions)
        keys, values = self.cache.update(key, value, 0)
        mask = self.cache.mask(visible, query.dtype)
        return self.network.finish(residual, attend(query, keys, values, mask))

    def _feedback(self, state: Tensor) -> Tensor:
        return self.network.feedback(state)

    def _logits(self, state: Tensor) -> Tensor:
        return self.network.logits(state)


class SmallLMDraft(_CachedDraft):
    """An ordinary language model with the target's vocabulary as a draft (speculative sampling)."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = Target(model)

    @property
    def context(self) -> int:
        """The model's."""
        return self.model.context

    def check(self, target: Target) -> None:
        """Refuse a target of another vocabulary.

        Raises:
            ValueError: names both sizes.
        """
        if self.model.vocabulary != target.vocabulary:
            raise ValueError(
                f"the draft has a vocabulary of {self.model.vocabulary} tokens, the target of "
                f"{target.vocabulary}"
            )

    def begin(self, first: Int[Tensor, " B"], capacity: int) -> None:
        """Start B rows with their first token."""
        self.cache = self.model.new_cache(torch.zeros_like(first), capacity + 1)
        self._extend(torch.empty(0), first[:, None], torch.ones_like(first))

    def extend(
        self, features: Float[Tensor, "B m F"], tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]
    ) -> None:
        """Read the tokens; features are ignored."""
        self._extend(torch.empty(0), tokens, counts)

    def propose(self, policy: TreeShape) -> DraftTree:
        """Trees of the policy's shape."""
        return self._grow(policy)

    def _run(self, hidden: Tensor, tokens: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        mask = self.cache.mask(visible, self.model.dtype)
        inside = positions.clamp(max=self.context - 1)  # a tree may hang over the end of the context
        return self.model.read(tokens, inside, mask, self.cache).logits

    def _logits(self, state: Tensor) -> Tensor:
        return state


class PromptLookupDraft:
    """Copies what followed the last occurrence of the current n-gram; a chain, no model.

    The longest n-gram with an earlier occurrence counts, the latest occurrence first. A row without any
    proposes its last token again, which costs it nothing but the chance to be right.

    Args:
        longest: Longest n-gram that is looked up, in tokens.
    """

    def __init__(self, longest: int = 3) -> None:
        if longest < 1:
            raise ValueError(f"longest is {longest}; expected at least 1")
        self.longest = longest

    @property
    def context(self) -> int:
        """Without limit."""
        return sys.maxsize

    def check(self, target: Target) -> None:
        """Any target will do."""

    def begin(self, first: Int[Tensor, " B"], capacity: int) -> None:
        """Start B texts with their first token."""
        self._text = first.new_zeros(len(first), capacity + 1)
        self._text[:, 0] = first
        self._lengths = torch.ones_like(first)

    def extend(
        self, features: Float[Tensor, "B m F"], tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]
    ) -> None:
        """Write the tokens behind the texts."""
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        self._text[rows, self._lengths[:, None] + steps] = tokens
        self._lengths = self._lengths + counts

    def propose(self, policy: TreeShape) -> DraftTree:
        """A chain of `policy.depth` copied tokens, at most `policy.nodes`."""
        length = min(policy.depth, policy.nodes)
        start = self._continuation()
        steps = torch.arange(length, device=start.device)
        last = self._lengths[:, None] - 1
        tokens = self._text.gather(1, (start[:, None] + steps).minimum(last))
        return DraftTree.chain(tokens, torch.zeros(tokens.shape, device=tokens.device))

    def _continuation(self) -> Int[Tensor, " B"]:
        """Where the copied tokens start: behind the match, or at the last token where nothing matches."""
        text, lengths = self._text[:, : int(self._lengths.max())], self._lengths
        width = text.shape[1]
        places = torch.arange(width, device=text.device)
        start = lengths - 1
        for size in range(1, min(self.longest, width - 1) + 1):
            suffix = (lengths[:, None] - size + torch.arange(size, device=text.device)).clamp(min=0)
            same = text.unfold(1, size, 1) == text.gather(1, suffix)[:, None]
            follows = places[size : width + 1].expand(len(text), -1)  # first place behind each window
            follows = torch.cat([follows, follows.new_full((len(text), 1), width)], dim=1)
            fits = same.all(dim=-1) & (follows < lengths[:, None]) & (lengths[:, None] > size)
            latest = torch.where(fits, follows, -1).max(dim=1).values
            start = torch.where(latest >= 0, latest, start)
        return start

    def slots(self, policy: TreeShape) -> int:
        """None: it keeps texts, not states."""
        return 0

    def select_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Keep the chosen rows, in this order."""
        self._text, self._lengths = self._text[rows], self._lengths[rows]

    def repeat_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Give every index in `rows` a row of its own."""
        self.select_rows(rows)
