"""The point of a figure as one sentence, computed from its data twin: what it shows, not what to look for."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from common.plotting.style import LETTERS_PER_INCH, STYLE

ARMS = 4  # more in one sentence are not read
LARGER = 1.15  # letters of the point, relative to the caption's


def describe(data: pd.DataFrame) -> str:
    """What the first panel of a twin says: each arm from its start to its end, or the highest and lowest arm.

    Args:
        data: Columns panel, arm, mean, low, high, and `step` for curves.

    Returns:
        One sentence, empty for a twin of another kind.
    """
    if not {"panel", "arm", "mean", "low", "high"} <= set(data.columns):
        return ""
    panel = data["panel"].iloc[0]
    part = data[(data["panel"] == panel) & data["mean"].notna()]
    if part.empty:
        return f"{panel}: no number was measured."
    return f"{panel}: {_courses(part) if 'step' in part else _extremes(part)}."


def listed(what: str, part: pd.DataFrame, form: str = ".3f") -> str:
    """Every arm of a part of a twin with its interval, as a sentence that begins with what is measured."""
    texts = [
        f"{row.arm} {row.mean:{form}} [{row.low:{form}}, {row.high:{form}}]" for row in part.itertuples()
    ]
    return f"{what}: {'; '.join(texts)}."


def span(data: pd.DataFrame, panel: str, arm: str, form: str = ".3g") -> str:
    """The least to the largest mean of an arm in a panel."""
    means = data.loc[(data["panel"] == panel) & (data["arm"] == arm), "mean"]
    return f"{means.min():{form}} to {means.max():{form}}"


def _courses(part: pd.DataFrame) -> str:
    """Arms from start to end; with many of them the two that end furthest apart."""
    arms = part.sort_values("step").groupby("arm", sort=False, observed=True)
    starts, ends = arms.first(), arms.last()
    names = list(dict.fromkeys(part["arm"]))
    if len(names) > ARMS:
        ranked = ends["mean"].sort_values(ascending=False)
        names = [ranked.index[0], ranked.index[-1]]
    texts = [f"{name} {_short(starts['mean'][name])} → {_short(ends['mean'][name])}" for name in names]
    return ", ".join(texts) + _apart(ends.loc[names[0]], ends.loc[names[-1]], " at the end")


def _extremes(part: pd.DataFrame) -> str:
    ranked = part.sort_values("mean", ascending=False)
    best, worst = ranked.iloc[0], ranked.iloc[-1]
    if len(ranked) == 1:
        return f"{best['arm']} {_short(best['mean'])}"
    texts = f"highest {best['arm']} {_short(best['mean'])}, lowest {worst['arm']} {_short(worst['mean'])}"
    return texts + _apart(best, worst)


def _apart(one: pd.Series, other: pd.Series, when: str = "") -> str:
    """Whether two intervals overlap; nothing where one has none, or both are one arm's."""
    if one.name == other.name or pd.isna([one["low"], other["low"]]).any():
        return ""
    overlap = one["low"] <= other["high"] and other["low"] <= one["high"]
    return f"; their intervals {'overlap' if overlap else 'are apart'}{when}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def headline(figure: Figure, text: str) -> None:
    """Write the point above a figure, wrapped to its width; above the legend, where there is one."""
    size = STYLE["legend.fontsize"]
    wrapped = textwrap.fill(text, int(LETTERS_PER_INCH * figure.get_figwidth() / LARGER))
    with mpl.rc_context(STYLE):
        if figure.legends:  # a title beside a legend outside the axes would be drawn over it
            figure.legends[0].set_title(wrapped, prop=FontProperties(size=size))
            figure.legends[0].set_alignment("center")
        else:
            figure.suptitle(wrapped, fontsize=size)
