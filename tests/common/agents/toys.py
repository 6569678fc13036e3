"""Environments of tokens for the tests: one that plays along, and some that do not."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from gymnasium import spaces
from transformers import PreTrainedModel

from common.agents.episodes import Codec, Rules, Trajectory, World
from common.agents.lockstep import play
from common.rl.rollout import derived_generator

VOCABULARY = 24
TOKENS = Codec(observation=list, action=tuple, head=lambda info: [1])
RULES = Rules(ends=(2,), turns=6, turn_tokens=5, context=96, observation=16)


class Toy(gymnasium.Env[Any, Any]):
    """Answers with zero to four tokens that depend on everything so far; ends after one to five turns."""

    observation_space = spaces.Sequence(spaces.Discrete(VOCABULARY))
    action_space = spaces.Sequence(spaces.Discrete(VOCABULARY))

    def __init__(self) -> None:
        self.closed = threading.Event()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[list[int], dict[str, Any]]:
        super().reset(seed=seed)
        self.dice = random.Random(seed)
        self.left = self.dice.randint(1, 5)
        return self.tokens(1), {"turn": 0}

    def step(self, action: Any) -> tuple[list[int], float, bool, bool, dict[str, Any]]:
        self.dice = random.Random(str((self.dice.random(), action)))
        self.left -= 1
        return self.tokens(0), float(sum(action) % 3 == 0), self.left == 0, False, {}

    def tokens(self, least: int) -> list[int]:
        return [self.dice.randrange(3, VOCABULARY) for _ in range(self.dice.randint(least, 4))]

    def close(self) -> None:
        self.closed.set()


class Fixed(Toy):
    """Three turns; every observation has three tokens."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[list[int], dict[str, Any]]:
        super().reset(seed=seed)
        self.left = 3
        return self.tokens(0), {}

    def tokens(self, least: int) -> list[int]:
        return [self.dice.randrange(3, VOCABULARY) for _ in range(3)]


class OneTurn(Toy):
    """A prompt and a reward."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[list[int], dict[str, Any]]:
        first = super().reset(seed=seed)
        self.left = 1
        return first


class Breaking(Toy):
    """Plays along until its second step, then does something else."""

    def __init__(self, deed: Callable[[], Any]) -> None:
        super().__init__()
        self.deed, self.steps = deed, 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        answer = super().step(action)
        self.steps += 1
        return (*answer[:2], False, False, {}) if self.steps < 2 else self.deed()


def episodes(
    model: PreTrainedModel, worlds: list[World], keys: list[int] | None = None, **rules: Any
) -> list[Trajectory]:
    """Play in worlds; random numbers by key, by default the place in the list."""
    generators = [derived_generator(5, key) for key in (keys or range(len(worlds)))]
    return play(model, worlds, TOKENS, Rules(**{**vars(RULES), **rules}), generators)


def seen(trajectory: Trajectory) -> tuple[Any, ...]:
    """What has to be equal where two episodes are."""
    turns = [(turn.observation, turn.action, turn.reward) for turn in trajectory.turns]
    return trajectory.head, turns, trajectory.outcome


def scored(model: PreTrainedModel, prompt: list[int], action: list[int]) -> tuple[list[float], list[float]]:
    """Log-probabilities and entropies of a turn by the model's plain forward."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *action]]).to(model.device)).logits[0, len(prompt) - 1 : -1]
    log_probs = logits.float().log_softmax(dim=-1)
    chosen = log_probs.gather(1, torch.tensor(action)[:, None])[:, 0]
    return chosen.tolist(), (-(log_probs.exp() * log_probs).sum(dim=1)).tolist()
