"""`RARLTrainer`: neutral it is `AgentTrainer` bit for bit; replays are rolled out by the current policy."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset

from common.agents.episodes import Rules, World
from common.agents.ppo import with_critic
from common.agents.trainer import AgentTrainer
from common.models.recipe import ModelShape, build_model
from common.rl import testing
from common.rl.config import GroupConfig
from common.study.example import execute
from common.tasks.travel.sandbox import TravelSandbox, schedule
from common.tasks.travel.verification import Verdict
from common.tasks.travel.warm_start import CODEC, CONTEXT, tokenizer
from common.tasks.travel.warm_start import RULES as TRAVEL
from common.tasks.travel.worlds import Asked, queries
from papers.deeptravel.trainer import RARLConfig, RARLTrainer, verdicts
from tests.common.agents.toys import TOKENS, Toy

RULES = Rules(ends=(2,), turns=4, turn_tokens=4, context=96, observation=16)
WORLDS = Dataset.from_dict({"prompt": [str(seed) for seed in range(12)]})
NEUTRAL = {"rarl_replay": "", "rarl_reward": "product"}


def run(folder, kind=RARLTrainer, config=RARLConfig, world=Toy, **fields):
    """A trained trainer on the toy environment; four updates a rollout batch."""
    torch.set_num_threads(1)
    words = testing.pocket_tokenizer()
    settings = {**testing.NEUTRAL, "top_k": 0, "max_steps": 12, "output_dir": str(folder), **fields}
    trainer = kind(
        build_model(ModelShape(16, 1, 2, 32, context=128), words, seed=0),
        args=config(**settings),
        train_dataset=WORLDS,
        processing_class=words,
        worlds=lambda prompt: World(world, int(prompt)),
        codec=TOKENS,
        rules=RULES,
    )
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return testing.weights(run(tmp_path_factory.mktemp("stock"), AgentTrainer, GroupConfig))


def test_neutral_it_equals_the_agents_trainer_bit_for_bit(stock, tmp_path):
    testing.assert_bitwise(testing.weights(run(tmp_path, **NEUTRAL)), stock)


def test_a_buffer_that_is_never_drawn_from_changes_nothing(stock, tmp_path):
    trainer = run(tmp_path, rarl_share=0.0, rarl_admit=9.0)
    assert trainer.buffer.items
    testing.assert_bitwise(testing.weights(trainer), stock)


class Judged(Toy):
    """Says a verdict at every step; its reward is that of the toy."""

    def step(self, action):
        observation, reward, over, cut, _ = super().step(action)
        turns = (len(action) > 2, True, True, True)
        return observation, reward, over, cut, {"verdict": Verdict(reward, len(action) > 1, turns, True)}


class Watching(RARLTrainer):
    """Keeps prompts, rollouts with the policy's own log-probabilities, and advantages of each batch."""

    def rollout(self, prompts):
        rollout = super().rollout(prompts)
        self.seen = [*getattr(self, "seen", []), (prompts, rollout, list(self.buffer.items))]
        self.scored = [*getattr(self, "scored", []), rollout.old_log_probs]
        return rollout

    def play(self, prompts):
        self.asked = [*getattr(self, "asked", []), prompts]
        return super().play(prompts)

    def advantages(self, rewards, rollout):
        self.used = [*getattr(self, "used", []), (rewards, super().advantages(rewards, rollout))]
        return self.used[-1][1]


REPLAYING = {"rarl_admit": 9.0, "rarl_evict": 99.0, "rarl_every": 2, "max_steps": 16}


def test_every_other_batch_has_half_of_its_queries_from_the_buffer_at_equal_rollouts(tmp_path):
    trainer = run(tmp_path, Watching, world=Judged, **REPLAYING)
    assert len(trainer.seen) == 4
    for batch, (prompts, rollout, _) in enumerate(trainer.seen):
        stream, played = [row["prompt"] for row in prompts], trainer.asked[batch]
        assert len(played) == len(stream) == len(rollout.completion_ids) == 16
        assert played[8:] == stream[8:]
        if batch % 2:
            assert set(played[:8]) <= set(trainer.seen[batch - 1][2])
            assert all(len(set(played[at : at + 4])) == 1 for at in range(0, 16, 4))
        else:
            assert played == stream
    logs = [entry for entry in trainer.state.log_history if "rarl/replayed" in entry]
    assert [entry["rarl/replayed"] for entry in logs[::4]] == [0.0, 0.5, 0.0, 0.5] or {
        entry["rarl/replayed"] for entry in logs
    } == {0.0, 0.5}


def test_replays_are_sampled_by_the_policy_of_the_moment(tmp_path):
    """No stored trajectory is among the rows: each was drawn with the probabilities that the policy gives."""
    trainer = run(tmp_path, Watching, world=Judged, **REPLAYING)
    for (_, rollout, _), scored in zip(trainer.seen, trainer.scored, strict=True):
        drawn = [value for each in rollout.trajectories for turn in each.turns for value in turn.log_probs]
        torch.testing.assert_close(scored[rollout.mask.bool()], torch.tensor(drawn), rtol=1e-4, atol=1e-4)


