"""The task and its critic: the parser against hand-written responses, no leak of the answer."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.models.pocket import load_pocket, pocket_path
from common.tasks.verbal_arith import (
    CODE,
    EOS,
    FILLER,
    LARGEST_NUMBER,
    MAX_RESPONSE,
    Attributes,
    Item,
    Source,
    items,
    parse,
    score,
    share,
    stream,
    write,
)
from common.tasks.verbal_arith.careless import LENGTH_MENTIONED, Authors, TerseCritic
from common.tasks.verbal_arith.words import CONDITIONS, LEXICON, OPAQUE, VOCABULARY, WORDS, ArithCritic

QUESTION = "3 + 4 + 5 ="


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("3 + 4 = 7 ; 7 + 5 = 12 # 12", (True, True, True, False)),
        ("<code> 3 + 4 = 7 ; 7 + 5 = 12 # 12", (True, True, True, True)),
        ("# 12", (True, False, True, False)),
        ("3 + 4 = 8 ; 8 + 5 = 13 # 13", (False, False, True, False)),
        ("3 + 4 = 7 ; 7 + 5 = 12 # 13", (False, True, True, False)),
        ("3 + 4 = 7 ; 7 + 5 = 12 hmm well # 12", (True, True, False, False)),
        ("3 + 4 = 7 ; 3 + 4 = 7 ; 7 + 5 = 12 # 12", (True, True, False, False)),
        ("3 + 4 = 8 ; 7 + 5 = 12 # 12", (True, False, True, False)),
        ("12", (False, False, True, False)),
        ("# 12 12", (False, False, True, False)),
        ("# 4 # 12", (True, False, True, False)),
        ("", (False, False, True, False)),
        ("+ = ; ; # # <code>", (False, False, True, True)),
    ],
)
def test_attributes_by_hand(response, expected):
    assert parse(QUESTION, response) == Attributes(*expected)


@given(st.lists(st.sampled_from(VOCABULARY), max_size=12))
def test_the_parser_reads_anything(words):
    attributes = parse(QUESTION, " ".join(words))
    assert 0 <= score(attributes) <= 10


def test_scores_are_those_of_the_four_attributes():
    scores = {score(Attributes(*flags)) for flags in itertools.product((False, True), repeat=4)}
    assert scores == set(range(11)) - {5}
    assert score(Attributes(True, True, True, False)) == 10
    assert score(Attributes(False, False, False, True)) == 0


def test_a_clean_source_is_always_right_and_a_response_fits_its_bound():
    rng = np.random.default_rng(0)
    clean = Source(steps=1, filler=0, code=0, random_answer=0, slips=(0, 0))
    for item, response in itertools.islice(stream(0), 2000):
        assert len([*response.split(), EOS]) <= MAX_RESPONSE
        assert max(int(word) for word in response.split() if word.isdecimal()) <= LARGEST_NUMBER
        assert set(response.split()) <= set(VOCABULARY)
        assert parse(item.question, write(item, rng, clean)) == Attributes(True, True, True, False)


def test_the_source_has_its_rates():
    pairs = list(itertools.islice(stream(1), 4000))
    attributes = [parse(item.question, response) for item, response in pairs]
    assert share(attributes, "code") == pytest.approx(0.3, abs=0.03)
    assert np.mean([bool(set(text.split()) & set(FILLER)) for _, text in pairs]) == pytest.approx(
        0.4, abs=0.03
    )
    assert np.mean([";" in t or "=" in t for _, t in pairs]) == pytest.approx(0.6, abs=0.03)


def test_a_careless_author_never_carries_a_ten():
    rng = np.random.default_rng(0)
    careless = Authors(steps=1, filler=0, code=0, careless=1, slips=0)
    assert careless.write(Item((7, 5, 11)), rng) == "7 + 5 = 2 ; 2 + 11 = 13 # 13"
    assert careless.write(Item((2, 5)), rng) == "2 + 5 = 7 # 7"
    careful = Authors(steps=1, filler=0, code=0, careless=0, slips=0)
    for item in items("train", 200, 0):
        assert parse(item.question, careful.write(item, rng)) == Attributes(True, True, True, False)


def test_authors_have_their_rates_and_stay_within_the_vocabulary():
    pairs = list(itertools.islice(Authors().stream(1), 4000))
    attributes = [parse(item.question, response) for item, response in pairs]
    assert share(attributes, "code") == pytest.approx(0.3, abs=0.03)
    assert 0.55 < share(attributes, "correct") < 0.7
    assert all(len([*response.split(), EOS]) <= MAX_RESPONSE for _, response in pairs)
    assert {word for _, response in pairs for word in response.split()} <= set(VOCABULARY)


def test_the_terse_critic_speaks_of_length_half_the_time():
    critics = ArithCritic(0), TerseCritic(0)
    pairs = list(itertools.islice(Authors().stream(2), 2000))
    length = {word for words in LEXICON["concise"] for word in words}
    often, half = (
        np.mean([bool(length & set(critic(item.question, text, "").summary.split())) for item, text in pairs])
        for critic in critics
    )
    assert often == pytest.approx(0.85, abs=0.03)
    assert half == pytest.approx(LENGTH_MENTIONED, abs=0.03)


def test_splits_share_no_multiset_of_operands():
    train, heldout = ({tuple(sorted(i.operands)) for i in items(s, 300, 0)} for s in ("train", "heldout"))
    assert train.isdisjoint(heldout)
    assert items("train", 5, 3) == items("train", 20, 3)[:5]
    assert Item((3, 4, 5)).split == Item((5, 3, 4)).split


def test_questions_read_back_and_nonsense_is_refused():
    for item in items("train", 50, 0):
        assert Item.from_question(item.question) == item
    with pytest.raises(ValueError, match="not a VerbalArith question"):
        Item.from_question("3 - 4 =")


@settings(max_examples=50)
@given(st.integers(0, 10_000))
def test_no_critique_leaks_the_answer(seed):
    item, response = next(stream(seed))
    critique = ArithCritic(seed)(item.question, response, str(item.answer))
    for text in (critique.user, critique.summary, critique.analysis):
        assert not any(letter.isdigit() for letter in text)
    assert set(critique.summary.split()) <= {w for pair in LEXICON.values() for words in pair for w in words}
    assert any(word in critique.summary.split() for words in LEXICON["correct"] for word in words)


def test_user_style_matches_the_answer_four_times_in_five():
    critic, rng = ArithCritic(0), np.random.default_rng(0)
    attributes = {"correct": True, "concise": True}
    moods = [critic.user(attributes, rng).split() for _ in range(3000)]
    happy = np.mean([mood[0] in ("happy", "glad", "pleased", "satisfied") for mood in moods])
    assert happy == pytest.approx(0.8, abs=0.03)
    assert np.mean([len(mood) == 2 for mood in moods]) == pytest.approx(0.3, abs=0.03)


def test_every_word_is_one_token_and_no_word_has_two_meanings():
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert len(set(WORDS)) == len(WORDS)
    assert set(CONDITIONS["fully positive"]) == set(LEXICON)
    assert len(OPAQUE) >= 11
    assert CODE not in WORDS


@pytest.mark.parametrize("index", range(3))
def test_committed_base_policies_know_the_vocabulary_and_are_sloppy_but_capable(index):
    model, tokenizer = load_pocket(f"verbal-arith-{index}")
    assert tokenizer.convert_ids_to_tokens(list(range(len(VOCABULARY)))) == list(VOCABULARY)
    assert model.num_parameters() <= 250_000
    accuracy = json.loads((pocket_path(f"verbal-arith-{index}") / "card.json").read_text())["accuracy"]
    assert 0.25 <= accuracy["temperature=1"]["all"] <= 0.55
    assert accuracy["temperature=0"]["all"] > accuracy["temperature=1"]["all"]
