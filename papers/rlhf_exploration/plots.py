"""The figures, drawn from their data twins. The paper has no figure, so there are no dashed lines of it."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from common.plotting.style import PALETTE, caption, curves, label, legend, panels, seeds
from papers.rlhf_exploration.arms import NAMES
from papers.rlhf_exploration.figures import BOUND, SLOPES

Reported = Mapping[str, float]
ORDER = [*NAMES.values(), BOUND]


def plot_fig_a(data: pd.DataFrame, _reported: Reported) -> Figure:
    """One panel per β, logarithmic."""
    return _grid(data, "round", "cumulative regret", f"CE1, two arms; alpha = 0.3 √T; {seeds(data)}", log="y")


def plot_fig_b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """One panel per protocol, a dot per seed."""
    return _dots(data, "1/β", "CE1, two arms; alpha = 0.3 √T")


def plot_fig_c(data: pd.DataFrame, _reported: Reported) -> Figure:
    """One panel per protocol, a dot per seed."""
    return _dots(data, "gap G", "CE2, three arms; β = 0.2; alpha = 0.3 √T")


def plot_fig_d(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Log-log growth at each β, then the slopes."""
    text = f"CE1 with gaps 0.05 to 0.8, R equal to the gap; {seeds(data[data['arm'] != BOUND])}"
    figure = _grid(data, "horizon T", "regret at the worst gap", text, log="xy")
    for axis in figure.axes:
        if axis.get_title() == SLOPES:
            axis.set_yscale("linear")
            label(axis, SLOPES, x="β", y="slope")
    return figure


def plot_fig_e(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Regret over K and over 1/β, log-log."""
    figure = _grid(data, "1/β", "R_T", f"r* ~ U[0, 1]; alpha = 0.3 √T; {seeds(data)}", log="xy", columns=2)
    for axis in figure.axes:
        ticks = sorted(data.loc[data["panel"] == axis.get_title(), "step"].unique())
        axis.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axis.minorticks_off()
        if "β" in axis.get_title():
            axis.set_xlabel("arms K")
    return figure


def plot_fig_f(data: pd.DataFrame, _reported: Reported) -> Figure:
    """One panel per instance and kind of policy."""
    text = f"responses enumerated exactly; β = 0.2; {seeds(data)}"
    return _grid(data, "round", "cumulative regret", text, columns=2)


def plot_fig_g(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Two panels over rounds, logarithmic."""
    figure = _grid(data, "round", "", seeds(data), log="y", columns=2)
    figure.axes[0].set_ylabel("share of rounds so far")
    figure.axes[1].set_ylabel("Fisher information, r(1) - r(2)")
    return figure


def _grid(data: pd.DataFrame, x: str, y: str, text: str, log: str = "", columns: int = 3) -> Figure:
    """One panel per level of `panel`, one colour per arm, the same in every panel."""
    names = list(dict.fromkeys(data["panel"]))
    columns = min(columns, len(names))
    width = 3.3 if columns > 1 else 5.0
    figure, axes = panels(columns, -(-len(names) // columns), width=width, height=2.6)
    order = [name for name in ORDER if name in set(data["arm"])]
    for axis, name in zip(axes, names, strict=False):
        part = data[data["panel"] == name]
        if "y" in log:
            axis.set_yscale("log")
            part = part.assign(low=part["low"].clip(lower=part["mean"] / 10))
            part = part[part["mean"] > 0]
        if "x" in log:
            axis.set_xscale("log")
        curves(axis, part, "arm", order=order)
        label(axis, name, x=x)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    for axis in axes[: len(names) : columns]:
        axis.set_ylabel(y)
    legend(figure)
    caption(figure, text)
    return figure


def _dots(data: pd.DataFrame, x: str, text: str) -> Figure:
    """Every seed as a dot and the median as a line, one panel per protocol, logarithmic."""
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(4, -(-len(names) // 4), width=2.6, height=2.4)
    limits = 0.7 * data["value"].min(), 1.4 * data["value"].max()
    ticks = sorted(data["step"].unique())
    spread = 0.06 * (max(ticks) - min(ticks)) / max(len(ticks) - 1, 1)
    for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
        part = data[data["panel"] == name]
        colour = PALETTE[ORDER.index(name) % len(PALETTE)]
        shift = part.groupby("step").cumcount() / part.groupby("step")["seed"].transform("size") - 0.5
        axis.scatter(part["step"] + 4 * spread * shift, part["value"], s=8, alpha=0.5, color=colour, lw=0)
        middle = part.drop_duplicates("step").sort_values("step")
        axis.plot(middle["step"], middle["median"], color=colour, lw=1.6)
        axis.set(yscale="log", ylim=limits)
        axis.minorticks_off()  # a hundred ticks that nobody reads are most of the drawing time
        label(axis, name, x=x, y="R_T" if index % 4 == 0 else "")
    caption(figure, f"{text}; n = {data['seed'].nunique()} seeds, one dot each; line: median")
    return figure
