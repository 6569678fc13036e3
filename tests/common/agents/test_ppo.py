"""A critic in the group trainer: it values the policy's own tokens, and a resumed run keeps it."""

import pytest
import torch

from common.agents.ppo import Critic, CriticAdvantages
from common.rl import testing
from tests.common.agents.test_trainer import make


class Kept(CriticAdvantages):
    """Remembers what it was asked and what it answered."""

    def advantages(self, rewards, rollout):
        values = super().advantages(rewards, rollout)
        self.seen = [*getattr(self, "seen", []), (rollout, values)]
        return values


def test_before_it_has_learned_a_token_is_worth_the_return_to_come(tmp_path):
    trainer = make(tmp_path, Kept)
    trainer.train()
    rollout, values = trainer.seen[0]
    mask = rollout.mask.bool()
    assert (values[~mask] == 0).all()
    assert float(values[mask].mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(values[mask].std()) == pytest.approx(1.0, abs=1e-4)
    rewards = rollout.turn_rewards.nan_to_num()
    to_come = rewards.flip(1).cumsum(1).flip(1)
    raw = to_come.gather(1, rollout.turns.clamp(min=0))[mask]
    torch.testing.assert_close(values[mask], (raw - raw.mean()) / (raw.std() + 1e-8))


def test_the_critic_learns_what_states_are_worth():
    dice = torch.Generator().manual_seed(0)
    states, mask = torch.randn(8, 12, 4, generator=dice), torch.ones(8, 5)
    targets = states[:, -6:-1, 0]
    critic = Critic(4, learning_rate=0.05, epochs=200)
    assert critic.values(states, 5).abs().max() == 0
    assert critic.fit(states, targets, mask) < 0.01
    torch.testing.assert_close(critic.values(states, 5), targets, atol=0.3, rtol=0)


def test_the_trunk_gets_no_gradient_from_the_critic():
    states = torch.randn(2, 6, 4, requires_grad=True)
    critic = Critic(4, learning_rate=0.1, epochs=1)
    critic.fit(states, torch.ones(2, 3), torch.ones(2, 3))
    assert states.grad is None


def test_a_resumed_run_keeps_the_critic(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 4, "exact_resume": True}
    whole = make(tmp_path, CriticAdvantages, **saving)
    whole.train()
    resumed = make(tmp_path, CriticAdvantages, **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    testing.assert_bitwise(testing.weights(resumed), testing.weights(whole))
    for name, value in resumed.critic.network.state_dict().items():
        torch.testing.assert_close(value, whole.critic.network.state_dict()[name], rtol=0, atol=0)
