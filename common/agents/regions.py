"""Parts of a text by its tags (thought, tool name, arguments, …), as masks over tokens, and means by part.

Texts are never tokenised again, for another tokenisation shifts the borders: a token is where its own piece
of text is, and belongs to a region if it shares a character with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import cast

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def between(opening: str, closing: str) -> re.Pattern[str]:
    """What stands between two tags; a part that is not closed is none."""
    return re.compile(f"{re.escape(opening)}(.*?){re.escape(closing)}", re.DOTALL)


def literal(*tags: str) -> re.Pattern[str]:
    """The tags themselves."""
    return re.compile("|".join(map(re.escape, tags)))


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text of each token alone, special ones included."""
    known = {token: cast(str, tokenizer.decode([token])) for token in set(ids)}
    return [known[token] for token in ids]


def region_masks(
    texts: Sequence[Sequence[str]], patterns: Mapping[str, re.Pattern[str]], separator: str = ""
) -> dict[str, Bool[Tensor, "B T"]]:
    """Tokens of each region; regions may overlap.

    Args:
        texts: Pieces of B texts, one for each token; T is the largest number of pieces.
        patterns: Region to the pattern that finds it, everywhere in a text; where it has a group, the first
            one is the region, otherwise the whole match is.
        separator: Stands between pieces, and belongs to none: a space for tokens that are words.
    """
    width = max(map(len, texts), default=0)
    masks = {name: torch.zeros(len(texts), width, dtype=torch.bool) for name in patterns}
    for row, parts in enumerate(texts):
        ends = torch.tensor(list(accumulate(len(part) + len(separator) for part in parts)), dtype=torch.long)
        lengths = torch.tensor([len(part) for part in parts], dtype=torch.long)
        ends -= len(separator)
        text = separator.join(parts)
        for name, pattern in patterns.items():
            for match in pattern.finditer(text):
                start, end = match.span(1 if pattern.groups else 0)
                inside = (ends > start) & (ends - lengths < end) & (lengths > 0)
                masks[name][row, : len(parts)] |= inside
    return masks


def region_means(
    values: Float[Tensor, "B T"], regions: Mapping[str, Bool[Tensor, "B T"]], mask: Num[Tensor, "B T"]
) -> dict[str, float]:
    """Mean of `values` (entropies, for example) over the masked tokens of each region, NaN without any."""
    own = mask.bool()
    return {name: float(values[own & region].mean()) for name, region in regions.items()}


def turn_means(
    values: Float[Tensor, "B T"],
    turns: Int[Tensor, "B T"],
    mask: Num[Tensor, "B T"],
    count: int | None = None,
) -> Float[Tensor, " K"]:
    """Mean of `values` over the masked tokens of each turn, over all rows; NaN for a turn without any.

    Args:
        values: One per token, such as entropies in nats.
        turns: Turn of each token, -1 on padding.
        mask: 1 on tokens that count: the policy's own, or those of a region among them.
        count: K; by default the number of turns that there are.
    """
    own = mask.bool() & (turns >= 0)
    size = int(turns.max()) + 1 if count is None else count
    sums, numbers = values.new_zeros(max(size, 0)), values.new_zeros(max(size, 0))
    kept = own & (turns < size)
    sums.index_add_(0, turns[kept], values[kept])
    numbers.index_add_(0, turns[kept], torch.ones_like(values[kept]))
    return sums / numbers
