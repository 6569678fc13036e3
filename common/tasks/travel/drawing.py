"""Episodes as a picture of their transcripts."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from common.plotting.style import HUES, caption, panels
from common.tasks.travel.transcript import MADE_UP


def written(episodes: pd.DataFrame, note: str) -> Figure:
    """Episodes one below the other; an itinerary with something made up is red.

    Args:
        episodes: Columns episode (its title) and line.
        note: For the caption.
    """
    titles = list(dict.fromkeys(episodes["episode"]))
    figure, axes = panels(1, len(titles), width=7.0, height=1.7)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_axis_off()
        axis.set_title(title, loc="left", fontsize=9)
        shown = episodes.loc[episodes["episode"] == title, "line"]
        for place, line in enumerate(shown):
            colour = HUES["vermilion"] if MADE_UP in line else "0.1"
            height = 1 - (place + 1) / (len(shown) + 1)
            axis.text(0.0, height, line, family="monospace", fontsize=7, color=colour)
    caption(figure, f"{note}; {MADE_UP} marks what no tool has told")
    return figure


def made_up(episodes: pd.DataFrame) -> str:
    """One sentence: how many facts of each itinerary are made up."""
    plans = episodes[episodes["line"].str.startswith("plan:")]
    counts = [f"{row.episode}: {str(row.line).count(MADE_UP)} made up" for row in plans.itertuples()]
    return "; ".join(counts or ["no itinerary"]) + "."
