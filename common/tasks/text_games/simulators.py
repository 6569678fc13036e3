"""TextWorldExpress and ScienceWorld as environments of gymnasium, all of a process on one Java machine each.

A game is the same in every run: the seed of `reset` says which world it is, and nothing in it is random. Any
text is an action; what the game does not understand costs a turn.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar

import gymnasium
from gymnasium import spaces

from common.study.assets import ASSETS, missing, reason, verified
from common.study.errors import StudyError

JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx768m")
"""One thread for garbage and the fast compiler alone: games are short, and workers share the cores."""
RUNTIME = ("jre", "py4j")
TEXTWORLD, SCIENCE = "textworld_express", "scienceworld"
SPLITS = {"train": "getSeedsTrain", "dev": "getSeedsDev", "test": "getSeedsTest"}


@cache
def java(simulator: str) -> Any:
    """The Java machine of this process that holds a simulator; it starts on first use and ends with us.

    Raises:
        StudyError: an asset is not installed; the message says what brings it.
    """
    if lacking := missing([*RUNTIME, simulator]):
        raise StudyError(reason(lacking))
    from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway

    jar = verified(simulator)
    port = launch_gateway(
        classpath=str(jar),
        javaopts=list(JAVA_OPTIONS),
        java_path=str(ASSETS["jre"].path()),
        die_on_exit=True,
        cwd=str(jar.parent),  # its tables lie beside it
    )
    return JavaGateway(gateway_parameters=GatewayParameters(port=port, auto_field=True)).jvm


class TextGame(gymnasium.Env[str, str]):
    """A game whose score rises from 0 to 1; the reward of a turn is the rise.

    `info` holds the task after `reset`, and the score after every turn.

    Args:
        name: Of the game.
        options: Of the game, in the simulator's own words.
    """

    letters: ClassVar[spaces.Text] = spaces.Text(max_length=10_000)
    observation_space = action_space = letters

    def __init__(self, name: str, options: str = "") -> None:
        self.name, self.options, self.score = name, options, 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """World `seed` from its beginning; ``options={"gold": True}`` has the simulator solve it too."""
        super().reset(seed=seed)
        self.score = 0.0
        text, task = self.begin(seed or 0, bool((options or {}).get("gold")))
        return text, {"task": task}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Say something to the game."""
        text, score, over = self.answer(action)
        reward, self.score = score - self.score, score
        return text, reward, over, False, {"score": score}

    @abstractmethod
    def begin(self, seed: int, gold: bool) -> tuple[str, str]:
        """The first text and the task."""

    @abstractmethod
    def answer(self, action: str) -> tuple[str, float, bool]:
        """The text after an action, the score, and whether the game is over."""

    @property
    @abstractmethod
    def gold(self) -> list[str]:
        """Actions that solve the world, if `reset` asked for them."""


class TextWorldExpress(TextGame):
    """A game of TextWorldExpress (arXiv:2208.01174); a text ends with what is in view."""

    def __init__(self, name: str, options: str = "") -> None:
        super().__init__(name, options)
        self.interface = java(TEXTWORLD).textworldexpress.runtime.PythonInterface()
        if refusal := self.interface.load(name, options):
            raise StudyError(f"TextWorldExpress has no game '{name}' with options '{options}': {refusal}")

    def begin(self, seed: int, gold: bool) -> tuple[str, str]:
        """The split of a world lies in its seed: the simulator's folds change nothing else."""
        said = json.loads(self.interface.generateNewGameJSON(seed, "train", gold))
        return said["look"], self.interface.getTaskDescription()

    def answer(self, action: str) -> tuple[str, float, bool]:
        """The answer, and what is in view."""
        said = json.loads(self.interface.stepJSON(action))
        over = said["tasksuccess"] or said["taskfailure"] or said["score"] >= 1
        return f"{said['observation']}\n{said['look']}", float(said["score"]), bool(over)

    @property
    def gold(self) -> list[str]:
        """See `TextGame`."""
        return list(self.interface.getGoldActionSequence())

    def worlds(self, split: str) -> list[int]:
        """Seeds of a split, ``"train"``, ``"dev"`` or ``"test"``; splits have none in common."""
        return [int(seed) for seed in getattr(self.interface, SPLITS[split])()]


class ScienceWorld(TextGame):
    """A task of ScienceWorld (arXiv:2203.07540); the seed of `reset` is the task's variation."""

    def __init__(self, name: str, options: str = "easy") -> None:
        super().__init__(name, options)
        self.interface = java(SCIENCE).scienceworld.runtime.pythonapi.PythonInterface()
        if name not in (known := list(self.interface.getTaskNames())):
            raise StudyError(f"ScienceWorld has no task '{name}'; it has {', '.join(known)}")

    def begin(self, seed: int, gold: bool) -> tuple[str, str]:
        """See `TextGame`."""
        self.interface.load(self.name, seed, self.options, gold)
        self.interface.reset()
        return self.interface.freeActionLook(), self.interface.getTaskDescription()

    def answer(self, action: str) -> tuple[str, float, bool]:
        """A score below 0, that of a wrong focus, ends the game as a failure."""
        text, score = self.interface.step(action), float(self.interface.getScore())
        return text, score, bool(self.interface.getCompleted()) or score < 0

    @property
    def gold(self) -> list[str]:
        """See `TextGame`."""
        return list(self.interface.getGoldActionSequence())


def replay(game: TextGame, actions: Iterable[str]) -> tuple[float, bool]:
    """The score after these actions, and whether the game is over then; none is played after its end."""
    score, over = game.score, False
    for action in actions:
        _, _, over, _, info = game.step(action)
        score = info["score"]
        if over:
            break
    return score, over
