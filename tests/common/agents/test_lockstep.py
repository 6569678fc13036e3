"""Many episodes at once are the same episodes one by one; what breaks takes nobody along."""

import random
import sys
import time
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig

from common.agents import lockstep
from common.agents.episodes import Rules, World, text_codec
from common.models.decoding import sample
from common.models.recipe import ModelShape, build_model
from common.rl.rollout import derived_generator
from common.rl.testing import pocket_tokenizer
from tests.common.agents.toys import RULES, TOKENS, Breaking, Fixed, OneTurn, Toy, episodes, scored, seen

WORLDS = [World(Toy, seed) for seed in range(12)]


@pytest.fixture(scope="module")
def model():
    policy = build_model(ModelShape(hidden=16, layers=2, heads=2, ffn=32, context=128), pocket_tokenizer(), 0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(2.0)
    policy.resize_token_embeddings(24)
    return policy.eval()


@pytest.mark.parametrize("memory", [None, 0, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_lock_step_equals_one_by_one_token_for_token(model, memory, temperature):
    rules = {"memory": memory, "temperature": temperature}
    together = episodes(model, WORLDS, **rules)
    alone = [episodes(model, [world], [key], **rules)[0] for key, world in enumerate(WORLDS)]
    assert list(map(seen, together)) == list(map(seen, alone))
    assert len({len(each.turns) for each in together}) > 2
    assert {len(turn.action) for each in together for turn in each.turns} >= {1, 5}
    assert any(not turn.observation for each in together for turn in each.turns)


def test_order_and_company_do_not_matter(model):
    order = random.Random(1).sample(range(12), 12)[:7]
    some = episodes(model, [WORLDS[key] for key in order], order)
    everybody = episodes(model, WORLDS)
    assert list(map(seen, some)) == [seen(everybody[key]) for key in order]


def test_equal_prompts_are_read_once_and_sampled_apart(model):
    reads = []
    forward = lockstep._LockStep._feed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            lockstep._LockStep, "_feed", lambda self, ids: reads.append(len(ids)) or forward(self, ids)
        )
        group = episodes(model, [World(Fixed, 3)] * 4)
    assert reads[0] == 1
    assert len({tuple(each.completion) for each in group}) == 4
    assert len({tuple(each.prompt) for each in group}) == 1


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_an_episode_of_one_turn_is_what_the_lean_decoder_samples(model, temperature):
    worlds = [World(OneTurn, seed) for seed in range(8)]
    played = episodes(model, worlds, temperature=temperature, turn_tokens=20)
    for key, each in enumerate(played):
        ids = torch.tensor([each.prompt])
        alone = sample(
            model, ids, torch.ones_like(ids), 20, temperature, 2, 0, generator=derived_generator(5, key)
        )
        assert each.completion == alone.ids[0].tolist()


def test_a_greedy_turn_is_what_generate_writes(model):
    (played,) = episodes(model, [World(OneTurn, 4)], temperature=0.0, turn_tokens=20)
    config = GenerationConfig(max_new_tokens=20, do_sample=False, eos_token_id=2, pad_token_id=0)
    written = model.generate(input_ids=torch.tensor([played.prompt]), generation_config=config)[0]
    assert played.completion == written[len(played.prompt) :].tolist()


@pytest.mark.parametrize("memory", [None, 0, 1])
def test_each_turn_is_sampled_under_the_prompt_that_it_says(model, memory):
    for each in episodes(model, WORLDS, memory=memory):
        for (prompt, action), turn in zip(each.samples(memory), each.turns, strict=True):
            log_probs, entropies = scored(model, prompt, action)
            torch.testing.assert_close(turn.log_probs, log_probs, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(turn.entropies, entropies, rtol=1e-4, atol=1e-5)


def test_a_memory_keeps_the_head_and_the_last_exchanges(model):
    codec = replace(TOKENS, head=lambda info: [7, 8, 9])
    rules = Rules(**{**vars(RULES), "memory": 1})
    (each,) = lockstep.play(model, [World(Fixed, 0)], codec, rules, [derived_generator(0)])
    first, second, third = each.turns
    assert each.samples(1)[2][0] == [7, 8, 9, *second.observation, *second.action, *third.observation]
    assert each.prompt == [7, 8, 9, *first.observation]


def test_environments_of_texts_are_read_and_answered_in_texts():
    codec = text_codec(pocket_tokenizer(), before="w1 ", after=" w2", task="task")
    assert codec.observation("w5 w6") == [4, 8, 9, 5]
    assert codec.action([8, 9, 2]) == "w5 w6"
    assert codec.head({"task": "w7"}) == [10]
    assert text_codec(pocket_tokenizer()).head({}) == []


def test_a_trajectory_says_who_wrote_what(model):
    (each,) = episodes(model, [World(Fixed, 0)], turn_tokens=2)
    first, second, third = each.turns
    own = [len(turn.action) for turn in each.turns]
    assert each.completion == [
        *first.action,
        *second.observation,
        *second.action,
        *third.observation,
        *third.action,
    ]
    assert each.mask == [1] * own[0] + [0] * 3 + [1] * own[1] + [0] * 3 + [1] * own[2]
    assert each.turn_ids == [0] * (own[0] + 3) + [1] * (own[1] + 3) + [2] * own[2]
    assert each.reward == sum(turn.reward for turn in each.turns)
    assert each.outcome == "terminated"


def raises():
    raise LookupError("no such door")


class Unspeakable(Exception):
    def __str__(self):
        raise RecursionError


def unspeakable():
    raise Unspeakable


def hangs():
    time.sleep(3600)


def floods():
    return [5] * 10**6, 0.0, False, False, {}


DEEDS = {
    "raised: LookupError: no such door": raises,
    "raised: RuntimeError: it left by SystemExit": lambda: sys.exit(3),
    "raised: tests.common.agents.test_lockstep.Unspeakable: <exception str() failed>": unspeakable,
    "raised: TypeError: 'float' object cannot be interpreted as an integer": lambda: (
        [4.5],
        0.0,
        False,
        False,
        {},
    ),
    "hung: no answer within 2 s": hangs,
    "flooded: an observation of 1000000 tokens, at most 16 fit": floods,
    "raised: ValueError: token ids 4 … 24 for a vocabulary of 24": lambda: ([4, 24], 0.0, False, False, {}),
    "raised: ValueError: a reward of nan": lambda: ([4], float("nan"), False, False, {}),
    "raised: ValueError: not enough values to unpack (expected 5, got 2)": lambda: ([4], 0.0),
}


@pytest.mark.parametrize("reason", DEEDS)
def test_an_environment_that_breaks_ends_its_own_episode_and_nothing_else(model, reason, caplog):
    broken = World(lambda: Breaking(DEEDS[reason]), 3)
    played = episodes(
        model,
        [*WORLDS[:4], broken, *WORLDS[4:8]],
        [0, 1, 2, 3, 99, 4, 5, 6, 7],
        seconds=2.0 if DEEDS[reason] is hangs else 60.0,
    )
    without = episodes(model, WORLDS[:8])
    ended = played.pop(4)
    assert f"{ended.outcome}: {ended.reason}" == reason
    assert ended.reward != ended.reward
    assert len(ended.turns) == 2
    assert ended.turns[0].reward == ended.turns[0].reward
    assert ended.turns[1].action
    assert list(map(seen, played)) == list(map(seen, without))
    assert ended.reason in caplog.text


@pytest.mark.parametrize("make", [raises, lambda: Breaking(raises).unwrapped.nothing, hangs])
def test_a_world_that_cannot_be_made_is_an_episode_without_turns(model, make):
    ended, other = episodes(model, [World(make, 0), WORLDS[1]], seconds=2.0)
    assert ended.outcome in ("raised", "hung")
    assert (ended.turns, ended.prompt, ended.completion, ended.mask) == ([], [], [], [])
    assert seen(other) == seen(episodes(model, WORLDS)[1])


def test_nobody_plays_where_no_world_can_be_made(model):
    assert [each.outcome for each in episodes(model, [World(raises, 0)] * 2)] == ["raised"] * 2
    assert episodes(model, []) == []


def test_a_late_answer_changes_nothing(model):
    def late():
        time.sleep(0.4)
        return [4], 1.0, True, False, {}

    (ended,) = episodes(model, [World(lambda: Breaking(late), 3)], seconds=0.1)
    before = seen(ended)
    time.sleep(0.5)
    assert repr(seen(ended)) == repr(before)


def test_environments_are_closed(model):
    made = []

    def make():
        made.append(Toy())
        return made[-1]

    episodes(model, [World(make, seed) for seed in range(5)])
    assert all(env.closed.wait() for env in made)


@pytest.mark.parametrize(
    ("rules", "outcome"), [({"turns": 2}, "turns"), ({"context": 12}, "context"), ({}, "terminated")]
)
def test_limits_end_an_episode_with_its_rewards(model, rules, outcome):
    (each,) = episodes(model, [World(Fixed, 1)], **rules)
    assert each.outcome == outcome
    assert each.reward == each.reward
    assert all(turn.reward == turn.reward for turn in each.turns)
    assert len(each.context(len(each.turns) - 1)) + len(each.turns[-1].action) <= rules.get("context", 96)


def test_a_prompt_that_does_not_fit_is_an_episode_without_turns(model):
    (each,) = episodes(model, [World(Fixed, 1)], context=4)
    assert (each.outcome, each.turns) == ("context", [])


@pytest.mark.parametrize("change", [{"turns": 0}, {"seconds": 0.0}, {"memory": -1}, {"temperature": -1.0}])
def test_impossible_rules_are_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} is too small"):
        replace(RULES, **change)


def test_what_cannot_be_played_is_refused(model):
    with pytest.raises(ValueError, match="2 episodes need as many generators, not 1"):
        lockstep.play(model, WORLDS[:2], TOKENS, RULES, [derived_generator(0)])
    with pytest.raises(ValueError, match=r"rules.context is 129; the model was made for 128 tokens"):
        episodes(model, WORLDS[:1], context=129)
