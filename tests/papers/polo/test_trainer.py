"""`PGPOTrainer`: neutral it is `AgentTrainer` bit for bit; else the turn-level loss and the critic train."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset

from common.agents.critic import gae
from common.agents.episodes import Rules, World
from common.agents.trainer import AgentTrainer
from common.models.recipe import ModelShape, build_model
from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.scoring import sequences
from papers.polo import method
from papers.polo.method import PGPOConfig, PGPOTrainer, placed, preference_pairs, whiten
from tests.common.agents.toys import TOKENS, Toy

RULES = Rules(ends=(2,), turns=4, turn_tokens=4, context=96, observation=16)
WORLDS = Dataset.from_dict({"prompt": [str(seed) for seed in range(12)]})
NEUTRAL = {
    "pgpo_weight": 0.0,
    "pgpo_estimator": "group",
    "pgpo_groups_kept": 1.0,
    "pgpo_rows_kept": 1.0,
}


def make(folder, kind=PGPOTrainer, config=PGPOConfig, **fields):
    torch.set_num_threads(1)
    tokenizer = testing.pocket_tokenizer()
    model = build_model(ModelShape(16, 1, 2, 32, context=128), tokenizer, seed=0)
    settings = {**testing.NEUTRAL, "top_k": 0, "max_steps": 8, "output_dir": str(folder), **fields}
    return kind(
        model,
        args=config(**settings),
        train_dataset=WORLDS,
        processing_class=tokenizer,
        worlds=lambda prompt: World(Toy, int(prompt)),
        codec=TOKENS,
        rules=RULES,
    )


def trained(*args, **fields):
    trainer = make(*args, **fields)
    trainer.train()
    return trainer


def test_neutral_it_equals_the_agents_trainer_bit_for_bit(tmp_path):
    stock = trained(tmp_path / "a", AgentTrainer, GroupConfig, max_steps=20)
    ours = trained(tmp_path / "b", max_steps=20, **NEUTRAL)
    testing.assert_bitwise(testing.weights(ours), testing.weights(stock))
    assert testing.timeless_log(ours) == testing.timeless_log(stock)


class Watching(PGPOTrainer):
    """Keeps what its advantages were made of."""

    def advantages(self, rewards, rollout):
        used = super().advantages(rewards, rollout)
        self.seen = [*getattr(self, "seen", []), (rollout, used)]
        return used


def test_critic_filter_and_pairs_reach_the_loss(tmp_path):
    trainer = trained(tmp_path, Watching, pgpo_critic_rate=1e-2, pgpo_critic_steps=3)
    first = testing.timeless_log(trainer)[0]
    rollout, used = trainer.seen[0]
    kept = (used != 0).any(dim=1)
    assert int(kept.sum()) == 6  # two groups of four are kept, three trajectories of each
    assert first["pgpo/kept"] == 6 / 16
    assert float(used[~rollout.mask.bool()].abs().max()) == 0
    own = rollout.mask.bool() & kept[:, None]
    scale = float(rollout.mask.sum() / own.sum())
    assert float(used[own].mean()) == pytest.approx(0, abs=1e-5)
    assert float(used[own].std(correction=0)) == pytest.approx(scale, rel=1e-4)
    pairs = preference_pairs(rollout.turn_rewards.masked_fill(~kept[:, None], float("nan")))
    assert first["pgpo/pairs"] == pytest.approx(float(pairs.sum()) / 16)
    assert any(float(weight.detach().abs().max()) > 0 for weight in trainer.critic.network.parameters())
    logs = [entry["pgpo/preference_loss"] for entry in testing.timeless_log(trainer)]
    assert logs[-1] >= 0
    assert any(value > 0 for value in logs)


class Compared(PGPOTrainer):
    """Looks at every trajectory in one forward, where the method looks at those it keeps, a few at a time."""

    def advantages(self, rewards, rollout):
        ids, attention, _ = sequences(rollout.batch)
        kept = self._kept(rollout)
        mask = rollout.mask * kept[:, None]
        with torch.no_grad():
            states = self.model.get_decoder()(input_ids=ids, attention_mask=attention).last_hidden_state
        values = self.critic.values(states, mask.shape[1])
        ends = placed(rollout.turn_rewards, rollout.turns, mask, self.args.pgpo_placement)
        plain = gae(ends, values, mask, self.args.pgpo_discount, self.args.pgpo_trace)
        used = super().advantages(rewards, rollout)
        share = rollout.mask.sum() / mask.sum()
        torch.testing.assert_close(used, whiten(plain, mask) * share, rtol=1e-3, atol=1e-4)
        self.least = min(getattr(self, "least", 1), float(kept.float().mean()))
        return used

    def loss_inputs(self, rollout):
        given = super().loss_inputs(rollout)
        with torch.no_grad():
            plain = self.score(self.reference, rollout.batch)[0]
        own = (rollout.mask * self._kept(rollout)[:, None]).bool()
        torch.testing.assert_close(given["pgpo_reference"][own], plain[own], rtol=1e-4, atol=1e-5)
        assert given["pgpo_rewards"][~self._kept(rollout)].isnan().all()
        return given


def test_what_looks_at_the_kept_alone_equals_a_look_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(method, "CHUNK", 4)
    trainer = trained(tmp_path, Compared, pgpo_critic_rate=1e-2, pgpo_critic_steps=3)
    assert trainer.least == 6 / 16


def test_turns_alone_move_the_policy_and_shuffling_changes_where(tmp_path):
    start = testing.weights(make(tmp_path))
    arms = [
        testing.weights(trained(tmp_path / str(shuffled), pgpo_estimator="none", pgpo_shuffled=shuffled))
        for shuffled in (False, True)
    ]
    for moved in arms:
        assert any(not torch.equal(value, moved[name]) for name, value in start.items())
    assert any(not torch.equal(value, arms[1][name]) for name, value in arms[0].items())


def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path):
    fields = {"exact_resume": True, "save_strategy": "steps", "save_steps": 3, "save_total_limit": 2}
    whole = trained(tmp_path / "whole", **fields)
    cut = make(tmp_path / "cut", **fields)
    cut.args.max_steps = 3
    cut.train()
    resumed = make(tmp_path / "cut", **fields)
    resumed.train(resume_from_checkpoint=True)
    testing.assert_bitwise(testing.weights(resumed), testing.weights(whole))
    pairs = zip(resumed.critic.network.parameters(), whole.critic.network.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pgpo_mode": "each"}, "pgpo_mode='each'; choose one of cumulative, stepwise"),
        ({"pgpo_rows_kept": 0.0}, "pgpo_rows_kept=0.0 is a share"),
        ({"pgpo_weight": -0.1}, "must not be negative"),
        ({"row_skipping": True}, "see every row"),
        ({"loss_variant": "none"}, "pgpo_estimator='none'"),
    ],
)
def test_a_bad_configuration_is_an_error_at_construction(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        PGPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **fields)


def test_the_reference_stays_the_policy_that_training_began_with(tmp_path):
    trainer = make(tmp_path, pgpo_weight=0.5, learning_rate=1e-2)
    ids = torch.arange(4)[None]
    policy = trainer.accelerator.unwrap_model(trainer.model)
    before = policy.eval()(input_ids=ids).logits.detach().clone()
    trainer.train()
    assert torch.equal(trainer.reference(input_ids=ids).logits, before)
    assert not torch.equal(policy.eval()(input_ids=ids).logits, before)
