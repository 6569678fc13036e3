"""The environment as TRL takes it: one tool, a first observation, a reward."""

import inspect
import time
from typing import Any

import gymnasium
import pytest
from transformers.utils import get_json_schema

from common.agents.episodes import World
from common.agents.tools import environment_factory


class Door(gymnasium.Env[Any, Any]):
    """Opens at the right word, within three tries."""

    def __init__(self) -> None:
        self.closed = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[str, dict[str, Any]]:
        self.word, self.tries = f"word{seed}", 0
        return "A door. It asks for a word.", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.tries += 1
        if action == "break":
            raise LookupError("no handle")
        if action == "sleep":
            time.sleep(3600)
        if action == "shout":
            return "A" * 10**6, 0.0, False, False, {}
        right = action == self.word
        return ("It opens." if right else "No."), float(right), right, self.tries == 3, {}


@pytest.fixture
def door():
    return environment_factory(lambda prompt: World(Door, int(prompt)), seconds=0.3)()


def test_trl_finds_one_tool_with_a_schema(door):
    methods = inspect.getmembers(type(door), predicate=inspect.isfunction)
    assert [name for name, _ in methods if not name.startswith("_")] == ["act", "get_reward", "reset"]
    function = get_json_schema(door.act)["function"]
    assert function["name"] == "act"
    assert function["parameters"]["required"] == ["action"]
    assert "door" not in function["description"]


def test_an_episode_as_trl_plays_it(door):
    assert door.reset(prompt="7", other=1) == "A door. It asks for a word."
    assert door.act("word3") == "No."
    assert door.get_reward() == 0.0
    assert door.act("word7") == "It opens."
    assert door.get_reward() == 1.0
    assert door.act("word7") == "The episode is over."
    assert door.get_reward() == 1.0


def test_one_object_plays_many_episodes(door):
    for seed in ("1", "2"):
        door.reset(prompt=seed)
        door.act(f"word{seed}")
        assert door.get_reward() == 1.0
    door.reset(prompt="3")
    assert [door.act("no") for _ in range(4)] == ["No."] * 3 + ["The episode is over."]
    assert door.get_reward() == 0.0


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("break", "LookupError: no handle"),
        ("sleep", "HungError: no answer within 0.3 s"),
        ("shout", "ValueError: an answer of 1000000 characters, at most 20000 fit"),
    ],
)
def test_a_broken_environment_has_no_reward_and_the_next_episode_is_sound(door, action, reason):
    door.reset(prompt="5")
    assert door.act(action) == f"The environment broke: {reason}"
    assert door.get_reward() is None
    assert door.act("word5") == "The episode is over."
    door.reset(prompt="5")
    door.act("word5")
    assert door.get_reward() == 1.0


def test_a_world_that_cannot_be_made_has_no_reward():
    def nowhere() -> Any:
        raise LookupError("no such place")

    door = environment_factory(lambda prompt: World(nowhere, 0))()
    assert door.reset(prompt="0") == "The environment broke: LookupError: no such place"
    assert door.get_reward() is None
