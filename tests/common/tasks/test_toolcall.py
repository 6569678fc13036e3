"""ToolCall-Mini: items, right and wrong traces, how calls are read and marked."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from common.tasks import toolcall
from common.tasks.toolcall import CLEAN, EOS, LEVELS, LONGEST, TURNS, VOCABULARY, scored, trace, words
from common.tasks.toolcall.calls import (
    Call,
    CallError,
    agreement,
    calls_of,
    jaccard,
    mark,
    read_calls,
    same_value,
    well_formed,
)

RNG = np.random.default_rng(0)
ITEMS = toolcall.items(0, 300)


def test_a_clean_trace_is_right_and_in_form_and_fits_the_vocabulary():
    for item in ITEMS:
        tokens = trace(item, RNG)
        assert {*item.prompt.split(), *tokens} <= {*VOCABULARY}
        assert len(tokens) <= LONGEST
        marked = scored(tokens, item)
        assert marked.right
        assert marked.formed


def test_noise_goes_wrong_at_its_rates():
    items = toolcall.items(1, 2000)
    torn = [not scored(trace(item, RNG, replace(CLEAN, tags=0.2)), item).formed for item in items]
    assert np.mean(torn) == pytest.approx(0.2, abs=0.03)
    for item in items[:200]:
        if item.chosen and len(item.tools) > 1:
            for noise in (replace(CLEAN, tool=1.0), replace(CLEAN, slip=1.0)):
                marked = scored(trace(item, RNG, noise), item)
                assert marked.formed
                assert not marked.right


def test_a_slip_calls_another_tool_than_was_thought_of():
    item = toolcall.heldout("2", 1)[0]
    thought, called = " ".join(trace(item, RNG, replace(CLEAN, slip=1.0))).split("</think>")
    assert item.chosen[0].name in thought
    assert item.chosen[0].name not in called
    thought, called = " ".join(trace(item, RNG, replace(CLEAN, tool=1.0))).split("</think>")
    assert item.chosen[0].name not in thought + called


def test_a_decoy_is_carried_on_consistently():
    noise = replace(CLEAN, decoy=1.0)
    for item in ITEMS:
        tokens = [token.removeprefix("=") for token in trace(item, RNG, noise)]
        for place, token in enumerate(tokens[: tokens.index("</think>")]):
            if token[0] == "@":
                a, b, result = (int(each) for each in (tokens[place - 1], token[1], tokens[place + 1]))
                assert result == (a + 2 * b) % toolcall.MODULUS


def test_nothing_that_a_thought_copies_stands_twice_in_a_query():
    for item in ITEMS:
        query = item.prompt.split("[user] ")[1].split()
        assert len({*query}) == len(query)


def test_values_are_chains_from_left_to_right_or_the_last_observation():
    item = next(item for item in ITEMS if item.history and "prev" in item.prompt and item.chosen)
    observed = int(item.prompt.split("<obs> ")[-1].split()[0])
    values = {key: item.value(chain) for clause in item.clauses for key, chain in clause.values}
    previous = [key for clause in item.clauses for key, chain in clause.values if chain.start is None]
    assert all(values[key] == observed for key in previous)
    assert toolcall.apply("@", 3, 4) == (3 + 8 + 3) % 5
    assert item.value(toolcall.Chain(2, (("+", 4), ("@", 1)))) == (1 + 2 + 3) % 5


@pytest.mark.parametrize("kind", ["no_tool", "no_value"])
def test_without_a_tool_or_a_value_the_right_response_is_words(kind):
    for _ in range(50):
        item = toolcall.draw(RNG, kind)
        assert item.truth == []
        wanted = item.clauses[0].description
        tool = next((tool for tool in item.tools if tool.description == wanted), None)
        assert (tool is None) == (kind == "no_tool")
        assert ("?" in item.prompt.split()) == (kind == "no_value")


def test_levels_are_what_they_say():
    assert {len(item.tools) for item in toolcall.heldout("1", 20)} == {1}
    assert {len(item.tools) for item in toolcall.heldout("2", 20)} == {3}
    for index, item in enumerate(toolcall.heldout("3", 20)):
        assert len(item.clauses) == 2 if index % 2 else item.depth == 3


def test_streams_are_fixed_and_disjoint():
    assert toolcall.items(0, 20) == ITEMS[:20]
    held = {item.prompt for level in LEVELS for item in toolcall.heldout(level, 100)}
    assert len(held) == 300
    assert not held & {item.prompt for item in toolcall.items(0, 1000)}
    first, again = (next(toolcall.stream(3))[0] for _ in range(2))
    assert first == again


@pytest.mark.parametrize("turns", TURNS)
def test_a_dialogue_feeds_right_calls_into_what_follows(turns):
    for index in range(20):
        steps = toolcall.dialogue(turns, index)
        assert 2 <= len(steps) <= 4
        assert sum(not step.chosen for step in steps) == (turns in ("no_tool", "no_value"))
        for step, following in itertools.pairwise(steps):
            added = following.history[len(step.history) :]
            assert len(added) == bool(step.chosen)
            assert [json.loads(name) for name, _ in added] == [call.name for call in step.truth]
        assert len(steps[0].history) == (3 if turns == "long" else 0)


# Reading and marking


def test_a_response_ends_at_its_end():
    assert words(["a", EOS, "b"]) == "a"
    assert words(["a", "b"]) == "a b"


def test_calls_are_json_objects_one_after_the_other():
    text = '{"name": "f", "parameters": {"a": 1}}\n{"name": "g", "arguments": {}}'
    assert read_calls(text) == [Call("f", {"a": 1}), Call("g", {})]
    assert read_calls("[" + text.replace("\n", ",") + "]") == read_calls(text)
    assert calls_of(f"<think>x</think><tool_call>{text}</tool_call>") == read_calls(text)


@pytest.mark.parametrize(
    "text", ["", "f(1)", '{"name": 3}', '{"name": "f", "parameters": [1]}', '{"name": "f"} and', "[1]"]
)
def test_what_is_no_call_says_so(text):
    with pytest.raises(CallError):
        read_calls(text)


@pytest.mark.parametrize(
    ("text", "calls", "said"),
    [
        ("<think>a</think> <tool_call>b</tool_call>", True, False),
        ("<think>a</think> <response>b</response>", False, True),
        ("<think>a</think> <tool_call>b</tool_call> <response>c</response>", True, True),
    ],
)
def test_the_form_is_that_of_the_truth(text, calls, said):
    assert well_formed(text, calls, said)
    assert not well_formed(text, not calls, said)
    assert not well_formed(text + " more", calls, said)
    assert not well_formed(text.replace("<think>", ""), calls, said)
    assert not well_formed(text + "<tool_call>b</tool_call>", calls, said)


def test_the_jaccard_index_counts_repeats():
    assert jaccard("aab", "ab") == pytest.approx(2 / 3)
    assert jaccard("", "") == 1.0
    assert jaccard("a", "") == 0.0


def test_agreement_on_calls_made_by_hand():
    truth = [Call("f", {"a": 1, "b": 2}), Call("g", {"c": 3})]
    worst = 1 + 3 + 2
    assert agreement(truth, truth) == 1.0
    assert agreement([Call("f", {"a": 1, "b": 0})], truth) == pytest.approx((1 / 2 + 1 + 1) / worst)
    assert agreement([Call("f", {"a": 1}), Call("h", {})], truth) == pytest.approx(
        (1 / 3 + 1 / 2 + 1) / worst
    )
    twins = [Call("f", {"a": 1}), Call("f", {"a": 2})]
    assert agreement(twins[::-1], twins) == 1.0


def test_values_are_compared_as_json():
    assert same_value(2, 2.0)
    assert not same_value(True, 1)
    assert same_value({"a": [1, "x"]}, {"a": [1, "x"]})
    assert not same_value([1, 2], [1])


def test_marks_of_words_and_of_broken_calls():
    truth = [Call("f", {"a": 1})]
    assert mark("<think>t</think> <response>no</response>", []).right
    assert not mark("<think>t</think> <tool_call>{}</tool_call>", []).right
    broken = mark("<think>t</think> <tool_call>f(a=1)</tool_call>", truth)
    assert broken.formed
    assert not broken.parsed
    assert not broken.right
    other = json.dumps({"name": "f", "parameters": {"a": 2}})
    near = mark(f"<think>t</think> <tool_call>{other}</tool_call>", truth)
    assert near.parsed
    assert near.agreement == pytest.approx(2 / 3)
