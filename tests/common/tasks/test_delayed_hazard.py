"""The tabular language: its rules, and its risk against enumeration."""

from itertools import pairwise

import numpy as np
import pytest

from common.tasks.delayed_hazard import (
    AND,
    BUT,
    EOS,
    FATAL,
    HAZARD,
    PROMPTS,
    RELIEF,
    SO,
    START,
    STATES,
    VOCABULARY,
    Prompt,
    World,
    classes,
    first_states,
    primed,
    seen,
)

WORLD = World()
PROMPT = Prompt(topic=0, stride=3, start=4, danger=6, mood=1)


def enumerated(world: World, kind: int, state: int, left: int, policy: str) -> float:
    """Risk by walking through every text."""
    if seen(np.array(state)) or not left:
        return float(seen(np.array(state)))
    table = world.table
    ahead = [
        (chance, enumerated(world, kind, table.successor[kind, state, place], left - 1, policy))
        for place, chance in enumerate(table.probability[kind, state])
        if chance > 0
    ]
    if policy == "greedy":
        return ahead[0][1]
    return min(r for _, r in ahead) if policy == "best" else sum(chance * r for chance, r in ahead)


@pytest.mark.parametrize("policy", ["chance", "greedy", "best"])
def test_risk_is_that_of_enumeration(policy):
    world, rng = World(horizon=14), np.random.default_rng(0)
    risk = world.risk(policy)
    for _ in range(60):
        kind, state, left = rng.integers(400), rng.integers(STATES), rng.integers(15)
        assert risk[left, kind, state] == pytest.approx(
            enumerated(world, kind, state, left, policy), abs=1e-12
        )


def test_probabilities_sum_to_one_and_greedy_risk_is_certain():
    assert WORLD.table.probability.sum(-1) == pytest.approx(1.0)
    assert set(np.unique(WORLD.risk("greedy"))) == {0.0, 1.0}
    assert (WORLD.risk("best") <= WORLD.risk("chance") + 1e-12).all()


def test_every_prompt_has_a_legal_exit_until_it_is_closed():
    given = WORLD.prompts(500, np.random.default_rng(0))
    place = classes(given), first_states(given)
    assert WORLD.risk("best")[WORLD.horizon][place].max() == 0
    closed = World(escape=0.0)
    np.testing.assert_array_equal(closed.risk("best"), closed.risk("greedy"))


def test_clauses_step_by_mode_and_start_where_the_prompt_says():
    (text,), states = WORLD.write([PROMPT])
    assert text[:4] == ["sea4", "sea5", "sea6", "sea7"]
    assert text[4] == AND
    assert text[5] == f"sea{START[(7 + 3) % 10]}"
    for place, (before, word) in enumerate(pairwise(text), start=1):
        if before.startswith("sea") and word.startswith("sea"):
            step = 3 if primed(states[0, place + 1]) else 1
            assert (int(word[-1]) - int(before[-1])) % 10 == step


def test_hazard_follows_a_primed_clause_that_ends_on_a_fatal_word():
    given = WORLD.prompts(2000, np.random.default_rng(1))
    texts, _ = WORLD.write(given)
    onset = WORLD.onset(texts)
    assert 0.48 < (onset >= 0).mean() < 0.6
    for prompt, text, at in zip(given, texts, onset, strict=True):
        assert (BUT in text, SO in text) == (False, False)
        if 0 <= at < WORLD.horizon - 3:
            assert text[at:] == [*HAZARD, EOS]
            assert int(text[at - 2][-1]) in FATAL[prompt.mood]


def test_what_the_language_writes_is_legal_and_goes_through_its_states():
    given = WORLD.prompts(300, np.random.default_rng(2))
    texts, states = WORLD.write(given, np.random.default_rng(3))
    assert any(RELIEF[prompt.topic] in text for prompt, text in zip(given, texts, strict=True))
    followed, legal = WORLD.follow(given, texts)
    assert legal.all()
    for text, own, found in zip(texts, states, followed, strict=True):
        np.testing.assert_array_equal(own[: len(text) + 1], found[: len(text) + 1])
    assert WORLD.legal(given, texts) == pytest.approx(1.0)
    np.testing.assert_array_equal(
        WORLD.hazard(given, texts)[:, 0], WORLD.risk("greedy")[-1][classes(given), first_states(given)]
    )


def test_a_wrong_token_counts_once_and_the_state_follows_it():
    (text,), _ = WORLD.write([PROMPT])
    slipped = [*text[:1], "sea7", "sea0", "sea3", *text[4:]]  # steps of three, in a safe clause
    states, legal = WORLD.follow([PROMPT], [slipped])
    assert legal[0, :4].tolist() == [True, False, True, True]
    assert primed(states[0, 2:5]).all()
    states, legal = WORLD.follow([PROMPT], [[*text[:2], "farm1", "tense", text[2]]])
    assert legal[0].tolist() == [True, True, False, False, True]


def test_prompts_differ_and_errors_name_what_is_wrong():
    given = WORLD.prompts(PROMPTS, np.random.default_rng(0))
    assert len(set(given)) == PROMPTS
    assert given[0].text.split()[-1] == ":"
    assert set(PROMPT.text.split()) <= set(VOCABULARY)
    with pytest.raises(ValueError, match="there are 8000 prompts, not 8001"):
        WORLD.prompts(PROMPTS + 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"0 <= escape < 0\.5"):
        World(escape=0.6)
    with pytest.raises(ValueError, match="unknown policy 'worst'; choose one of chance, greedy, best"):
        WORLD.risk("worst")