def test_the_streams_mean_leaves_replays_out(tmp_path):
    trainer = run(tmp_path, Watching, world=Judged, logging_steps=4, **REPLAYING)
    logs = [entry["rarl/stream"] for entry in trainer.state.log_history if "rarl/stream" in entry]
    for batch, (_, rollout, _) in enumerate(trainer.seen):
        own = rollout.rewards[8 * (batch % 2) :]
        assert logs[batch] == pytest.approx(float(own.mean()), rel=1e-5)


@pytest.mark.parametrize("kind", ["trajectory", "turn", "mean", "permuted", "shuffled"])
def test_other_rewards_are_made_of_the_verdicts(tmp_path, kind):
    trainer = run(tmp_path, Watching, world=Judged, rarl_replay="", rarl_reward=kind, max_steps=4)
    (_, rollout, _), (_, used) = trainer.seen[0], trainer.used[0]
    found = verdicts(rollout)
    if kind == "trajectory":
        for group, at in zip(used.split(4), range(0, 16, 4), strict=True):
            passed = [verdict.trajectory for verdict in found[at : at + 4]]
            assert bool((group == 0).all()) == (len(set(passed)) == 1)
    assert used.shape == (16,)


def test_a_run_that_was_cut_goes_on_bit_for_bit_with_its_buffer(tmp_path):
    fields = {"exact_resume": True, "save_strategy": "steps", "save_steps": 6, "save_total_limit": 2}
    fields |= {**REPLAYING, "max_steps": 12}
    whole = run(tmp_path / "whole", world=Judged, **fields)
    torch.manual_seed(1)
    cut = run(tmp_path / "cut", world=Judged, **{**fields, "max_steps": 6})
    assert cut.buffer.items
    words = testing.pocket_tokenizer()
    settings = {**testing.NEUTRAL, "top_k": 0, "output_dir": str(tmp_path / "cut"), **fields}
    resumed = RARLTrainer(
        build_model(ModelShape(16, 1, 2, 32, context=128), words, seed=0),
        args=RARLConfig(**settings),
        train_dataset=WORLDS,
        processing_class=words,
        worlds=lambda prompt: World(Judged, int(prompt)),
        codec=TOKENS,
        rules=RULES,
    )
    resumed.train(resume_from_checkpoint=True)
    testing.assert_bitwise(testing.weights(resumed), testing.weights(whole))
    assert list(resumed.buffer.items.items()) == list(whole.buffer.items.items())


def test_with_a_critic_in_front_it_trains(tmp_path):
    trainer = run(tmp_path, with_critic(RARLTrainer), world=Judged, **{**REPLAYING, "max_steps": 8})
    assert set(trainer.companions()) == {"critic", "replay"}
    assert all(torch.isfinite(value).all() for value in testing.weights(trainer).values())


def test_in_the_sandbox_observations_are_masked_and_an_untrained_planner_gets_nothing(tmp_path):
    asked = Asked(real=False)
    stream = queries(asked, "train", 4)
    tools = schedule(asked.timetable("train"))
    settings = {**testing.NEUTRAL, "top_k": 0, "max_steps": 4, "output_dir": str(tmp_path)}
    trainer = Watching(
        build_model(ModelShape(16, 1, 2, 32, context=CONTEXT), tokenizer(), seed=0),
        args=RARLConfig(**settings),
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(4)]}),
        processing_class=tokenizer(),
        worlds=lambda prompt: World(lambda: TravelSandbox(stream, tools), int(prompt)),
        codec=CODEC,
        rules=TRAVEL,
    )
    trainer.train()
    _, rollout, held = trainer.seen[0]
    assert float(rollout.rewards.sum()) == 0
    assert len(held) == 4
    for row, each in enumerate(rollout.trajectories):
        own = sum(len(turn.action) for turn in each.turns)
        assert int(rollout.mask[row].sum()) == own


def test_the_example_of_the_readme_trains(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    sizes = {
        "Recipe(asked)": "Recipe(asked, demonstrations=16, lookups=1, sft_steps=1, sft_batch=4)",
        '"train", 256': '"train", 8',
        "prompts=8, num_generations=8": "prompts=2, num_generations=2",
        "max_steps=32": "max_steps=2, save_strategy='no'",
    }
    trainer = execute("deeptravel", sizes)["trainer"]
    assert trainer.state.global_step == 2
    assert list(trainer.buffer.items.values()) == [1, 0, 0]  # failed; the first was asked again


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rarl_reward": "sum"}, "rarl_reward"),
        ({"rarl_replay": "all"}, "rarl_replay"),
        ({"rarl_share": 2.0}, "share"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, fields, named):
    with pytest.raises(ValueError, match=named):
        RARLConfig(**{**testing.NEUTRAL, "output_dir": str(tmp_path), **fields})
