"""`FastGRPOTrainer`: off it is `GroupTrainer` bit for bit; on, only the source of rollouts changes."""

import copy
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer, misaligned
from tests.common.rl.options import dropping_policy
from tests.common.rl.scoring_calls import pocket_experts, update_batch
from tests.papers.model_cards import check_model_card
from tests.papers.readme import run_example, tiny_policy, tiny_questions

FIELDS: dict[str, Any] = {"max_steps": 12, "top_k": 0, "c_peak": 40}


def make(folder: Path, **fields: Any) -> FastGRPOTrainer:
    return testing.pocket_trainer(FastGRPOTrainer, FastGRPOConfig, folder, **{**FIELDS, **fields})


def test_off_equals_the_group_trainer(tmp_path: Path) -> None:
    ours = make(tmp_path / "ours", speculation="off", max_steps=8)
    ours.train()
    parent = testing.pocket_trainer(GroupTrainer, GroupConfig, tmp_path / "parent", top_k=0, max_steps=8)
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
        "papers.fastgrpo.method.measure_latency_knee", lambda target: (measured.append(target), (24, None))[1]
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
    trainer = make(tmp_path, speculation="off", advantage_std="population")
    first = rewards[:4]
    expected = torch.cat([(first - first.mean()) / first.std(unbiased=False), torch.zeros(4)])
    torch.testing.assert_close(trainer.advantages(rewards, testing.rollout_of(rewards, 4)), expected)


@pytest.mark.parametrize("std", ["population", "trl"])
def test_groups_of_equal_rewards_are_left_out_and_single_rows_at_the_mean_are_not(
    tmp_path: Path, std: str
) -> None:
    """Sums of .35 in two orders are equal; 0, .5, 1, .5 is a mixed group whose second row is at its mean."""
    sums = [0.1 + 0.25, 0.25 + 0.1, 0.05 + 0.3, 0.3 + 0.05]
    trainer = make(tmp_path, advantage_std=std)
    rewards = torch.tensor([0.0, 0.5, 1.0, 0.5, *sums])
    rollout = testing.rollout_of(rewards, 4)
    advantages = trainer.advantages(rewards, rollout)
    assert trainer.loss_inputs(rollout)["mixed"].tolist() == [True] * 4 + [False] * 4
    assert advantages[4:].tolist() == [0.0] * 4
    assert advantages[1] == advantages[3] == 0.0
    assert -advantages[0] == advantages[2] > 1


def test_rows_at_the_mean_keep_their_kl_term(tmp_path: Path) -> None:
    """The loss and its gradient on one mixed group are those of an update that leaves nothing out."""
    gradients = []
    for skip in (False, True):
        trainer = make(tmp_path / str(skip), speculation="off", skip_equal_groups=skip)
        trainer.beta, trainer.current_gradient_accumulation_steps = 1.0, 1
        batch = update_batch(
            advantages=torch.tensor([-1.0, 0.0, 1.0, 0.0]),
            ref_per_token_logps=torch.full((4, 3), -3.0),
            mixed=torch.ones(4, dtype=torch.bool),
        )
        trainer._compute_loss(trainer.model, batch).backward()
        gradients.append({name: weight.grad for name, weight in trainer.model.named_parameters()})
    for name, whole in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "field",
    [
        {"top_entropy_quantile": 0.5},
        {"use_adaptive_entropy": True},
        {"entropy_coef": 0.1},
        {"loss_variant": "kl_cov"},
        {"loss_variant": "clip_cov"},
    ],
    ids=lambda field: "-".join(map(str, *field.items())),
)
def test_terms_that_need_every_row_are_refused_unless_every_row_is_there(
    tmp_path: Path, field: dict[str, Any]
) -> None:
    (name,) = field
    with pytest.raises(ValueError, match=f"{name} needs every row: set skip_equal_groups=False"):
        make(tmp_path, **field)
    trainer = make(tmp_path, **field, skip_equal_groups=False, max_steps=2, micro_batch_tokens=16)
    trainer.train()
    assert all(bool(weight.isfinite().all()) for weight in trainer.model.parameters())


@pytest.mark.parametrize("tokens", [0, 16])
def test_experts_train_with_the_router_loss_of_the_rows_used(tmp_path: Path, tokens: int) -> None:
    trainer = make(tmp_path, model=pocket_experts(), micro_batch_tokens=tokens, max_steps=4)
    router = next(weight for name, weight in trainer.model.named_parameters() if ".gate." in name)
    before = router.detach().clone()
    trainer.train()
    assert not torch.equal(router, before)
    assert all(entry["aux_loss"] >= 0 for entry in trainer.state.log_history if "loss" in entry)


@pytest.mark.parametrize("tokens", [0, 99])
def test_the_router_loss_of_a_whole_batch_is_trls(tmp_path: Path, tokens: int) -> None:
    losses = []
    for kind, config, more in (
        (GRPOTrainer, GRPOConfig, {}),
        (FastGRPOTrainer, FastGRPOConfig, {"speculation": "off", "micro_batch_tokens": tokens}),
    ):
        trainer = testing.pocket_trainer(kind, config, tmp_path, model=pocket_experts(), **more)
        trainer.current_gradient_accumulation_steps = 2
        batch = update_batch(mixed=torch.ones(4, dtype=torch.bool))
        losses.append(trainer._compute_loss(trainer.model, batch))
    torch.testing.assert_close(*losses)


def test_the_model_card_names_the_method_and_cites_its_paper(tmp_path: Path) -> None:
    check_model_card(make(tmp_path), "FastGRPO", "zhang2025fastgrpo")


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    policy = tiny_policy(tmp_path / "policy")
    config = policy / "config.json"
    long = {**json.loads(config.read_text()), "max_position_embeddings": 4096}
    config.write_text(json.dumps(long))
    names = {
        "Qwen/Qwen2.5-1.5B-Instruct": policy,
        "trl-lib/DeepMath-103K": tiny_questions(tmp_path / "questions", 4),
    }
    trainer = run_example("fastgrpo", names)["trainer"]
    assert isinstance(trainer, FastGRPOTrainer)
    assert trainer.state.global_step == 1
    assert trainer.c_peak > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"speculation": "tree"}, "choose one of draft, plain, off"),
        ({"train_draft_on": "none"}, "choose one of all, used"),
        ({"advantage_std": "sample"}, "choose one of population, trl"),
        ({"row_skipping": True}, "row_skipping goes with skip_equal_groups=False"),
        ({"speculation": "off", "model": dropping_policy()}, None),
        ({"speculation": "off", "model": dropping_policy(), "micro_batch_tokens": 9}, "rotary"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, fields: dict[str, Any], message: str | None) -> None:
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        make(tmp_path, **fields)


def test_the_official_codes_misalignment_by_hand():
    found = misaligned(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9, 4, 7]))
    assert found.tolist() == [3.0, 1.0, 2.0]  # the shortest is the second response
    assert misaligned(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 2, 5])).tolist() == [1.0, 2.0, 3.0]


def test_the_misalignment_is_off_by_default_and_changes_the_update(tmp_path: Path):
    trained = []
    for wrong in (False, True):
        fields = {"speculation": "off", "max_steps": 4, "misaligned_rewards": wrong}
        folder = tmp_path / str(wrong)
        trainer = make(folder, **fields)
        trainer.train()
        trained.append(testing.weights(trainer))
    assert not FastGRPOConfig(output_dir=str(tmp_path), use_cpu=True).misaligned_rewards
    assert any(not torch.equal(value, trained[1][name]) for name, value in trained[0].items())
