"""Dynamic sampling: mixed groups while the rounds last, whole groups, a private and checkpointed stream."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.rl.advantages import mixed_groups
from common.rl.config import GroupConfig
from common.rl.dynamic_sampling import PromptStream, choose_groups, collect, concatenate
from common.rl.trainer import GroupTrainer


class Watching(GroupTrainer):
    """Keeps each rollout batch: prompts, rewards and the advantages that training uses."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        if not hasattr(self, "batches"):
            self.batches = []
        self.batches.append((self.given, output))
        return output

    def advantages(self, rewards, batch):
        self.given = rewards, batch
        return super().advantages(rewards, batch)


def rarely(completion_ids, **columns):
    """1 for about one completion in ten: most groups of four are all wrong."""
    return [float(sum(ids) % 10 == 0) for ids in completion_ids]


def test_only_mixed_groups_are_trained_while_the_rounds_last(build):
    trainer = build(Watching, reward=rarely, dynamic_sampling_rounds=30, max_steps=12)
    trainer.train()
    assert len(trainer.batches) == 3
    for (rewards, batch), output in trainer.batches:
        assert rewards.shape == (16,)
        groups = rewards.view(4, 4)
        assert (groups.amax(dim=1) > groups.amin(dim=1)).all()
        assert (batch.prompt_ids.view(4, 4, -1) == batch.prompt_ids.view(4, 4, -1)[:, :1]).all()
        expected = [
            float(int(row[mask.bool()].sum()) % 10 == 0)
            for row, mask in zip(batch.completion_ids, batch.mask, strict=True)
        ]
        assert rewards.tolist() == expected
        assert output["num_items_in_batch"] == output["completion_mask"].sum()
    log = trainer.state.log_history
    assert log[0]["rollouts/kept"] == 16
    assert log[0]["rollouts/generated"] > 16
    assert log[0]["rollouts/generated"] % 16 == 0


def test_old_log_probs_move_with_their_rows(build):
    trainer = build(Watching, reward=rarely, dynamic_sampling_rounds=5, max_steps=1, learning_rate=0.0)
    trainer.train()
    (_, batch), output = trainer.batches[0]
    recorded = output["old_per_token_logps"]
    scored, _ = batch.score()
    torch.testing.assert_close(recorded * batch.mask, scored * batch.mask, rtol=1e-4, atol=1e-5)


def test_the_cap_leaves_groups_without_advantage(build):
    trainer = build(Watching, reward=rarely, dynamic_sampling_rounds=1, max_steps=16, seed=3)
    trainer.train()
    short = 0
    for (rewards, _), output in trainer.batches:
        groups = rewards.view(4, 4)
        mixed = groups.amax(dim=1) > groups.amin(dim=1)
        short += int((~mixed).sum())
        assert (output["advantages"].view(4, 4)[~mixed] == 0).all()
        assert mixed.tolist() == sorted(mixed.tolist(), reverse=True)
    assert short > 0
    assert trainer.state.log_history[0]["rollouts/generated"] == 32


def test_rule_of_a_method_cannot_give_advantage_to_filler(build):
    class Always(Watching):
        def advantages(self, rewards, batch):
            super().advantages(rewards, batch)
            return torch.ones(len(batch.mask))

    trainer = build(
        Always,
        reward=lambda completion_ids, **_: [0.0] * len(completion_ids),
        dynamic_sampling_rounds=2,
        max_steps=1,
    )
    trainer.train()
    assert (trainer.batches[0][1]["advantages"] == 0).all()
    assert trainer.state.log_history[0]["rollouts/generated"] == 48
    assert trainer.state.log_history[0]["rollouts/kept"] == 0


def test_groups_must_not_straddle_processes(build, monkeypatch):
    """Two processes of six rows hold three groups of four: the middle one would be split."""
    monkeypatch.setattr(GroupConfig, "world_size", 2)
    with pytest.raises(ValueError, match=r"6 rows a process .* no multiple of num_generations=4"):
        build(dynamic_sampling_rounds=1, per_device_train_batch_size=2, steps_per_generation=3)


@given(st.integers(1, 9), st.lists(st.integers(0, 7), max_size=8), st.integers(0, 5))
def test_the_prompt_stream_passes_over_all_prompts_and_resumes_from_its_position(size, counts, seed):
    stream = PromptStream(size, seed)
    drawn = [index for count in counts for index in stream.draw(count)]
    assert stream.drawn == len(drawn) == sum(counts)
    for start in range(0, len(drawn) - size + 1, size):
        assert sorted(drawn[start : start + size]) == list(range(size))
    resumed = PromptStream(size, seed)
    resumed.drawn = stream.drawn
    assert resumed.draw(5) == stream.draw(5)


def test_streams_of_other_seeds_differ():
    assert PromptStream(50, 0).draw(50) != PromptStream(50, 1).draw(50)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 12))
def test_groups_with_a_signal_come_first_and_in_order(signal, quota):
    chosen = choose_groups(signal, quota)
    good = [group for group, on in enumerate(signal) if on][:quota]
    assert chosen[: len(good)] == good
    assert len(chosen) == min(quota, len(signal)) == len(set(chosen))


def test_all_ranks_go_on_until_the_last_has_its_quota():
    """This rank is full after the first round, another is not: it still takes part in two further rounds."""
    elsewhere = iter([1, 1, 0])
    reports = []

    def missing_anywhere(here: int) -> int:
        reports.append(here)
        return here + next(elsewhere)

    def generate(prompts):
        return {"completion_ids": torch.full((2, 1), prompts)}, torch.tensor([[0.0], [1.0]])

    found = collect(
        generate,
        7,
        lambda: 8,
        missing_anywhere,
        lambda rewards: mixed_groups(rewards[:, 0], 2),
        num_generations=2,
        max_extra_rounds=5,
        pad_token_id=0,
    )
    assert (found.rounds, reports) == (3, [0, 0, 0])
    assert found.batch["completion_ids"].tolist() == [[7], [7]]


def test_batches_of_other_widths_are_padded_on_their_side():
    first = {
        "prompt_ids": torch.tensor([[5]]),
        "completion_ids": torch.tensor([[1, 2]]),
        "completion_mask": torch.ones(1, 2),
    }
    second = {
        "prompt_ids": torch.tensor([[6, 7]]),
        "completion_ids": torch.tensor([[3]]),
        "completion_mask": torch.ones(1, 1),
    }
    first["num_items_in_batch"] = second["num_items_in_batch"] = torch.tensor(2)
    first["reward"], second["reward"] = torch.tensor([1.0]), torch.tensor([2.0])
    merged = concatenate([first, second], pad_token_id=9)
    assert merged["prompt_ids"].tolist() == [[9, 5], [6, 7]]
    assert merged["completion_ids"].tolist() == [[1, 2], [3, 9]]
    assert merged["completion_mask"].tolist() == [[1, 1], [1, 0]]
    assert merged["reward"].tolist() == [1, 2]
    assert "num_items_in_batch" not in merged
    with pytest.raises(ValueError, match="'num_images' is a list"):
        concatenate([{"num_images": [1]}], pad_token_id=0)


def test_prompts_come_from_the_stream(build):
    trainer = build(Watching, reward=rarely, dynamic_sampling_rounds=2, max_steps=1)
    trainer.train()
    extra = trainer.state.log_history[0]["rollouts/generated"] / 16 - 1
    assert trainer.prompt_stream.drawn == 4 * extra > 0
    assert Counter(trainer.prompt_stream.draw(24)).most_common(1)[0][1] <= 3
