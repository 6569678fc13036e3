"""What a notebook cell calls: the study of a paper, its tables, figures and ledger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import pandas as pd
from IPython.display import Image

from common.plotting.style import png
from common.study import ledger, page
from common.study.artefacts import Artefacts, side_by_side
from common.study.card import Card
from common.study.errors import unknown
from common.study.page import Shown
from common.study.study import Options, Study, parse_parameters

T = TypeVar("T")


def parameters(study: Study) -> dict[str, str]:
    """The parameters that a notebook is run with, as `Notebook` takes them after the paper."""
    options = study.options
    return {
        "profile": study.profile,
        "seeds": options.seeds,
        "only": ",".join(options.only),
        "model": options.model,
        "parameters": " ".join(f"{name}={value}" for name, value in options.parameters.items()),
    }


class Notebook:
    """A study as a notebook sees it: run what is missing, then show tables, figures and the ledger.

    Args:
        paper: Slug.
        profile: Profile to run at.
        seeds: See `Options.seeds`.
        only: Comma-separated ids; empty for all.
        model: See `Options.model`.
        parameters: ``name=value`` pairs separated by spaces.
    """

    def __init__(
        self,
        paper: str,
        profile: str = "smoke",
        seeds: str = "",
        only: str = "",
        model: str = "",
        parameters: str = "",
    ) -> None:
        options = Options(seeds, tuple(filter(None, only.split(","))), model, parse_parameters(parameters))
        self.study = Study(paper, profile, options)
        self.study.run()
        self.artefacts = Artefacts(self.study)

    @classmethod
    def on(cls, artefacts: Artefacts) -> Notebook:
        """The notebook's study on the values of `artefacts`: nothing is run and the store is not read."""
        notebook = cls.__new__(cls)
        notebook.study, notebook.artefacts = artefacts.study, artefacts
        return notebook

    @property
    def card(self) -> Card:
        """The paper's card."""
        return self.study.card

    @property
    def frame(self) -> pd.DataFrame:
        """Every measured value of the run, tidy."""
        return self.artefacts.frame

    def table(self, name: str) -> pd.DataFrame | str:
        """The paper's rows beside ours; without ours if this run has no such table, the reason if there are
        neither.

        Raises:
            StudyError: the card has no such table.
        """
        entry = self._entry("table", name, self.card.tables)
        reason = self.artefacts.missing(name)
        if reason and not entry.reported.rows:
            return f"{name}: {reason}"
        block = None if reason else self.artefacts.table(name, entry)
        return side_by_side(entry, block)

    def figure(self, name: str) -> Any:
        """The figure, or the reason why this run has none.

        Raises:
            StudyError: the card has no such figure.
        """
        entry = self._entry("figure", name, self.card.figures)
        reason = self.artefacts.missing(name)
        if reason:
            return f"{name}: {reason}"
        return Image(data=png(self.artefacts.plot(name)), alt=entry.title)

    def _entry(self, kind: str, name: str, entries: Mapping[str, T]) -> T:
        if name not in entries:
            raise unknown(kind, name, entries, f"make list PAPER={self.card.slug}")
        return entries[name]

    def learned(self) -> Shown:
        """The card's sentences on what this paper taught us, with the numbers of this run."""
        made = self.artefacts
        return page.sentences(ledger.learned(self.card, made.verdicts, made.premises))

    def premises(self) -> Shown:
        """What has to hold for the claims to be judged, with the values of this run."""
        return page.premises(self.card, self.artefacts.premises)

    def ledger(self) -> Shown:
        """Verdict and evidence of every claim."""
        return page.findings(self.card, self.artefacts.verdicts)
