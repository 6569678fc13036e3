"""The figures, drawn from their data twins."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plotting.style import PALETTE, bars, caption, curves, label, legend, panels, ranking, seeds
from papers.fastgrpo.experiment import PROFILES

Reported = Mapping[str, float]
LADDER = "sixteen narrow layers on the ladder task, one CPU thread"
WHOLE = ("iteration", "measurement")
KNEE = PROFILES["laptop"]["c_peak"]


def plot_fig1(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Shares by part, a panel per loop."""
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(len(names), width=2.7)
    for axis, name in zip(axes, names, strict=True):
        bars(axis, data[data["panel"] == name], "arm")
        label(axis, name, y="share of an iteration (%)")
        axis.set_ylim(0, 100)
    caption(figure, f"{LADDER}; paper: 91 to 98% generation; {seeds(data, 'whisker')}")
    return figure


def plot_fig2(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Lengths over iterations."""
    figure = _lines(data, x="iteration", y="tokens", zero=True)
    caption(figure, f"{LADDER}; {seeds(data)}")
    return figure


def plot_fig3(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Speed against rows, logarithmic."""
    figure = _lines(data, x="running rows", y="tokens per second, plain = 1", width=5.2)
    axis = figure.axes[0]
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted(set(data["step"])), [f"{step:g}" for step in sorted(set(data["step"]))])
    axis.axhline(1.0, color="0.35", lw=0.8)
    caption(figure, f"{LADDER}; all rows of equal length, frozen draft; {seeds(data)}")
    return figure


def plot_fig4(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Acceptance over measurements."""
    width = 5.2 if len(set(data["panel"])) == 1 else 4.0
    figure = _lines(data, x="measurement", y="expected tokens per cycle", width=width)
    caption(figure, f"{LADDER}; trees of 16 tokens on the run's own rollouts; {seeds(data)}")
    return figure


def plot_fig5(data: pd.DataFrame, reported: Reported) -> Figure:
    """As Fig. 4."""
    return plot_fig4(data, reported)


def plot_fig6(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Throughput, and cost by tokens with the line of proportional cost."""
    figure = _lines(data, titled=False)
    speed, cost = figure.axes
    label(speed, "Throughput", x="rows", y="thousand tokens per second")
    label(cost, "Cost of a pass", x="tokens a row", y="time, one token a row = 1")
    for axis in (speed, cost):
        axis.set_xscale("log", base=2)
    speed.axvline(KNEE, color="0.35", ls="--", lw=1, label="C_peak used")
    sizes = sorted(set(data.loc[data["panel"] == "Cost of a pass", "step"]))
    cost.set_yscale("log", base=2)
    cost.plot(sizes, sizes, color="0.35", ls=":", lw=1, label="proportional")
    legend(figure, columns=4)
    caption(figure, f"{LADDER}; {seeds(data)}")
    return figure


def plot_depth(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Gain against rows, a curve per depth."""
    figure = _lines(data, x="running rows", y="tokens per second, plain = 1")
    for axis in figure.axes:
        axis.set_xscale("log", base=2)
        axis.axhline(1.0, color="0.35", lw=0.8)
    caption(figure, f"measured passes, drafting and acceptance, combined; one CPU thread; {seeds(data)}")
    return figure


def plot_arms(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Every arm over both baselines, fastest on top."""
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(len(names), width=4.4, height=4.2)
    for axis, name in zip(axes, names, strict=True):
        part = data[data["panel"] == name].assign(kind=_kind)
        ranking(axis, part, "arm", "kind", {"method": PALETTE[1], "other": PALETTE[0]})
        label(axis, name, x="speed-up of generation")
        axis.axvline(1.0, color="0.35", lw=0.8)
    caption(figure, f"{LADDER}; replay after training; {seeds(data, 'whisker')}")
    return figure


def plot_rewards(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Reward and length over iterations."""
    figure = _lines(data, x="iteration")
    caption(figure, f"{LADDER}; {seeds(data)}")
    return figure


def _kind(part: pd.DataFrame) -> list[str]:
    return ["method" if name == "FastGRPO" else "other" for name in part["arm"]]


def _lines(
    data: pd.DataFrame,
    x: str = "",
    y: str = "",
    width: float = 4.0,
    zero: bool = False,
    titled: bool = True,
) -> Figure:
    names, levels = list(dict.fromkeys(data["panel"])), list(dict.fromkeys(data["arm"]))
    figure, axes = panels(len(names), width=width)
    for axis, name in zip(axes, names, strict=True):
        curves(axis, data[data["panel"] == name], "arm", order=levels)
        label(axis, name, x=x, y=y, integer=x in WHOLE)
        _floor(axis, zero)
    if titled:
        legend(figure, columns=2 if len(names) == 1 else 3)
    return figure


def _floor(axis: Axes, zero: bool) -> None:
    if zero:
        axis.set_ylim(bottom=0)
