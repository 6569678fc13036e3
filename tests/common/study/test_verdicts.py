import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.study.card import Claim
from common.study.errors import StudyError
from common.study.verdicts import _holm, judge, needed_seeds


def claim(test, **extra):
    kind = {"kind": "headline", "smallest_effect": 0.1} if "exact" not in test else {"kind": "theorem"}
    content = {"statement": "s", "place": "p", "metric": "m", "needs": ["x"], "test": test, **kind, **extra}
    return Claim.model_validate(content)


def sample(mean, error, n=10):
    """A sample with exactly this mean and standard error."""
    base = np.arange(n) - (n - 1) / 2
    base = base / base.std(ddof=1) * error * np.sqrt(n)
    return pd.Series(base + mean, index=range(n))


def verdict(test, values, **extra):
    return judge({"c": claim(test, primary=True, **extra)}, {"c": values})["c"]


EDGE = float(stats.t.ppf(0.975, 9))


@pytest.mark.parametrize(
    ("test", "mean", "expected"),
    [
        ({"greater": 0.0}, EDGE * 1.01, "reproduced"),
        ({"greater": 0.0}, EDGE * 0.99, "inconclusive"),
        ({"greater": 0.0}, -EDGE * 0.99, "inconclusive"),
        ({"greater": 0.0}, -EDGE * 1.01, "contradicted"),
        ({"less": 1.0}, 1 - EDGE * 1.01, "reproduced"),
        ({"less": 1.0}, 1 + EDGE * 1.01, "contradicted"),
    ],
)
def test_greater_and_less_are_decided_by_the_95_percent_t_interval(test, mean, expected):
    assert verdict(test, sample(mean, 1.0)).verdict == expected


def test_within_is_two_one_sided_tests_and_contradicted_only_outside_the_95_percent_interval():
    one_sided = float(stats.t.ppf(0.95, 9))
    assert verdict({"within": (-2.0, 2.0)}, sample(2 - one_sided * 1.01, 1.0)).verdict == "reproduced"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 - one_sided * 0.99, 1.0)).verdict == "inconclusive"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 + EDGE * 0.99, 1.0)).verdict == "inconclusive"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 + EDGE * 1.01, 1.0)).verdict == "contradicted"


def test_order_needs_every_adjacent_difference_and_is_contradicted_by_one_reversal():
    noise = [sample(0.0, 0.1).sample(frac=1, random_state=i).to_numpy() for i in range(3)]
    rising = pd.DataFrame({"a": noise[0], "b": 1 + noise[1], "c": 2 + noise[2]})
    assert verdict({"order": ["a", "b", "c"]}, rising).verdict == "reproduced"
    assert verdict({"order": ["a", "c", "b"]}, rising).verdict == "contradicted"
    assert verdict({"order": ["a", "b"]}, rising.assign(b=rising["a"])).verdict == "inconclusive"


def test_several_columns_must_all_pass():
    values = pd.DataFrame({"a": sample(5, 1.0), "b": sample(0.5, 1.0)})
    result = verdict({"greater": 0.0}, values)
    assert result.verdict == "inconclusive"
    assert result.estimate == pytest.approx(0.5)


def test_exact_looks_at_the_worst_error_and_wants_a_thousand_instances():
    errors = np.full(1000, 1e-12)
    assert verdict({"exact": 1e-10}, errors).verdict == "reproduced"
    errors[700] = -2e-10
    assert verdict({"exact": 1e-10}, errors).verdict == "contradicted"
    with pytest.raises(StudyError, match="at least 1000"):
        verdict({"exact": 1e-10}, errors[:999])
    assert verdict({"exact": 1e-10, "enumeration": True}, np.zeros(5)).verdict == "reproduced"


def test_a_control_that_shows_the_effect_too_makes_it_inconclusive():
    claims = {
        "c": claim({"greater": 0.0}, kind="trend", control="k", primary=True),
        "k": claim({"greater": 0.0}, kind="trend", role="control"),
    }
    effect = sample(10.0, 1.0)
    same = judge(
        claims, {"c": effect, "k": effect + sample(0, 0.5).sample(frac=1, random_state=0).to_numpy()}
    )
    assert same["c"].verdict == "inconclusive"
    assert "the control shows it too" in same["c"].reason
    clear = judge(claims, {"c": effect, "k": effect - 5 + np.tile([0.1, -0.1], 5)})
    assert clear["c"].verdict == "reproduced"


def test_a_control_of_a_falling_claim_is_compared_downwards():
    claims = {
        "c": claim({"less": 0.0}, kind="trend", control="k", primary=True),
        "k": claim({"less": 0.0}, kind="trend", role="control"),
    }
    effect = sample(-10.0, 1.0)
    jitter = np.tile([0.1, -0.1], 5)
    assert judge(claims, {"c": effect, "k": effect + 5 + jitter})["c"].verdict == "reproduced"
    assert judge(claims, {"c": effect, "k": effect - 5 + jitter})["c"].verdict == "inconclusive"


def test_the_primary_claim_escapes_holm_and_controls_stay_outside_the_family():
    borderline = sample(EDGE * 1.05, 1.0)
    claims = {f"s{i}": claim({"greater": 0.0}) for i in range(3)}
    claims |= {"p": claim({"greater": 0.0}, primary=True), "k": claim({"greater": 0.0}, role="control")}
    result = judge(claims, dict.fromkeys(claims, borderline))
    assert result["p"].verdict == "reproduced"
    assert {result[f"s{i}"].verdict for i in range(3)} == {"inconclusive"}
    assert result["s0"].p_adjusted == pytest.approx(3 * result["s0"].p)
    assert result["k"].p_adjusted == result["k"].p


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_the_step_down_definition(p_values):
    named = {str(i): p for i, p in enumerate(p_values)}
    adjusted = _holm(named)
    ordered = sorted(named, key=lambda name: named[name])
    k = len(ordered)
    for rank, name in enumerate(ordered):
        expected = max(min(1.0, (k - j) * named[ordered[j]]) for j in range(rank + 1))
        assert adjusted[name] == pytest.approx(expected)


def test_needed_seeds_matches_a_brute_force_power_calculation():
    values = sample(0.0, 1.0).to_numpy()
    spread, effect = values.std(ddof=1), 2.0

    def power(n):
        return stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect / spread * np.sqrt(n))

    needed = needed_seeds(values, effect)
    assert power(needed) >= 0.8 > power(needed - 1)


def test_an_inconclusive_verdict_names_the_seeds_it_would_take():
    result = verdict({"greater": 0.0}, sample(0.1, 1.0))
    assert result.needed_n == needed_seeds(sample(0.1, 1.0).to_numpy(), 0.1)
    assert f"n = {result.needed_n}" in result.reason


@pytest.mark.parametrize("values", [pd.Series([1.0]), pd.Series([1.0, np.nan, 2.0])])
def test_too_few_seeds_or_nan_are_refused_with_the_claim_named(values):
    with pytest.raises(StudyError, match="claim 'c'"):
        verdict({"greater": 0.0}, values)
