"""What a notebook cell calls: the study of a paper, its tables, figures and ledger."""

from __future__ import annotations

from typing import Any

import pandas as pd
from IPython.display import Image

from common.plotting.style import png
from common.study import ledger
from common.study.artefacts import Artefacts, side_by_side
from common.study.study import Options, Study, parse_parameters


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

    @property
    def frame(self) -> pd.DataFrame:
        """Every measured value of the run, tidy."""
        return self.artefacts.frame

    def table(self, name: str) -> pd.DataFrame | str:
        """The paper's rows beside ours; without ours if this run has no such table, the reason if there are
        neither.
        """
        entry = self.study.card.tables[name]
        reason = self.artefacts.missing(name)
        if reason and not entry.reported.rows:
            return f"{name}: {reason}"
        block = None if reason else self.artefacts.table(name, entry)
        return side_by_side(entry, block)

    def figure(self, name: str) -> Any:
        """The figure, or the reason why this run has none."""
        reason = self.artefacts.missing(name)
        if reason:
            return f"{name}: {reason}"
        return Image(data=png(self.artefacts.plot(name)), alt=self.study.card.figures[name].title)

    def ledger(self) -> pd.DataFrame:
        """Verdict and evidence of every claim."""
        return ledger.frame(self.study, self.artefacts.verdicts())
