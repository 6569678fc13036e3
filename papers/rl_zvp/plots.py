"""The figures, drawn from their data twins."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plotting.style import bars, caption, curves, label, legend, panels, seeds

Reported = Mapping[str, float]
TABULAR = "tabular policy in a language model's place"
OPCHAIN = "OpChain, 0.1 M parameters"
NARROWEST = 2.0  # percentage points
POLICIES = "enumerated policies of 3 tokens, length 3"


def plot_fig1(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Two arms in each of two panels."""
    figure = _points(data, width=3.0, columns=2, y="Acc@8 (%)")
    caption(figure, f"{OPCHAIN}; {seeds(data, 'whisker')}")
    return figure


def plot_fig3(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Shares over batches in two tiers."""
    figure = _lines(data, 2, x="batch", y="share of prompts")
    for axis in figure.axes:
        axis.set_ylim(0, 1)
    legend(figure, columns=2)
    caption(figure, f"left: {TABULAR}; right: 0.1 M parameters, means of four batches; {seeds(data)}")
    return figure


def plot_fig4(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three quantities by two settings."""
    figure = _lines(data, 3, x="batch")
    legend(figure)
    caption(figure, f"{OPCHAIN}; entropy and length are means of four training batches; {seeds(data)}")
    return figure


def plot_fig6(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Six methods, two scores by two mixes."""
    figure = _points(data, width=4.2, columns=2)
    caption(
        figure,
        f"{TABULAR}; -r: as many rollouts as RL-ZVP, -g: as many gradient steps; {seeds(data, 'whisker')}",
    )
    return figure


def plot_halves(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three quantities over the success rate."""
    figure = _lines(data, 3, x="success rate p", integer=False)
    for axis in figure.axes:
        _rates(axis)
    legend(figure)
    caption(
        figure, f"{POLICIES}, alpha = 1; mean of n = {int(data['n'].max())} policies; band: 95 % t interval"
    )
    return figure


def plot_groups(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Two group sizes over the success rate, logarithmic."""
    figure = _lines(data, 2, x="success rate p", y="norm of the expected update", integer=False)
    for axis in figure.axes:
        _rates(axis)
        axis.set_yscale("log")
        axis.set_ylim(1e-6, 2)
    legend(figure)
    caption(
        figure, f"{POLICIES}, alpha = 0.1; mean of n = {int(data['n'].max())} policies; band: 95 % t interval"
    )
    return figure


def plot_ablations(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Gain in success over batches in two mixes."""
    figure = _lines(data, 2, x="batch", y="success minus GRPO's", width=4.4)
    for axis in figure.axes:
        axis.axhline(0.0, color="0.35", lw=0.8)
    legend(figure, columns=4)
    caption(figure, f"{TABULAR}; {seeds(data)}")
    return figure


def _lines(
    data: pd.DataFrame, columns: int, x: str, y: str = "", integer: bool = True, width: float = 3.6
) -> Figure:
    names, arms = list(dict.fromkeys(data["panel"])), list(dict.fromkeys(data["arm"]))
    figure, axes = panels(columns, -(-len(names) // columns), width=width)
    for axis, name in zip(axes, names, strict=True):
        curves(axis, data[data["panel"] == name], "arm", order=arms)
        label(axis, name, x=x, y=y, integer=integer)
    return figure


def _points(data: pd.DataFrame, width: float, columns: int, y: str = "") -> Figure:
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(columns, -(-len(names) // columns), width=width)
    for axis, name in zip(axes, names, strict=True):
        bars(axis, data[data["panel"] == name], "arm")
        label(axis, name, y=y)
        axis.ticklabel_format(axis="y", useOffset=False)
        low, high = axis.get_ylim()
        room = max(0.0, NARROWEST - (high - low)) / 2  # a narrower axis would show rounding
        axis.set_ylim(low - room, min(high + room, 101.0))
    return figure


def _rates(axis: Axes) -> None:
    """Stretch both ends of the success rates."""
    axis.set_xscale("logit", one_half="0.5")
    axis.set_xticks(
        [0.002, 0.02, 0.1, 0.5, 0.9, 0.98, 0.998],
        ["0.002", "0.02", "0.1", "0.5", "0.9", "0.98", "0.998"],
        rotation=45,
    )
    axis.minorticks_off()
