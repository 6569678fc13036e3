"""The format in which a generative verifier judges a solution step by step, and its parser.

    STEP 1: CORRECT
    EXPLANATION 1: the sets match the text.
    STEP 2: INCORRECT
    EXPLANATION 2: the capacity of the second resource is missing.

The parser is total: any text gives a verdict on every step, or the reason why there is none. It is strict
about which steps are judged and how often, since a critic that leaves steps out or judges one twice would
choose what counts, and lenient about case, blanks and emphasis. It reads past whatever else a text holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

STEP = re.compile(r"[\s*_#>-]*STEP[ \t]+([0-9]{1,4})[\s*_]*:(.*)", re.IGNORECASE)
EXPLANATION = re.compile(r"[\s*_#>-]*EXPLANATION[ \t]+([0-9]{1,4})[\s*_]*:[ \t]*(.*)", re.IGNORECASE)
EMPHASIS = " \t*_."
WORDS = {"CORRECT": True, "INCORRECT": False}


@dataclass(frozen=True)
class Critique:
    """A verdict on every step.

    Attributes:
        steps: Whether each is correct.
        explanations: Why, empty where nothing was said.
    """

    steps: tuple[bool, ...]
    explanations: tuple[str, ...]

    @property
    def share(self) -> float:
        """ρ: the share of correct steps."""
        return sum(self.steps) / len(self.steps)

    @property
    def accepts(self) -> bool:
        """Whether all steps are correct."""
        return all(self.steps)


@dataclass(frozen=True)
class Unparsed:
    """No verdict, and why."""

    reason: str


def render(steps: Sequence[bool], explanations: Sequence[str] = ()) -> str:
    """The text of a critique; explanations are joined to one line each.

    Raises:
        ValueError: explanations for some steps only.
    """
    if explanations and len(explanations) != len(steps):
        raise ValueError(f"{len(explanations)} explanations of {len(steps)} steps")
    lines = []
    for number, correct in enumerate(steps, start=1):
        lines.append(f"STEP {number}: {'CORRECT' if correct else 'INCORRECT'}")
        if explanations:
            lines.append(f"EXPLANATION {number}: {' '.join(explanations[number - 1].split())}")
    return "\n".join(lines)


def parse(text: str, steps: int) -> Critique | Unparsed:
    """Read a critique of a solution of so many steps.

    Raises:
        ValueError: a solution without steps, which nobody can judge.
    """
    if steps < 1:
        raise ValueError(f"a solution of {steps} steps has nothing to judge")
    verdicts: dict[int, bool] = {}
    explanations: dict[int, str] = {}
    for line in text.splitlines():
        if found := EXPLANATION.fullmatch(line):
            explanations.setdefault(int(found[1]), found[2].strip())
        if not (found := STEP.fullmatch(line)):
            continue
        number, word = int(found[1]), found[2].strip(EMPHASIS).upper()
        if word not in WORDS:
            return Unparsed(f"step {number} is neither CORRECT nor INCORRECT")
        if not 1 <= number <= steps:
            return Unparsed(f"step {number} of a solution of {steps} steps")
        if number in verdicts:
            return Unparsed(f"step {number} is judged twice")
        verdicts[number] = WORDS[word]
    missing = next((number for number in range(1, steps + 1) if number not in verdicts), None)
    if missing is not None:
        return Unparsed(f"step {missing} is not judged")
    numbers = range(1, steps + 1)
    return Critique(
        tuple(verdicts[number] for number in numbers),
        tuple(explanations.get(number, "") for number in numbers),
    )
