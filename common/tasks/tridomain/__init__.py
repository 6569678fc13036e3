"""Three domains of different entropy in one small vocabulary: dialogues, small programs, chains of sums.

Dialogues leave many choices open, programs some, sums few: text on which speculative decoding is neither
hopeless nor trivial. Problems are drawn afresh, deterministically in (split, seed, index); the split of a
problem is a fixed function of its slots or operations, so held-out ones are never seen in training. Programs
and sums have exact verifiers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.tasks import dialogue, programs, word_sums
from common.tasks.dialogue import Dialogue
from common.tasks.programs import Program
from common.tasks.word_sums import Chain

Domain = Literal["chat", "code", "math"]
Split = Literal["train", "heldout"]
DOMAINS: tuple[Domain, ...] = ("chat", "code", "math")
SPLITS: tuple[Split, ...] = ("train", "heldout")
HELDOUT_SHARE = 5  # one problem in five belongs to the held-out split
PAD, BOS, EOS, USER, ASSISTANT = "<pad>", "<bos>", "<eos>", "<user>", "<assistant>"
VOCABULARY = tuple(
    dict.fromkeys(
        (PAD, BOS, EOS, USER, ASSISTANT, *dialogue.vocabulary(), *programs.VOCABULARY, *word_sums.VOCABULARY)
    )
)


@dataclass(frozen=True)
class TriDomainConfig:
    """Which problems to draw, and how much choice their texts leave.

    Attributes:
        seed: Seed of the draw.
        size: Number of items; domains alternate, so a smaller size is a prefix of a larger one.
        split: Problems belong to one split only.
        domains: Domains to draw from, in turn.
        paraphrases: Probabilities of a sentence's three wordings; of the first two where there are two.
        zipf: Exponent of the weights of synonyms; 0 makes them equally likely.
        operations: Fewest and most operations of a sum.
        largest: Largest number of a sum, given or computed; at most 20.
        slot_values: Values of a slot, at most 12.
    """

    seed: int = 0
    size: int = 3000
    split: Split = "train"
    domains: tuple[Domain, ...] = DOMAINS
    paraphrases: tuple[float, float, float] = (0.5, 0.3, 0.2)
    zipf: float = 1.0
    operations: tuple[int, int] = (2, 6)
    largest: int = word_sums.LARGEST
    slot_values: int = 12

    def validate(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, the value and what would be right.
        """
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"TriDomainConfig.seed is {self.seed}; expected 0 ≤ seed < 2**32")
        if self.size < 1:
            raise ValueError(f"TriDomainConfig.size is {self.size}; expected at least 1")
        if self.split not in SPLITS:
            raise ValueError(f"TriDomainConfig.split is '{self.split}'; expected one of {', '.join(SPLITS)}")
        if not self.domains or set(self.domains) - set(DOMAINS):
            raise ValueError(f"TriDomainConfig.domains is {self.domains}; choose from {', '.join(DOMAINS)}")
        if min(self.paraphrases) < 0 or self.paraphrases[0] <= 0 or abs(sum(self.paraphrases) - 1) > 1e-9:
            raise ValueError(
                f"TriDomainConfig.paraphrases is {self.paraphrases}; expected three shares ≥ 0 that sum to "
                "1, the first of them positive"
            )
        if not 1 <= self.operations[0] <= self.operations[1] <= len(word_sums.PLACES):
            raise ValueError(
                f"TriDomainConfig.operations is {self.operations}; expected 1 ≤ fewest ≤ most ≤ 6"
            )
        if not 2 <= self.largest <= word_sums.LARGEST:
            raise ValueError(f"TriDomainConfig.largest is {self.largest}; expected 2 to {word_sums.LARGEST}")
        if not 1 <= self.slot_values <= 12:
            raise ValueError(f"TriDomainConfig.slot_values is {self.slot_values}; expected 1 to 12")


@dataclass(frozen=True)
class Item:
    """A problem with one drawn answer for each turn of the conversation.

    Attributes:
        domain: Its domain.
        problem: What is asked.
        turns: Question and answer of each turn; tokens are separated by spaces.
    """

    domain: Domain
    problem: Dialogue | Program | Chain
    turns: tuple[tuple[str, str], ...]

    @property
    def split(self) -> Split:
        """Split that owns this problem, whatever the seed."""
        return split_of(self.problem)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The whole conversation; each answer ends with ``<eos>``."""
        words = [BOS]
        for question, answer in self.turns:
            words += [USER, *question.split(), ASSISTANT, *answer.split(), EOS]
        return tuple(words)

    @property
    def answered(self) -> tuple[bool, ...]:
        """Which of `tokens` belong to an answer, its ``<eos>`` included."""
        flags = [False]
        for question, answer in self.turns:
            flags += [False] * (len(question.split()) + 2) + [True] * (len(answer.split()) + 1)
        return tuple(flags)

    @property
    def prompt(self) -> tuple[str, ...]:
        """The conversation up to the last answer."""
        return self.tokens[: -len(self.turns[-1][1].split()) - 1]

    def correct(self, answer: tuple[str, ...]) -> bool:
        """Exact verdict on an answer to the last question; it has to end with ``<eos>``.

        Raises:
            ValueError: a dialogue, which has no right answer.
        """
        if isinstance(self.problem, Dialogue):
            raise ValueError("a dialogue has no right answer; verify code or math")
        return answer[-1:] == (EOS,) and self.problem.correct(answer[:-1])


def split_of(problem: Dialogue | Program | Chain) -> Split:
    """A fixed function of what is asked."""
    return "heldout" if zlib.crc32(problem.key.encode()) % HELDOUT_SHARE == 0 else "train"


def item(config: TriDomainConfig, index: int) -> Item:
    """Item `index` of a configuration, from a generator keyed by (split, seed, index)."""
    rng = np.random.default_rng((SPLITS.index(config.split), config.seed, index))
    domain = config.domains[index % len(config.domains)]
    while True:
        problem = _draw(domain, rng, config)
        if split_of(problem) == config.split:
            return Item(domain, problem, _turns(problem, rng, config))


def items(config: TriDomainConfig) -> tuple[Item, ...]:
    """All items of a configuration.

    Raises:
        ValueError: bad configuration.
    """
    config.validate()
    return tuple(item(config, index) for index in range(config.size))


def _draw(domain: Domain, rng: np.random.Generator, config: TriDomainConfig) -> Dialogue | Program | Chain:
    match domain:
        case "chat":
            return dialogue.draw(rng, config.slot_values)
        case "code":
            return programs.draw(rng)
    return word_sums.draw(rng, config.operations, config.slot_values, config.largest)


def _turns(
    problem: Dialogue | Program | Chain, rng: np.random.Generator, config: TriDomainConfig
) -> tuple[tuple[str, str], ...]:
    if isinstance(problem, Dialogue):
        answers = problem.answers(rng, config.paraphrases, config.zipf)
        return tuple(zip(problem.questions, answers, strict=True))
    if isinstance(problem, Program):
        return ((problem.question, problem.written(rng, config.paraphrases)),)
    return ((problem.question, problem.worked(rng, config.paraphrases)),)
