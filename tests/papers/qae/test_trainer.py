"""`QAETrainer`: off it is TRL, on its only change is the baseline, and its configuration refuses nonsense."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl.testing import assert_bitwise, pocket_trainer, timeless_log, weights
from papers.qae.method import QAEConfig, QAETrainer, quantile_advantages


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
