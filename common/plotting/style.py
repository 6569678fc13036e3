"""One style for all figures: colour-blind safe, seeds as bands, the paper's value as a dashed line."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

PALETTE = mpl.color_sequences["petroff8"]  # made for colour-blind readers (arXiv:2107.02270)
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
LETTERS_PER_INCH = 19  # of a caption
STYLE: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 130,
    "svg.hashsalt": "reprise",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": cycler(color=PALETTE),
}


def panels(columns: int, rows: int = 1, width: float = 3.6, height: float = 2.9) -> tuple[Figure, np.ndarray]:
    """A figure with `rows` x `columns` axes in the project's style, not registered with pyplot.

    Returns:
        The figure and its axes, shape ``[rows * columns]``.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
    return figure, axes


def curves(
    axes: Axes,
    data: pd.DataFrame,
    hue: str,
    x: str = "step",
    order: Sequence[str] | None = None,
    band: bool = True,
) -> None:
    """Mean curve and 95 % band per level of `hue`, told apart by colour and dashes, labelled for a legend.

    Args:
        axes: Where to draw.
        data: Summary with columns `x`, `hue`, mean, low, high (see `common.metrics.summary`); NaN is a gap.
        hue: Column that tells the curves apart.
        x: Column of the horizontal axis.
        order: Levels in legend order; order of appearance by default. A level keeps its colour in every
            panel that is given the same order; a level without data is left out.
        band: Draw the intervals; without, many curves stay readable (give the intervals in a table).
    """
    for index, level in enumerate(order or list(dict.fromkeys(data[hue]))):
        part = data[data[hue] == level].sort_values(x)
        if part["mean"].isna().all():
            continue
        colour, dashes = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
        positions = part[x].to_numpy(dtype=float)
        mean, low, high = (part[name].to_numpy(dtype=float) for name in ("mean", "low", "high"))
        axes.plot(positions, mean, color=colour, ls=dashes, label=str(level), lw=1.6)
        if band:
            axes.fill_between(positions, low, high, color=colour, alpha=0.18, lw=0)


def bars(axes: Axes, data: pd.DataFrame, x: str) -> None:
    """Mean with 95 % interval per level of `x`, as points (a bar's zero would carry no meaning)."""
    positions = np.arange(len(data))
    mean = data["mean"].to_numpy(dtype=float)
    error = np.abs(np.stack([mean - data["low"].to_numpy(float), data["high"].to_numpy(float) - mean]))
    for index, position in enumerate(positions):
        axes.errorbar(
            position,
            mean[index],
            yerr=error[:, [index]],
            fmt="o",
            capsize=3,
            color=PALETTE[index % len(PALETTE)],
        )
    axes.set_xticks(positions, [str(level) for level in data[x]], rotation=20, ha="right")
    axes.margins(x=0.15)


def ranking(
    axes: Axes, data: pd.DataFrame, label: str, kind: str, colours: Mapping[str, tuple[float, ...]]
) -> None:
    """Mean with 95 % interval per row, largest on top, as points coloured by `kind`.

    Args:
        axes: Where to draw.
        data: Summary with columns `label`, `kind`, mean, low, high.
        label: Column written at the rows.
        kind: Column that a point's colour tells.
        colours: Level of `kind` to colour, in legend order.
    """
    ranked = data.sort_values(["mean", label], ascending=[True, False]).reset_index(drop=True)
    for level, colour in colours.items():
        part = ranked[ranked[kind] == level]
        mean = part["mean"].to_numpy(dtype=float)
        error = np.abs(np.stack([mean - part["low"].to_numpy(float), part["high"].to_numpy(float) - mean]))
        axes.errorbar(
            mean, part.index.to_numpy(), xerr=error, fmt="o", ms=4, capsize=2, color=colour, label=level
        )
    axes.set_yticks(range(len(ranked)), list(ranked[label]), fontsize=7)
    axes.set_xlim(left=0)
    axes.margins(y=0.02)


def legend(figure: Figure, columns: int = 6) -> None:
    """One legend for all panels, above them, each label once; it never hides data."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    with mpl.rc_context(STYLE):
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper center",
            ncols=min(columns, len(entries)),
        )


def label(axes: Axes, title: str = "", x: str = "", y: str = "", integer: bool = False) -> None:
    """Title and axis labels in the project's style; `integer` keeps the horizontal ticks whole."""
    with mpl.rc_context(STYLE):
        axes.set(title=title, xlabel=x, ylabel=y)
    if integer:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def reported_line(axes: Axes, value: float, label: str) -> None:
    """The paper's value, dashed and named as the paper's in the legend; the axis is widened to show it."""
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, value), max(high, value))
    axes.axhline(value, color="0.35", ls="--", lw=1, label=f"paper: {label}")


def seeds(data: pd.DataFrame, shape: str = "band") -> str:
    """Caption text on what a summary's intervals are, e.g. ``mean of n = 10 seeds; band: 95 % t interval``.

    Args:
        data: Summary with columns n and low.
        shape: What the interval looks like in the figure.
    """
    counts = sorted({int(n) for n in data["n"] if n > 0})
    span = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else "0"
    if data["low"].isna().all():
        return f"n = {span} seed, no interval"
    return f"mean of n = {span} seeds; {shape}: 95 % t interval"


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
