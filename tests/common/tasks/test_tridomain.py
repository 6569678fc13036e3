from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tasks import dialogue, programs, tridomain, word_sums
from common.tasks.programs import Program, ProgramError, Step
from common.tasks.tridomain import ASSISTANT, BOS, DOMAINS, EOS, USER, VOCABULARY, TriDomainConfig
from common.tasks.word_sums import Chain

STEPS = st.builds(
    Step,
    st.sampled_from((*programs.SIMPLE, *programs.COMPOUND)),
    st.integers(1, 9),
    st.integers(2, programs.MOST_ROUNDS),
)
SIMPLE_STEPS = STEPS.filter(lambda step: step.kind in programs.SIMPLE)
CHAINS = st.tuples(SIMPLE_STEPS) | st.tuples(SIMPLE_STEPS, STEPS)


def test_vocabulary_is_small_without_duplicates_and_covers_every_domain():
    assert len(set(VOCABULARY)) == len(VOCABULARY) <= 256
    for item in tridomain.items(TriDomainConfig(size=600)):
        assert set(item.tokens) <= set(VOCABULARY)


def test_items_depend_on_seed_and_index_only_and_grow_by_appending():
    config = TriDomainConfig(seed=7, size=60)
    assert tridomain.items(config) == tridomain.items(config)
    assert tridomain.items(TriDomainConfig(seed=7, size=30)) == tridomain.items(config)[:30]
    assert tridomain.item(config, 41) == tridomain.items(config)[41]


def test_neighbouring_seeds_share_next_to_nothing():
    first, second = (
        {item.tokens for item in tridomain.items(TriDomainConfig(seed=s, size=600))} for s in (0, 1)
    )
    assert len(first & second) <= 6


def test_splits_never_share_a_problem():
    train = {item.problem.key for item in tridomain.items(TriDomainConfig(size=3000))}
    held = {item.problem.key for item in tridomain.items(TriDomainConfig(size=600, split="heldout", seed=3))}
    assert not train & held
    assert all(item.split == "heldout" for item in tridomain.items(TriDomainConfig(size=60, split="heldout")))


def test_domains_alternate_and_can_be_chosen():
    assert Counter(item.domain for item in tridomain.items(TriDomainConfig(size=300))) == dict.fromkeys(
        DOMAINS, 100
    )
    only = tridomain.items(TriDomainConfig(size=20, domains=("math",)))
    assert {item.domain for item in only} == {"math"}


def test_answers_are_marked_and_the_prompt_is_all_before_the_last():
    for item in tridomain.items(TriDomainConfig(size=60)):
        assert item.tokens[0] == BOS
        assert item.tokens.count(EOS) == item.tokens.count(USER) == len(item.turns)
        marked = [word for word, inside in zip(item.tokens, item.answered, strict=True) if inside]
        assert marked == " ".join(f"{answer} {EOS}" for _, answer in item.turns).split()
        assert item.prompt[-1] == ASSISTANT
        assert item.tokens[len(item.prompt) :] == (*item.turns[-1][1].split(), EOS)


def test_the_generator_passes_its_own_verifier_and_a_wrong_answer_does_not():
    for item in tridomain.items(TriDomainConfig(size=200, domains=("code", "math"))):
        answer = item.tokens[len(item.prompt) :]
        assert item.correct(answer)
        assert not item.correct(answer[:-1])
        assert not item.correct((answer[0], EOS))
    with pytest.raises(ValueError, match="no right answer"):
        tridomain.item(TriDomainConfig(domains=("chat",)), 0).correct((EOS,))


def test_dialogues_have_two_turns_three_to_five_sentences_or_fewer_and_copy_the_slots():
    for item in tridomain.items(TriDomainConfig(size=100, domains=("chat",))):
        sentences = [answer.count(".") for _, answer in item.turns]
        assert len(sentences) == 2
        assert 3 <= sum(sentences) <= 5
        assert item.problem.slots[1] in item.turns[1][1]  # the dish
        assert not set(" ".join(answer for _, answer in item.turns)) & set("[]|{}")


