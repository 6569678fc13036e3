"""Many episodes at once, on one cache of keys and values.

All episodes write a turn token by token in the same forwards, then all environments answer, then one forward
reads the answers, whatever their lengths. An episode draws its tokens from a generator of its own, as the
lean decoder would draw them for it alone: it is the same in any company, up to the rounding of a batched
forward. Ended episodes leave the batch; prompts that are equal are read once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from operator import index
from typing import Any

import torch
from gymnasium import Env
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from common.agents.episodes import BROKEN, Codec, Outcome, Rules, Trajectory, Turn, World
from common.agents.supervision import HungError, Supervised, in_words
from common.models.options import require_plain_sampling
from common.speculative.target import Target

LOOP = "the agents' sampler"
log = logging.getLogger(__name__)


class _FloodedError(RuntimeError):
    """An observation longer than the rules allow."""


class _Episode:
    """One episode while it is played; the environment's calls are supervised."""

    def __init__(
        self, world: World, codec: Codec, rules: Rules, generator: torch.Generator, vocabulary: int
    ) -> None:
        self.codec, self.rules, self.generator, self.vocabulary = codec, rules, generator, vocabulary
        self.trajectory = Trajectory()
        self.context: list[int] = []  # what the policy has in view
        self.kept = 0  # tokens in front that were in view before too
        self.open = True
        self._env: Env[Any, Any] | None = None
        self._supervised = Supervised(rules.seconds)
        self._guarded(partial(self._begin, world))

    @property
    def turn(self) -> Turn:
        """The turn that is being written."""
        return self.trajectory.turns[-1]

    @property
    def writing(self) -> bool:
        """The turn goes on."""
        action = self.turn.action
        room = min(self.rules.turn_tokens, self.rules.context - len(self.context))
        return not action or (action[-1] not in self.rules.ends and len(action) < room)

    def write(self, token: int, log_prob: float, entropy: float) -> None:
        """Take a token that was drawn."""
        turn = self.turn
        turn.action.append(token)
        turn.log_probs.append(log_prob)
        turn.entropies.append(entropy)

    def answer(self) -> None:
        """Let the environment answer the turn."""
        self._guarded(self._step)

    def _begin(self, world: World) -> Callable[[], None]:
        self._env = env = world.make()
        observation, info = env.reset(seed=world.seed)
        head, ids = self._checked(self.codec.head(info)), self._encoded(observation)

        def begin() -> None:
            self.trajectory.head, self.trajectory.info = head, info
            self._tell(ids)

        return begin

    def _step(self) -> Callable[[], None]:
        assert self._env is not None
        action = self.codec.action(list(self.turn.action))
        observation, reward, terminated, truncated, info = self._env.step(action)
        reward = float(reward)
        if not math.isfinite(reward):
            raise ValueError(f"a reward of {reward}")
        over = terminated or truncated or len(self.trajectory.turns) == self.rules.turns
        ids = [] if over else self._encoded(observation)

        def go_on() -> None:
            self.turn.reward, self.trajectory.info = reward, info
            if over:
                self._end("terminated" if terminated else "truncated" if truncated else "turns")
            else:
                self._tell(ids)

        return go_on

    def _guarded(self, call: Callable[[], Callable[[], None]]) -> None:
        """Make a call of the environment in its thread, then, in this one, what follows from its answer; an
        environment that breaks ends this episode and nothing else.
        """
        try:
            follow = self._supervised(call)
        except HungError as error:
            self._end("hung", str(error))
        except _FloodedError as error:
            self._end("flooded", str(error))
        except Exception as error:  # foreign code: whatever it raises is its own episode's end
            self._end("raised", in_words(error))
        else:
            follow()

    def _encoded(self, observation: Any) -> list[int]:
        ids = self.codec.observation(observation)
        if len(ids) > self.rules.observation:
            raise _FloodedError(f"an observation of {len(ids)} tokens, at most {self.rules.observation} fit")
        return self._checked(ids)

    def _checked(self, ids: list[int]) -> list[int]:
        ids = [index(token) for token in ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocabulary:
            raise ValueError(f"token ids {min(ids)} … {max(ids)} for a vocabulary of {self.vocabulary}")
        return ids

    def _tell(self, observation: list[int]) -> None:
        """Begin a turn after an observation."""
        trajectory = self.trajectory
        seen = [*self.context, *self.turn.action] if trajectory.turns else []
        trajectory.turns.append(Turn(observation))
        self.context = context = trajectory.context(len(trajectory.turns) - 1, self.rules.memory)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(seen, context, strict=False))
        self.kept = sum(1 for _ in same)
        if not context or len(context) >= self.rules.context:
            trajectory.turns.pop()
            self._end(
                "context",
                f"{len(context)} tokens in view, more than 0 and fewer than {self.rules.context} are needed",
            )

    def _end(self, outcome: Outcome, reason: str = "") -> None:
        self.open = False
        self.trajectory.outcome, self.trajectory.reason = outcome, reason
        if outcome in BROKEN:
            log.warning("an episode ended in turn %d: %s", len(self.trajectory.turns), reason)
        self._supervised.finish(self._close)

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()


