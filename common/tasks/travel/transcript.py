"""An episode as lines that people read: calls with their answers, and the itinerary with what is made up."""

from __future__ import annotations

from collections.abc import Sequence

from common.tasks.travel import ANSWER, BOS, CALL, END, FLIGHTS, HOTELS, LABELS, PAD, SIGHTS

MADE_UP = "!"
TOOLS = (FLIGHTS, HOTELS, SIGHTS)


def transcript(words: Sequence[str]) -> list[str]:
    """The lines of an episode: the query, ``call: answer`` for each call, and the itinerary.

    A fact of the itinerary that no tool has told for its label ends with `MADE_UP`; one of a sight is its
    slot, which has to lie within what was told. Numbers of a label told twice are those told last.

    Args:
        words: All tokens of an episode, prompt included.
    """
    lines: list[list[str]] = [[]]
    for word in words:
        if word in (*TOOLS, ANSWER) and lines[-1]:
            lines.append([])
        if word not in (PAD, BOS):
            lines[-1].append(word)
    told = {fact[0]: fact[1:] for line in lines if line[:1] != [ANSWER] for fact in facts(line)}
    return [_marked(line, told) if line[:1] == [ANSWER] else _call(line) for line in lines]


def facts(line: Sequence[str]) -> list[list[str]]:
    """Labels of a line, each with the numbers behind it."""
    found: list[list[str]] = []
    for word in line:
        if len(word) == 2 and word[0] in LABELS and word[1].isdigit():
            found.append([word])
        elif found and word[0] in "HP" and word[1:].isdigit():
            found[-1].append(word)
    return found


def _call(line: list[str]) -> str:
    if CALL not in line:
        return " ".join(line)
    end = line.index(CALL)
    return f"{' '.join(line[:end])}: {', '.join(' '.join(fact) for fact in facts(line[end:])) or 'nothing'}"


def _marked(line: list[str], told: dict[str, list[str]]) -> str:
    parts = [" ".join(fact) + ("" if _true(fact, told) else MADE_UP) for fact in facts(line)]
    return f"plan: {', '.join(parts)}{'' if line[-1] == END else ', cut off'}"


def _true(fact: list[str], told: dict[str, list[str]]) -> bool:
    label, *numbers = fact
    if label[0] != "V" or label not in told:
        return told.get(label) == numbers
    first, last = (int(word[1:]) for word in told[label][:2])
    return bool(numbers) and first <= int(numbers[0][1:]) < last
