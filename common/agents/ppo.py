"""PPO for agents: a critic's advantages in the place of the group's."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.agents.critic import ValueHead, gae, on_last_tokens, value_loss
from common.agents.trainer import AgentTrainer
from common.rl.companions import Companion
from common.rl.rollout import Rollout


class Critic:
    """A linear value on the policy's own states, which are left alone, and its optimizer.

    Args:
        hidden: Width of the states.
        learning_rate: Adam's.
        epochs: Passes over a rollout.
    """

    def __init__(self, hidden: int, learning_rate: float, epochs: int) -> None:
        self.network = ValueHead(hidden, detach=True)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.epochs = epochs

    def values(self, states: Float[Tensor, "B L D"], completion: int) -> Float[Tensor, "B T"]:
        """Before each token of the completion."""
        with torch.no_grad():
            value: Tensor = self.network(states, completion)
        return value

    def fit(self, states: Tensor, targets: Float[Tensor, "B T"], mask: Tensor) -> float:
        """Move towards the targets; the loss of the last pass."""
        loss = torch.zeros(())
        for _ in range(self.epochs):
            self.optimizer.zero_grad()
            loss = value_loss(self.network(states, targets.shape[1]), targets, mask)
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def state_dict(self) -> dict[str, Any]:
        """Of the optimizer; the weights are saved beside the model's."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.optimizer.load_state_dict(state)


class CriticAdvantages(AgentTrainer):
    """`AgentTrainer` as PPO has it, with γ = λ = 1: an own token is worth the return to come minus the
    critic's value before it, with mean 0 and standard deviation 1 over the rollout.

    `with_critic` puts it in front of another agents' trainer; the groups of that one then only say how often
    a world is played. Logs the critic's loss (``critic/loss``).

    Args:
        critic_rate: Learning rate of the critic.
        critic_epochs: Its passes over a rollout.

    Raises:
        ValueError: several processes, whose critics would part.
    """

    def __init__(self, *args: Any, critic_rate: float = 1e-2, critic_epochs: int = 10, **others: Any) -> None:
        super().__init__(*args, **others)
        if self.accelerator.num_processes > 1:
            raise ValueError("a critic is trained in one process")
        self.critic = Critic(self.model.config.hidden_size, critic_rate, critic_epochs)

    def companions(self) -> dict[str, Companion]:
        """The critic, beside what the trainer has."""
        return {**super().companions(), "critic": self.critic}

    def advantages(
        self,
        rewards: Float[Tensor, " N"],  # noqa: ARG002 - a hook
        rollout: Rollout,
    ) -> Float[Tensor, "B T"]:
        """See the class; in training the critic learns from the rollout afterwards."""
        assert rollout.turn_rewards is not None
        mask, states = rollout.mask, self._states(rollout)
        values = self.critic.values(states, mask.shape[1])
        worth = gae(on_last_tokens(rollout.turn_rewards, rollout.turns, mask), values, mask)
        if self.model.training:
            self.log_metric("critic/loss", self.critic.fit(states, worth + values, mask))
        own = worth[mask.bool()]
        scaled = (worth - own.mean()) / (own.std() + 1e-8)
        return scaled.where(mask.bool(), 0.0)

    def _states(self, rollout: Rollout) -> Float[Tensor, "B L D"]:
        """The policy's last hidden states over prompts and completions."""
        policy = self.accelerator.unwrap_model(self.model)
        ids = torch.cat([rollout.prompt_ids, rollout.completion_ids], dim=1)
        seen = torch.cat([rollout.prompt_mask, rollout.batch["completion_mask"]], dim=1)
        with torch.no_grad():
            states: Tensor = policy.base_model(input_ids=ids, attention_mask=seen, use_cache=False)[0]
        return states


def with_critic(trainer: type[AgentTrainer]) -> type[AgentTrainer]:
    """A trainer with a critic's advantages; all else is its own."""
    return type(trainer.__name__, (CriticAdvantages, trainer), {})
