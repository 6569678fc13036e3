"""The figures, drawn from their data twins; the paper's values are dashed lines or grey crosses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plotting.layouts import curves_by_panel
from common.plotting.style import PALETTE, STYLE, bars, caption, label, legend, panels, seeds

Reported = Mapping[str, float]
LAPTOP = "target of 0.8 M parameters, draft of 0.1 M"


def plot_fig1(data: pd.DataFrame, reported: Reported) -> Figure:
    """The tree by level, each node at its cumulative probability."""
    figure, axes = panels(1, width=6.0, height=3.2)
    axis = axes[0]
    place = {row.path: (row.level, row.probability) for row in data.itertuples()}
    place["It"] = (0, 1.0)
    heights = _apart(data)
    for row in data.itertuples():
        level, height = place[row.path]
        above = place[row.path.rsplit(" ", 1)[0]]
        colour = PALETTE[0] if row.kept else "0.6"
        style = "-" if row.kept else ":"
        axis.plot([above[0], level], [above[1], height], color=colour, ls=style, lw=1.4, zorder=1)
        axis.scatter(level, height, color=colour, zorder=2)
        notes = [f"{height:.3g}", *_notes(row)]
        with mpl.rc_context(STYLE):
            axis.text(
                level + 0.06, heights[row.path], f"{row.path} ({', '.join(notes)})", va="center", size=8
            )
    axis.scatter(0, 1.0, color=PALETTE[0])
    axis.text(0.06, 1.0, "It", va="center", size=8)
    axis.set_xlim(-0.1, 3.4)
    axis.set_xticks([0, 1, 2])
    label(axis, "", x="level", y="cumulative probability of the draft")
    told = ", ".join(f"{path} {value:g}" for path, value in reported.items())
    caption(figure, f"three of six candidates are kept; the paper's example: {told}")
    return figure


def _notes(row: Any) -> list[str]:
    told = {"greedy": row.greedy, "target accepts": row.accepted, "pruned": not row.kept}
    return [note for note, holds in told.items() if holds]


def _apart(data: pd.DataFrame, room: float = 0.07) -> dict[str, float]:
    """Heights of the labels: above inner nodes, and apart where two leaves would overlap."""
    heights: dict[str, float] = {}
    for level, nodes in data.sort_values("probability").groupby("level"):
        lift, last = 0.5 * room * (level < data["level"].max()), -1.0
        for row in nodes.itertuples():
            last = heights[row.path] = max(row.probability + lift, last + room)
    return heights


def plot_fig2a(data: pd.DataFrame, reported: Reported) -> Figure:
    """Two panels of shares."""
    names = {"accepted on the greedy path": "accepted", "greedy path pruned": "pruned"}
    figure = _points(data, width=3.8, y="share of prefixes (%)")
    for axis, suffix in zip(figure.axes, names.values(), strict=True):
        _crosses(axis, {name.split()[0]: v for name, v in reported.items() if name.endswith(suffix)}, data)
        axis.set_ylim(0, 105)
    legend(figure)
    caption(figure, f"EAGLE-3, T=0; {LAPTOP}; {seeds(data[data['n'] > 1], 'whisker')}")
    return figure


def plot_fig2b(data: pd.DataFrame, reported: Reported) -> Figure:
    """Path against tree at two temperatures."""
    figure = _points(data, width=3.8, y="acceptance length τ")
    _crosses(figure.axes[0], reported, data)
    for axis in figure.axes:
        axis.set_ylim(bottom=1.0)
    legend(figure)
    caption(figure, f"EAGLE-3, exact at held-out prefixes; {LAPTOP}; {seeds(data, 'whisker')}")
    return figure


def plot_fig2c(data: pd.DataFrame, reported: Reported) -> Figure:
    """Speed-ups at two temperatures."""
    figure = _points(data, width=3.2, y="speed-up over plain decoding")
    _crosses(figure.axes[0], reported, data)
    legend(figure)
    caption(figure, f"one thread, arms in turn; {LAPTOP}; paper: LLaMA-3.1-8B; {seeds(data, 'whisker')}")
    return figure


def plot_training(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Four quantities over steps."""
    figure = curves_by_panel(data, f"Phase II from EAGLE-3; {LAPTOP}", x="step", columns=2, rates=("groups",))
    rewards = data[data["panel"] == figure.axes[0].get_title()]
    low, high = rewards["low"].min(), rewards["high"].max()
    if low < high:  # a difference may lie on both sides of 0; one seed has no band
        figure.axes[0].set_ylim(low, high)
        figure.axes[0].axhline(0.0, color="0.35", lw=0.8)
    return figure


def plot_gap(data: pd.DataFrame, _reported: Reported) -> Figure:
    """One panel per rank."""
    figure = _points(data, width=3.0, y="accepted tokens, difference")
    for axis in figure.axes:
        axis.axhline(0.0, color="0.35", lw=0.8)
    text = "difference to the target's own trees; eight contexts, four tokens, three levels"
    caption(figure, f"{text}; {seeds(data, 'whisker')}")
    return figure


def _points(data: pd.DataFrame, width: float, y: str) -> Figure:
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(len(names), width=width, height=3.1)
    for axis, name in zip(axes, names, strict=True):
        bars(axis, data[data["panel"] == name], "arm")
        label(axis, name)
    axes[0].set_ylabel(y)
    return figure


def _crosses(axis: Axes, reported: Reported, data: pd.DataFrame) -> None:
    """The paper's values at the arms of the same name."""
    arms = list(dict.fromkeys(data.loc[data["panel"] == axis.get_title(), "arm"]))
    found = {arms.index(name): value for name, value in reported.items() if name in arms}
    low, high = axis.get_ylim()
    axis.scatter(list(found), list(found.values()), marker="x", color="0.35", label="paper", zorder=3)
    axis.set_ylim(min(low, *found.values()), max(high, 1.04 * max(found.values())))
