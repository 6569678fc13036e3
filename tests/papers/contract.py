"""What every paper's report owes its card, checked in one way for all papers."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.testing import assert_frame_equal, assert_series_equal

from common.plotting.style import save
from common.study.artefacts import TABLE_COLUMNS, side_by_side
from common.study.card import Card, load_card
from common.study.results import read_values, write_values
from common.study.verdicts import judge


class Contract:
    """The card of a paper and the functions that its report has to offer.

    Attributes:
        card: The card.
        tables, figures, tested: Ids that the report computes; `figures` have a `plot_<id>`, too.
        absent: Ids of tables and figures that it does not.
        exact, sampled: Tested claims by kind of test.
    """

    def __init__(self, slug: str, report: ModuleType) -> None:
        self.card: Card = load_card(slug)
        self.report = report
        self.tables = [name for name, table in self.card.tables.items() if not table.absent]
        self.figures = [name for name, figure in self.card.figures.items() if not figure.absent]
        self.absent = [
            name for name, entry in {**self.card.tables, **self.card.figures}.items() if entry.absent
        ]
        self.tested = [name for name, claim in self.card.claims.items() if claim.test]
        self.exact = [name for name in self.tested if self.card.claims[name].test.kind == "exact"]
        self.sampled = [name for name in self.tested if name not in self.exact]

    def made(self, frame: pd.DataFrame) -> dict[str, Any]:
        """What every function of the report makes of the study's frame."""
        names = [*self.tables, *self.figures, *self.tested]
        return {name: getattr(self.report, name)(frame) for name in names}

    def check_table(self, name: str, block: pd.DataFrame) -> None:
        """Long, without a cell twice, with every row that the card names, and it goes beside the paper's."""
        table = self.card.tables[name]
        assert list(block.columns) == TABLE_COLUMNS
        assert not block.duplicated(["row", "column"]).any()
        pairs = table.pairs(list(block["row"]))
        assert set(pairs.values()) <= set(block["row"])
        assert pairs or not table.reported.rows
        assert side_by_side(table, block).shape[0] >= len(table.reported.rows)

    def check_figure(self, name: str, data: pd.DataFrame, folder: Path) -> Figure:
        """It is drawn from its twin and can be saved."""
        figure = getattr(self.report, f"plot_{name}")(data, self.card.figures[name].reported)
        assert isinstance(figure, Figure)
        save(figure, folder / name)
        assert min((folder / f"{name}.{kind}").stat().st_size for kind in ("png", "svg")) > 5000
        return figure

    def check_panels(self, data: pd.DataFrame, figure: Figure) -> None:
        """A twin of intervals has a panel for every axis."""
        assert {"panel", "mean", "low", "high", "n"} <= set(data.columns)
        assert data["mean"].notna().all()
        assert set(data["panel"]) == {axis.title.get_text() for axis in figure.axes}

    def check_absent(self, name: str) -> None:
        """What the card declares absent is not computed."""
        assert not hasattr(self.report, name)

    def check_errors(self, values: Any) -> None:
        """An exact claim returns one finite error per instance."""
        errors = np.asarray(values)
        assert errors.ndim == 1
        assert errors.size
        assert np.isfinite(errors).all()

    def check_judged(self, made: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """All these claims get a verdict."""
        names = list(names)
        verdicts = judge(self.card.claims, {name: made[name] for name in names})
        assert set(verdicts) == set(names)
        return verdicts

    def check_storage(self, frame: pd.DataFrame, made: Mapping[str, Any], folder: Path) -> None:
        """Neither the order of rows nor storage changes a digit."""
        write_values(frame.sample(frac=1.0, random_state=7), folder / "values.parquet")
        other = read_values(folder / "values.parquet")
        for name, first in made.items():
            second = getattr(self.report, name)(other)
            if isinstance(first, pd.DataFrame):
                assert_frame_equal(first, second, check_exact=True)
            elif isinstance(first, pd.Series):
                assert_series_equal(first, second, check_exact=True)
            else:
                np.testing.assert_array_equal(first, second)