class _LockStep:
    """Open episodes and the cache with a row for each."""

    def __init__(self, target: Target, rules: Rules, episodes: list[_Episode]) -> None:
        self.target, self.rules = target, rules
        self.episodes = [episode for episode in episodes if episode.open]
        prompts = [tuple(episode.context) for episode in self.episodes]
        places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
        longest = max(map(len, prompts), default=0) if rules.memory is None else rules.context
        staged = max(rules.turn_tokens, rules.observation + 1, longest)
        empty = torch.zeros(len(places), dtype=torch.long, device=target.device)
        self.cache = target.new_cache(empty, rules.context + staged)
        if prompts:
            rows = torch.tensor([places[prompt] for prompt in prompts], device=target.device)
            self.logits = self._feed([list(prompt) for prompt in places])[rows]
            self.cache.repeat_rows(rows)

    def run(self) -> None:
        """Play until every episode has ended."""
        while self.episodes:
            self._write()
            for episode in self.episodes:
                episode.answer()
            self._leave()
            if self.episodes:
                unread = zip(self.episodes, self.cache.lengths.tolist(), strict=True)
                self.logits = self._feed([episode.context[read:] for episode, read in unread])

    def _leave(self) -> None:
        """Drop ended episodes, and what the others no longer have in view."""
        rows = [row for row, episode in enumerate(self.episodes) if episode.open]
        self.episodes = [self.episodes[row] for row in rows]
        self.cache.select_rows(self._tensor(rows))
        kept = [min(episode.kept, len(episode.context) - 1) for episode in self.episodes]
        self.cache.truncate(self._tensor(kept))

    def _feed(self, unread: list[list[int]]) -> Float[Tensor, "B V"]:
        """Read at least one token in every row, in one forward; returns the logits behind each row's last."""
        width = max(map(len, unread))
        tokens = self._tensor([[0] * (width - len(ids)) + ids for ids in unread])  # all rows end together
        padding = self._tensor([width - len(ids) for ids in unread])[:, None]
        steps = torch.arange(width, device=tokens.device)
        visible = (steps >= padding)[:, None] & (steps[:, None] >= steps)
        positions = (self.cache.lengths[:, None] + steps - padding).clamp(min=0)
        self.cache.stage(width)
        logits = self._forward(tokens, positions, visible)
        self.cache.commit((padding + steps).clamp(max=width - 1), width - padding[:, 0])
        return logits

    def _write(self) -> None:
        """Write everybody's turn. A row that has ended its own waits; what it is fed is not kept."""
        staged = 0
        for step in range(self.rules.turn_tokens):
            tokens = self._draw()
            if not any(episode.writing for episode in self.episodes):
                break
            self.cache.stage(1, offset=step)
            staged = step + 1
            positions = self.cache.lengths[:, None] + step
            visible = torch.ones(len(tokens), 1, staged, dtype=torch.bool, device=tokens.device)
            self.logits = self._forward(tokens[:, None], positions, visible)
        path = torch.arange(staged, device=self.target.device).expand(len(self.episodes), -1)
        read = [len(episode.turn.action) - 1 for episode in self.episodes]
        self.cache.commit(path, self._tensor(read))

    def _draw(self) -> Int[Tensor, " B"]:
        """Draw a token for every row that writes; the others get token 0."""
        rows = [row for row, episode in enumerate(self.episodes) if episode.writing]
        logits = self.logits[rows].float() / (self.rules.temperature or 1.0)
        log_probs = logits.log_softmax(dim=-1)
        if bool(log_probs.isnan().any()):
            raise ValueError(
                "the model gives NaN logits, or none that is finite; look at its weights and dtype"
            )
        drawn = race(logits, [self.episodes[row].generator for row in rows], self.rules.temperature == 0)
        chosen = log_probs.gather(1, drawn[:, None])[:, 0]
        entropies = -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(dim=-1)
        for row, *written in zip(rows, drawn.tolist(), chosen.tolist(), entropies.tolist(), strict=True):
            self.episodes[row].write(*written)
        tokens = drawn.new_zeros(len(self.episodes))
        tokens[rows] = drawn
        return tokens

    def _forward(
        self, tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"], visible: Bool[Tensor, "B Q E"]
    ) -> Float[Tensor, "B V"]:
        mask = self.cache.mask(visible, self.target.dtype)
        return self.target.read(tokens, positions, mask, self.cache, logits_to_keep=1).logits[:, -1]

    def _tensor(self, numbers: Sequence[Any]) -> Int[Tensor, " n"] | Int[Tensor, "n m"]:
        return torch.tensor(numbers, dtype=torch.long, device=self.target.device)


