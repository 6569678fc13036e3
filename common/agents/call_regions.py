"""Regions of a response that calls tools: its tags, its thought, names of tools, and their arguments.

A response has its parts in ``<think>``, ``<tool_call>`` and ``<response>`` tags, and calls in JSON with a
``"name"`` and ``"parameters"`` or ``"arguments"``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from jaxtyping import Bool
from torch import Tensor

from common.agents.regions import between, literal, region_masks

Region = Literal["tags", "think", "name", "arguments"]
REGIONS: tuple[Region, ...] = ("tags", "think", "name", "arguments")
BLOCKS = ("think", "tool_call", "response")
_BEFORE, _BEHIND = r"<tool_call>(?:(?!</tool_call>).)*?", r"(?=.*?</tool_call>)"
_PARTS = {
    "name": r'"name":\s*"([^"]*)"',
    "arguments": r'"(?:arguments|parameters)":\s*(\{[^{}]*\})',
}


def call_regions(
    texts: Sequence[Sequence[str]], separator: str = "", every_call: bool = False
) -> dict[str, Bool[Tensor, "B T"]]:
    """Tokens of each of `REGIONS`.

    Only closed blocks count: a tag without its partner, and what follows it, are in no region.

    Args:
        texts: Pieces of each response, one for each token.
        separator: Stands between pieces: a space for tokens that are words.
        every_call: Name and arguments of every call, not only of a block's first.
    """
    patterns = {f"block {kind}": re.compile(f"<{kind}>.*?</{kind}>", re.DOTALL) for kind in BLOCKS}
    patterns |= {f"tags {kind}": literal(f"<{kind}>", f"</{kind}>") for kind in BLOCKS}
    patterns["think"] = between("<think>", "</think>")
    for name, body in _PARTS.items():
        patterns[name] = re.compile(body if every_call else _BEFORE + body + _BEHIND, re.DOTALL)
    masks = region_masks(texts, patterns, separator)
    thought, call, said = (masks[f"block {kind}"] & masks[f"tags {kind}"] for kind in BLOCKS)
    inside = masks["block tool_call"]
    return {
        "tags": thought | call | said,
        "think": masks["think"],
        "name": masks["name"] & inside,
        "arguments": masks["arguments"] & inside,
    }
