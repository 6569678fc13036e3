"""Errors meant for the person at the keyboard: what was wrong, where, what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


class StudyError(click.ClickException):
    """A mistake or a fault the user can act on; the command line prints its text without a traceback."""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> StudyError:
    """Error for a name that does not exist, with the closest names that do.

    Args:
        kind: What was looked up, e.g. ``"paper"``.
        name: What the user typed.
        known: Every valid name.
        hint: Where to see them all, e.g. ``"make list"``.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    close = close or [valid for valid in names if valid.casefold() == name.casefold()]
    guess = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names) or 'none'}"
    return StudyError(f"unknown {kind} '{name}', {guess}" + (f" ({hint})" if hint else ""))
