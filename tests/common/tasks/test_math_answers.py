"""Final-answer mathematics: what counts as right, the layouts of problems, DAPO's length penalty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from common.tasks.math_answers import (
    INSTRUCTION,
    DatasetUnavailableError,
    Problem,
    answer_reward,
    boxed_answer,
    format_prompt,
    load_problems,
    overlong_penalty,
)

DAPO_FRAME = "State it after Answer:.\n\n{}\n\nAgain, after Answer:."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{204}", "204"),
        (r"\boxed{0204}", "204"),
        (r"so \boxed{27}.", "27.0"),
        (r"\boxed{0.5}", r"\frac{1}{2}"),
        (r"\boxed{\dfrac{2}{4}}", "1/2"),
        (r"\boxed{\sqrt{12}}", r"2\sqrt{3}"),
        (r"\boxed{\left(3, \frac{\pi}{2}\right)}", r"(3,\frac{\pi}{2})"),
        (r"\boxed{1,000}", "1000"),
        (r"\boxed{x = 3}", "3"),
        (r"\boxed {3}", "3"),
        (r"first \boxed{7}, better \boxed{8}", "8"),
        (r"\boxed{\boxed{8}}", "8"),
    ],
)
def test_equal_answers_count(text, answer):
    assert answer_reward(text, answer) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the answer is 8",
        "$8$",
        r"\boxed{}",
        r"\boxed{9}",
        r"\boxed{8",
        r"\boxed{8} or rather \boxed{9}",
        r"\boxed{8} and then, cut off, \boxed{8",
        r"\boxed{7, 8}",
        r"\boxed{\frac{8}}",
        r"\boxed{\begin{pmatrix} 8 \\}",
        rf"\boxed{{{'(' * 500}8{')' * 500}}}",
        r"\boxed" * 500,
    ],
)
def test_all_else_does_not(text):
    assert answer_reward(text, "8") == 0


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{\frac{1}{\sqrt{2}}} }", r"\frac{1}{\sqrt{2}}"),
        (r"the set \{1, 2\} and {an open brace \boxed{\{3\}}", r"\{3\}"),
        (r"\boxed{lost \boxed{5}", "5"),
        (r"\boxed{\text{so } \boxed{5}!}", "5"),
        (r"\boxed{a}{b}", "a"),
        (r"a \\boxed{5}", None),
    ],
)
def test_the_last_box_is_found_through_braces(text, content):
    assert boxed_answer(text) == content


@given(st.recursive(st.text("ab1 ", max_size=3), lambda inner: inner.map("{{{}}}".format), max_leaves=4))
def test_a_box_returns_what_was_put_in(content):
    assert boxed_answer(rf"so {{ \boxed{{0}} \boxed{{{content}}} \}}") == content.strip()


def test_a_long_degenerate_response_is_read_in_linear_time():
    assert boxed_answer(r"\boxed{" * 50_000) is None


def test_the_prompt_holds_the_problem_and_asks_for_a_box():
    prompt = format_prompt(" 1 + 1?\n")
    assert prompt.startswith("1 + 1?")
    assert prompt.endswith(INSTRUCTION)
    assert r"\boxed{}" in INSTRUCTION


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return str(path)


def test_a_file_gives_each_problem_once(tmp_path):
    rows = [{"problem": f"{n} + {n}?", "answer": 2 * n} for n in (3, 1, 3, 2, 1)]
    rows.append({"problem": " 3  +\n3? ", "answer": 7})
    found = load_problems(write(tmp_path / "problems.jsonl", rows), "train")
    assert found == [Problem("3 + 3?", "6"), Problem("1 + 1?", "2"), Problem("2 + 2?", "4")]


def test_a_line_separator_inside_a_problem_does_not_cut_its_line(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"problem": "1 +\u2028 1?", "answer": 2}\n', encoding="utf-8")
    assert load_problems(str(path), "train") == [Problem("1 +\u2028 1?", "2")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "1", "answer": 1}\nnope', "line 2: expected a JSON object with 'problem' and 'answer'"),
        ('{"question": "1", "answer": 1}', "line 1"),
        ("[1]", "line 1"),
        ("\n", "no problems"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "broken.jsonl"
    path.write_text(content)
    with pytest.raises(DatasetUnavailableError, match=message) as caught:
        load_problems(str(path), "test")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(DatasetUnavailableError, match=r"cannot read .*absent\.jsonl: No such file"):
        load_problems(str(tmp_path / "absent.jsonl"), "train")


def hub(monkeypatch, **splits):
    monkeypatch.setattr(
        "datasets.load_dataset",
        lambda source: DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1, "problem": "1 + 1?", "solution": r"\boxed{2}", "url": ""},
        {"problem": "1 + 1?", "answer": "2", "id": "0"},
        {"id": 1, "question": "1 + 1?", "answer": 2.0},
        {"problem": "1 + 1?", "solution": "Add: $\\boxed{3}$", "answer": "2", "level": 1},
        {
            "prompt": [{"role": "user", "content": DAPO_FRAME.format("1 + 1?")}],
            "reward_model": {"ground_truth": "2", "style": "rule"},
        },
        {"prompt": [{"role": "user", "content": "1 + 1?"}], "reward_model": {"ground_truth": "2"}},
    ],
    ids=["aime24", "aime25", "amc23", "math500", "dapo", "plain chat"],
)
def test_the_layouts_of_the_hub_read_alike(monkeypatch, row):
    hub(monkeypatch, only=[row] * 1500)
    (problem,) = load_problems("somebody/something", "test")
    assert problem.text == "1 + 1?"
    assert answer_reward(rf"\boxed{{{problem.answer}}}", "2") == 1


def test_only_the_frame_of_a_dapo_prompt_is_taken_off(monkeypatch):
    chat = [{"role": "user", "content": DAPO_FRAME.format("Let x = 1.\n\nFind x.")}]
    hub(monkeypatch, train=[{"prompt": chat, "reward_model": {"ground_truth": "1"}}])
    assert load_problems("a/b", "train") == [Problem("Let x = 1.\n\nFind x.", "1")]


def test_the_wanted_split_is_taken(monkeypatch):
    hub(monkeypatch, train=[{"problem": "a", "answer": "1"}], test=[{"problem": "b", "answer": "2"}])
    assert load_problems("a/b", "test") == [Problem("b", "2")]


def test_what_does_not_fit_is_named(monkeypatch):
    hub(monkeypatch, left=[{"problem": "a"}], right=[{"problem": "b"}])
    with pytest.raises(DatasetUnavailableError, match="no split 'test', only left, right"):
        load_problems("a/b", "test")
    hub(monkeypatch, test=[{"problem": "a", "level": 1}])
    with pytest.raises(DatasetUnavailableError, match="columns problem, level; one of answer, solution"):
        load_problems("a/b", "test")


def test_without_a_network_a_hub_dataset_is_one_clear_line():
    code = "from common.tasks.math_answers import load_problems; load_problems('math-ai/aime24', 'test')"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": "."},
        text=True,
        capture_output=True,
    )
    last = run.stderr.strip().splitlines()[-1]
    assert "DatasetUnavailableError: cannot load the dataset math-ai/aime24: " in last
    assert "path of a JSONL file" in last


@pytest.mark.parametrize(
    ("length", "penalty"), [(0, 0), (12, 0), (14, -0.5), (16, -1), (17, -1), (100, -1), (13, -0.25)]
)
def test_the_penalty_has_three_pieces(length, penalty):
    assert overlong_penalty(length, max_length=16, cache=4) == penalty


@given(st.integers(1, 200), st.data())
def test_the_penalty_is_bounded_and_never_rises(max_length, data):
    cache = data.draw(st.integers(1, max_length))
    values = [overlong_penalty(length, max_length, cache) for length in range(max_length + 3)]
    assert values[0] == 0
    assert min(values) == values[max_length] == -1
    assert all(later <= earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize("cache", [0, 17])
def test_a_cache_outside_the_length_is_refused(cache):
    with pytest.raises(ValueError, match=r"must lie in 1…16"):
        overlong_penalty(1, 16, cache)
