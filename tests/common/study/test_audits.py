"""Audits on a table of four rows: what rounding allows is no error, what it does not is found."""

import pandas as pd
import pytest

from common.study import audits
from common.study.audits import gains, possible


@pytest.fixture
def block(monkeypatch):
    table = pd.DataFrame(
        {"a": [38.4, 96.8, 152.1, 50.0], "b": [80.9, 81.3, 0.5, 33.3]}, index=["old", "new", "gain", "score"]
    )
    monkeypatch.setattr(audits, "reported", lambda slug, name: table)
    return table


def test_a_gain_within_the_rounding_of_its_cells_is_no_error(block):
    audit = gains("x", "t", [("old", "new", "gain")])
    assert audit(pd.DataFrame()).tolist() == [0.0, 0.0]
    block.loc["gain", "a"] = 154.0
    assert audit(pd.DataFrame())[0] == pytest.approx(154.0 - 100 * (96.85 / 38.35 - 1))


def test_scores_are_averages_of_outcomes_in_the_rows_asked_for(block):
    found = possible("x", "t", {"a": 2, "b": 3}, only=["score"])(pd.DataFrame())
    assert found == pytest.approx([0.0, 0.0333], abs=1e-3)
    assert len(possible("x", "t", {"a": 2})(pd.DataFrame())) == 4
