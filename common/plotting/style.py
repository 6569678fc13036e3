"""One style for all figures, on seaborn's theme and palettes: colour-blind safe, the baseline grey."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Colour = tuple[float, float, float]
_NAMES = ("blue", "orange", "green", "vermilion", "purple", "brown", "pink", "grey", "yellow", "sky")
HUES: dict[str, Colour] = dict(zip(_NAMES, sns.color_palette("colorblind"), strict=True))
"""Colours by name. A method keeps its colour in every figure of the repository; grey is the baseline's."""
GREY = HUES["grey"]
PALETTE = [colour for name, colour in HUES.items() if name != "grey"]
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
REFERENCE: dict[str, Any] = {"color": "0.35", "lw": 1}
LETTERS_PER_INCH = 19  # of a caption
STYLE: Any = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper"),
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same letters
    "figure.dpi": 100,
    "savefig.dpi": 130,
    "svg.hashsalt": "reprise",
    "svg.fonttype": "none",
    "axes.edgecolor": "0.6",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": "0.92",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "axes.prop_cycle": cycler(color=PALETTE),
}


def colours(levels: Iterable[str], fixed: Mapping[str, Colour]) -> dict[str, Colour]:
    """A colour per level: its own where it has one, else the next of the palette that no level here uses."""
    names = list(dict.fromkeys(levels))
    taken = [fixed[name] for name in names if name in fixed]
    free = [colour for colour in PALETTE if colour not in taken] or PALETTE
    others = [name for name in names if name not in fixed]
    chosen = {name: free[index % len(free)] for index, name in enumerate(others)}
    return {name: fixed.get(name, chosen.get(name, GREY)) for name in names}


def shades(levels: Iterable[str]) -> dict[str, Colour]:
    """Colours of ordered levels (a sweep), from light to dark."""
    names = list(levels)
    return dict(zip(names, sns.color_palette("crest", len(names)), strict=True))


def panels(columns: int, rows: int = 1, width: float = 3.6, height: float = 2.9) -> tuple[Figure, np.ndarray]:
    """A figure with `rows` x `columns` axes in the project's style, not registered with pyplot.

    Returns:
        The figure and its axes, shape ``[rows * columns]``.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
    return figure, axes


def label(axes: Axes, title: str = "", x: str = "", y: str = "", integer: bool = False) -> None:
    """Title and axis labels in the project's style; `integer` keeps the horizontal ticks whole."""
    with mpl.rc_context(STYLE):
        axes.set(title=title, xlabel=x, ylabel=y)
    if integer:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def legend(figure: Figure, columns: int = 4) -> None:
    """One legend for all panels, above them, each label once; it never hides data."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    if entries:
        with mpl.rc_context(STYLE):
            figure.legend(
                list(entries.values()),
                list(entries),
                loc="outside upper center",
                ncols=min(columns, len(entries)),
            )


def reported_line(axes: Axes, value: float, label: str) -> None:
    """The paper's value, dashed and named as the paper's in the legend; the axis is widened to show it."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, value), max(high, value))
    axes.axhline(value, ls="--", label=f"paper: {label}", **REFERENCE)


def seeds(data: pd.DataFrame, shape: str = "band", interval: str = "95 % t interval") -> str:
    """Caption text on what a summary's intervals are, e.g. ``mean of n = 10 seeds; band: 95 % t interval``.

    Args:
        data: Summary with columns n and low; closed forms (n = 0) do not count.
        shape: What the interval looks like in the figure.
        interval: Kind of interval.
    """
    counts = sorted({int(n) for n in data["n"] if n > 0})
    if not counts:
        return "computed, no seeds"
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if data["low"].isna().all():
        return f"n = {span} seed, no interval"
    return f"mean of n = {span} seeds; {shape}: {interval}"


def caption(figure: Figure, text: str) -> None:
    """Small print below the axes: n, kind of interval, what is scaled down; wrapped to the figure."""
    wrapped = textwrap.fill(text, int(LETTERS_PER_INCH * figure.get_figwidth()))
    figure.supxlabel(wrapped, fontsize=7, color="0.35")


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``, reproducibly: no date, fixed ids."""
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
        figure.set_layout_engine("none")  # the layout is solved: solving it again costs more than drawing
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def png(figure: Figure, dpi: int = 72) -> bytes:
    """The figure as PNG bytes for a notebook, small enough that a report of twenty stays below 1 MiB."""
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
