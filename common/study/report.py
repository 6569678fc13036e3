"""What a paper's ``report.py`` offers: PREMISES, CLAIMS, TABLES and FIGURES by the ids of its card.

>>> PREMISES = {"explodes": lambda f: entropy(f, "mean", step=-1) / entropy(f, "mean", step=0)}
>>> CLAIMS = {"c7": lambda f, arm="qae": entropy(f, arm) - entropy(f, "mean")}
>>> TABLES = {"table1": scores}
>>> FIGURES = {"fig1": Figure(entropy_curves, lines("OpChain"))}

A claim is one line: a measure of arms, seed by seed. Where the card names an arm as its control, the same
line is read for that arm. A figure is its data twin and how the twin is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure as Plot

from common.plotting.point import describe
from common.study.card import Claim
from common.study.errors import StudyError

Measure = Callable[..., Any]
"""(frame) -> one number per seed, one column per compared arm, or errors; takes `arm` if a control is one."""
Twin = Callable[[pd.DataFrame], pd.DataFrame]
Draw = Callable[[pd.DataFrame, Mapping[str, float]], Plot]
"""(data twin, the card's reported values) -> drawn figure."""


@dataclass(frozen=True)
class Figure:
    """A figure: its data twin as a function of the frame, how the twin is drawn, and what it shows.

    Attributes:
        data: From the frame to the twin.
        draw: From the twin and the card's reported values to the picture.
        point: From the twin to one sentence, which stands above the picture.
    """

    data: Twin
    draw: Draw
    point: Callable[[pd.DataFrame], str] = describe


class Report:
    """The report module of a paper, read by id.

    Raises:
        StudyError: the card asks for an id that the report does not have.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def table(self, name: str) -> Twin:
        """Our block of a table."""
        table: Twin = self._entry("TABLES", name)
        return table

    def figure(self, name: str) -> Figure:
        """A figure."""
        figure: Figure = self._entry("FIGURES", name)
        return figure

    def premise(self, name: str) -> Callable[[pd.DataFrame], Any]:
        """What a premise measures."""
        found: Measure = self._entry("PREMISES", name)
        return found

    def measure(self, name: str, claim: Claim) -> Callable[[pd.DataFrame], Any]:
        """What a claim measures; a control that is an arm reads the line of the claim it controls."""
        if claim.arm is None or name in self._part("CLAIMS"):
            found: Measure = self._entry("CLAIMS", name)
            return found
        line = self._entry("CLAIMS", str(claim.of))
        return lambda frame: line(frame, arm=claim.arm)

    def _part(self, kind: str) -> Mapping[str, Any]:
        entries: Mapping[str, Any] = getattr(self.module, kind, {})
        return entries

    def _entry(self, kind: str, name: str) -> Any:
        entries = self._part(kind)
        if name not in entries:
            place = f"{self.module.__name__.replace('.', '/')}.py"
            raise StudyError(f"{place}: {kind} has no entry '{name}' that the card asks for")
        return entries[name]
