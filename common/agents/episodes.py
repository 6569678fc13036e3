"""An episode: its world, its rules, how its tokens become actions, and the trajectory that it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gymnasium import Env
from transformers import PreTrainedTokenizerBase

Outcome = Literal["terminated", "truncated", "turns", "context", "raised", "hung", "flooded"]
"""How an episode ended: as its environment said (the first two), at a limit of the rules (the next two), or
because the environment broke.
"""
OUTCOMES: tuple[Outcome, ...] = ("terminated", "truncated", "turns", "context", "raised", "hung", "flooded")
BROKEN: frozenset[Outcome] = frozenset({"raised", "hung", "flooded"})
"""Outcomes that say nothing about the policy: such an episode has no return."""


class World(NamedTuple):
    """Where an episode takes place.

    Attributes:
        make: Gives the environment; it is closed when the episode ends.
        seed: Of its `reset`; episodes of one group have the same.
    """

    make: Callable[[], Env[Any, Any]]
    seed: int


@dataclass(frozen=True)
class Codec:
    """What stands between the policy's tokens and an environment's observations and actions.

    Attributes:
        observation: Token ids of an observation, whatever surrounds it included.
        action: The action that a turn's token ids (its last one included) stand for; every text is one, an
            invalid one is the environment's to judge.
        head: Token ids in front of everything, from the `info` of `reset`: the task.
    """

    observation: Callable[[Any], list[int]]
    action: Callable[[list[int]], Any]
    head: Callable[[dict[str, Any]], list[int]] = lambda _: []


def text_codec(
    tokenizer: PreTrainedTokenizerBase, before: str = "", after: str = "", task: str | None = None
) -> Codec:
    """Environments of texts: an observation stands between two texts, an action is a turn's text without
    special tokens; `task` names the entry of `info` that holds the task.
    """

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return Codec(
        observation=lambda text: encode(f"{before}{text}{after}"),
        action=lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)).strip(),
        head=lambda info: encode(info[task]) if task else [],
    )


@dataclass(frozen=True)
class Rules:
    """How episodes are played.

    Attributes:
        ends: Tokens that end a turn.
        turns: Longest episode.
        turn_tokens: Longest turn in tokens; one that reaches it is passed on as it is.
        context: Longest text that the policy reads and writes, in tokens; the cache is sized by it.
        observation: Longest observation in tokens; a longer one ends its episode.
        seconds: Wall-clock limit of one call of an environment.
        temperature: Of sampling; zero is greedy.
        memory: A turn is written after the head, the last so many exchanges and the observation; None keeps
            the whole episode in view.
    """

    ends: tuple[int, ...]
    turns: int = 30
    turn_tokens: int = 32
    context: int = 512
    observation: int = 256
    seconds: float = 10.0
    temperature: float = 1.0
    memory: int | None = None

    def __post_init__(self) -> None:
        small = [name for name in ("turns", "turn_tokens", "context", "observation") if vars(self)[name] < 1]
        small += ["seconds"] * (self.seconds <= 0) + ["memory"] * ((self.memory or 0) < 0)
        if small or not 0 <= self.temperature < math.inf:
            raise ValueError(f"rules of an episode: {', '.join(small) or 'temperature'} is too small")


@dataclass
class Turn:
    """What the policy was told, what it wrote, and what that was worth.

    Attributes:
        observation: Token ids of what stood before it.
        action: Token ids that the policy wrote.
        log_probs: Of each of them under the distribution that it was drawn from, in nats.
        entropies: Of these distributions, in nats.
        reward: What the environment gave for it; NaN if it gave no answer.
    """

    observation: list[int]
    action: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    entropies: list[float] = field(default_factory=list)
    reward: float = math.nan


@dataclass
class Trajectory:
    """A finished episode.

    Attributes:
        head: Token ids in front of everything.
        turns: Its turns; none if the environment did not even begin.
        outcome: How it ended.
        reason: In words, where an environment broke.
        info: What the environment's last answer carried besides.
    """

    head: list[int] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    outcome: Outcome = "raised"
    reason: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def reward(self) -> float:
        """Sum over its turns; NaN where the environment broke."""
        return math.nan if self.outcome in BROKEN else sum(turn.reward for turn in self.turns)

    @property
    def prompt(self) -> list[int]:
        """Token ids before the first turn."""
        return self.context(0) if self.turns else list(self.head)

    @property
    def completion(self) -> list[int]:
        """Token ids behind the prompt: the policy's, and between its turns the environment's."""
        return [token for token, _, _ in self._written()]

    @property
    def mask(self) -> list[int]:
        """1 on the completion's tokens that the policy has written, 0 on observations."""
        return [own for _, own, _ in self._written()]

    @property
    def turn_ids(self) -> list[int]:
        """Turn of each token of the completion; an observation belongs to the turn that it answers."""
        return [turn for _, _, turn in self._written()]

    def _written(self) -> Iterator[tuple[int, int, int]]:
        """Token, whether it is the policy's, and turn."""
        for index, turn in enumerate(self.turns):
            if index:
                yield from ((token, 0, index - 1) for token in turn.observation)
            yield from ((token, 1, index) for token in turn.action)

    def context(self, turn: int, memory: int | None = None) -> list[int]:
        """Token ids that a turn was written after, if `Rules.memory` was `memory`."""
        first = 0 if memory is None else max(0, turn - memory)
        past = (token for each in self.turns[first:turn] for token in (*each.observation, *each.action))
        return [*self.head, *past, *self.turns[turn].observation]

    def samples(self, memory: int | None) -> list[tuple[list[int], list[int]]]:
        """Every turn as a sample of its own: (prompt, completion)."""
        return [(self.context(index, memory), turn.action) for index, turn in enumerate(self.turns)]
