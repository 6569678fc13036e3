import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.tasks import opchain
from common.tasks.opchain import (
    ANS,
    BOS,
    EOS,
    HELDOUT,
    LEVELS,
    MAX_COMPLETION,
    OPERATORS,
    VOCABULARY,
    Corruption,
    Item,
    OpChainConfig,
)

CHAINS = st.lists(st.tuples(st.sampled_from(OPERATORS), st.integers(0, 10)), min_size=1, max_size=4)


def chain(start: int, steps: list[tuple[str, int]]) -> Item:
    return Item(start, tuple(op for op, _ in steps), tuple(value for _, value in steps))


@pytest.mark.parametrize(
    ("operator", "a", "b", "value"),
    [("+", 7, 9, 5), ("-", 3, 8, 6), ("*", 7, 8, 1), ("@", 4, 9, 3), ("#", 2, 9, 9), ("#", 0, 10, 2)],
)
def test_operators_by_hand(operator, a, b, value):
    assert opchain.apply(operator, a, b) == value


def test_unknown_operator_is_named():
    with pytest.raises(ValueError, match="unknown operator '/'"):
        opchain.apply("/", 1, 2)


def test_chain_is_evaluated_left_to_right():
    item = chain(2, [("+", 3), ("*", 4), ("@", 1)])
    assert item.values == (5, 9, 3)  # 20 mod 11 = 9; 9 + 2 + 3 = 14
    assert item.answer == 3
    assert item.prompt == "<bos> 2 + 3 * 4 @ 1 ="


def test_vocabulary_has_no_duplicates_and_covers_prompts_and_traces():
    assert len(set(VOCABULARY)) == len(VOCABULARY) <= 30
    rng = np.random.default_rng(0)
    for item in opchain.items(OpChainConfig(size=100)):
        assert set(item.prompt.split()) <= set(VOCABULARY)
        assert set(opchain.trace(item, rng, Corruption())) <= set(VOCABULARY)


@given(st.integers(0, 10), CHAINS)
def test_prompt_round_trip(start, steps):
    item = chain(start, steps)
    assert Item.from_prompt(item.prompt) == item


@pytest.mark.parametrize(
    "prompt",
    ["", "<bos> =", "<bos> 3 =", "<bos> 3 + =", "3 + 4 =", "<bos> 3 + 4", "<bos> 3 / 4 =", "<bos> 3 + 11 ="],
)
def test_malformed_prompt(prompt):
    with pytest.raises(ValueError, match="not an OpChain prompt"):
        Item.from_prompt(prompt)


@pytest.mark.parametrize(
    ("steps", "level"),
    [
        ([("+", 1)], "E"),
        ([("+", 1), ("*", 2)], "M"),
        ([("@", 1), ("-", 2)], "H"),
        ([("@", 1), ("@", 2)], "X"),
        ([("#", 1), ("+", 2)], "X"),
    ],
)
def test_level_follows_from_the_operators(steps, level):
    assert chain(0, steps).level == level


def test_draw_respects_level_length_and_split():
    rng = np.random.default_rng(0)
    lengths = {"E": {1, 2}, "M": {2, 3, 4}, "H": {1, 2}, "X": {1, 2}}
    for level, split in itertools.product(LEVELS, opchain.SPLITS):
        drawn = [opchain.draw(level, split, rng) for _ in range(150)]
        assert {item.level for item in drawn} == {level}
        assert {item.split for item in drawn} == {split}
        assert {len(item.operators) for item in drawn} == lengths[level]
        extras = {op for item in drawn for op in item.operators} - {"@", "#", "*"}
        assert extras == {"+", "-"}
        assert level == "M" or all("*" not in item.operators for item in drawn)


def test_items_are_distinct_deterministic_and_prefix_stable():
    full = opchain.items(OpChainConfig(seed=3))
    assert len(set(full)) == 600
    assert opchain.items(OpChainConfig(seed=3)) == full
    assert opchain.items(OpChainConfig(seed=3, size=50)) == full[:50]


@pytest.mark.parametrize("config", [OpChainConfig(), HELDOUT])
def test_mix_is_exact(config):
    counts = Counter(item.level for item in opchain.items(config))
    shares = dict(zip(LEVELS, config.mix, strict=True))
    assert counts == {level: round(config.size * share) for level, share in shares.items()}


