"""The seam: neutral by default, advantages logged as used, several optimizer steps per rollout batch."""

from __future__ import annotations

import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl.config import GroupConfig, batching
from common.rl.rollout import derived_generator, weighted_rewards
from common.rl.testing import assert_bitwise, pocket_prompts
from common.rl.trainer import GroupTrainer


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        {"gradient_accumulation_steps": 2, "epsilon_high": 0.28},
        {"gradient_accumulation_steps": 4, "entropy_coef": 0.01},
        {"num_iterations": 2, "delta": 3.0, "temperature": 0.7},
    ],
    ids=["dapo", "gspo", "accumulated", "aligned", "iterated"],
)
def test_neutral_equals_stock_trl_bit_for_bit(trained, fields):
    fields = {"max_steps": 20 if not fields else 8, **fields}
    stock_weights, stock_log = trained(GRPOTrainer, GRPOConfig, **fields)
    weights, log = trained(**fields)
    assert_bitwise(weights, stock_weights)
    assert len(stock_log) == fields["max_steps"]
    assert [
        {name: entry[name] for name in stock} for entry, stock in zip(log, stock_log, strict=True)
    ] == stock_log


def test_scoring_rows_together_gives_the_same_old_log_probs(build):
    """One forward for all rows is TRL's scoring up to rounding; the default leaves TRL's own batches."""
    scored = []
    for size in (None, 16):
        trainer = build(GroupTrainer, GroupConfig, scoring_batch_size=size)
        batch = next(iter(trainer.get_train_dataloader()))
        scored.append(trainer._generate_and_score_completions(batch)["old_per_token_logps"])
    torch.testing.assert_close(scored[0], scored[1], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="scoring_batch_size=0"):
        GroupConfig(output_dir="x", use_cpu=True, bf16=False, scoring_batch_size=0)


def test_unscored_completions_and_weighted_functions_equal_stock_trl(trained):
    def sometimes(completion_ids, **_):
        return [None if sum(ids) % 4 == 0 else float(len(ids)) for ids in completion_ids]

    def never(completion_ids, **_):
        return [None] * len(completion_ids)

    fields = {"reward": [sometimes, never], "reward_weights": [0.5, 2.0], "max_steps": 4}
    stock, _ = trained(GRPOTrainer, GRPOConfig, **fields)
    ours, _ = trained(**fields)
    assert_bitwise(ours, stock)


class Ranks(GroupTrainer):
    """Advantage = position in the gathered batch, so that any other order shows."""

    def advantages(self, rewards, batch):
        self.rollouts = [*getattr(self, "rollouts", []), batch]
        return torch.arange(len(rewards), dtype=torch.float32)[batch.local] - 3


class Tokens(Ranks):
    """Token-level advantages: the token's position, for completions of an even first id, else zero."""

    def advantages(self, rewards, batch):
        super().advantages(rewards, batch)
        even = (batch.completion_ids[:, :1] % 2 == 0).float()
        return even * torch.arange(1.0, batch.mask.shape[1] + 1)


def test_advantages_follow_their_completions_through_the_shuffle(build):
    trainer = build(Ranks, max_steps=4)
    trainer.train()
    batch = trainer.rollouts[0]
    place = {
        tuple(row.tolist()): at
        for at, row in enumerate(torch.cat([batch.prompt_ids, batch.completion_ids], 1))
    }
    chunks = trainer._buffered_inputs
    assert sum(len(chunk["advantages"]) for chunk in chunks) == 16 == len(place)
    for chunk in chunks:
        rows = torch.cat([chunk["prompt_ids"], chunk["completion_ids"]], 1)
        for row, value in zip(rows, chunk["advantages"], strict=True):
            assert place[tuple(row.tolist())] - 3 == value


