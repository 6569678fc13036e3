"""The coin game of TextWorldExpress as a pocket policy plays it: its words, its worlds, demonstrations.

A coin lies in one of up to eleven rooms behind doors; to take it is the only reward. The policy reads the
room, what is to be seen in each direction, and whether the coin is in view; furniture and the make of doors,
nine tenths of the text, are left out. It writes the game's own commands word by word, and may write anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import gymnasium
import numpy as np

from common.study.errors import StudyError
from common.tasks.text_games.simulators import TextWorldExpress

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
ROOMS = (
    "kitchen",
    "corridor",
    "living-room",
    "backyard",
    "bathroom",
    "pantry",
    "laundry-room",
    "bedroom",
    "street",
    "driveway",
    "supermarket",
)
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
COMMANDS = ("move", "open", "close", "door", "to", "take", "coin", "look", "around", "inventory")
VOCABULARY = (PAD, BOS, EOS, *ROOMS, *OPPOSITE, "closed", "nothing", *COMMANDS)
"""``nothing`` is the answer to a command that did nothing, ``closed`` a closed door."""
LONGEST = 30
"""Turns of an episode; worlds in which a search takes longer are left out."""
_ROOM = re.compile(r"You are in the ([a-z ]+)\.")
_EXIT = re.compile(r"[Tt]o the (North|South|East|West) you see (?:a (closed) [a-z -]+ door|the ([a-z ]+))\.")
_FAILED = ("Unknown action", "You can't", "That is already")


def game() -> TextWorldExpress:
    """A new game, before its first `reset`."""
    return TextWorldExpress("coin")


class Charged(gymnasium.Wrapper[str, str, str, str]):
    """A new game in which a command that does nothing costs something; the score is the game's own.

    Args:
        charge: What it costs, where the coin is worth 1.
    """

    def __init__(self, charge: float) -> None:
        super().__init__(game())
        self.charge = charge

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """See `TextGame`."""
        text, reward, terminated, truncated, info = super().step(action)
        return text, float(reward) - self.charge * text.startswith(_FAILED), terminated, truncated, info


def reading(text: str) -> list[str]:
    """The words that the policy reads of what the game says.

    Raises:
        StudyError: a room that the vocabulary lacks, or none.
    """
    seen = text[max(text.rfind("You are in the"), 0) :]
    room = _ROOM.match(seen)
    words = ["nothing"] * text.startswith(_FAILED)
    words.append(room.group(1).replace(" ", "-") if room else "")
    for direction, closed, behind in _EXIT.findall(seen):
        words += [direction.lower(), closed or behind.replace(" ", "-")]
    words += ["coin"] * (" coin." in seen)
    if not set(words) <= set(VOCABULARY):
        raise StudyError(f"the coin game says what it never said before: {text!r}")
    return words


@dataclass(frozen=True)
class Demonstration:
    """One episode of a searcher.

    Attributes:
        readings: What was read before each action.
        actions: What was done.
        solved: The coin was taken.
    """

    readings: tuple[tuple[str, ...], ...]
    actions: tuple[str, ...]
    solved: bool


@cache
def worlds(split: str, count: int) -> tuple[int, ...]:
    """The first worlds of a split in which a search finds the coin within an episode.

    Raises:
        StudyError: there are not so many.
    """
    player = game()
    short = (world for world in player.worlds(split) if demonstrate(player, world).solved)
    found = tuple(islice(short, count))
    if len(found) < count:
        raise StudyError(f"the split '{split}' has no {count} worlds of {LONGEST} turns or fewer")
    return found


def demonstrate(player: TextWorldExpress, world: int, noise: float = 0.0, seed: int = 0) -> Demonstration:
    """A search from room to room, depth first, in an order that the seed draws, until the coin is taken or an
    episode is over. (The simulator's own gold paths are such searches too, but draws without a seed.)

    Args:
        player: Of the game.
        world: To search.
        noise: Probability of a detour before an action: something else that can be done, and what undoes it.
        seed: Of order and detours.
    """
    dice = np.random.default_rng([seed, world])
    text, _ = player.reset(seed=world)
    readings: list[tuple[str, ...]] = []
    actions: list[str] = []
    visited: set[str] = set()
    trail: list[str] = []
    while len(actions) < LONGEST and player.score < 1:
        words = reading(text)
        visited.add(words[0])
        lost = _detour(words, dice) if dice.random() < noise else ()
        for action in (*lost, _next(words, visited, trail, dice)):
            readings.append(tuple(reading(text)))
            actions.append(action)
            text = player.step(action)[0]
    return Demonstration(tuple(readings[:LONGEST]), tuple(actions[:LONGEST]), len(actions) <= LONGEST)


def _next(words: Sequence[str], visited: set[str], trail: list[str], dice: np.random.Generator) -> str:
    """Take the coin, go to a room that is new, open a door, or go back; `trail` is the way back."""
    if "coin" in words:
        return "take coin"
    fresh = [(way, behind) for way, behind in exits(words) if behind not in visited]
    if not fresh:
        return f"move {OPPOSITE[trail.pop()]}" if trail else "look around"
    way, behind = fresh[int(dice.integers(len(fresh)))]
    if behind == "closed":
        return f"open door to {way}"
    trail.append(way)
    return f"move {way}"


def exits(words: Sequence[str]) -> list[tuple[str, str]]:
    """Directions and what is behind: a room or ``closed``."""
    return [(word, words[at + 1]) for at, word in enumerate(words) if word in OPPOSITE]


def _detour(words: Sequence[str], dice: np.random.Generator) -> tuple[str, ...]:
    """A look around, or a way there and back that is open from a room of this reading."""
    ways = exits(words)
    chosen = int(dice.integers(len(ways) + 1))
    if chosen == len(ways):
        return ("look around",)
    way, behind = ways[chosen]
    if behind == "closed":
        return f"open door to {way}", f"close door to {way}"
    return f"move {way}", f"move {OPPOSITE[way]}"
