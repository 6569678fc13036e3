"""Tool calls in a response: how they are read, and how near they come to the right ones.

A response wraps its parts in tags, ``<think>``, ``<tool_call>`` and ``<response>``; calls stand in the second
one as JSON objects with ``name`` and ``parameters``. Nothing that a model wrote is ever executed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<response>", "</response>")
_THOUGHT = r"<think>.*?</think>\s*"
_CALLS = r"<tool_call>.*?</tool_call>"
_SAID = r"<response>.*?</response>"
_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


class CallError(ValueError):
    """A text that holds no calls; the message says where it stops being one."""


@dataclass(frozen=True)
class Call:
    """One call of a tool.

    Attributes:
        name: Of the tool.
        parameters: Values by name, JSON's kinds.
    """

    name: str
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, value: Any) -> Call:
        """A call from its JSON; ``arguments`` may stand for ``parameters``.

        Raises:
            CallError: the object is none.
        """
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise CallError(f"a call is an object with a 'name', not {json.dumps(value)[:60]}")
        parameters = value.get("parameters", value.get("arguments", {}))
        if not isinstance(parameters, Mapping):
            raise CallError(f"the parameters of '{value['name']}' are an object, not {parameters!r:.60}")
        return cls(value["name"], dict(parameters))


def read_calls(text: str) -> list[Call]:
    """Calls written as JSON objects one after the other, or as one JSON array of them.

    Raises:
        CallError: anything else, also no call at all.
    """
    decoder, values, place = json.JSONDecoder(), [], 0
    text = text.strip()
    while place < len(text):
        try:
            value, place = decoder.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError) as error:
            raise CallError(f"no JSON from '{text[place : place + 40]}' on ({error})") from error
        values += value if isinstance(value, list) else [value]
        place += len(text[place:]) - len(text[place:].lstrip(" \t\r\n,"))
    if not values:
        raise CallError("no call")
    return [Call.of(value) for value in values]


def calls_of(response: str) -> list[Call]:
    """The calls of a response's first ``<tool_call>`` block.

    Raises:
        CallError: no closed block, or one that holds something else.
    """
    block = _BLOCK.search(response)
    if block is None:
        raise CallError("no closed <tool_call> block")
    return read_calls(block.group(1))


def well_formed(response: str, calls: bool, said: bool = False) -> bool:
    """A thought, then what the truth has and no more: calls, words to the user, or both in this order."""
    parts = _CALLS * calls + r"\s*" * (calls and said) + _SAID * said
    if re.fullmatch(_THOUGHT + parts, response.strip(), re.DOTALL) is None:
        return False
    counts = {tag: response.count(tag) for tag in TAGS}
    wanted = {"tool_call": int(calls), "response": int(said)}
    return all(counts[f"<{tag}>"] == counts[f"</{tag}>"] == number for tag, number in wanted.items())


def jaccard(left: Iterable[Hashable], right: Iterable[Hashable]) -> float:
    """Shared members over all members of two multisets; 1 for two empty ones."""
    first, second = Counter(list(left)), Counter(list(right))  # of a mapping: its names
    every = (first | second).total()
    return (first & second).total() / every if every else 1.0


def agreement(predicted: Sequence[Call], truth: Sequence[Call]) -> float:
    """Share of what the right calls hold that the predicted ones match, in [0, 1].

    (r_name + r_para + r_value) / (1 + |G| + Σ_j |v(G_j)|): the Jaccard index of the names, for each right
    call that of the parameters' names, and the number of equal values (arXiv:2509.21826). A right call is
    compared with the best predicted one of its name that is still free, in the order of the right calls.
    """
    score = jaccard((call.name for call in predicted), (call.name for call in truth))
    free = list(predicted)
    for right in truth:
        same = [call for call in free if call.name == right.name]
        if same:
            best = max(same, key=lambda call: _likeness(call, right))
            score += _likeness(best, right)
            free.remove(best)
    return score / (1 + sum(1 + len(call.parameters) for call in truth))


def _likeness(call: Call, right: Call) -> float:
    equal = sum(
        name in call.parameters and same_value(call.parameters[name], value)
        for name, value in right.parameters.items()
    )
    return jaccard(call.parameters, right.parameters) + equal


def same_value(first: Any, second: Any) -> bool:
    """JSON equality: true is not 1, 2.0 is 2, the order of an object's names does not count."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same_value(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same_value, first, second))
    return bool(first == second)


def same_call(first: Call, second: Call) -> bool:
    """The same name and parameters."""
    return first.name == second.name and same_value(first.parameters, second.parameters)


def same_calls(predicted: Sequence[Call], truth: Sequence[Call]) -> bool:
    """The same calls in any order."""
    free = list(predicted)
    for right in truth:
        found = next((call for call in free if same_call(call, right)), None)
        if found is None:
            return False
        free.remove(found)
    return not free


@dataclass(frozen=True)
class Mark:
    """What a response is worth.

    Attributes:
        formed: It has the form that the truth asks for.
        right: Its calls are the right ones, or it says something where no call is right.
        parsed: Its calls can be read; True where none are asked for.
        agreement: See `agreement`; 0 where none are asked for.
        calls: Calls are asked for.
    """

    formed: bool
    right: bool
    parsed: bool
    agreement: float
    calls: bool


def mark(response: str, truth: Sequence[Call]) -> Mark:
    """Mark a response; no right calls means that words to the user are asked for."""
    formed = well_formed(response, bool(truth), not truth)
    if not truth:
        said = "<tool_call>" not in response and re.search(_SAID, response, re.DOTALL) is not None
        return Mark(formed, said, True, 0.0, False)
    try:
        predicted = calls_of(response)
    except CallError:
        return Mark(formed, False, False, 0.0, True)
    return Mark(formed, same_calls(predicted, truth), True, agreement(predicted, truth), True)
