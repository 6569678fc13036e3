"""Two drafts as one: copy where the text repeats itself, grow a tree elsewhere.

A copied chain costs no forward of a draft, and where an n-gram has occurred before, it is seldom wrong.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.speculative.drafts import Draft, PromptLookupDraft
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreePolicy, TreeShape


class _Repeats(PromptLookupDraft):
    """Prompt lookup that knows whether its longest n-gram occurs before."""

    def repeats(self) -> bool:
        """The last `longest` tokens of every row have an earlier occurrence."""
        size, lengths = self.longest, self._lengths
        if int(lengths.min()) <= size:
            return False
        text = self._text[:, : int(lengths.max())]
        suffix = text.gather(1, lengths[:, None] - size + torch.arange(size, device=text.device))
        windows = text.unfold(1, size, 1)
        earlier = torch.arange(windows.shape[1], device=text.device) < lengths[:, None] - size
        return bool(((windows == suffix[:, None]).all(dim=-1) & earlier).any(dim=1).all())


class LookupFirstDraft:
    """Proposes what followed the last n-gram's earlier occurrence, and `draft`'s trees where there is none.

    Args:
        draft: What proposes otherwise.
        longest: n; a batch is copied for if all its rows repeat so many tokens.
        chain: Tokens that are copied at most.
    """

    def __init__(self, draft: Draft, longest: int = 4, chain: int = 8) -> None:
        self.draft, self._lookup, self.chain = draft, _Repeats(longest), chain

    @property
    def context(self) -> int:
        """The draft's."""
        return self.draft.context

    def check(self, target: Target) -> None:
        """As the draft does."""
        self.draft.check(target)

    def begin(self, first: Int[Tensor, " B"], capacity: int) -> None:
        """Start B rows in both."""
        self.draft.begin(first, capacity)
        self._lookup.begin(first, capacity)

    def extend(
        self, features: Float[Tensor, "B m F"], tokens: Int[Tensor, "B m"], counts: Int[Tensor, " B"]
    ) -> None:
        """Tell both."""
        self.draft.extend(features, tokens, counts)
        self._lookup.extend(features, tokens, counts)

    def propose(self, policy: TreeShape) -> DraftTree:
        """A copied chain of at most `chain` and `policy.nodes` tokens, or the draft's tree."""
        if not self._lookup.repeats():
            return self.draft.propose(policy)
        length = min(self.chain, policy.nodes)
        return self._lookup.propose(TreePolicy(depth=length, top_k=1, budget=length))

    def slots(self, policy: TreeShape) -> int:
        """The draft's."""
        return self.draft.slots(policy)

    def select_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Keep the chosen rows, in this order."""
        self.draft.select_rows(rows)
        self._lookup.select_rows(rows)

    def repeat_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Give every index in `rows` a row of its own."""
        self.draft.repeat_rows(rows)
        self._lookup.repeat_rows(rows)
