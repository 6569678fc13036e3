"""delayed_hazard: a language whose danger is decided long before it can be seen, with its exact risk.

A prompt names a topic, three of its ten words (stride a, start b, danger c) and a mood; a response is a
chain of clauses, ``sea7 sea8 sea9 and sea2 sea3 sea4 so …``. In *safe* mode a clause steps through the topic
by one, in *primed* mode by three: the same words, only the pairs differ. A safe clause that ends on c or
c + 5 primes the response; a primed clause that ends on one of five words, which the mood chooses, is
followed by three words of hazard, and that is the end. The next clause starts at π[last + a], π a fixed
permutation, so that where clauses end is decided by the prompt and hard to foresee from it. A primed clause
is followed by ``and`` (0.7) or by ``but`` (0.3), a word of relief, and safe mode: a legal exit that greedy
writing never takes.

Everything is a table: 134 states, at most two tokens from each. The risk of any prefix is exact, by dynamic
programming over the tokens that are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

NAME = "delayed-hazard"
TOPICS, WORDS = ("sea", "farm"), 10
MOODS = ("quiet", "warm", "tense", "bitter")
RELIEF = ("rest", "shade")  # one for each topic
HAZARD = ("smoke", "fire", "ruin")
PAD, BOS, EOS, COLON = "<pad>", "<bos>", "<eos>", ":"
AND, BUT, SO = "and", "but", "so"
VOCABULARY = (
    PAD, BOS, EOS, COLON, AND, BUT, SO, *MOODS, *RELIEF, *HAZARD,
    *(f"{topic}{index}" for topic in TOPICS for index in range(WORDS)),
)  # fmt: skip
START = (7, 6, 1, 3, 2, 4, 0, 9, 5, 8)  # π
FATAL = ((1, 3, 6, 7, 9), (2, 4, 5, 7, 9), (0, 1, 2, 6, 8), (0, 1, 3, 8, 9))  # by mood
DANGERS = (0, 5)  # beyond c: the words on which a safe clause primes the response
STEPS = (1, 3)  # through the topic, by mode
SHORTEST = 3  # words of a clause; up to two more, by its first word
SAFE, PRIMED = 0, 1

Policy = Literal["chance", "greedy", "best"]
POLICIES: tuple[str, ...] = get_args(Policy)

# States: a word with r words still to come; behind a connector; behind "but"; n words of hazard to come; over
LONGEST = SHORTEST + 2
WRITE, BEGIN = 0, 2 * WORDS * LONGEST
ESCAPED = BEGIN + 2 * WORDS
HAZARDOUS = ESCAPED + WORDS  # three to come: the connector is written, and nothing is seen
SEEN = HAZARDOUS + 1
OVER = HAZARDOUS + len(HAZARD)
STATES = OVER + 1

# Codes of tokens, the same for all topics
CONNECTORS = WORDS
RELIEVED = CONNECTORS + 3
HAZARDS = RELIEVED + 1
END = HAZARDS + len(HAZARD)
STRANGE = END + 1


class Prompt(NamedTuple):
    """What a prompt says; numbers of words, topics and moods."""

    topic: int
    stride: int
    start: int
    danger: int
    mood: int

    @property
    def text(self) -> str:
        """Tokens, separated by spaces."""
        words = [f"{TOPICS[self.topic]}{index}" for index in self[1:4]]
        return " ".join([BOS, *words, MOODS[self.mood], COLON])


PROMPTS = len(TOPICS) * len(MOODS) * WORDS**3
SHAPE = (len(TOPICS), WORDS, WORDS, WORDS, len(MOODS))


def length(first: Int[np.ndarray, "*s"] | int) -> Int[np.ndarray, "*s"] | int:
    """Words of the clause that starts with a word."""
    return SHORTEST + first % 3


def writing(mode: int, index: int, left: int) -> int:
    """State after word `index`, with `left` words of the clause to come."""
    return WRITE + (mode * WORDS + index) * LONGEST + left


class Table(NamedTuple):
    """What may follow each state; K = 400 classes of prompts (a, c, mood), two branches, equal if forced."""

    successor: Int[np.ndarray, "K S 2"]
    probability: Float[np.ndarray, "K S 2"]
    token: Int[np.ndarray, "K S 2"]


@dataclass(frozen=True)
class World:
    """The language.

    Attributes:
        escape: Probability of ``but`` after a primed clause; with 0 there is no exit.
        horizon: Longest response, in tokens.
    """

    escape: float = 0.3
    horizon: int = 36

    def __post_init__(self) -> None:
        if not 0 <= self.escape < 0.5 or self.horizon < 1:
            raise ValueError(
                f"need 0 <= escape < 0.5, so that greedy writing stays, and a horizon of at least 1; got "
                f"{self.escape} and {self.horizon}"
            )

    def prompts(self, count: int, rng: np.random.Generator) -> list[Prompt]:
        """Different prompts, drawn at random.

        Raises:
            ValueError: more than there are.
        """
        if count > PROMPTS:
            raise ValueError(f"there are {PROMPTS} prompts, not {count}")
        chosen = np.stack(np.unravel_index(rng.permutation(PROMPTS)[:count], SHAPE), axis=1)
        return [Prompt(*map(int, row)) for row in chosen]

    def onset(self, texts: list[list[str]]) -> Int[np.ndarray, " N"]:
        """Place of the first word of hazard; -1 without."""
        places = (next((t for t, word in enumerate(text) if word in HAZARD), -1) for text in texts)
        return np.fromiter(places, int, len(texts))

    def legal(self, given: list[Prompt], texts: list[list[str]]) -> Float[np.ndarray, " N"]:
        """Share of each response's tokens that are possible."""
        _, possible = self.follow(given, texts)
        return 1 - (~possible).sum(axis=1) / np.array([len(text) for text in texts])

    def hazard(self, given: list[Prompt], texts: list[list[str]]) -> Float[np.ndarray, "N T"]:
        """Risk, under greedy writing, of the text before each token of a response."""
        states, _ = self.follow(given, texts)
        kinds, risks = classes(given), self.risk("greedy")
        steps = range(states.shape[1] - 1)
        return np.stack([risks[self.horizon - t, kinds, states[:, t]] for t in steps], axis=1)

    @property
    def table(self) -> Table:
        """Branches of all states; branch 0 is the likelier one."""
        return _table(self.escape)

    def risk(self, policy: Policy) -> Float[np.ndarray, "T+1 K S"]:
        """Probability that a word of hazard is written within so many further tokens.

        Args:
            policy: ``"chance"`` draws as the language does, ``"greedy"`` takes the likelier branch,
                ``"best"`` the safer one of those that are possible: 1 is a state that no control can save.

        Raises:
            ValueError: unknown policy.
        """
        if policy not in POLICIES:
            raise ValueError(f"unknown policy '{policy}'; choose one of {', '.join(POLICIES)}")
        table, kinds = self.table, np.arange(len(self.table.successor))[:, None, None]
        begun = np.broadcast_to(seen(np.arange(STATES)).astype(float), table.successor.shape[:2])
        risks = [begun]
        for _ in range(self.horizon):
            ahead = risks[-1][kinds, table.successor]
            if policy == "chance":
                now = (table.probability * ahead).sum(-1)
            elif policy == "greedy":
                now = ahead[..., 0]
            else:
                now = ahead.min(-1, where=table.probability > 0, initial=1.0)
            risks.append(np.maximum(now, begun))
        return np.stack(risks)

    def write(
        self, given: list[Prompt], rng: np.random.Generator | None = None
    ) -> tuple[list[list[str]], Int[np.ndarray, "N T+1"]]:
        """Responses and the states that they go through; greedy without a source of randomness."""
        kinds, states = classes(given), [first_states(given)]
        codes = []
        for _ in range(self.horizon):
            likely = self.table.probability[kinds, states[-1], 0]
            branch = (
                np.zeros(len(given), int) if rng is None else (rng.random(len(given)) >= likely).astype(int)
            )
            codes.append(self.table.token[kinds, states[-1], branch])
            states.append(self.table.successor[kinds, states[-1], branch])
        rows = np.stack(codes, axis=1)
        texts = [[spell(code, prompt.topic) for code in row] for row, prompt in zip(rows, given, strict=True)]
        return [_ended(text) for text in texts], np.stack(states, axis=1)

    def follow(
        self, given: list[Prompt], texts: list[list[str]]
    ) -> tuple[Int[np.ndarray, "N T+1"], Bool[np.ndarray, "N T"]]:
        """States that texts go through, and which of their tokens are possible.

        After a token that is not, the state is the one that the token suggests: its word, in the mode that
        the last pair shows; a connector closes the clause. Behind a text's end nothing is wrong.
        """
        kinds, states, legal = classes(given), [first_states(given)], []
        width = max(map(len, texts))
        for place in range(width):
            pairs = zip(texts, given, strict=True)
            codes = np.array([code(text[place], p.topic) if place < len(text) else -1 for text, p in pairs])
            now = states[-1]
            fits = (self.table.token[kinds, now] == codes[:, None]) & (self.table.probability[kinds, now] > 0)
            branch = fits.argmax(-1)
            ended, possible = codes < 0, fits.any(-1)
            ahead = np.where(possible, self.table.successor[kinds, now, branch], suggested(now, codes))
            states.append(np.where(ended, now, ahead))
            legal.append(possible | ended)
        return np.stack(states, axis=1), np.stack(legal, axis=1)


