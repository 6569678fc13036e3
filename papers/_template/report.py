"""What the records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES.

A claim is one line: a measure of arms, seed by seed. One more arm is an argument, one more claim a line.
"""

from __future__ import annotations

import pandas as pd

from common.plotting.draw import lines
from common.plotting.style import HUES
from common.study.frame import curve, estimate, long_table, rows, stacked, values
from common.study.report import Figure, Measure, Twin

NAMES = {"variance": "p (1 - p)"}
COLOURS = {NAMES["variance"]: HUES["blue"]}


def over_rate(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A closed form over the success rate."""
    rate, value = (rows(frame, "theory", column) for column in ("p", name))
    return curve(value.assign(step=rate["value"]), panel="Variance of the reward", arm=NAMES[name])


PREMISES: dict[str, Measure] = {
    "varies": lambda f: rows(f, "theory", "variance").groupby("seed")["value"].max(),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f: values(f, "theory", "error"),
}
TABLES: dict[str, Twin] = {
    "table1": lambda f: long_table(
        (f"p = {rate:.1f}", "variance", estimate(pd.Series([value])))
        for rate, value in zip(values(f, "theory", "p"), values(f, "theory", "variance"), strict=True)
    ),
}
FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        lambda f: stacked(over_rate(f, name) for name in NAMES),
        lines("closed form", x="success rate p", fixed=COLOURS),
    ),
}
