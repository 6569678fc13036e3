"""Where text enters the terminal: what a card or a job says is text, never markup."""

from __future__ import annotations

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A terminal that shows ``[low, high]`` and ``[/b]`` as they are; styles are given as styles.

    Args:
        stderr: Write to standard error instead of standard output.
    """
    return Console(stderr=stderr, markup=False, emoji=False)
