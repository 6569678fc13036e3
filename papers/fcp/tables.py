"""The tables of the card, in long form: row, column, mean, low, high, n. Shares are in percent."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from common.metrics.intervals import Interval
from common.metrics.summary import estimate, long_table
from papers.fcp.claims import value

METHODS = {
    "Base": "base",
    "GRPO": "grpo",
    "RFT": "rft",
    "RFT+GRPO": "rft+grpo",
    "CFT": "cft",
    "FCP": "fcp",
    "FCP+Bootstrap": "bootstrap",
    "FCP, no condition": "fcp without condition",
    "FCP, positives only": "positives only",
    "FCP, shuffled critiques": "shuffled",
    "FCP, score for critique": "scalar",
    "self-distillation": "self-distillation",
    "FCP+Bootstrap, every praise": "every praise",
}
"""Row of Table 1 to the arm's name in the records."""

COLUMNS = {
    "two terms": "terms=2",
    "three terms": "terms=3",
    "all": "accuracy",
    "all, greedy": "greedy",
    "rigorous": "rigorous",
    "code": "code",
    "length": "length",
}
CONDITIONS = ("fully positive", "fully negative", "neutral", "has code", "verbose")
UNITS = {"length": 1.0, "score": 1.0}
ABLATIONS = ("default", "several updates", "seq-mean-token-sum", "praise per rollout")


def table1(frame: pd.DataFrame) -> pd.DataFrame:
    """Every method at temperature 1 by number of terms, and greedy; then what the responses look like."""
    return long_table(
        (row, column, _cell(frame, arm, measure))
        for row, arm in METHODS.items()
        for column, measure in COLUMNS.items()
        if not (arm == "fcp without condition" and measure == "greedy")
    )


def table3(frame: pd.DataFrame) -> pd.DataFrame:
    """Base policy, offline FCP and FCP on shuffled critiques under five conditions."""
    sweeps = {
        "Base": ("base", "controls"),
        "FCP": ("fcp", "main"),
        "FCP, shuffled critiques": ("shuffled", "controls"),
    }
    columns = {"accuracy": "accuracy", "code ratio": "code", "length": "length"}
    return long_table(
        (f"{row}, {condition}", column, _cell(frame, f"{arm}@{condition}", measure, sweep))
        for row, (arm, sweep) in sweeps.items()
        for condition in CONDITIONS
        for column, measure in columns.items()
    )


def table5(frame: pd.DataFrame) -> pd.DataFrame:
    """The online stage and its variants."""
    return long_table((arm, "accuracy", _cell(frame, arm, "accuracy", "ablations")) for arm in ABLATIONS)


def composition(frame: pd.DataFrame) -> pd.DataFrame:
    """Correct, concise, and both, by kind of critique and condition."""
    columns = {"both": "both", "correct": "accuracy", "concise": "concise"}
    arms = {"reference policy": "reference"}
    for kind, name in KINDS.items():
        arms |= {f"{name}, ({sign[0]}, {sign[1]})": f"{kind}@{sign}" for sign in ("++", "+-", "-+")}
    return long_table(
        (row, column, _cell(frame, arm, measure, "composition"))
        for row, arm in arms.items()
        for column, measure in columns.items()
    )


KINDS: Mapping[str, str] = {
    "words": "words",
    "ids": "token per combination",
    "tokens": "token per attribute and polarity",
}


def _cell(frame: pd.DataFrame, arm: str, measure: str, sweep: str = "") -> Interval:
    return estimate(UNITS.get(measure, 100.0) * value(frame, arm, measure, sweep))
