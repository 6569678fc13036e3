"""Drawings that reports choose from: curves, dots and rankings of a data twin, one panel per quantity.

A twin has the columns panel, arm, mean, low, high, n, and `step` where there is a horizontal axis
(`common.study.frame`). Intervals are the twin's own; seaborn draws them and estimates nothing. Each function
returns ``draw(twin, reported) -> Figure``; `finish` gets the axes by panel, the twin and the paper's values,
for what only one figure shows (reference lines, ticks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn.objects as so
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plotting.style import (
    DASHES,
    GREY,
    REFERENCE,
    STYLE,
    Colour,
    caption,
    colours,
    label,
    legend,
    seeds,
)

Draw = Callable[[pd.DataFrame, Mapping[str, float]], Figure]
Finish = Callable[[Mapping[str, Axes], pd.DataFrame, Mapping[str, float]], None]
LETTERS_OF_A_LABEL = 30  # before it is longer than its axis
DODGED = 0.8  # share of a group's room that its arms take, seaborn's
FLAT = 0.01  # a narrower axis would show rounding
NO_COLOURS: Mapping[str, Colour] = {}


def lines(
    note: str,
    *,
    x: str = "iteration",
    y: str = "",
    columns: int = 3,
    width: float = 3.6,
    height: float = 2.9,
    fixed: Mapping[str, Colour] = NO_COLOURS,
    order: Sequence[str] = (),
    rates: Sequence[str] = (),
    log: str = "",
    band: bool = True,
    level: float | None = None,
    finish: Finish | None = None,
) -> Draw:
    """Mean curves with bands over `step`, arms told apart by colour and dashes; NaN is a gap.

    Args:
        note: Task and scale, for the caption.
        x: Name of the horizontal axis.
        y: Name of the vertical axes; by default each panel's own name, which then needs no title.
        columns: Most panels in a row.
        width, height: Of a panel, in inches.
        fixed: Colours of arms (`common.plotting.style.colours`).
        order: Arms in legend order; order of appearance by default.
        rates: Names of panels (or their ends) whose quantity lies in [0, 1].
        log: ``"x"``, ``"y"`` or ``"xy"``.
        band: Draw the intervals; without, many curves stay readable (give the intervals in a table).
        level: Height of a thin line across every panel, e.g. 0 for differences.
        finish: See the module's docstring.
    """

    def draw(data: pd.DataFrame, reported: Mapping[str, float]) -> Figure:
        arms = list(order) or list(dict.fromkeys(data["arm"]))
        look = _Look(
            colours(arms, fixed), {arm: DASHES[index % len(DASHES)] for index, arm in enumerate(arms)}
        )
        shown = _positive(data) if "y" in log else data
        plot = so.Plot(shown.dropna(subset="mean"), x="step", y="mean", color="arm", linestyle="arm")
        if band:
            plot = plot.add(so.Band(alpha=0.18, edgewidth=0), ymin="low", ymax="high", legend=False)
        plot = plot.add(so.Line(linewidth=1.6), legend=False)
        figure, axes = _facets(plot, data, look, columns, width, height)
        for name, axis in axes.items():
            part = data[data["panel"] == name]
            label(axis, x=x, integer="x" not in log and bool((part["step"] % 1 == 0).all()))
            axis.set(**{f"{direction}scale": "log" for direction in log})
            if "y" not in log:
                _bound(axis, part, _ends(name, rates))
        look.explain(next(iter(axes.values())), data)
        n = seeds(data) if band else f"means of n = {data['n'].max():.0f} seeds"
        return _finished(_Scene(figure, axes, data, reported), y, level, finish, f"{note}; {n}")

    return draw


def dots(
    note: str,
    *,
    x: str = "arm",
    y: str = "",
    columns: int = 3,
    width: float = 3.2,
    height: float = 2.9,
    fixed: Mapping[str, Colour] = NO_COLOURS,
    rates: Sequence[str] = (),
    level: float | None = None,
    paper: str = "",
    interval: str = "95 % t interval",
    finish: Finish | None = None,
) -> Draw:
    """One point with its interval per arm (a bar's zero would carry no meaning).

    Args:
        x: Column of the horizontal axis; another than the arms' has them side by side, told apart by colour,
            and the paper's values have keys ``"panel, x, arm"``.
        note, y, columns, width, height, fixed, rates, level, finish: As for `lines`.
        paper: Panel in which crosses mark the paper's values at the arms of the same name.
        interval: Kind of the twin's intervals, for the caption.
    """

    def draw(data: pd.DataFrame, reported: Mapping[str, float]) -> Figure:
        aside = [so.Dodge()] if x != "arm" else []
        plot = so.Plot(data, x=x, y="mean", color="arm")
        plot = plot.add(so.Range(linewidth=1.4), *aside, ymin="low", ymax="high", legend=False)
        plot = plot.add(so.Dot(pointsize=5), *aside, legend=False)
        look = _Look(colours(data["arm"], fixed))
        figure, axes = _facets(plot, data, look, columns, width, height)
        if aside:
            look.explain(next(iter(axes.values())), data)
        for name, axis in axes.items():
            label(axis)
            axis.tick_params(axis="x", rotation=0 if aside else 20)
            part = data[data["panel"] == name]
            _bound(axis, part, _ends(name, rates))
            if aside:
                _crosses(axis, _aside(part, x, name), reported)
            elif name == paper:
                _crosses(axis, {arm: place for place, arm in enumerate(part["arm"])}, reported)
        text = f"{note}; {seeds(data, 'whisker', interval)}"
        return _finished(_Scene(figure, axes, data, reported), y, level, finish, text)

    return draw


def ranking(
    note: str,
    *,
    rows: str,
    kind: str,
    fixed: Mapping[str, Colour],
    x: str,
    width: float = 2.8,
    height: float = 4.4,
    finish: Finish | None = None,
) -> Draw:
    """Mean with interval per row, the largest on top, coloured by `kind`.

    Args:
        note, width, height, finish: As for `lines`.
        rows: Column written at the rows, and its name beside them; arms need no name.
        kind: Column that a point's colour tells.
        fixed: Level of `kind` to colour, in legend order; other levels are grey.
        x: Name of the horizontal axis.
    """

    def draw(data: pd.DataFrame, reported: Mapping[str, float]) -> Figure:
        ranked = data.sort_values(["mean", rows], ascending=[False, True])
        paint = {level: fixed.get(level, GREY) for level in data[kind].unique()}
        plot = so.Plot(ranked, x="mean", y=rows, color=kind)
        plot = plot.add(so.Range(linewidth=1.2), xmin="low", xmax="high", legend=False)
        plot = plot.add(so.Dot(pointsize=4), legend=False)
        figure, axes = _facets(plot, data, _Look(paint), len(set(data["panel"])), width, height)
        for name, axis in axes.items():
            label(axis, name, x=x)
            axis.set_xlim(left=0)
        _Look(dict(fixed)).explain(next(iter(axes.values())), data.assign(arm=data[kind]))
        text = f"{note}; {seeds(data, 'whisker')}"
        beside = " " if rows == "arm" else rows
        return _finished(_Scene(figure, axes, data, reported), beside, None, finish, text)

    return draw


@dataclass(frozen=True)
class _Look:
    """Colour and dashes of every level."""

    paint: dict[str, Colour]
    dashes: dict[str, Any] | None = None

    def explain(self, axis: Axes, data: pd.DataFrame) -> None:
        """Put levels that have data into the legend, with their seeds where not all have as many."""
        seeds = data[data["mean"].notna()].groupby("arm", observed=True)["n"].max()
        several = len(set(seeds)) > 1
        for name, colour in self.paint.items():
            if name in seeds:
                text = f"{name} (n = {seeds[name]:.0f})" if several and seeds[name] else name
                style = {"ls": self.dashes[name]} if self.dashes else {"ls": "", "marker": "o", "ms": 4}
                axis.plot([], [], color=colour, label=text, **style)


@dataclass(frozen=True)
class _Scene:
    """A figure under construction: what `finish` needs to know."""

    figure: Figure
    axes: dict[str, Axes]
    data: pd.DataFrame
    reported: Mapping[str, float]


def _facets(
    plot: so.Plot, data: pd.DataFrame, look: _Look, columns: int, width: float, height: float
) -> tuple[Figure, dict[str, Axes]]:
    """Draw one panel per level of `panel`, each with its own axes, in the order of the twin."""
    names = list(dict.fromkeys(data["panel"]))
    columns = min(columns, len(names))
    figure = Figure((width * columns if columns > 1 else 1.45 * width, height * -(-len(names) // columns)))
    scales = {"color": look.paint, **({"linestyle": look.dashes} if look.dashes else {})}
    plot = plot.facet(col="panel", order=names, wrap=columns).share(x=False, y=False)
    with mpl.rc_context(STYLE):
        plot.scale(**scales).theme(STYLE).layout(engine="constrained").on(figure).plot()
    return figure, dict(zip(names, figure.axes, strict=True))


def _finished(scene: _Scene, y: str, level: float | None, finish: Finish | None, text: str) -> Figure:
    """Names of the vertical axes, the reference level, what only this figure shows, legend and caption."""
    for name, axis in scene.axes.items():
        with mpl.rc_context(STYLE):
            axis.set(title=name if y else "", ylabel=fill(y or name, LETTERS_OF_A_LABEL))
        axis.xaxis.label.set_visible(True)  # seaborn hides those of inner panels, as if axes were shared
        axis.yaxis.label.set_visible(True)
        if level is not None:
            axis.axhline(level, **REFERENCE)
    if finish:
        finish(scene.axes, scene.data, scene.reported)
    legend(scene.figure)
    caption(scene.figure, text)
    return scene.figure


def _ends(name: str, rates: Sequence[str]) -> bool:
    return bool(rates) and name.endswith(tuple(rates))


def _positive(data: pd.DataFrame) -> pd.DataFrame:
    """Rows that a logarithmic axis can show; bands reach a tenth of their mean at the lowest."""
    shown = data[data["mean"] > 0]
    return shown.assign(low=shown["low"].clip(lower=shown["mean"] / 10))


def _bound(axis: Axes, part: pd.DataFrame, rate: bool) -> None:
    """Cut off what cannot be: above 1 for a rate, below 0 where no mean is; do not magnify rounding."""
    axis.ticklabel_format(axis="y", useOffset=False)
    low, high = axis.get_ylim()
    room = FLAT / 2 if high - low < FLAT else 0.0
    low, high = low - room, high + room
    positive = bool((part["mean"].dropna() >= 0).all())
    axis.set_ylim(max(0.0, low) if positive else low, min(1.0, high) if rate else high)


def _aside(part: pd.DataFrame, x: str, panel: str) -> dict[str, float]:
    """Where seaborn puts the arms of each group: keys of the paper's values, and places."""
    groups, arms = (list(dict.fromkeys(part[name])) for name in (x, "arm"))
    return {
        f"{panel}, {group}, {arm}": place + DODGED * ((index + 0.5) / len(arms) - 0.5)
        for place, group in enumerate(groups)
        for index, arm in enumerate(arms)
    }


def _crosses(axis: Axes, places: Mapping[str, float], reported: Mapping[str, float]) -> None:
    values = {places[name]: value for name, value in reported.items() if name in places}
    if values:
        low, high = axis.get_ylim()
        axis.scatter(list(values), list(values.values()), marker="x", color="0.35", label="paper", zorder=3)
        room = 0.04 * (max(high, *values.values()) - min(low, *values.values()))
        axis.set_ylim(min(low, min(values.values()) - room), max(high, max(values.values()) + room))
