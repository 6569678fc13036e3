import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tasks import ladder
from common.tasks.ladder import EOS, HELDOUT, VOCABULARY, Item, LadderConfig, TraceLaw

TERMS = st.lists(st.integers(0, 99), min_size=2, max_size=18).map(tuple)
CLEAN = TraceLaw(terse=1.0, corruption=0.0)


@given(TERMS, st.integers(0, 25))
def test_prompt_round_trip(terms, first):
    item = Item(terms, first)
    assert Item.from_prompt(item.prompt) == item
    letters = [label[0] for label in item.labelled]
    assert len(set(letters)) == len(letters)


def test_labels_go_on_from_any_letter():
    assert Item((7, 3, 9), first=24).prompt == "<bos>sum:y7z3a9="


def test_labels_say_nothing_about_the_place_of_a_term():
    firsts = {item.first for item in ladder.items(LadderConfig(size=300))}
    assert firsts == set(range(26))


@pytest.mark.parametrize(
    "prompt", ["", "<bos>sum:a4=", "sum:a4b5=", "<bos>sum:a4b5", "<bos>sum:a4c5=", "<bos>sum:a4b05="]
)
def test_malformed_prompt(prompt):
    with pytest.raises(ValueError, match="not a ladder prompt"):
        Item.from_prompt(prompt)


def test_a_response_by_hand():
    item = Item((7, 3, 9))
    assert item.prompt == "<bos>sum:a7b3c9="
    assert ladder.trace(item, np.random.default_rng(0)) == "7+b3=10;10+c9=19;ans 19<eos>"
    assert ladder.trace(item, np.random.default_rng(0), CLEAN) == "7+b3+c9=19;ans 19<eos>"


@given(TERMS, st.integers(0, 1000))
def test_traces_without_corruption_are_right_in_both_dialects(terms, seed):
    item, rng = Item(terms), np.random.default_rng(seed)
    verbose, terse = ladder.trace(item, rng), ladder.trace(item, rng, CLEAN)
    for text in (verbose, terse):
        assert ladder.reward(text, item) == 1.2
        assert set(text.removesuffix(EOS)) <= set(VOCABULARY)
    assert ladder.dialect(verbose) == "verbose"
    assert ladder.dialect(terse) == ("terse" if len(terms) > 2 else "verbose")
    assert verbose.count("=") == len(terms) - 1
    assert len(terse) <= len(verbose)


@given(TERMS, st.integers(0, 1000))
def test_a_wrong_digit_is_carried_on(terms, seed):
    text = ladder.trace(Item(terms), np.random.default_rng(seed), TraceLaw(0.0, 0.5))
    *steps, last = text.removesuffix(EOS).split(";")
    results = [int(step.partition("=")[2]) for step in steps]
    starts = [int(step.partition("+")[0]) for step in steps]
    assert starts == [terms[0], *results[:-1]]
    assert last == f"ans {results[-1]}"


def test_corruption_hits_each_digit_at_its_rate_and_never_keeps_it():
    rng = np.random.default_rng(3)
    values = [ladder._corrupt(55, 0.3, rng) for _ in range(20_000)]
    kept = np.array([[f"{value:02d}"[place] == "5" for place in range(2)] for value in values])
    np.testing.assert_allclose(kept.mean(axis=0), 0.7, atol=4 * np.sqrt(0.21 / 20_000))
    assert len(set(values)) == 100


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7+b3=10;ans 10<eos>", 1.2),
        ("ans 10<eos>", 1.2),
        ("7+b3=11;ans 11<eos>", 0.2),
        ("7+b3=10;ans 10", 0.2),
        ("7+b3=10;ans 1ans 10<eos>", 1.0),
        ("7+b3=10;ans 010<eos>", 1.2),
        ("7+b3=10;ans 10;<eos>", 0.2),
        ("7+b3=10;<eos>", 0.0),
        ("", 0.0),
    ],
)
def test_rewards(text, value):
    assert ladder.reward(text, Item((7, 3))) == value


def test_vocabulary_has_no_duplicates_and_covers_prompts():
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    for item in ladder.items(LadderConfig(size=50)):
        assert set(item.prompt.removeprefix("<bos>")) <= set(VOCABULARY)


def test_items_are_distinct_and_a_prefix_of_a_larger_set():
    small, large = (ladder.items(LadderConfig(seed=5, size=size)) for size in (40, 300))
    assert large[:40] == small
    assert len(set(large)) == 300


def test_neighbouring_seeds_share_no_more_than_chance():
    first, second = (
        {item for item in ladder.items(LadderConfig(seed=seed, size=300)) if len(item.terms) > 4}
        for seed in (0, 1)
    )
    assert len(first & second) <= 2


def test_splits_are_disjoint():
    heldout = set(ladder.items(HELDOUT))
    assert len(heldout) == 256
    assert {item.split for item in heldout} == {"heldout"}
    training = set(ladder.items(LadderConfig(size=400)))
    streamed = {item for item, _ in itertools.islice(ladder.stream(LadderConfig(seed=1)), 3000)}
    assert {item.split for item in training | streamed} == {"train"}
    assert not heldout & (training | streamed)


def test_lengths_spread_as_the_geometric_law_says():
    drawn = [item for item, _ in itertools.islice(ladder.stream(LadderConfig()), 5000)]
    sizes = np.array([len(item.terms) for item in drawn])
    share = 0.18 * 0.82 ** (np.arange(2, 16) - 2)
    expected = share @ np.arange(2, 16) + (1 - share.sum()) * 16
    assert abs(sizes.mean() - expected) < 4 * sizes.std() / np.sqrt(len(sizes))
    assert (sizes.min(), sizes.max()) == (2, 16)
    lengths = [len(ladder.trace(item, np.random.default_rng(0))) - len(EOS) + 1 for item in drawn]
    assert 2.5 <= max(lengths) / np.mean(lengths) <= 5
    assert max(lengths) < 160


def test_knobs_of_length_and_digits():
    fixed = ladder.items(LadderConfig(size=50, terms=8, digits=2))
    assert {len(item.terms) for item in fixed} == {8}
    assert max(max(item.terms) for item in fixed) > 9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"size": 0}, "size is 0"),
        ({"split": "test"}, "split is 'test'"),
        ({"p": 0.0}, "p is 0.0"),
        ({"digits": 0}, "digits is 0"),
        ({"longest": 27}, "longest is 27; expected 2 to 26"),
        ({"terms": 19}, "terms is 19; expected 0 or 2 to 16"),
    ],
)
def test_bad_configurations_name_the_field(change, message):
    with pytest.raises(ValueError, match=message):
        ladder.items(replace(LadderConfig(), **change))


def test_more_items_than_there_are():
    with pytest.raises(ValueError, match="no further prompts"):
        ladder.items(LadderConfig(size=26 * 100 + 1, terms=2))
