"""`QAETrainer`: off it is TRL, on its only change is the baseline, and its configuration refuses nonsense."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl.testing import assert_bitwise, pocket_prompts, pocket_trainer, timeless_log, weights
from papers.qae.method import QAEConfig, QAETrainer, quantile_advantages
from tests.common.rl.sweep import check_inherited, check_option, parametrised
from tests.papers.model_cards import check_model_card
from tests.papers.readme import run_example, tiny_policy, tiny_questions


class Watching(QAETrainer):
    """Keeps rewards and used advantages of each rollout batch."""

    seen: list

    def advantages(self, rewards, batch):
        used = super().advantages(rewards, batch)
        self.seen = [*getattr(self, "seen", []), (rewards, used)]
        return used


@pytest.fixture
def trained(tmp_path):
    """A trainer after its training. TRL seeds the global generator when one is built: build one at a time."""

    def run(kind=Watching, config=QAEConfig, **fields):
        torch.set_num_threads(1)
        trainer = pocket_trainer(kind, config, **{"output_dir": tmp_path, **fields})
        trainer.train()
        return trainer

    return run


def test_without_a_quantile_it_equals_stock_trl_bit_for_bit(trained):
    stock, ours = trained(GRPOTrainer, GRPOConfig), trained(QAETrainer, quantile_k=None)
    assert_bitwise(weights(ours), weights(stock))
    left, right = timeless_log(ours), timeless_log(stock)
    assert [{name: entry[name] for name in other} for entry, other in zip(left, right, strict=True)] == right
    assert len(right) == 20


def test_the_quantile_changes_training(trained):
    stock, ours = trained(GRPOTrainer, GRPOConfig, max_steps=4), trained(QAETrainer, max_steps=4)
    assert any(not torch.equal(value, weights(ours)[name]) for name, value in weights(stock).items())


def test_advantages_and_shares_are_those_of_the_equations(trained):
    trainer = trained(max_steps=8, epsilon_high=0.28)
    logs = [entry for entry in trainer.state.log_history if "advantages/zero" in entry]
    assert len(trainer.seen) == len(logs) == 2
    for (rewards, used), entry in zip(trainer.seen, logs, strict=True):
        assert torch.equal(used, quantile_advantages(rewards, 4, 0.4))
        assert entry["advantages/zero"] == pytest.approx(float((used == 0).float().mean()))
        assert entry["advantages/positive"] == pytest.approx(float((used > 0).float().mean()))
        rates = rewards.view(4, 4).mean(dim=1)
        mixed = rates[(rates > 0) & (rates < 1)]
        assert entry["advantages/hard_groups"] == pytest.approx(float((mixed <= 0.6).float().mean()))


def test_a_random_gate_depends_on_seed_and_step_only(trained):
    first, again, other = (
        trained(advantage_mask="random_gate", max_steps=4, seed=seed) for seed in (0, 0, 1)
    )
    assert_bitwise(weights(first), weights(again))
    assert any(not torch.equal(value, weights(other)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("mask", ["pos", "neg", "inverted", "b0", "b1"])
def test_masks_reach_the_advantages(trained, mask):
    trainer = trained(advantage_mask=mask, max_steps=1)
    rewards, used = trainer.seen[0]
    assert torch.equal(used, quantile_advantages(rewards, 4, 0.4, mask=mask))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quantile_k": 40}, r"quantile_k=40 is outside \(0, 1\): write quantile_k=0\.4"),
        ({"quantile_k": -1}, r"quantile_k=-1 is outside"),
        ({"quantile_interpolation": "nearest"}, "unknown quantile interpolation"),
        ({"advantage_mask": "positive"}, "advantage mask 'positive' is unknown"),
        ({"quantile_k": None, "advantage_mask": "pos"}, "set quantile_k"),
        ({"advantage_std": "sample"}, "unknown standard deviation"),
    ],
)
def test_a_bad_configuration_is_an_error_at_construction(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        QAEConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **fields)


def test_the_official_codes_off_value_is_the_mean_baseline(trained):
    ours = trained(quantile_k=-1, quantile_interpolation="linear", max_steps=2)
    stock = trained(GRPOTrainer, GRPOConfig, max_steps=2)
    assert_bitwise(weights(ours), weights(stock))


def test_groups_of_one_are_evaluated_with_advantage_zero_as_in_trl(trained):
    evaluation = {"evaluated": pocket_prompts(4), "eval_strategy": "steps", "eval_steps": 1, "max_steps": 1}
    ours = trained(num_generations_eval=1, **evaluation)
    stock = trained(GRPOTrainer, GRPOConfig, num_generations_eval=1, **evaluation)
    assert ours.seen[-1][1].tolist() == [0.0] * 4
    assert timeless_log(ours)[-1]["eval_loss"] == timeless_log(stock)[-1]["eval_loss"]


def test_sums_that_differ_by_rounding_are_one_reward(trained):
    """.1 + .25 and .15 + .2 with a penalty that cancels them: no advantage, no mixed group."""

    def first(completion_ids, **_):
        return [(0.1, 0.15)[sum(ids) % 2] for ids in completion_ids]

    def second(completion_ids, **_):
        return [(0.25, 0.2)[sum(ids) % 2] for ids in completion_ids]

    def penalty(completion_ids, **_):
        return [-0.35] * len(completion_ids)

    trainer = trained(reward=[first, second, penalty], max_steps=1, advantage_std="population")
    rewards, used = trainer.seen[0]
    assert len(rewards.unique()) > 1
    assert (used == 0).all()


@parametrised
def test_every_option_acts_as_in_trl_or_is_refused(field, at):
    def neutral(**given):
        return pocket_trainer(QAETrainer, QAEConfig, quantile_k=None, **given)

    check_option(neutral, field, at, ("scale_rewards", "multi_objective_aggregation"))


def test_no_option_is_named_that_is_not_swept():
    check_inherited(QAETrainer, QAEConfig)


def test_the_model_card_names_the_method_and_its_paper(trained):
    check_model_card(
        trained(QAETrainer, max_steps=1),
        "trained with QAE, a method introduced in [Quantile Advantage Estimation",
        "huggingface.co/papers/2509.22611",
        "wu2025qae",
        "- qae\n",
    )


@pytest.mark.slow
def test_the_example_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    names = {
        "Qwen/Qwen3-0.6B-Base": tiny_policy(tmp_path / "policy"),
        "trl-lib/DeepMath-103K": tiny_questions(tmp_path / "questions", 32),
    }
    trainer = run_example("qae", names)["trainer"]
    assert isinstance(trainer, QAETrainer)
    assert trainer.state.global_step == 16