def race(
    logits: Float[Tensor, "n V"], generators: Sequence[torch.Generator], greedy: bool = False
) -> Int[Tensor, " n"]:
    """One token a row from softmax(logits), each by an exponential race on numbers of its own generator."""
    if greedy:
        return logits.argmax(dim=-1)
    size = logits.shape[1]
    rates = torch.stack([torch.empty(size).exponential_(generator=generator) for generator in generators])
    return logits.softmax(dim=-1).div_(rates.to(logits.device)).argmax(dim=-1)


@torch.no_grad()
def play(
    model: PreTrainedModel,
    worlds: Sequence[World],
    codec: Codec,
    rules: Rules,
    generators: Sequence[torch.Generator],
) -> list[Trajectory]:
    """Play an episode in every world.

    Environments are called one after the other, so that the time limit of one does not count another's work.
    One that raises, exceeds a limit, answers with tokens that do not exist or gives a reward that is no
    number ends its own episode, with outcome and reason in its trajectory and in the log; the others are as
    without it.

    Args:
        model: A decoder-only model, used in the mode (training or evaluation) that it is in.
        worlds: One per episode.
        codec: Between tokens and the environments.
        rules: Limits and temperature.
        generators: One per episode, on the CPU; equal ones give equal tokens in any company.

    Raises:
        ValueError: not a generator per world, a context that the model was not made for, or a model that
            cannot be decoded here.
    """
    target = Target(model)
    require_plain_sampling(model, rules.ends, LOOP)
    if len(worlds) != len(generators):
        raise ValueError(f"{len(worlds)} episodes need as many generators, not {len(generators)}")
    if rules.context > target.context:
        raise ValueError(f"rules.context is {rules.context}; the model was made for {target.context} tokens")
    pairs = zip(worlds, generators, strict=True)
    episodes = [_Episode(world, codec, rules, generator, target.vocabulary) for world, generator in pairs]
    _LockStep(target, rules, episodes).run()
    return [episode.trajectory for episode in episodes]
