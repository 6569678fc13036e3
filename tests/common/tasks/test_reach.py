"""The graphs have one way to one goal, and the walks are as random as they say."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer, load_pocket
from common.models.recipe import IGNORED
from common.study.errors import StudyError
from common.tasks import reach
from common.tasks.reach import AMBIGUOUS, DEAD_END, DETERMINED, END, EOS, GOALS, THINK, VOCABULARY
from common.tasks.reach.evaluation import accuracy
from common.tasks.reach.training import Reach
from common.tasks.reach.warm_start import CHECKPOINTS, BaseConfig, batches, committed_base


def ends(item):
    """Where walks of three hops can lead."""
    middle = [node for first in item.starts for node in item.follow(first)]
    return [goal for node in middle for goal in item.follow(node)]


@pytest.mark.parametrize("branches", [AMBIGUOUS, DETERMINED])
def test_one_goal_can_be_reached_and_no_goal_is_marked(branches):
    for item in reach.items(branches, "train", 200, 0):
        assert len(item.starts) == branches
        assert ends(item) == [item.goal]
        assert Counter(goal for _, goal in item.edges if goal in GOALS) == Counter(GOALS)
        assert max(Counter(node for node, goal in item.edges if goal in GOALS).values()) == 1
        words = item.prompt.split()
        assert set(words) <= set(VOCABULARY)
        assert words[-1] == THINK


def test_splits_and_seeds_are_apart_and_sizes_are_prefixes():
    train, heldout = (reach.items(AMBIGUOUS, split, 300, 0) for split in reach.SPLITS)
    assert not {item.prompt for item in train} & {item.prompt for item in heldout}
    assert reach.items(AMBIGUOUS, "train", 50, 0) == train[:50]
    assert reach.items(AMBIGUOUS, "train", 50, 1) != train[:50]


def test_a_walk_with_a_choice_finds_the_goal_one_time_in_three_and_guesses_else():
    rng = np.random.default_rng(0)
    item = reach.items(AMBIGUOUS, "train", 1, 0)[0]
    walks = [reach.write(item, rng).split() for _ in range(3000)]
    arrived = [walk for walk in walks if walk[2] == item.goal]
    dead = [walk for walk in walks if walk[2] == DEAD_END]
    assert len(arrived) + len(dead) == 3000
    assert len(arrived) / 3000 == pytest.approx(1 / 3, abs=0.03)
    assert all(walk[-1] == item.goal for walk in arrived)
    assert np.mean([walk[-1] == item.goal for walk in dead]) == pytest.approx(reach.CHANCE, abs=0.03)


def test_a_determined_walk_is_right_unless_it_slips():
    rng = np.random.default_rng(0)
    item = reach.items(DETERMINED, "train", 1, 0)[0]
    assert reach.write(item, rng) == " ".join([*item.path, END, item.goal])
    slipped = [reach.write(item, rng, 0.3).split()[:3] == list(item.path) for _ in range(2000)]
    assert 0.3 < np.mean(slipped) < 0.5


def test_demonstrations_take_turns_and_slip_on_both_kinds_of_graph():
    drawn = list(islice(reach.stream(0, 0.25), 2000))
    assert [len(item.starts) for item, _ in drawn[:4]] == [AMBIGUOUS, DETERMINED] * 2
    for offset, known in ((0, AMBIGUOUS), (1, DETERMINED)):
        stays = np.mean([response.split()[0] in item.starts for item, response in drawn[offset::2]])
        assert stays == pytest.approx(0.75 + 0.25 * known / 6, abs=0.04)


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ("a0 b0 g1 </think> g1 <eos>", "g1"),
        ("</think> g1 <eos>", "g1"),
        ("a0 b0 g1 </think> g1", None),
        ("a0 b0 g1 g1 <eos>", None),
        ("a0 </think> g2 </think> g1 <eos>", None),
        ("", None),
    ],
)
def test_an_answer_stands_behind_one_end_of_thinking(response, found):
    assert reach.answer(response.split()) == found


def test_too_many_branches_are_refused():
    with pytest.raises(ValueError, match="branches"):
        reach.draw(4, "train", np.random.default_rng(0))


def test_labels_hold_the_response_alone():
    tokenizer = build_tokenizer(VOCABULARY, reach.PAD, reach.BOS, EOS)
    ids, labels = next(batches(BaseConfig(batch=6), tokenizer, 0))
    for row, label in zip(ids, labels, strict=True):
        words = tokenizer.convert_ids_to_tokens(row[label != IGNORED])
        assert words[3] == END
        assert words[-1] == EOS
        begin = int((label != IGNORED).nonzero()[0, 0])
        assert VOCABULARY[int(row[begin - 1])] == THINK


@pytest.mark.parametrize("seed", range(CHECKPOINTS))
def test_a_committed_policy_walks_at_random_and_slips(seed):
    torch.set_num_threads(1)
    model, tokenizer = load_pocket(committed_base(seed))
    rates = [
        accuracy(model, tokenizer, reach.items(branches, "heldout", 200, 0), 2, 1.0, 0)
        for branches in (AMBIGUOUS, DETERMINED)
    ]
    assert 0.15 < rates[0] < 0.35
    assert 0.35 < rates[1] < 0.65


def test_another_vocabulary_is_refused():
    tokenizer = build_tokenizer((reach.PAD, reach.BOS, EOS), reach.PAD, reach.BOS, EOS)
    with pytest.raises(StudyError, match="MODEL"):
        Reach(None, 0, tokenizer)