@pytest.mark.parametrize("kind", [Ranks, Tokens])
def test_logged_advantages_and_shares_are_those_used(build, kind):
    trainer = build(kind, max_steps=1)
    trainer.train()
    batch = trainer.rollouts[0]
    used = trainer.advantages(torch.zeros(16), batch)
    per_token = used[:, None].expand(batch.mask.shape) if used.ndim == 1 else used
    means = (per_token * batch.mask).sum(1) / batch.mask.sum(1)
    assert list(trainer._logs["advantages"]) == pytest.approx(means.tolist())
    entry = trainer.state.log_history[0]
    counted = used if used.ndim == 1 else used[batch.mask.bool()]
    for name, sign in (("positive", 1), ("zero", 0), ("negative", -1)):
        share = float((counted.sign() == sign).float().mean())
        assert entry[f"advantages/{name}"] == pytest.approx(share)


def test_token_level_advantages_train(trained):
    weights, log = trained(Tokens, max_steps=4)
    assert any(entry["grad_norm"] > 0 for entry in log)
    skipped, _ = trained(Tokens, max_steps=4, row_skipping=True)
    for name, value in weights.items():
        torch.testing.assert_close(skipped[name], value, rtol=1e-3, atol=1e-4)


def test_the_rollout_gives_log_probs_and_entropies_of_the_sampling_policy(build):
    trainer = build(Ranks, max_steps=1, learning_rate=0.0)
    trainer.train()
    batch = trainer.rollouts[0]
    ids = torch.cat([batch.prompt_ids, batch.completion_ids], 1)
    attention = torch.cat([batch.prompt_mask, batch.mask], 1)
    with torch.no_grad():
        logits = trainer.model(input_ids=ids, attention_mask=attention).logits[
            :, batch.prompt_ids.shape[1] - 1 : -1
        ]
    expected = logits.log_softmax(-1)
    log_probs = expected.gather(2, batch.completion_ids[:, :, None])[:, :, 0]
    entropies = -(expected.exp() * expected).sum(-1)
    assert "old_per_token_logps" in batch.batch
    torch.testing.assert_close(batch.old_log_probs * batch.mask, log_probs * batch.mask, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batch.entropies * batch.mask, entropies * batch.mask, rtol=1e-4, atol=1e-5)


def test_looking_at_entropies_does_not_change_training(trained):
    class Looks(GroupTrainer):
        def advantages(self, rewards, batch):
            assert batch.entropies.shape == batch.old_log_probs.shape == batch.mask.shape
            return super().advantages(rewards, batch)

    for accumulation in (1, 4):
        plain, _ = trained(max_steps=3, gradient_accumulation_steps=accumulation)
        looked, _ = trained(Looks, max_steps=3, gradient_accumulation_steps=accumulation)
        assert_bitwise(looked, plain)


def test_entropy_by_sign_adds_up_to_trls_entropy(trained):
    _, log = trained(Ranks, max_steps=1, per_device_train_batch_size=16, steps_per_generation=1)
    parts = [log[0][f"entropy/{name}"] for name in ("positive", "zero", "negative")]
    assert min(parts) <= log[0]["entropy"] <= max(parts)
    _, log = trained(max_steps=1, reward=lambda completion_ids, **_: [1.0] * len(completion_ids))
    assert log[0]["entropy/zero"] == pytest.approx(log[0]["entropy"])
    assert log[0]["entropy/positive"] is None
    assert log[0]["entropy/negative"] is None


def test_evaluation_replaces_its_own_logged_advantages_only(build):
    trainer = build(Ranks, max_steps=1, evaluated=pocket_prompts(2), per_device_eval_batch_size=4)
    trainer.train()
    trainer.evaluate()
    assert list(trainer._logs["advantages"]) == [5, 6, 7, 8, 9, 10, 11, 12, -3, -2, -1, 0, -3, -2, -1, 0]


@pytest.mark.parametrize(("steps", "micro"), [(1, 1), (4, 1), (2, 2), (8, 1)])
def test_mu_optimizer_steps_are_taken_on_each_rollout_batch(build, steps, micro):
    layout = batching(prompts=4, num_generations=4, optimizer_steps=steps, micro_batches=micro)
    trainer = build(Ranks, max_steps=2 * steps, **layout)
    assert trainer.args.optimizer_steps_per_rollout == steps
    trainer.train()
    assert trainer.state.global_step == 2 * steps
    assert [len(batch.mask) for batch in trainer.rollouts] == [16, 16]
    assert trainer.rollouts[1].step == steps * micro


