"""One style for all figures: colour-blind safe, seeds as bands, the paper's value as a dashed line."""

from __future__ import annotations

from collections.abc import Sequence
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
from scipy import stats

PALETTE = sns.color_palette("colorblind")
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


def band(values: pd.Series) -> tuple[float, float, float]:
    """Mean and 95 % t interval of one value per seed; the interval is NaN below two seeds."""
    sample = values.dropna().to_numpy(dtype=float)
    if len(sample) == 0:
        return np.nan, np.nan, np.nan
    mean = float(sample.mean())
    if len(sample) < 2:
        return mean, np.nan, np.nan
    half = float(stats.t.ppf(0.975, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return mean, mean - half, mean + half


def summarise(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row per group of `by` with mean, low, high (95 % t interval over seeds) and n.

    Args:
        frame: Tidy frame with one `value` per seed in each group.
        by: Grouping columns, kept in order of appearance.
    """
    groups = frame.groupby(list(by), sort=False, observed=True, dropna=False)["value"]
    rows = [
        [*(key if isinstance(key, tuple) else (key,)), *band(values), int(values.notna().sum())]
        for key, values in groups
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "low", "high", "n"])


def curves(
    axes: Axes, data: pd.DataFrame, hue: str, x: str = "step", order: Sequence[str] | None = None
) -> None:
    """Mean curve and 95 % band per level of `hue`, labelled in the legend.

    Args:
        axes: Where to draw.
        data: Summary with columns `x`, `hue`, mean, low, high (see `summarise`).
        hue: Column that tells the curves apart.
        x: Column of the horizontal axis.
        order: Levels in legend order; order of appearance by default.
    """
    for index, level in enumerate(order or list(dict.fromkeys(data[hue]))):
        part = data[data[hue] == level].sort_values(x)
        colour = PALETTE[index % len(PALETTE)]
        positions = part[x].to_numpy(dtype=float)
        axes.plot(positions, part["mean"].to_numpy(dtype=float), color=colour, label=str(level), lw=1.5)
        low, high = part["low"].to_numpy(dtype=float), part["high"].to_numpy(dtype=float)
        axes.fill_between(positions, low, high, color=colour, alpha=0.2, lw=0)


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


def reported_line(axes: Axes, value: float, label: str) -> None:
    """The paper's value, dashed and labelled as the paper's."""
    axes.axhline(value, color="0.35", ls="--", lw=1)
    axes.annotate(
        f"paper: {label}", (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=7
    )


def caption(figure: Figure, text: str) -> None:
    """Small line below the axes: n, kind of interval, what is scaled down."""
    figure.supxlabel(text, fontsize=7, color="0.35")


def save(figure: Figure, path: Path) -> None:
    """Write ``path.png`` and ``path.svg``, reproducibly: no date, fixed ids."""
    with mpl.rc_context(STYLE):
        figure.savefig(path.with_suffix(".png"), metadata={"Software": None})
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def png(figure: Figure, dpi: int = 72) -> bytes:
    """The figure as PNG bytes for a notebook, small enough that a report of twenty stays below 1 MiB."""
    buffer = BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
