"""The environment as TRL takes it: one tool, a first observation, a reward."""

import inspect
import time
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import trl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer

from common.agents.episodes import World
from common.agents.tools import environment_factory
from common.models.recipe import ModelShape, build_model
from common.rl.testing import NEUTRAL


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
    return environment_factory(lambda prompt: World(Door, int(prompt)), seconds=2.0)()


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
        ("sleep", "common.agents.supervision.HungError: no answer within 2 s"),
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


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte, with the chat template of Qwen3 as TRL ships it."""
    special = [
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<tool_call>",
        "</tool_call>",
        "<think>",
        "</think>",
    ]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytes_only = Tokenizer(BPE({letter: place for place, letter in enumerate(letters)}, []))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_only, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[:3]})
    tokenizer.add_tokens(special[3:])
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    return tokenizer


class Scripted(GRPOTrainer):
    """Says the word of the door in its first message, and good-bye in its second."""

    def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
        written = []
        for ids in prompt_ids:
            text = self.processing_class.decode(ids)
            call = '<tool_call>\n{"name": "act", "arguments": {"action": "word7"}}\n</tool_call>'
            written.append(
                self.processing_class.encode(("Bye" if "It opens" in text else call) + "<|im_end|>")
            )
        return written, None


def test_trl_plays_an_episode_in_it(tmp_path):
    tokenizer = byte_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=4096)
    worlds = [[{"role": "user", "content": "Go through. "}]] * 4
    trainer = Scripted(
        model=build_model(shape, tokenizer, 0),
        args=GRPOConfig(
            **{**NEUTRAL, "output_dir": str(tmp_path), "max_steps": 1, "max_completion_length": 600}
        ),
        train_dataset=Dataset.from_dict({"prompt": worlds}),
        processing_class=tokenizer,
        environment_factory=environment_factory(lambda prompt: World(Door, 7)),
    )
    trainer.train()
    assert trainer.state.log_history[0]["rewards/ToolEnvironment/mean"] == 1.0
    assert trainer.state.log_history[0]["tools/failure_frequency"] == 0.0