def test_a_layout_that_does_not_divide_is_an_error():
    assert batching(8, 16, 8, world_size=2)["per_device_train_batch_size"] == 8
    with pytest.raises(ValueError, match="3 x 4 completions do not divide into 1 process"):
        batching(3, 4, 5)


def test_evaluation_works_and_leaves_the_update_alone(trained):
    plain, _ = trained(max_steps=4, exact_resume=True)
    fields = {"eval_strategy": "steps", "eval_steps": 4, "per_device_eval_batch_size": 4}
    evaluated, log = trained(max_steps=4, evaluated=pocket_prompts(2), row_skipping=False, **fields)
    assert_bitwise(evaluated, plain)
    assert 0 <= log[-1]["eval_advantages/zero"] <= 1


def test_what_a_method_returns_is_checked(build):
    class Wrong(GroupTrainer):
        def advantages(self, rewards, batch):
            return rewards[:3]

    class NotFinite(GroupTrainer):
        def advantages(self, rewards, batch):
            return rewards[batch.local] / 0

    with pytest.raises(ValueError, match=r"Wrong\.advantages returned shape \(3,\); expected .*\(16,\)"):
        build(Wrong).train()
    with pytest.raises(ValueError, match=r"NotFinite\.advantages returned NaN or infinity"):
        build(NotFinite).train()
    with pytest.raises(TypeError, match="must be a GroupConfig, not GRPOConfig"):
        build(GroupTrainer, GRPOConfig)


def test_the_model_card_says_which_trainer_it_was(build, tmp_path):
    build().create_model_card(model_name="x")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "trained with GRPO (GroupTrainer of Reprise), a method introduced in [DeepSeekMath" in card


def test_nothing_is_sent(build, monkeypatch):
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **_: pytest.fail("telemetry"))
    monkeypatch.delenv("CI", raising=False)
    build()


def test_rewards_are_summed_as_in_trl():
    nan = math.nan
    per_function = torch.tensor([[1.0, 2.0], [nan, 2.0], [nan, nan]])
    total = weighted_rewards(per_function, torch.tensor([1.0, 0.5]))
    assert total[:2].tolist() == [2.0, 1.0]
    assert total[2].isnan()


def test_derived_generators_depend_on_every_key():
    draws = {
        keys: torch.rand(3, generator=derived_generator(*keys)).tolist() for keys in ((0, 0), (0, 1), (1, 0))
    }
    assert len({tuple(values) for values in draws.values()}) == 3
    assert torch.rand(3, generator=derived_generator(0, 1)).tolist() == draws[0, 1]


class TestLeanDecoder:
    """The lean decoder draws from the same distribution in the same form."""

    def test_completions_have_trls_form(self, build):
        trainer = build(Ranks, decoder="lean", max_steps=1)
        trainer.train()
        batch = trainer.rollouts[0]
        for row, mask in zip(batch.completion_ids, batch.mask, strict=True):
            ids = row[mask.bool()].tolist()
            assert 1 <= len(ids) <= 6
            assert 2 not in ids[:-1]
            assert len(ids) == 6 or ids[-1] == 2
        assert batch.completion_ids[batch.mask == 0].eq(0).all()

    def test_the_first_token_has_the_policys_distribution(self, build):
        trainer = build(decoder="lean", temperature=0.7, max_completion_length=1)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.mul_(3)
            expected = (trainer.model(torch.tensor([[1, 5]])).logits[0, -1] / 0.7).softmax(-1)
        ids, _ = trainer._generate_single_turn([[1, 5]] * 20_000, None, {}, 1)
        counts = torch.bincount(torch.tensor(ids)[:, 0], minlength=32).double()
        chi_square = ((counts - 20_000 * expected) ** 2 / (20_000 * expected)).sum()
        assert chi_square < 70  # 31 degrees of freedom: the 0.9999 quantile is 68


def test_fields_are_documented():
    own = [name for name in GroupConfig.__annotations__ if name not in GRPOConfig.__annotations__]
    assert len(own) == 15
    for name in own:
        assert f"{name}:" in (GroupConfig.__doc__ or "")
        assert GroupConfig.__dataclass_fields__[name].metadata["help"]
