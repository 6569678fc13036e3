"""The sentence above a figure and the names in its legend, on small twins."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from common.plotting.draw import dots, lines
from common.plotting.point import describe, headline, listed, span


def curves(**ends):
    """A twin of two panels in which each arm runs from 1 to its end."""
    rows = [
        (panel, arm, step, 1.0 if step == 0 else end, end - 0.1, end + 0.1, n)
        for panel in ("Entropy", "Score")
        for arm, (end, n) in ends.items()
        for step in (0, 5)
    ]
    return pd.DataFrame(rows, columns=["panel", "arm", "step", "mean", "low", "high", "n"])


def test_curves_are_told_from_start_to_end_with_their_intervals():
    text = describe(curves(mean=(0.5, 9), qae=(0.62, 9)))
    assert text.startswith("Entropy: ")
    assert "mean 1 → 0.5" in text
    assert text.endswith("qae 1 → 0.62; their intervals overlap at the end.")
    assert "their intervals are apart at the end" in describe(curves(mean=(0.5, 9), qae=(0.8, 9)))


def test_of_many_curves_the_two_that_end_furthest_apart_are_told():
    text = describe(curves(a=(0.1, 3), b=(0.9, 3), c=(0.3, 3), d=(0.4, 3), e=(0.5, 3)))
    assert text == "Entropy: b 1 → 0.9, a 1 → 0.1; their intervals are apart at the end."


def test_points_are_told_by_the_highest_and_the_lowest():
    twin = pd.DataFrame(
        {"panel": ["p"] * 3, "arm": list("abc"), "mean": [0.2, 0.5, 0.1], "low": [0.1, 0.4, None]}
    )
    twin["high"] = twin["mean"] + 0.1
    assert describe(twin) == "p: highest b 0.5, lowest c 0.1."
    assert describe(twin.iloc[:2]) == "p: highest b 0.5, lowest a 0.2; their intervals are apart."
    assert describe(twin.iloc[:1]) == "p: a 0.2."


def test_a_twin_of_another_kind_has_no_default_sentence():
    assert describe(pd.DataFrame({"panel": ["p"], "response": [1]})) == ""
    assert describe(curves(mean=(0.5, 9)).assign(mean=float("nan"))) == "Entropy: no number was measured."


@pytest.mark.parametrize(
    ("seeds", "names"), [((9, 9), ["mean", "qae"]), ((9, 5), ["mean (n = 9)", "qae (n = 5)"])]
)
def test_a_legend_says_how_many_seeds_an_arm_has_where_they_differ(seeds, names):
    figure = lines("note")(curves(mean=(0.5, seeds[0]), qae=(0.6, seeds[1])), {})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


def test_the_point_is_the_legends_title_or_else_the_figures():
    figure = lines("note")(curves(mean=(0.5, 9), qae=(0.6, 9)), {})
    headline(figure, "It falls.")
    assert figure.legends[0].get_title().get_text() == "It falls."
    plain = Figure()
    headline(plain, "It falls.")
    assert plain.get_suptitle() == "It falls."


def grouped(missing=()):
    rows = [
        ("gain", group, arm, 1.0 + index, 0.9 + index, 1.1 + index, 5)
        for group in ("chat", "math")
        for index, arm in enumerate(("a", "b", "c"))
        if (group, arm) not in missing
    ]
    return pd.DataFrame(rows, columns=["panel", "group", "arm", "mean", "low", "high", "n"])


@pytest.mark.parametrize("missing", [(), (("chat", "a"),)])
def test_the_papers_value_stands_at_its_arm_where_arms_are_side_by_side(missing):
    figure = dots("note", x="group", y="τ")(grouped(missing), {"gain, math, b": 2.5, "other, math, b": 9.0})
    axis = figure.axes[0]
    (cross,) = [each for each in axis.collections if each.get_label() == "paper"]
    ((across, up),) = cross.get_offsets()
    points = [offset for each in axis.collections if each is not cross for offset in each.get_offsets()]
    assert up == 2.5
    assert any(across == pytest.approx(x) and y == 2.0 for x, y in points)
    assert axis.get_ylim()[0] < 0.9


def test_arms_are_listed_with_their_intervals_and_spans_go_from_least_to_largest():
    twin = grouped()
    assert listed("Gain", twin.iloc[:2]) == "Gain: a 1.000 [0.900, 1.100]; b 2.000 [1.900, 2.100]."
    twin.loc[0, "mean"] = 0.5
    assert span(twin, "gain", "a") == "0.5 to 1"
