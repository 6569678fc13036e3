"""Any text gives a verdict on every step or the reason why there is none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.preference.critique import Critique, Unparsed, parse, render

STEPS = st.lists(st.booleans(), min_size=1, max_size=9)
LINES = st.sampled_from(
    [
        *("STEP 1: CORRECT", "STEP 1: INCORRECT", "STEP 2: CORRECT", "step 3 : correct", "STEP 0: CORRECT"),
        *("STEP 2: MAYBE", "STEP: CORRECT", "STEP 99999: CORRECT", "EXPLANATION 2: because", "", "Well."),
        *("STEP ٢: CORRECT", "**STEP 2:** INCORRECT.", "STEP 1: CORRECT STEP 2: CORRECT"),
    ]
)


@given(st.text() | st.lists(LINES).map("\n".join), st.integers(1, 4))
def test_it_is_total(text, steps):
    found = parse(text, steps)
    if isinstance(found, Critique):
        assert len(found.steps) == len(found.explanations) == steps
        assert 0 <= found.share <= 1
        assert found.accepts == (found.share == 1)
        assert parse(render(found.steps, found.explanations), steps) == found
    else:
        assert found.reason


@given(STEPS, st.data())
def test_what_is_rendered_is_read_back(steps, data):
    said = data.draw(st.lists(st.text(), min_size=len(steps), max_size=len(steps)))
    one_line = tuple(" ".join(text.split()) for text in said)
    assert parse(render(steps, said), len(steps)) == Critique(tuple(steps), one_line)
    assert parse(render(steps), len(steps)) == Critique(tuple(steps), ("",) * len(steps))


@given(STEPS, st.data())
def test_a_step_that_is_left_out_or_judged_twice_leaves_no_verdict(steps, data):
    lines = render(steps).splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    assert parse("\n".join(lines[:at] + lines[at + 1 :]), len(steps)) == Unparsed(
        f"step {at + 1} is not judged"
    )
    assert parse("\n".join([*lines, lines[at]]), len(steps)) == Unparsed(f"step {at + 1} is judged twice")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "step 1 is not judged"),
        ("STEP 1: UNSURE\nSTEP 2: CORRECT", "step 1 is neither CORRECT nor INCORRECT"),
        ("STEP 1: CORRECT or INCORRECT", "step 1 is neither CORRECT nor INCORRECT"),
        ("STEP 3: CORRECT", "step 3 of a solution of 2 steps"),
        ("STEP 0: CORRECT", "step 0 of a solution of 2 steps"),
    ],
)
def test_reasons(text, reason):
    assert parse(text, 2) == Unparsed(reason)


def test_emphasis_case_and_other_text_are_read_past():
    text = (
        "Let me think.\n\n**Step 1:** correct.\n- EXPLANATION 1:  fine \n### STEP 2: INCORRECT\nSTEPS are fun"
    )
    assert parse(text, 2) == Critique((True, False), ("fine", ""))


@given(st.integers(min_value=10_000))
def test_long_numbers_are_no_steps(number):
    assert parse(f"STEP {number}: CORRECT\nSTEP 1: CORRECT", 1) == Critique((True,), ("",))


def test_a_long_line_takes_no_long_time():
    assert isinstance(parse("STEP 1: " + "* " * 20_000 + "x", 1), Unparsed)
    assert isinstance(parse("STEP 1: " + (" " * 20_000 + "x") * 5, 1), Unparsed)
    assert isinstance(parse("# " * 20_000, 1), Unparsed)


def test_what_cannot_be_judged_or_rendered_is_refused():
    with pytest.raises(ValueError, match="0 steps has nothing to judge"):
        parse("", 0)
    with pytest.raises(ValueError, match=re.escape("1 explanations of 2 steps")):
        render([True, False], ["why"])
