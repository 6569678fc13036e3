"""Regions by tags, on the tokens as they were written."""

import math
import re
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from common.agents.regions import between, literal, pieces, region_masks, region_means, turn_means
from common.rl.testing import pocket_tokenizer

CALL = '<think>k0 is 3</think><tool_call>{"name": "n7", "arguments": {"k0": 3}}</tool_call>'
PATTERNS = {
    "format": literal("<think>", "</think>", "<tool_call>", "</tool_call>"),
    "thought": between("<think>", "</think>"),
    "name": re.compile(r'"name": "(.*?)"'),
    "arguments": re.compile(r'"arguments": (\{.*?\})'),
}


def found(parts, patterns=None, separator=""):
    masks = region_masks([parts], patterns or PATTERNS, separator)
    return {
        name: [part for part, one in zip(parts, mask[0], strict=True) if one] for name, mask in masks.items()
    }


def test_each_part_of_a_tool_call_is_found():
    parts = re.findall(r"</?\w+>|\w+|[^\w<>]|<|>", CALL)
    regions = found(parts)
    assert regions["format"] == ["<think>", "</think>", "<tool_call>", "</tool_call>"]
    assert "".join(regions["thought"]) == "k0 is 3"
    assert regions["name"] == ["n7"]
    assert "".join(regions["arguments"]) == '{"k0": 3}'


@given(st.lists(st.integers(0, len(CALL)), max_size=12))
def test_a_token_is_in_a_region_if_it_shares_a_character(cuts):
    borders = sorted({0, len(CALL), *cuts})
    parts = [CALL[start:end] for start, end in pairwise(borders)]
    masks = region_masks([parts], PATTERNS)
    for name, pattern in PATTERNS.items():
        spans = [match.span(1 if pattern.groups else 0) for match in pattern.finditer(CALL)]
        shared = [
            any(max(start, begin) < min(end, stop) for begin, stop in spans)
            for start, end in pairwise(borders)
        ]
        assert masks[name][0].tolist() == shared


def test_what_is_not_closed_is_no_region_and_what_is_empty_has_no_token():
    assert not any(
        found(["<think>", "a", "<think", ">"], {"thought": between("<think>", "</think>")}).values()
    )
    assert found(["<think>", "", "</think>"])["thought"] == []
    assert region_masks([], PATTERNS)["name"].shape == (0, 0)


def test_tokens_that_are_words_are_told_apart_by_a_separator():
    parts = ["<think>", "w1", "w2", "</think>", "w3"]
    words = {"thought": between("<think>", "</think>"), "pair": literal("w1 w2")}
    assert found(parts, words, separator=" ") == {"thought": ["w1", "w2"], "pair": ["w1", "w2"]}


def test_a_shorter_text_is_padded():
    masks = region_masks([["<think>", "a", "</think>"], ["b"]], PATTERNS)
    assert masks["thought"].tolist() == [[False, True, False], [False, False, False]]


def test_pieces_are_the_tokens_own_texts():
    assert pieces(pocket_tokenizer(), [3, 4, 2, 3]) == ["w0", "w1", "<eos>", "w0"]


def test_means_by_region_and_turn():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [6.0, 6.0, 5.0, 8.0]])
    mask = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 0]])
    turns = torch.tensor([[0, 0, 0, 1], [0, 1, 1, -1]])
    first = torch.tensor([[True, False, True, False], [True, False, False, False]])
    none = torch.zeros(2, 4, dtype=torch.bool)
    means = region_means(values, {"first": first, "none": none}, mask)
    assert means["first"] == 3.5
    assert math.isnan(means["none"])
    assert turn_means(values, turns, mask).tolist() == [3, 5]
    by_both = turn_means(values, turns, mask * first, count=3)
    assert by_both[0] == 3.5
    assert by_both[1:].isnan().all()
    assert turn_means(values, turns, mask, count=1).tolist() == [3]