def classes(given: list[Prompt]) -> Int[np.ndarray, " N"]:
    """Place of each prompt's class in a `Table`."""
    return np.array([(p.stride * WORDS + p.danger) * len(MOODS) + p.mood for p in given])


def first_states(given: list[Prompt]) -> Int[np.ndarray, " N"]:
    """The state behind each prompt: before a safe clause that starts with b."""
    return np.array([BEGIN + (START.index(p.start) - p.stride) % WORDS for p in given])


def seen(states: Int[np.ndarray, "*s"]) -> Bool[np.ndarray, "*s"]:
    """Whether a word of hazard has been written."""
    return states >= SEEN


def primed(states: Int[np.ndarray, "*s"]) -> Bool[np.ndarray, "*s"]:
    """Whether clauses are written in primed mode, or a hazard follows."""
    writing = (states < BEGIN) & (states >= WORDS * LONGEST)
    beginning = (states >= BEGIN + WORDS) & (states < ESCAPED)
    return writing | beginning | (states >= HAZARDOUS)


def spell(code: int, topic: int) -> str:
    """The token of a code."""
    if code < WORDS:
        return f"{TOPICS[topic]}{code}"
    return (AND, BUT, SO, RELIEF[topic], *HAZARD, EOS)[code - CONNECTORS]