def test_paraphrases_have_their_probabilities_and_can_be_switched_off():
    config = TriDomainConfig(size=3000, domains=("chat",))
    opened = Counter(item.turns[0][1].split(" ")[0] == "the" for item in tridomain.items(config))
    assert opened[True] / 3000 == pytest.approx(0.3, abs=0.03)
    fixed = TriDomainConfig(size=300, domains=("chat",), paraphrases=(1.0, 0.0, 0.0), zipf=100.0)
    assert {item.turns[0][1].split(" ")[0] for item in tridomain.items(fixed)} == {"sure"}


def test_synonyms_are_weighted_by_zipf():
    rng = np.random.default_rng(0)
    drawn = Counter(dialogue._synonym(["a", "b", "c"], rng, 1.0) for _ in range(6000))
    assert [drawn[word] / 6000 for word in "abc"] == pytest.approx([6 / 11, 3 / 11, 2 / 11], abs=0.02)


def test_a_chain_by_hand():
    chain = Chain("anna", 3, (("plus", 4), ("times", 2), ("minus", 5)))
    assert chain.values == (3, 7, 14, 9)
    assert chain.question == "anna has 3 ; 1st plus 4 ; 2nd times 2 ; 3rd minus 5"
    worked = chain.worked(np.random.default_rng(0), (1.0, 0.0, 0.0))
    assert worked == "1st plus 4 = 7 nl 2nd times 2 = 14 nl 3rd minus 5 = 9 nl answer 9"
    assert chain.correct(worked.split())
    assert not chain.correct(["answer", "8"])


@given(st.integers(0, 10_000), st.sampled_from([2, 10, word_sums.LARGEST]))
def test_chains_stay_in_range(seed, largest):
    chain = word_sums.draw(np.random.default_rng(seed), (2, 6), 12, largest)
    assert 2 <= len(chain.steps) <= 6
    assert all(0 <= value <= largest for value in chain.values)


@given(st.tuples(CHAINS, CHAINS), st.sampled_from(list(programs.SIGNS)), st.integers(0, 1000), st.booleans())
def test_written_programs_run_to_what_python_says(chains, join, seed, first_wording):
    program = Program("mix", ("x", "y"), chains, join)
    paraphrases = (1.0, 0.0, 0.0) if first_wording else (0.5, 0.5, 0.0)
    tokens = program.written(np.random.default_rng(seed), paraphrases).split()
    assert program.correct(tokens)
    scope: dict = {}
    exec(programs.detokenise(tokens), scope)  # text of our own generator, not of a model
    for inputs in programs.INPUTS:
        assert scope["mix"](*inputs) == program.expected(inputs)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f ( x , y ) : nl indent return open nl", "Name"),
        ("def f ( x , y ) : nl indent return x nl dedent return y nl", "one function"),
        ("def f ( x ) : nl indent return x nl", "1 arguments"),
        ("def f ( x , y ) : nl indent x = 1 nl", "returns nothing"),
        ("def f ( x , y ) : nl indent for i in range ( 99 ) : nl indent x = x nl", "range"),
        ("def f ( x , y ) : nl indent while x : nl indent x = x nl", "While"),
        ("def f ( x , y ) : nl indent for i in range ( 9 ) : nl indent y += 9 * 99999 nl", "beyond"),
        ("def f ( x , y", "not Python"),
    ],
)
def test_what_the_interpreter_refuses(source, reason):
    with pytest.raises(ProgramError, match=reason):
        programs.run(programs.parse(source.split()), (1, 2))


def test_a_wrong_program_is_wrong():
    program = Program("mix", ("x", "y"), ((Step("add", 3),), (Step("double"),)), "plus")
    text = "def mix ( x , y ) : nl indent return x + 3 + y * 2 nl dedent"
    assert program.correct(text.split())
    assert not program.correct(text.replace("3", "2").split())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("size", 0),
        ("split", "test"),
        ("domains", ("poetry",)),
        ("paraphrases", (0.5, 0.5, 0.5)),
        ("operations", (4, 2)),
        ("operations", (2, 7)),
        ("largest", 21),
        ("slot_values", 13),
    ],
)
def test_bad_configurations_name_the_field(field, value):
    with pytest.raises(ValueError, match=f"TriDomainConfig.{field}"):
        tridomain.items(TriDomainConfig(**{field: value}))
