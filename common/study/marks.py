"""Text between two marks of a file that people write: generated, and the rest left alone."""

from __future__ import annotations

import re

Marks = tuple[str, str]


def are_placed(text: str, marks: Marks) -> bool:
    """True if a text holds each of the two marks once, in their order."""
    opening, closing = map(re.escape, marks)
    return re.findall(f"{opening}|{closing}", text) == list(marks)


def between(text: str, marks: Marks, body: str) -> str:
    """`text` with what stands between its marks replaced by `body`; without both marks as it is."""
    before, opened, rest = text.partition(marks[0])
    _, closed, after = rest.partition(marks[1])
    return f"{before}{marks[0]}\n{body}\n{marks[1]}{after}" if opened and closed else text
