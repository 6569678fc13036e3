"""The figures, drawn from their data twins; dashed grey lines are the paper's values."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from common.plotting.layouts import curves_by_panel, points_by_panel
from common.plotting.style import (
    PALETTE,
    caption,
    curves,
    label,
    legend,
    panels,
    ranking,
    reported_line,
    seeds,
)
from papers.qae.figures import CLOSED_FORM

Reported = Mapping[str, float]
KIND_COLOURS = {"exploratory": PALETTE[1], "rigid": PALETTE[0], "other": (0.6, 0.6, 0.6)}
TABULAR = "tabular policy in a language model's place"
OPCHAIN = "OpChain, 0.1 M parameters"


def plot_fig1(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Two panels over iterations."""
    return curves_by_panel(data, OPCHAIN)


def plot_fig2(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Markers and pass@1 over iterations."""
    return curves_by_panel(data, f"{OPCHAIN}; tokens per response")


def plot_fig3(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three rankings of tokens."""
    return _token_rankings(data)


def plot_fig4a(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Entropy by sign."""
    return curves_by_panel(data, f"{TABULAR}, hard mix")


def plot_fig4b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Weights over the success rate."""
    return _over_success_rate(data)


def plot_fig4c(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Weights over the success rate."""
    return _over_success_rate(data)


def plot_fig5a(data: pd.DataFrame, _reported: Reported) -> Figure:
    """pass@1 and pass@16 over iterations."""
    return curves_by_panel(data, OPCHAIN)


def plot_fig5b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Entropy by sign."""
    return curves_by_panel(data, f"{TABULAR}, hard mix")


def plot_fig5c(data: pd.DataFrame, reported: Reported) -> Figure:
    """Shares over iterations in three panels, the closed form in the fourth."""
    figure, axes = panels(4, width=3.0, height=3.3)
    arms = list(dict.fromkeys(data["arm"]))
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        curves(axis, part, "arm", order=arms)
        if name == CLOSED_FORM:
            label(axis, name, x="success rate p of the prompt")
        else:
            label(axis, name, x="iteration", integer=True)
            for what, value in reported.items():
                reported_line(axis, value, f"{value:.0%} {what}")
        axis.set_ylim(0, 1)
    axes[0].set_ylabel("share of responses")
    legend(figure, columns=4)
    caption(figure, f"{seeds(data[data['panel'] != CLOSED_FORM])}; right: closed form")
    return figure


def plot_fig6b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Success and entropy by mask."""
    return points_by_panel(data, TABULAR)


def plot_fig6c(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Success and entropy by mask."""
    return points_by_panel(data, TABULAR)


def plot_fig7(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Markers and pass@1 over iterations."""
    return curves_by_panel(data, f"{OPCHAIN}; tokens per response")


def plot_fig8(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three rankings of tokens."""
    return _token_rankings(data)


def plot_fig9(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Five panels over iterations, one colour a K."""
    return curves_by_panel(data, f"tabular policy, broad mix, and {OPCHAIN}", columns=3)


def plot_fig10(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three panels over iterations."""
    return curves_by_panel(data, OPCHAIN)


def _over_success_rate(data: pd.DataFrame) -> Figure:
    figure, axes = panels(1, width=4.6)
    curves(axes[0], data, "arm")
    label(axes[0], data["panel"].iloc[0], x="success rate p of the prompt", y="weight")
    legend(figure)
    caption(figure, "closed form")
    return figure


def _token_rankings(data: pd.DataFrame) -> Figure:
    names = list(dict.fromkeys(data["panel"]))
    figure, axes = panels(len(names), width=2.8, height=4.4)
    for axis, name in zip(axes, names, strict=True):
        ranking(axis, data[data["panel"] == name], "token", "kind", KIND_COLOURS)
        label(axis, name, x="share of positions")
    axes[0].set_ylabel("token")
    legend(figure)
    caption(figure, f"{OPCHAIN}; the 20 % positions of highest entropy; {seeds(data, 'whisker')}")
    return figure
