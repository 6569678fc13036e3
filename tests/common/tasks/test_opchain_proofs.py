"""Chains that cannot be guessed: which are drawn, and which responses count."""

import pytest
from numpy.random import default_rng

from common.tasks import opchain
from common.tasks.opchain import Item
from common.tasks.opchain_proofs import chains, proven

MIX = (0.1, 0.0, 0.2, 0.7)
ITEM = Item(2, ("+", "@"), (3, 4))  # 2 + 3 = 5, then 5 + 2 * 4 + 3 = 5


def test_chains_are_distinct_and_of_the_mix():
    drawn = chains(100, 3, "train", MIX)
    assert len(set(drawn)) == 100
    assert {level: sum(item.level == level for item in drawn) for level in "EMHX"} == {
        "E": 10, "M": 0, "H": 20, "X": 70,
    }  # fmt: skip
    assert all(item.operators == ("@", "@") for item in drawn if item.level == "X")
    assert not {item.prompt for item in drawn} & {item.prompt for item in chains(100, 3, "heldout", MIX)}


@pytest.mark.parametrize(
    ("completion", "counts"),
    [
        ("so + 3 5 ; let @ 4 5 ; <ans> 5 <eos>", True),
        ("so + 3 6 ; wait 5 ; let @ 4 5 ; <ans> 5 <eos>", True),
        ("so + 3 6 ; let @ 4 5 ; <ans> 5 <eos>", False),
        ("let @ 4 5 ; <ans> 5 <eos>", False),
        ("so + 3 5 ; let @ 4 5 ; <ans> 6 <eos>", False),
        ("so + 3 5 ; let @ 4 5 ; <ans> 5", False),
        ("", False),
    ],
    ids=["right", "revised", "a lucky answer", "a step left out", "wrong answer", "truncated", "empty"],
)
def test_every_step_has_to_be_right(completion, counts):
    assert proven(completion.split(), ITEM) is counts


def test_clean_traces_count():
    assert all(proven(opchain.trace(item, default_rng(0)), item) for item in chains(50, 0, "train", MIX))
