"""How well a policy plays the coin game, and its entropy where it never changes what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback

from common.agents.episodes import World
from common.agents.lockstep import play
from common.models.recipe import IGNORED
from common.rl.rollout import derived_generator
from common.tasks.text_games.coin import Demonstration, game
from common.tasks.text_games.warm_start import CODEC, RULES, padded


def success(policy: PreTrainedModel, worlds: Sequence[int], seed: int) -> float:
    """Share of these worlds in which the policy finds the coin, one episode each."""
    generators = [derived_generator(seed, 0xC019, world) for world in worlds]
    episodes = play(policy, [World(game, world) for world in worlds], CODEC, RULES, generators)
    return sum(each.reward for each in episodes) / len(episodes)


class Probe(TrainerCallback):
    """Mean entropy of the policy over the actions of fixed demonstrations, before and along a training.

    Args:
        shown: The demonstrations: the policy reads them and writes nothing.
        every: Optimizer steps between measurements.

    Attributes:
        means: In nats per token; the first is the warm start's.
    """

    def __init__(self, shown: Sequence[Demonstration], every: int) -> None:
        self.every, self.means = every, list[float]()
        self.ids, self.labels = padded(shown)

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """The warm start's."""
        self.means.append(self.measured(others["model"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """That of the policy after so many optimizer steps."""
        if state.global_step % self.every == 0:
            self.means.append(self.measured(others["model"]))

    @torch.no_grad()
    def measured(self, model: PreTrainedModel) -> float:
        """Of a policy."""
        log_probs = model(input_ids=self.ids[:, :-1], use_cache=False).logits.log_softmax(-1)
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        return float(entropies[self.labels[:, 1:] != IGNORED].mean())