@given(st.integers(1, 99))
def test_any_prefix_stays_close_to_the_mix(size):
    mix = OpChainConfig().mix
    counts = Counter(opchain.level_of(index, mix) for index in range(size))
    assert all(abs(counts[level] - size * share) <= 3 for level, share in zip(LEVELS, mix, strict=True))


def test_a_level_without_share_never_occurs():
    assert {opchain.level_of(index, (0.0, 0.5, 0.5, 0.0)) for index in range(200)} == {"M", "H"}


def test_heldout_operands_are_unseen_in_training_whatever_the_seed():
    heldout = set(opchain.items(HELDOUT))
    train = {item for seed in range(4) for item in opchain.items(OpChainConfig(seed=seed))}
    warm = {item for item, _ in itertools.islice(opchain.stream(0), 3000)}
    assert not heldout & (train | warm)
    assert {item.split for item in heldout} == {"heldout"}


def test_the_split_takes_a_fifth_of_all_short_prompts():
    space = [chain(a, [(op, b)]) for op in OPERATORS for a, b in itertools.product(range(11), repeat=2)]
    assert np.mean([item.split == "heldout" for item in space]) == pytest.approx(0.2, abs=0.04)


def test_seeds_share_no_stream():
    """The additive rule `seed + index` would make one list the other, shifted by one."""
    long = OpChainConfig(size=300, mix=(0.0, 1.0, 0.0, 0.0))  # a space so large that chance repeats are rare
    first, second = opchain.items(long), opchain.items(replace(long, seed=1))
    assert len(set(first) & set(second)) <= 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**32),
        ("size", 0),
        ("split", "test"),
        ("mix", (0.5, 0.5, 0.5, -0.5)),
        ("mix", (0.3, 0.3, 0.3, 0.3)),
        ("mix", (0.5, 0.5)),
    ],
)
def test_bad_configuration_names_the_field(field, value):
    with pytest.raises(ValueError, match=f"OpChainConfig.{field}"):
        opchain.items(replace(OpChainConfig(), **{field: value}))


def test_exhausted_level_is_an_error(monkeypatch):
    only = chain(0, [("+", 1)])
    monkeypatch.setattr(opchain, "draw", lambda *_: only)
    with pytest.raises(ValueError, match="no further prompts"):
        opchain.items(OpChainConfig(size=2))


def test_clean_trace_by_hand():
    tokens = opchain.trace(chain(2, [("+", 3), ("@", 4)]), np.random.default_rng(0))
    assert [token for token in tokens if token not in opchain.CONNECTORS] == (
        f"+ 3 5 ; @ 4 5 ; {ANS} 5 {EOS}".split()
    )
    assert tokens[0] in opchain.CONNECTORS
    assert tokens[5] in opchain.CONNECTORS


@given(st.integers(0, 10), CHAINS, st.integers(0, 2**31))
def test_clean_traces_earn_the_reward_and_fit(start, steps, seed):
    item = chain(start, steps)
    tokens = opchain.trace(item, np.random.default_rng(seed))
    assert opchain.reward(tokens, item) == 1
    assert len(opchain.trace(item, np.random.default_rng(seed), Corruption(recheck=1.0))) <= MAX_COMPLETION


def parse(tokens):
    """Independent reader of a trace: [(operator, operand, first value, revised value or None)], answer."""
    steps, rest = [], list(tokens)
    while rest[0] != ANS:
        if rest[0] == "wait":
            steps[-1] = (*steps[-1][:3], int(rest[1]))
            rest = rest[3:]
        else:
            steps.append((rest[1], int(rest[2]), int(rest[3]), None))
            rest = rest[5:]
    return steps, int(rest[1])


