import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.statistics import holm, needed_seeds
from common.study.card import Claim
from common.study.errors import StudyError
from common.study.verdicts import judge


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
    adjusted = holm(named)
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


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.Series([1.0]), "n = 1"),
        (pd.Series([1.0, np.nan, 2.0]), "not a finite number for 1 of 3 seeds"),
        (pd.Series([1.0, np.inf, 2.0]), "not a finite number for 1 of 3 seeds"),
        (pd.Series([np.inf, -np.inf]), "not a finite number for 2 of 2 seeds"),
    ],
)
def test_a_sample_that_decides_nothing_leaves_its_own_claim_inconclusive_and_no_other(values, reason):
    claims = {"c": claim({"greater": 0.0}), "d": claim({"greater": 0.0}), "e": claim({"exact": 1.0})}
    result = judge(claims, {"c": values, "d": sample(10.0, 1.0), "e": np.zeros(1000)})
    assert (result["c"].verdict, result["d"].verdict, result["e"].verdict) == (
        "inconclusive",
        "reproduced",
        "reproduced",
    )
    assert reason in result["c"].reason
    assert result["c"].n == len(values)
    assert result["d"].p_adjusted == result["d"].p


def test_errors_that_are_not_finite_decide_nothing():
    errors = np.zeros(1000)
    errors[3] = np.nan
    result = verdict({"exact": 1.0}, errors)
    assert (result.verdict, result.reason) == ("inconclusive", "1 of 1000 errors are not finite")


@pytest.mark.parametrize("noise", [0.0, 1e-17])
def test_a_constant_sample_decides_by_its_value_and_not_by_rounding(noise):
    """Three times 0.1 + 0.2 is 0.30000000000000004, which does not exceed 0.3."""
    constant = pd.Series([0.1 + 0.2, 0.1 + 0.2, 0.1 + 0.2 + noise])
    assert verdict({"greater": 0.3}, constant).verdict == "inconclusive"
    assert verdict({"less": 0.3}, constant).verdict == "inconclusive"
    assert verdict({"greater": 0.29}, constant).verdict == "reproduced"
    assert verdict({"less": 0.29}, constant).verdict == "contradicted"


def test_a_control_of_an_identity_that_holds_too_makes_it_inconclusive():
    claims = {"c": claim({"exact": 1e-9}, control="k"), "k": claim({"exact": 1e-9}, role="control")}
    holds, fails = np.zeros(1000), np.ones(1000)
    assert judge(claims, {"c": holds, "k": fails})["c"].verdict == "reproduced"
    shared = judge(claims, {"c": holds, "k": holds})["c"]
    assert shared.verdict == "inconclusive"
    assert "the control holds too" in shared.reason


def test_a_control_without_a_finite_pair_is_said():
    claims = {
        "c": claim({"greater": 0.0}, kind="trend", control="k", primary=True),
        "k": claim({"greater": 0.0}, kind="trend", role="control"),
    }
    result = judge(claims, {"c": sample(10.0, 1.0), "k": sample(0.0, 1.0)[:1]})
    assert result["c"].verdict == "inconclusive"
    assert "against control k: n = 1" in result["c"].reason
