"""Figures that every paper needs, drawn from a data twin: one panel per quantity, one colour per arm.

A twin has the columns panel, arm, step, mean, low, high, n (`common.metrics.records.curve`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plotting.style import bars, caption, curves, label, legend, panels, seeds

RATES = ("pass@1", "pass@16", "success")
FLAT = 0.01  # a narrower axis would show rounding


def curves_by_panel(
    data: pd.DataFrame,
    what: str,
    x: str = "iteration",
    columns: int = 3,
    rates: Sequence[str] = RATES,
    band: bool = True,
) -> Figure:
    """Mean curves with bands over `step`.

    Args:
        data: Twin.
        what: Task and scale, for the caption.
        x: Name of the horizontal axis.
        columns: Most panels in a row.
        rates: Endings of the panel names whose quantity lies in [0, 1].
        band: Draw the intervals.
    """
    names = list(dict.fromkeys(data["panel"]))
    arms = list(dict.fromkeys(data["arm"]))
    columns = min(columns, len(names))
    figure, axes = panels(columns, -(-len(names) // columns), width=3.6 if columns > 1 else 5.2)
    for axis, name in zip(axes, names, strict=False):
        curves(axis, data[data["panel"] == name], "arm", order=arms, band=band)
        label(axis, name, x=x, integer=True)
        bound(axis, rate=name.endswith(tuple(rates)))
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    legend(figure, columns=4)
    caption(figure, f"{what}; {seeds(data)}" if band else f"{what}; means of n = {data['n'].max():.0f} seeds")
    return figure


def points_by_panel(data: pd.DataFrame, what: str, rates: Sequence[str] = ("Success",)) -> Figure:
    """One point with its interval per arm; `rates` are beginnings of names whose quantity lies in [0, 1]."""
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(len(names), width=3.1)
    for axis, name in zip(axes, names, strict=True):
        bars(axis, data[data["panel"] == name], "arm")
        label(axis, name)
        bound(axis, rate=name.startswith(tuple(rates)))
    caption(figure, f"{what}; {seeds(data, 'whisker')}")
    return figure


def bound(axis: Axes, rate: bool) -> None:
    """Cut off what the quantity cannot be: below 0, or above 1 for a rate; do not magnify rounding."""
    axis.ticklabel_format(axis="y", useOffset=False)
    low, high = axis.get_ylim()
    room = FLAT / 2 if high - low < FLAT else 0.0
    axis.set_ylim(max(0.0, low - room), min(1.0, high + room) if rate else high + room)
