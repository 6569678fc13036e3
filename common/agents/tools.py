"""The same environments as TRL's ``environment_factory`` takes them, for chat models that call tools.

TRL writes tool calls, masks and templates there; this side is the protocol: ``reset`` begins an episode and
returns what joins the user's message, every other public method is a tool whose docstring the model reads,
``get_reward`` scores the episode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.agents.episodes import World
from common.agents.supervision import Supervised, in_words


class ToolEnvironment:
    """A world of texts with one tool, `act`.

    Args:
        worlds: The world of a row of the dataset, as `AgentTrainer` has it of a prompt.
        seconds: Wall-clock limit of one call of the environment.
        longest: Characters of an answer at most.
    """

    def __init__(self, worlds: Callable[[Any], World], seconds: float = 60.0, longest: int = 20_000) -> None:
        self._worlds, self._seconds, self._longest = worlds, seconds, longest
        self._env: Any = None
        self._supervised: Supervised | None = None
        self._return: float | None = 0.0
        self._over = False

    def reset(self, prompt: Any = None, **_: Any) -> str:
        """Begin an episode in the world of a row; returns its first observation."""
        if self._supervised is not None and (last := self._env) is not None:
            self._supervised.finish(last.close)
        self._supervised = Supervised(self._seconds)
        self._env, self._return, self._over = None, 0.0, False
        world = self._worlds(prompt)

        def begin() -> tuple[Any, ...]:
            env = world.make()
            return env, env.reset(seed=world.seed)[0]

        return self._answer(begin, lambda env, _: setattr(self, "_env", env), observation=1)

    def act(self, action: str) -> str:
        """
        Do something in the environment.

        Args:
            action: What to do.

        Returns:
            What there is to see afterwards.
        """
        if self._over:
            return "The episode is over."
        return self._answer(lambda: self._env.step(action), self._account)

    def get_reward(self) -> float | None:
        """The sum of the episode's rewards; None where the environment broke."""
        return self._return

    def _account(self, _: Any, reward: float, terminated: bool, truncated: bool, __: Any) -> None:
        assert self._return is not None
        self._return += float(reward)
        self._over = terminated or truncated

    def _answer(
        self, call: Callable[[], tuple[Any, ...]], follow: Callable[..., None], observation: int = 0
    ) -> str:
        """The text of a call's answer, after what follows from it; an environment that breaks is over."""
        assert self._supervised is not None
        try:
            answer = self._supervised(call)
            text = str(answer[observation])
            if len(text) > self._longest:
                raise ValueError(f"an answer of {len(text)} characters, at most {self._longest} fit")
            follow(*answer)
        except Exception as error:  # foreign code: its episode ends, the training goes on
            self._return, self._over = None, True
            return f"The environment broke: {in_words(error)}"
        return text


def environment_factory(worlds: Callable[[Any], World], **limits: Any) -> Callable[[], ToolEnvironment]:
    """What `trl.GRPOTrainer` takes as ``environment_factory``; `limits` are those of `ToolEnvironment`."""
    return lambda: ToolEnvironment(worlds, **limits)
