"""What the planner learns is what it writes; and how its episodes are measured."""

import math

import numpy as np
import pytest
import torch

from common.agents.episodes import Trajectory, Turn, World
from common.agents.lockstep import play
from common.models.recipe import IGNORED, ModelShape, build_model
from common.rl.rollout import derived_generator
from common.tasks.travel import ANSWER, CALL, END, PAD
from common.tasks.travel.evaluation import measured, travel, verdict_of
from common.tasks.travel.sandbox import CachedTools, TravelSandbox, schedule
from common.tasks.travel.verification import Verdict
from common.tasks.travel.warm_start import (
    CODEC,
    CONTEXT,
    IDS,
    LOOKUPS,
    RULES,
    Recipe,
    demonstration,
    lookups,
    padded,
    tokenizer,
    train,
)
from common.tasks.travel.worlds import Asked, Day, queries

ASKED = Asked(real=False)
TIMETABLE = ASKED.timetable("warm")
QUERIES = queries(ASKED, "warm", 6)


def examples(show):
    dice = np.random.default_rng(0)
    return [show(query, Day(query.world, TIMETABLE), dice) for query in QUERIES]


def test_only_calls_and_itineraries_are_learned():
    shown = examples(demonstration)
    ids, labels = padded(shown)
    words = tokenizer().convert_ids_to_tokens
    for row, example in enumerate(shown):
        learned = words(ids[row][labels[row] != IGNORED])
        assert learned == [word for part, own in example if own for word in part]
        assert learned.count(CALL) == 4
        assert learned[-1] == END
        told = [word for part, own in example if not own for word in part]
        assert len(told) + len(learned) == int((ids[row] != IDS[PAD]).sum())
    assert ids.shape[1] <= CONTEXT


def test_a_lookup_repeats_what_a_tool_has_told():
    for example in examples(lookups):
        prefix = [word for part, _ in example[:9] for word in part]
        asked = example[10:]
        assert len(asked) == 2 * LOOKUPS
        for (label, hidden), (numbers, learned) in zip(asked[::2], asked[1::2], strict=True):
            assert (hidden, learned) == (False, True)
            place = prefix.index(label[0])
            assert prefix[place + 1 : place + 1 + len(numbers)] == numbers


@pytest.fixture(scope="module")
def policy():
    return build_model(ModelShape(16, 1, 2, 32, CONTEXT), tokenizer(), 0)


def test_an_untrained_planner_comes_to_an_end_with_nothing(policy):
    found = travel(policy, QUERIES, CachedTools(schedule(TIMETABLE)), seed=0)
    values = measured(QUERIES, found)
    assert values["pass"] == values["well_formed"] == 0.0
    assert math.isnan(values["hallucination"])
    assert {each.outcome for each in found} <= {"terminated", "truncated", "turns"}


def test_a_group_sees_one_world_and_a_seed_gives_the_same_episodes(policy):
    tools = CachedTools(schedule(TIMETABLE))
    worlds = [World(lambda: TravelSandbox(QUERIES, tools), 2)] * 3
    generators = [derived_generator(seed) for seed in (1, 1, 2)]
    one, same, other = play(policy, worlds, CODEC, RULES, generators)
    assert one.completion == same.completion != other.completion
    assert one.prompt == other.prompt


def test_shares_are_of_queries_and_hallucination_is_of_itineraries():
    made = [
        Verdict(1.0, True, (True,) * 4, True),
        Verdict(0.0, True, (True, False, True, True), True),
        Verdict(0.0, False, (True,) * 4, True),
        Verdict(),
    ]
    turns = [Turn([1], [2], entropies=[0.5])]
    found = [Trajectory(turns=turns, info={"verdict": each, "seen": {}}) for each in made]
    found[3].info = {}
    values = measured(QUERIES[:4], found)
    assert [verdict_of(each) for each in found] == made
    assert values["pass"] == 0.25
    assert values["trajectory"] == 0.5
    assert values["well_formed"] == 0.75
    assert values["hallucination"] == pytest.approx(1 / 3)
    assert values["turn"] + values["hallucination"] == 1.0
    assert values["turn/return"] == pytest.approx(2 / 3)
    assert values["turn/hotel"] == 1.0
    assert values["called"] == 0.0
    assert values["entropy"] == 0.5


def test_training_starts_from_its_seed_and_learns():
    recipe = Recipe(ASKED, ModelShape(16, 1, 2, 32, CONTEXT), demonstrations=16, lookups=2, sft_steps=8)
    one, same, other = (train(recipe, seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert ANSWER in IDS