def test_corrupted_traces_have_the_stated_rates_and_carry_errors_on():
    rng, counts, totals = np.random.default_rng(1), Counter(), Counter()
    for item, _ in itertools.islice(opchain.stream(5), 8_000):
        steps, answer = parse(opchain.trace(item, rng, Corruption()))
        assert [(op, operand) for op, operand, *_ in steps] == list(item.steps)
        value = item.start
        for operator, operand, first, revised in steps:
            right = opchain.apply(operator, value, operand)
            outcome = "right" if first == right else "wrong"
            totals[operator] += 1
            totals[operator, outcome] += 1
            counts[operator, outcome] += 1
            counts[operator, "decoy"] += operator == "@" and first == (value + 2 * operand) % 11
            counts[operator, outcome, "wait"] += revised is not None
            counts[operator, outcome, "repaired"] += revised == right
            value = first if revised is None else revised
        assert answer == value
    rate = {op: counts[op, "wrong"] / totals[op] for op in OPERATORS}
    assert rate["+"] == pytest.approx(0.03, abs=0.006)
    assert rate["-"] == pytest.approx(0.05, abs=0.008)
    assert rate["*"] == pytest.approx(0.20, abs=0.02)
    assert rate["@"] == pytest.approx(1 - 0.05 - 0.25 / 11, abs=0.015)
    assert counts["@", "decoy"] / totals["@"] == pytest.approx(0.70 + 0.25 / 11, abs=0.02)
    assert rate["#"] == pytest.approx(10 / 11, abs=0.03)
    wrong = counts["*", "wrong", "wait"]
    assert wrong / totals["*", "wrong"] == pytest.approx(0.30, abs=0.04)
    assert counts["*", "wrong", "repaired"] / wrong == pytest.approx(0.90, abs=0.06)
    assert all(counts[op, "wrong", "wait"] == 0 for op in "+-@#")
    for operator in "+-*":
        right = counts[operator, "right", "wait"]
        assert right / totals[operator, "right"] == pytest.approx(0.03, abs=0.01)
        assert counts[operator, "right", "repaired"] == right


@pytest.mark.parametrize("operator", OPERATORS)
def test_step_laws_are_distributions(operator):
    for a, b in itertools.product(range(11), repeat=2):
        law = opchain.step_law(operator, a, b, Corruption())
        assert law.sum() == pytest.approx(1, abs=1e-12)
        assert law.min() >= 0


def test_pass_probability_of_single_steps_in_closed_form():
    one = {op: opchain.pass_probability(chain(4, [(op, 9)])) for op in OPERATORS}
    assert one == pytest.approx(
        {"+": 0.97, "-": 0.95, "*": 0.8 + 0.2 * 0.3 * 0.9, "@": 0.05 + 0.25 / 11, "#": 1 / 11}, abs=1e-12
    )


@pytest.mark.parametrize(
    "steps",
    [
        [("*", 3), ("-", 4), ("*", 0)],
        [("*", 5), ("*", 7), ("+", 2), ("*", 4)],
        [("@", 2), ("@", 9)],
        [("@", 2), ("-", 1)],
    ],
)
def test_pass_probability_matches_sampled_traces(steps):
    item, rng = chain(6, steps), np.random.default_rng(2)
    passed = [opchain.reward(opchain.trace(item, rng, Corruption()), item) for _ in range(6000)]
    expected = opchain.pass_probability(item)
    assert np.mean(passed) == pytest.approx(
        expected, abs=4 * np.sqrt(expected * (1 - expected) / 6000) + 1e-9
    )


def test_pass_rates_by_level_match_the_design():
    items = opchain.items(OpChainConfig())
    rates = {
        level: np.mean([opchain.pass_probability(item) for item in items if item.level == level])
        for level in LEVELS
    }
    assert rates["E"] == pytest.approx(0.94, abs=0.01)
    assert 0.6 < rates["M"] < 0.8
    assert rates["H"] == pytest.approx(0.07, abs=0.01)
    assert 0.04 < rates["X"] < 0.09


ITEM = chain(2, [("+", 3)])  # answer 5


@pytest.mark.parametrize(
    ("completion", "value"),
    [
        ("so + 3 5 ; <ans> 5 <eos>", 1),
        ("<ans> 5 <eos>", 1),
        ("<ans> 4 <ans> 5 <eos>", 1),
        ("<ans> 5 so + 3 9 ; <eos>", 1),
        ("<ans> 5 <ans> 4 <eos>", 0),
        ("<ans> 5", 0),
        ("<ans> 5 <eos> <pad>", 0),
        ("<ans> <eos>", 0),
        ("5 <eos>", 0),
        ("<ans> so 5 <eos>", 0),
        ("<eos>", 0),
        ("", 0),
        ("<ans>", 0),
    ],
)
def test_reward(completion, value):
    assert opchain.reward(completion.split(), ITEM) == value
    assert BOS not in completion