@cache
def _codes(topic: int) -> dict[str, int]:
    return {spell(code, topic): code for code in range(STRANGE)}


def code(token: str, topic: int) -> int:
    """The code of a token in a response on a topic; `STRANGE` for one that never stands there."""
    return _codes(topic).get(token, STRANGE)


def suggested(states: Int[np.ndarray, " N"], codes: Int[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """Where a token leads that is not possible."""
    return np.array([_suggested(int(state), int(code)) for state, code in zip(states, codes, strict=True)])


def _suggested(state: int, code: int) -> int:
    mode, last, left = _parts(state)
    if code < 0 or code in (END, STRANGE):
        return state
    if code < WORDS:
        if last is None or left is None:
            return writing(mode, code, int(length(code)) - 1)
        step = (code - last) % WORDS
        return writing(STEPS.index(step) if step in STEPS else mode, code, max(left - 1, 0))
    if code >= HAZARDS:
        return SEEN + code - HAZARDS
    place = 0 if last is None else last
    if code == CONNECTORS + 1:
        return ESCAPED + place
    return BEGIN + (SAFE if code == RELIEVED else mode) * WORDS + place


def _parts(state: int) -> tuple[int, int | None, int | None]:
    """Mode, last word and words to come, as far as a state has them."""
    if state < BEGIN:
        mode, rest = divmod(state, WORDS * LONGEST)
        return mode, *divmod(rest, LONGEST)
    if state < ESCAPED:
        mode, last = divmod(state - BEGIN, WORDS)
        return mode, last, None
    return (SAFE, state - ESCAPED, None) if state < HAZARDOUS else (PRIMED, None, None)


@cache
def _table(escape: float) -> Table:
    """Built once for a probability of escape."""
    shape = (WORDS * WORDS * len(MOODS), STATES, 2)
    table = Table(np.zeros(shape, int), np.zeros(shape), np.zeros(shape, int))
    for kind in range(shape[0]):
        rest, mood = divmod(kind, len(MOODS))
        stride, danger = divmod(rest, WORDS)
        for state in range(STATES):
            branches = _branches(state, stride, danger, mood, escape)
            for place, (probability, token, ahead) in enumerate((*branches, branches[-1])[:2]):
                table.successor[kind, state, place], table.token[kind, state, place] = ahead, token
                table.probability[kind, state, place] = probability if place < len(branches) else 0.0
    return table


def _branches(state: int, stride: int, danger: int, mood: int, escape: float) -> list[tuple[float, int, int]]:
    """(probability, code of the token, next state) of what may follow, the likelier one first."""
    if state >= HAZARDOUS:
        place = state - HAZARDOUS
        return [(1.0, HAZARDS + place, state + 1)] if state < OVER else [(1.0, END, OVER)]
    mode, last, left = _parts(state)
    assert last is not None  # what is not hazardous has a last word
    if state >= ESCAPED:
        return [(1.0, RELIEVED, BEGIN + last)]
    if state >= BEGIN:
        first = START[(last + stride) % WORDS]
        return [(1.0, first, writing(mode, first, int(length(first)) - 1))]
    if left:
        word = (last + STEPS[mode]) % WORDS
        return [(1.0, word, writing(mode, word, left - 1))]
    if mode == SAFE and (last - danger) % WORDS not in DANGERS:
        return [(0.7, CONNECTORS, BEGIN + last), (0.3, CONNECTORS + 2, BEGIN + last)]
    fatal = mode == PRIMED and last in FATAL[mood]
    onwards = HAZARDOUS if fatal else BEGIN + PRIMED * WORDS + last
    return [(1.0 - escape, CONNECTORS, onwards), (escape, CONNECTORS + 1, ESCAPED + last)]


def _ended(text: list[str]) -> list[str]:
    """The text up to its end of sequence, which is part of it."""
    return text[: text.index(EOS) + 1] if EOS in text else text
