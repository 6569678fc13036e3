"""`FastGRPOTrainer`: off it is `GroupTrainer` bit for bit; on, only the source of rollouts changes."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer

FIELDS: dict[str, Any] = {"max_steps": 12, "top_k": 0, "c_peak": 40}


def make(folder: Path, **fields: Any) -> FastGRPOTrainer:
    return testing.pocket_trainer(FastGRPOTrainer, FastGRPOConfig, folder, **{**FIELDS, **fields})


def test_off_equals_the_group_trainer(tmp_path: Path) -> None:
    neutral = {"speculation": "off", "advantage_std": "trl", "skip_equal_groups": False}
    ours = make(tmp_path / "ours", **neutral, max_steps=20)
    ours.train()
    parent = testing.pocket_trainer(GroupTrainer, GroupConfig, tmp_path / "parent", top_k=0)
    parent.train()
    testing.assert_bitwise(testing.weights(ours), testing.weights(parent))
    assert testing.timeless_log(ours) == testing.timeless_log(parent)


def test_the_draft_learns_once_per_rollout_batch_before_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(tmp_path)
    policy, seen = testing.weights(trainer), []
    step = trainer.learner.step

    def spy(*args: Any) -> float:
        now = testing.weights(trainer)
        seen.append(all(torch.equal(now[name], policy[name]) for name in policy))
        return step(*args)

    monkeypatch.setattr(trainer.learner, "step", spy)
    before = [parameter.clone() for parameter in trainer.draft.network.parameters()]
    trainer.train()
    assert seen == [True, False, False]
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.draft.network.parameters(), strict=True))
    logs = [entry for entry in trainer.state.log_history if "rollout/acceptance_length" in entry]
    assert len(logs) == 3
    for entry in logs:
        assert entry["rollout/acceptance_length"] >= 1
        assert entry["draft/loss"] > 0
        total = entry["seconds/generation"] + entry["seconds/draft"]
        assert 0 < total < entry["seconds/rollout"] < entry["step_time"] * 4


def test_the_policy_step_does_not_touch_the_draft(tmp_path: Path) -> None:
    frozen = make(tmp_path, draft_learning_rate=0.0)
    before = [parameter.clone() for parameter in frozen.draft.network.parameters()]
    frozen.train()
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.draft.network.parameters(), strict=True))
    assert "draft/loss" not in frozen.state.log_history[0]


def test_the_draft_may_learn_from_used_groups_only(tmp_path: Path) -> None:
    """A reward without variance leaves no used group, so nothing is learned."""

    def constant(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [0.2] * len(completion_ids)  # whose mean is rounded

    for where, moved in (("all", True), ("used", False)):
        trainer = make(tmp_path / where, train_draft_on=where, reward=constant, max_steps=4)
        before = [parameter.clone() for parameter in trainer.draft.network.parameters()]
        trainer.train()
        pairs = zip(before, trainer.draft.network.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) is moved


def test_plain_decodes_in_the_same_loop_without_a_draft(tmp_path: Path) -> None:
    trainer = make(tmp_path, speculation="plain", early_termination=False)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "rollout/acceptance_length" in entry]
    assert {entry["rollout/acceptance_length"] for entry in logs} == {1.0}
    assert trainer.learner is None


def test_the_knee_is_measured_if_it_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr(
        "papers.fastgrpo.method.measure_c_peak", lambda target: (measured.append(target), (24, None))[1]
    )
    trainer = make(tmp_path, c_peak=0, max_steps=8)
    trainer.train()
    assert measured == [trainer.target]
    assert trainer.c_peak == 24


def test_gradient_checkpointing_does_not_hide_the_cache(tmp_path: Path) -> None:
    trainer = make(tmp_path, gradient_checkpointing=True, max_steps=4)
    trainer.train()
    assert trainer.state.log_history[0]["rollout/acceptance_length"] >= 1


@pytest.mark.parametrize("tokens", [0, 16])
def test_skipped_groups_leave_the_gradient_as_it_is_without_a_reference(tmp_path: Path, tokens: int) -> None:
    """Their advantages are 0; only a KL term, which the official code leaves out too, would be missed."""
    trained = []
    for skip in (False, True):
        fields = {"speculation": "off", "skip_equal_groups": skip, "micro_batch_tokens": tokens}
        trainer = make(tmp_path / str(skip), **fields, beta=0.0, learning_rate=1e-4, max_steps=4)
        trainer.train()
        trained.append(testing.weights(trainer))
    for name, kept in trained[0].items():
        torch.testing.assert_close(trained[1][name], kept, rtol=1e-4, atol=2e-6)


def test_a_batch_of_equal_groups_moves_nothing_even_off_the_reference(tmp_path: Path) -> None:
    def constant(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [0.2] * len(completion_ids)

    moved = {}
    for skip in (False, True):
        fields = {"speculation": "off", "skip_equal_groups": skip, "weight_decay": 0.0}
        trainer = make(tmp_path / str(skip), **fields, reward=constant, max_steps=4)
        trainer.beta, trainer.ref_model = 0.5, copy.deepcopy(trainer.model)
        with torch.no_grad():  # away from the reference
            for parameter in trainer.model.parameters():
                parameter.mul_(1.02)
        before = testing.weights(trainer)
        trainer.train()
        after = testing.weights(trainer)
        moved[skip] = any(not torch.equal(after[name], before[name]) for name in before)
    assert moved == {False: True, True: False}


def test_advantages_are_those_of_the_official_code(tmp_path: Path) -> None:
    rewards = torch.tensor([1.2, 0.2, 0.2, 0.0, 0.2, 0.2, 0.2, 0.2])
    trainer = make(tmp_path, speculation="off")
    batch = type("Batch", (), {"num_generations": 4, "local": slice(None)})()
    first = rewards[:4]
    expected = torch.cat([(first - first.mean()) / first.std(unbiased=False), torch.zeros(4)])
    torch.testing.assert_close(trainer.advantages(rewards, batch), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speculation": "tree"}, "choose one of draft, plain, off"),
        ({"train_draft_on": "none"}, "choose one of all, used"),
        ({"advantage_std": "sample"}, "choose one of population, trl"),
        ({"exact_resume": True}, "does not keep the draft"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path, **fields)
