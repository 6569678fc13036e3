"""What a policy reads of text games; and, where Java and the simulators are installed, the real ones."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from common.study.assets import ASSETS, missing, reason
from common.study.errors import StudyError
from common.tasks.text_games import coin, simulators
from common.tasks.text_games.simulators import (
    RUNTIME,
    SCIENCE,
    TEXTWORLD,
    ScienceWorld,
    TextWorldExpress,
    replay,
)

KITCHEN = (
    "You are in the kitchen. In one part of the room you see a stove. You also see a trash can. "
    "\nTo the North you see a closed frosted-glass door. Through an open wood door, to the East you see the "
    "laundry room. To the West you see the corridor. "
)


def installed(simulator):
    lacking = missing([*RUNTIME, simulator])
    return pytest.mark.skipif(bool(lacking), reason=reason(lacking))


def test_the_policy_reads_the_room_its_exits_and_the_coin():
    words = ["kitchen", "north", "closed", "east", "laundry-room", "west", "corridor"]
    assert coin.reading(KITCHEN) == words
    assert coin.reading(f"You move east.\n{KITCHEN}") == words
    assert coin.reading(KITCHEN.replace("a stove.", "a coin.")) == [*words, "coin"]
    assert coin.reading(f"Unknown action: I'm not sure what you mean.\n{KITCHEN}") == ["nothing", *words]


@pytest.mark.parametrize("text", ["", "You are in the cellar. "])
def test_a_text_that_the_words_cannot_say_is_refused(text):
    with pytest.raises(StudyError, match="never said before"):
        coin.reading(text)


def test_a_search_takes_the_coin_then_what_is_new_then_goes_back():
    words, dice, trail = coin.reading(KITCHEN), np.random.default_rng(0), ["south"]
    assert coin._next([*words, "coin"], set(), trail, dice) == "take coin"
    first = {coin._next(words, {"kitchen"}, [], np.random.default_rng(seed)) for seed in range(20)}
    assert first == {"open door to north", "move east", "move west"}
    assert coin._next(["kitchen", "west", "corridor"], {"corridor"}, trail, dice) == "move north"
    assert trail == []


def test_a_detour_is_undone():
    words, dice = coin.reading(KITCHEN), np.random.default_rng(0)
    found = {coin._detour(words, dice) for _ in range(60)}
    assert found == {
        ("look around",),
        ("open door to north", "close door to north"),
        ("move east", "move west"),
        ("move west", "move east"),
    }


def test_without_java_there_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(ASSETS, "jre", replace(ASSETS["jre"], module="/nowhere"))
    with pytest.raises(StudyError, match=r"needs .*jre \(openjdk.*\), .* apt-get install openjdk") as error:
        simulators.java.__wrapped__(TEXTWORLD)
    assert "\n" not in error.value.message


@installed(TEXTWORLD)
class TestCoin:
    """The real game."""

    def test_a_gold_path_finds_the_coin(self):
        player = coin.game()
        player.reset(seed=2, options={"gold": True})
        assert replay(player, player.gold) == (1.0, True)

    def test_a_search_is_drawn_from_its_seed_and_finds_the_coin_in_time(self):
        player, other = coin.game(), coin.game()
        for world in coin.worlds("train", 4):
            shown = coin.demonstrate(player, world)
            assert shown.solved
            assert len(shown.readings) == len(shown.actions) <= coin.LONGEST
            assert shown.actions[-1] == "take coin"
            noisy = coin.demonstrate(player, world, 0.5, seed=3)
            assert noisy == coin.demonstrate(other, world, 0.5, seed=3)
            assert set(" ".join(noisy.actions).split()) <= set(coin.VOCABULARY)
            assert "nothing" not in {word for words in noisy.readings for word in words}

    def test_worlds_are_the_same_in_any_company_and_splits_share_none(self):
        first, second = coin.game(), coin.game()
        texts = [first.reset(seed=7)[0], second.reset(seed=7)[0], first.reset(seed=8)[0]]
        assert texts[0] == texts[1] != texts[2]
        splits = [set(first.worlds(split)) for split in simulators.SPLITS]
        assert sum(map(len, splits)) == len(set.union(*splits)) == 3000

    def test_what_the_game_does_not_understand_costs_a_turn_and_changes_nothing(self):
        player = coin.game()
        before = coin.reading(player.reset(seed=3)[0])
        text, reward, over, _, info = player.step("door door coin")
        assert coin.reading(text) == ["nothing", *before]
        assert (reward, over, info["score"]) == (0.0, False, 0.0)

    def test_a_charge_is_on_what_does_nothing_alone_and_leaves_the_score(self):
        player = coin.Charged(0.1)
        player.reset(seed=2, options={"gold": True})
        _, reward, over, _, info = player.step("door door coin")
        assert (reward, over, info["score"]) == (-0.1, False, 0.0)
        rewards = [player.step(action)[1] for action in player.unwrapped.gold]
        assert rewards == [0.0] * (len(rewards) - 1) + [1.0]

    def test_all_games_share_one_java_machine(self):
        games = [coin.game()]
        machines = {child.pid for child in psutil.Process().children()}
        games += [coin.game() for _ in range(4)]
        assert {child.pid for child in psutil.Process().children()} == machines
        assert len({each.reset(seed=2)[0] for each in games}) == 1

    def test_a_game_that_is_none_is_explained(self):
        with pytest.raises(StudyError, match="no game 'coins'"):
            TextWorldExpress("coins")


@installed(SCIENCE)
def test_a_gold_path_of_scienceworld_scores_one_hundred_percent():
    world = ScienceWorld("find-living-thing")
    _, info = world.reset(seed=0, options={"gold": True})
    assert "living thing" in info["task"]
    assert replay(world, world.gold) == (1.0, True)


@installed(SCIENCE)
def test_a_task_that_is_none_is_explained():
    with pytest.raises(StudyError, match=r"no task 'brew'; it has .*boil"):
        ScienceWorld("brew")
