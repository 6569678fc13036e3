import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tasks.or_models import EOS, REASONS, VOCABULARY
from common.tasks.or_models.critiques import EXPLANATIONS, critique, spell_out

SIX = st.lists(st.sampled_from([None, *REASONS]), min_size=6, max_size=6)


def test_every_reason_has_its_sentence():
    assert set(EXPLANATIONS) == set(REASONS)


@given(SIX)
def test_a_critique_spelled_out(reasons):
    tokens = critique(reasons).split()
    assert set(tokens) <= set(VOCABULARY)
    assert 19 <= len(tokens) <= 25
    lines = spell_out(tokens).split("\n")
    verdicts = [line for line in lines if line.startswith("STEP")]
    explained = dict(line.split(": ", 1) for line in lines if line.startswith("EXPLANATION"))
    for number, reason in enumerate(reasons, start=1):
        assert verdicts[number - 1] == f"STEP {number}: {'INCORRECT' if reason else 'CORRECT'}"
        assert explained.get(f"EXPLANATION {number}") == (EXPLANATIONS[reason] if reason else None)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("", ""),
        (EOS, ""),
        ("CORRECT", ""),
        ("STEP", "STEP : "),
        ("x STEP 1 CORRECT STEP 2 CORRECT CORRECT", "STEP 1: CORRECT\nSTEP 2: CORRECT CORRECT"),
        ("STEP 1 INCORRECT x", "STEP 1: INCORRECT x"),
        ("STEP 1 STEP 1 INCORRECT", "STEP 1: \nSTEP 1: INCORRECT"),
    ],
)
def test_other_tokens_stay_what_they_are(tokens, text):
    assert spell_out(tokens.split()) == text
