"""The verifier against the enumeration, the enumeration against brute force, the teacher against both."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.countdown import (
    ANSWER_TOKENS,
    DONE,
    LARGEST,
    SIZE,
    TRACE_TOKENS,
    VOCABULARY,
    Question,
    Teacher,
    attempt,
    available,
    expression,
    failing,
    held_out,
    items,
    read,
    worded,
    writable,
)

QUESTION = Question((7, 5, 4), 33)
CLEAN = Teacher(slip=0.0, unsupported=0.0)


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        ("( 7 * 4 ) + 5", True),
        ("5 + ( 4 * 7 )", True),
        ("7 * 4 + 5", True),
        ("( 7 * 4 ) - 5", False),
        ("33", False),
        ("7 * 4 + 4", False),
        ("( 7 * 4 ) + 5 + 0", False),
        ("7 * 4 + 5.0", False),
        ("7 * 4 + - 5", False),
        ("__import__('os')", False),
        ("( 7 * 4 ) + True", False),
        ("( 7 * 4", False),
        ("", False),
        ("\0", False),
    ],
)
def test_the_verifier_by_hand(answer, correct):
    assert QUESTION.verify(answer) == correct


@given(st.lists(st.sampled_from(VOCABULARY), max_size=12))
def test_verifier_and_parser_read_anything(words):
    text = " ".join(words)
    QUESTION.verify(text)
    reading = read(QUESTION, text)
    assert reading.attempts >= 0
    assert reading.slips >= 0


def brute_force(question):
    """Correct expressions over all orders, operators and the two or five shapes of a tree."""
    shapes = {
        3: ["( {0} {4} {1} ) {5} {2}", "{0} {4} ( {1} {5} {2} )"],
        4: [
            "( ( {0} {4} {1} ) {5} {2} ) {6} {3}",
            "( {0} {4} ( {1} {5} {2} ) ) {6} {3}",
            "( {0} {4} {1} ) {5} ( {2} {6} {3} )",
            "{0} {4} ( ( {1} {5} {2} ) {6} {3} )",
            "{0} {4} ( {1} {5} ( {2} {6} {3} ) )",
        ],
    }[len(question.numbers)]
    texts = (
        shape.format(*numbers, *([""] if len(numbers) == 3 else []), *signs)
        for numbers in set(permutations(question.numbers))
        for signs in product("+-*", repeat=len(numbers) - 1)
        for shape in shapes
    )
    return {text for text in texts if eval(text) == question.target}


@pytest.mark.parametrize("question", [QUESTION, Question((2, 2, 6), 2), *items("train", 6, 5)])
def test_all_solutions_are_enumerated(question):
    assert question.answers == brute_force(question)
    assert all(map(question.verify, question.answers))


def test_solutions_are_ways_of_combining_the_numbers():
    assert len(Question((7, 5, 4), 16).solutions) == 3  # 7 + 5 + 4, two of them first
    assert len(Question((7, 5, 4), 16).answers) == 12
    assert Question((7, 5, 4), 33).hard
    assert not Question((7, 5, 4), 16).hard


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_questions_are_deterministic_and_of_their_split(split):
    questions = items(split, 60, 1)
    assert questions == items(split, 60, 1) != items(split, 60, 2)
    assert all(held_out(own.numbers) == (split == "heldout") for own in questions)
    for own in questions:
        assert any(map(writable, own.solutions))
        assert len(own.numbers) == SIZE
    assert 0.25 < np.mean([own.hard for own in questions]) < 0.75
    with pytest.raises(ValueError, match="choose train or heldout"):
        items("test", 1, 0)


@pytest.mark.parametrize(("split", "count"), [("train", 977), ("heldout", 403)])
def test_a_split_has_so_many_questions_and_no_more(split, count):
    assert len(set(items(split, available(split), 0))) == count
    with pytest.raises(ValueError, match=f"{count} different questions, not {count + 1}"):
        items(split, count + 1, 0)


def test_a_demonstration_ends_with_a_supported_answer_and_fits():
    rng = np.random.default_rng(0)
    for question in items("train", 80, 0):
        trace, answer = CLEAN(question, rng)
        reading = read(question, trace)
        assert answer in question.answers
        assert reading.supported
        assert reading.slips == 0
        assert len(trace.split()) <= TRACE_TOKENS
        assert trace.endswith(DONE)
        assert len(answer.split()) < ANSWER_TOKENS


def test_faults_are_as_frequent_as_asked_for():
    rng = np.random.default_rng(0)
    readings = [
        read(question, Teacher(slip=1.0, unsupported=0.2)(question, rng)[0])
        for question in items("train", 300, 0)
    ]
    assert np.mean([not own.supported for own in readings]) == pytest.approx(0.2, abs=0.08)
    assert all(own.slips == 1 for own in readings if own.attempts > 1)
    assert {own.slips for own in readings if own.attempts == 1} == {0}


@settings(max_examples=50)
@given(st.lists(st.integers(1, 10), min_size=3, max_size=4), st.integers(0, 10**6))
def test_an_attempt_is_its_expression(numbers, seed):
    steps = attempt(numbers, np.random.default_rng(seed))
    value = steps[-1][-1]
    own = Question(tuple(numbers), value)
    assert own.verify(expression(steps))
    assert read(own, " ".join([*worded(numbers, steps), "ok"])).supported
    assert all(0 <= step[-1] <= LARGEST for step in steps)


def test_a_failing_attempt_fails():
    rng = np.random.default_rng(0)
    assert all(failing(QUESTION, rng)[-1][-1] != QUESTION.target for _ in range(200))


def test_reasoning_gym_agrees():
    gym = pytest.importorskip("reasoning_gym", exc_type=ImportError)  # it needs PycoSAT, and that a compiler
    data = gym.create_dataset(
        "countdown",
        size=25,
        seed=1_000_000,
        min_numbers=3,
        max_numbers=4,
        max_value=10,
        min_target=1,
        max_target=50,
        operators=("+", "-", "*"),
    )
    for entry in data:
        own = Question(tuple(entry["metadata"]["numbers"]), entry["metadata"]["target"])
        assert own.verify(entry["answer"])
        for answer in sorted(own.answers)[:3]:
            assert data.score_answer(answer, entry) == 1.0
