"""The figures, drawn from their data twins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.plotting.layouts import curves_by_panel, points_by_panel
from common.plotting.style import PALETTE, caption, label, legend, panels

Reported = Mapping[str, float]
TASK = "VerbalArith, 0.2 M parameters"


def plot_fig1(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Three panels of points."""
    return points_by_panel(data, f"{TASK}; share of responses both correct and concise", rates=("Both",))


def plot_fig2a(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Accuracy over rounds."""
    return curves_by_panel(data, f"{TASK}; temperature 1", x="round", rates=("rollouts",))


def plot_fig2b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Score over rounds."""
    return curves_by_panel(data, f"{TASK}; temperature 1", x="round", rates=("ten",))


def plot_fig3a(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Length over rounds."""
    return curves_by_panel(data, f"{TASK}; pool of praise with and without words on length", x="round")


def plot_fig3b(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Loss over optimizer steps."""
    what = f"{TASK}; pool of praise with and without words on length; moving average of five steps"
    return curves_by_panel(data, what, x="optimizer step")


def plot_posterior(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Two heat maps with their numbers."""
    figure, axes = panels(2, width=3.4, height=2.6)
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        grid = part.pivot_table(index="critique", columns="response", values="value").to_numpy()
        axis.imshow(grid, vmin=0, vmax=data["value"].max(), cmap="cividis", aspect="auto")
        for (row, column), cell in np.ndenumerate(grid):
            colour = "black" if cell > 0.6 * data["value"].max() else "white"
            axis.text(column, row, f"{cell:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axis.grid(visible=False)
        label(axis, str(name), x="response o", y="critique c")
        axis.set_yticks(range(len(grid)))
    caption(figure, "one random world; exact posterior and the policy fitted by likelihood")
    return figure


def plot_rounds(data: pd.DataFrame, _reported: Reported) -> Figure:
    """Iterated rounds as lines, the closed form as circles on them."""
    figure, axes = panels(2)
    arms = [arm for arm in dict.fromkeys(data["arm"]) if not arm.endswith("closed form")]
    for axis, (name, part) in zip(axes, data.groupby("panel", sort=False), strict=True):
        for index, arm in enumerate(arms):
            line, points = (part[part["arm"] == one] for one in (arm, f"{arm}, closed form"))
            axis.plot(line["step"], line["mean"], color=PALETTE[index], label=arm)
            axis.plot(
                points["step"],
                points["mean"],
                "o",
                mfc="none",
                ms=5,
                color=PALETTE[index],
                label="closed form",
            )
        label(axis, str(name), x="round", integer=True)
    legend(figure)
    caption(
        figure,
        "twelve responses of length 1 to 12, exact updates; every other response is likely to be right",
    )
    return figure
