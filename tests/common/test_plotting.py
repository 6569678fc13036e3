"""The sentence above a figure and the names in its legend, on small twins."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from common.plotting.draw import lines
from common.plotting.point import describe, headline


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
