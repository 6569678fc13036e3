import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from common.statistics import holm
from common.study import verdicts
from common.study.card import Card, Claim, Premise
from common.study.entries import Sentence
from common.study.errors import StudyError
from common.study.evidence import SEEDS_AT_MOST, needed_seeds
from common.study.ledger import learned, readme
from common.study.overview import Row
from common.study.premises import check, failures, unmeasured
from common.study.verdicts import Verdict, judge

EDGE = float(stats.t.ppf(0.975, 9))
ONE_SIDED = float(stats.t.ppf(0.95, 9))


def claim(test, **extra):
    kind = {"kind": "headline", "smallest_effect": 0.1} if "exact" not in test else {"kind": "theorem"}
    content = {"statement": "s", "place": "p", "metric": "m", "needs": ["x"], "test": test, **kind, **extra}
    return Claim.model_validate(content)


def card(**claims):
    return Card.model_construct(claims=claims)


def sample(mean, error, n=10, seed=None):
    """A sample with exactly this mean and standard error, shuffled if there is a seed."""
    base = np.arange(n) - (n - 1) / 2
    base = base / base.std(ddof=1) * error * np.sqrt(n)
    order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
    return pd.Series(base[order] + mean, index=range(n))


def verdict(test, values, **extra):
    return judge(card(c=claim(test, primary=True, **extra)), {"c": values})["c"]


def controlled(test, effect, *controls, planned=None):
    """Verdict of a claim with these controls' values."""
    names = [f"k{index}" for index in range(len(controls))]
    rows = {"c": claim(test, kind="trend", control="k0", primary=True)}
    rows |= {name: claim(test, kind="trend", role="control", of="c", arm=name) for name in names}
    values = {"c": effect, **dict(zip(names, controls, strict=True))}
    return judge(card(**rows), values, planned=planned)


# Rules


@pytest.mark.parametrize(
    ("test", "mean", "size", "expected"),
    [
        ({"greater": 0.0}, EDGE * 1.01, 0.1, "reproduced"),
        ({"greater": 0.0}, EDGE * 0.99, 0.1, "inconclusive"),
        ({"greater": 0.0}, -EDGE * 0.99, 0.1, "no effect"),
        ({"greater": 0.0}, -EDGE * 1.01, 0.1, "contradicted"),
        ({"greater": 0.0}, 3.0 - ONE_SIDED * 1.01, 3.0, "no effect"),
        ({"greater": 0.0}, 3.0 - ONE_SIDED * 0.99, 3.0, "inconclusive"),
        ({"greater": 0.5}, 0.5 - EDGE * 0.99, 3.0, "inconclusive"),
        ({"less": 0.0}, -EDGE * 1.01, 0.1, "reproduced"),
        ({"less": 0.0}, ONE_SIDED * 1.01 - 3.0, 3.0, "no effect"),
        ({"less": 0.0}, ONE_SIDED * 0.99 - 3.0, 3.0, "inconclusive"),
        ({"less": 1.0}, 1 - EDGE * 1.01, 0.1, "reproduced"),
        ({"less": 1.0}, 1 + EDGE * 1.01, 0.1, "contradicted"),
    ],
)
def test_the_95_percent_interval_decides_and_the_90_percent_one_excludes_an_effect(
    test, mean, size, expected
):
    assert verdict(test, sample(mean, 1.0), smallest_effect=size).verdict == expected


def test_within_is_two_one_sided_tests_and_contradicted_only_outside_the_95_percent_interval():
    assert verdict({"within": (-2.0, 2.0)}, sample(2 - ONE_SIDED * 1.01, 1.0)).verdict == "reproduced"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 - ONE_SIDED * 0.99, 1.0)).verdict == "inconclusive"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 + EDGE * 0.99, 1.0)).verdict == "inconclusive"
    assert verdict({"within": (-2.0, 2.0)}, sample(2 + EDGE * 1.01, 1.0)).verdict == "contradicted"


def test_order_needs_every_adjacent_difference_and_is_contradicted_by_one_reversal():
    noise = [sample(0.0, 0.1, seed=i).to_numpy() for i in range(4)]
    rising = pd.DataFrame({"a": noise[0], "b": 1 + noise[1], "c": 2 + noise[2]})
    assert verdict({"order": ["a", "b", "c"]}, rising).verdict == "reproduced"
    assert verdict({"order": ["a", "c", "b"]}, rising).verdict == "contradicted"
    assert verdict({"order": ["a", "b"]}, rising.assign(b=noise[3])).verdict == "inconclusive"


def test_a_claim_over_columns_is_as_good_as_its_worst_and_a_control_as_its_best():
    values = pd.DataFrame({"a": sample(5, 1.0), "b": sample(0.5, 1.0, seed=1)})
    own = verdict({"greater": 0.0}, values)
    assert (own.verdict, own.estimate) == ("inconclusive", pytest.approx(0.5))
    control = controlled({"greater": 0.0}, values + 20, values)["k0"]
    assert (control.verdict, control.estimate) == ("reproduced", pytest.approx(5.0))


def test_exact_looks_at_the_worst_error_and_wants_a_thousand_instances():
    errors = np.full(1000, 1e-12)
    assert verdict({"exact": 1e-10}, errors).verdict == "reproduced"
    errors[700] = -2e-10
    assert verdict({"exact": 1e-10}, errors).verdict == "contradicted"
    with pytest.raises(StudyError, match="at least 1000"):
        verdict({"exact": 1e-10}, errors[:999])
    assert verdict({"exact": 1e-10, "enumeration": True}, np.zeros(5)).verdict == "reproduced"


def test_a_reproduced_effect_below_the_smallest_of_interest_is_said_to_be_small():
    assert "small" in verdict({"greater": 0.0}, sample(0.05, 0.001)).reason
    assert "small" not in verdict({"greater": 0.0}, sample(0.15, 0.001)).reason
    assert "small" not in verdict({"greater": 0.01}, sample(0.05, 0.001)).reason


# Controls


def test_an_effect_that_does_not_exceed_its_controls_is_not_specific():
    effect = sample(10.0, 1.0)
    same, behind = effect + sample(0, 0.5, seed=0), effect - 5 + np.tile([0.1, -0.1], 5)
    assert controlled({"greater": 0.0}, effect, same)["c"].verdict == "not specific"
    assert controlled({"greater": 0.0}, effect, behind)["c"].verdict == "reproduced"
    assert controlled({"greater": 0.0}, effect, behind, same)["c"].verdict == "not specific"


def test_a_control_of_a_falling_claim_is_compared_downwards():
    effect, jitter = sample(-10.0, 1.0), np.tile([0.1, -0.1], 5)
    assert controlled({"less": 0.0}, effect, effect + 5 + jitter)["c"].verdict == "reproduced"
    assert controlled({"less": 0.0}, effect, effect - 5 + jitter)["c"].verdict == "not specific"


def test_a_control_that_shows_the_effect_in_one_column_shows_it():
    effect = pd.DataFrame({"a": sample(10.0, 0.2), "b": sample(4.0, 0.2, seed=1)})
    jitter = np.tile([0.1, -0.1], 5)
    below = pd.DataFrame({"a": effect["a"] - 8 + jitter, "b": effect["b"] - 3 + jitter})
    assert controlled({"greater": 0.0}, effect, below)["c"].verdict == "reproduced"
    anywhere = below.assign(a=effect["a"] + jitter)
    assert controlled({"greater": 0.0}, effect, anywhere)["c"].verdict == "not specific"
    other = below.rename(columns={"a": "x", "b": "y"})  # not the same columns: best of it against worst of it
    assert controlled({"greater": 0.0}, effect, other)["c"].verdict == "reproduced"
    other["x"] += 4
    assert controlled({"greater": 0.0}, effect, other)["c"].verdict == "not specific"


def test_an_identity_whose_control_holds_too_is_not_specific():
    rows = card(c=claim({"exact": 1e-9}, control="k"), k=claim({"exact": 1e-9}, role="control"))
    holds, fails = np.zeros(1000), np.ones(1000)
    assert judge(rows, {"c": holds, "k": fails})["c"].verdict == "reproduced"
    assert judge(rows, {"c": holds, "k": holds})["c"].verdict == "not specific"


def test_a_missing_control_decides_nothing():
    rows = card(
        c=claim({"greater": 0.0}, kind="trend", control="k"), k=claim({"greater": 0.0}, role="control")
    )
    result = judge(rows, {"c": sample(10.0, 1.0)})["c"]
    assert (result.verdict, "control k was not run" in result.reason) == ("inconclusive", True)


def test_no_seed_is_dropped_silently():
    """Without a plan both need the same seeds; with one, a planned subset counts and a lost seed does not."""
    effect, behind = sample(10.0, 1.0), sample(1.0, 0.5, seed=0)
    lost = controlled({"greater": 0.0}, effect, behind.drop(7))["c"]
    assert (lost.verdict, "lacks seeds 7" in lost.reason) == ("inconclusive", True)
    subset = {"c": set(range(10)), "k0": set(range(5))}
    assert controlled({"greater": 0.0}, effect, behind[:5], planned=subset)["c"].verdict == "reproduced"
    lost = controlled({"greater": 0.0}, effect, behind[:4], planned=subset)["c"]
    assert (lost.verdict, "seeds 4 were planned" in lost.reason) == ("inconclusive", True)
    lost = controlled({"greater": 0.0}, effect.drop(7), behind, planned={"c": set(range(10))})["c"]
    assert (lost.verdict, "seeds 7 were planned" in lost.reason) == ("inconclusive", True)


# Premises


def premise(test, values):
    entry = Premise.model_validate({"statement": "s", "metric": "m", "test": test, "needs": ["x"]})
    return check("p", entry, pd.Series(values, dtype=float))


@pytest.mark.parametrize(
    ("test", "values", "met"),
    [
        ({"greater": 1.0}, [0.5, 1.6], True),
        ({"greater": 1.0}, [0.5, 1.5], False),
        ({"less": 1.0}, [0.5, 1.4], True),
        ({"less": 1.0}, [0.5, 1.5], False),
        ({"within": (0.0, 1.0)}, [-1.0, 3.0], True),
        ({"within": (0.0, 1.0)}, [1.0, 1.1], False),
        ({"greater": 1.0}, [5.0], True),
        ({"greater": 1.0}, [5.0, np.nan], False),
        ({"greater": 1.0}, [5.0, np.inf], False),
        ({"greater": 1.0}, [], False),
    ],
)
def test_a_premise_is_met_when_its_mean_is_where_the_card_wants_it(test, values, met):
    assert premise(test, values).met == met


def test_a_premise_that_is_not_measured_is_not_met_and_says_so():
    missed, unknown = premise({"greater": 1.0}, [0.2, 0.4]), unmeasured("p", "needs PROFILE=desk")
    assert (missed.state, unknown.state, unknown.met) == ("not met", "not measured", False)
    row = claim({"greater": 0.0}, premises=["p"])
    assert failures(row, {"p": unknown}) == "premise p not measured: needs PROFILE=desk"
    assert failures(row, {}) == "premise p not measured: this run does not have it"
    assert failures(row, {"p": premise({"greater": 1.0}, [1.2])}) == ""
    judged = judge(card(c=row), {"c": sample(10.0, 1.0)}, {"p": unknown})
    assert judged["c"].verdict == "cannot tell"


def test_premises_that_are_not_measured_do_not_count_as_missed():
    made = {"p": premise({"greater": 1.0}, [1.2]), "q": premise({"greater": 1.0}, [0.2])}
    made["r"] = unmeasured("r", "needs PROFILE=desk")
    states = {name: {"statement": "Said.", **state.as_dict()} for name, state in made.items()}
    content = {"premises": states, "claims": {}}
    shown = Row(card(), "laptop", content)
    assert shown.met == "1 of 2"
    lines = readme("<!-- verdicts -->\n<!-- /verdicts -->", content, "laptop").splitlines()
    assert "| p | Said. | yes | 1.2, as wanted > 1 |" in lines
    assert "| q | Said. | **no** | 0.2, wanted > 1 |" in lines
    assert "| r | Said. | not measured | needs PROFILE=desk |" in lines
    del states["q"]["state"], states["r"]
    assert Row(card(), "laptop", content).premises["q"]["state"] == "not met"
    assert "| q | Said. | **no** |" in readme("<!-- verdicts -->\n<!-- /verdicts -->", content, "laptop")


def test_a_sentence_that_rests_on_what_was_not_tested_is_left_out():
    claims = {name: claim({"greater": 0.0}) for name in ("up", "large")}
    sentences = (
        Sentence(text="Up {up:.1f}.", rests={"up": "reproduced"}),
        Sentence(text="Large.", rests={"large": "reproduced"}),
        Sentence(text="{p:.1f}, {large.verdict}.", rests={"up": "reproduced"}),
    )
    rows = Card.model_construct(claims=claims, learned=sentences)
    judged = judge(rows, {"up": sample(10.0, 1.0), "large": sample(-10.0, 1.0)})
    premises = {"p": premise({"greater": 1.0}, [1.2])}
    missing = judged | {"large": Verdict("large", "untested", "needs a cluster")}
    first, last = learned(rows, missing, premises)
    assert first.startswith("Up 10.0 [")
    assert last == "1.2, untested."
    assert learned(rows, {"up": judged["up"]}, premises) == [first]
    assert learned(rows, judged, premises)[1] == "Large. (In this run large is contradicted.)"


def test_a_failed_or_missing_premise_leaves_nothing_to_tell_whatever_the_effect():
    rows = card(
        c=claim({"greater": 0.0}, premises=["p"]),
        d=claim({"greater": 0.0}),
        e=claim({"greater": 0.0}, premises=["p"]),
    )
    values = {"c": sample(10.0, 1.0), "d": sample(EDGE * 1.05, 1.0), "e": sample(-10.0, 1.0)}
    failed = judge(rows, values, {"p": premise({"greater": 1.0}, [0.2, 0.4])})
    assert [failed[name].verdict for name in rows.claims] == ["cannot tell", "reproduced", "cannot tell"]
    assert "premise p failed: 0.3, wanted > 1" in failed["c"].reason
    assert failed["c"].estimate == pytest.approx(10.0)
    assert failed["d"].p_adjusted == failed["d"].p  # what says nothing is not tested, either
    assert judge(rows, values)["c"].verdict == "cannot tell"
    met = judge(rows, values, {"p": premise({"greater": 1.0}, [1.2, 1.4])})
    assert [met[name].verdict for name in rows.claims] == ["reproduced", "reproduced", "contradicted"]
    assert met["d"].p_adjusted == met["d"].p  # the largest of three


# Multiplicity


def test_holm_runs_over_the_papers_other_empirical_claims_only():
    borderline = sample(EDGE * 1.05, 1.0)
    claims = {f"s{i}": claim({"greater": 0.0}) for i in range(3)}
    claims |= {"p": claim({"greater": 0.0}, primary=True), "k": claim({"greater": 0.0}, role="control")}
    claims |= {"o": claim({"greater": 0.0}, ours=True), "t": claim({"exact": 1.0})}
    result = judge(card(**claims), {**dict.fromkeys(claims, borderline), "t": np.zeros(1000)})
    assert {result[name].verdict for name in ("p", "k", "o", "t")} == {"reproduced"}
    assert {result[f"s{i}"].verdict for i in range(3)} == {"inconclusive"}
    assert result["s0"].p_adjusted == pytest.approx(3 * result["s0"].p)
    assert "after Holm" in result["s0"].reason
    assert {result[name].p_adjusted for name in "ko"} == {result["k"].p}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_the_step_down_definition(p_values):
    named = {str(i): p for i, p in enumerate(p_values)}
    adjusted = holm(named)
    ordered = sorted(named, key=lambda name: named[name])
    k = len(ordered)
    for rank, name in enumerate(ordered):
        expected = max(min(1.0, (k - j) * named[ordered[j]]) for j in range(rank + 1))
        assert adjusted[name] == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_needed_seeds_matches_a_brute_force_power_calculation(level):
    values = sample(0.0, 1.0).to_numpy()
    spread, effect = values.std(ddof=1), 2.0

    def power(n):
        return stats.nct.sf(stats.t.ppf(1 - level / 2, n - 1), n - 1, effect / spread * np.sqrt(n))

    needed = needed_seeds(values, effect, level)
    assert power(needed) >= 0.8 > power(needed - 1)
    assert needed_seeds(values, 1e3, level) == 2
    assert needed_seeds(values, 1e-9, level) == SEEDS_AT_MOST


def test_an_inconclusive_verdict_names_more_seeds_than_it_had_at_its_adjusted_level():
    wide = sample(0.1, 1.0)
    assert verdict({"greater": 0.0}, wide).needed_n == needed_seeds(wide.to_numpy(), 0.1, 0.05)
    claims = {f"s{i}": claim({"greater": 0.0}) for i in range(4)}
    values = {f"s{i}": sample(0.1, 1.0 + i / 10) for i in range(4)}
    result = judge(card(**claims), values)["s0"]  # the smallest p value of four
    assert result.needed_n == needed_seeds(wide.to_numpy(), 0.1, 0.05 / 4)
    assert f"n = {result.needed_n}" in result.reason
    lucky = verdict({"greater": 0.0}, sample(2.0, 1.0), smallest_effect=10.0)
    assert lucky.verdict == "no effect"
    between = verdict({"greater": 0.5}, sample(2.0, 1.0), smallest_effect=5.0)
    assert between.verdict == "inconclusive"
    assert between.needed_n == needed_seeds(sample(2.0, 1.0).to_numpy(), 1.5, 0.05)
    assert between.needed_n > 10


# Inputs that decide nothing


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.Series([1.0]), "n = 1"),
        (pd.Series([], dtype=float), "n = 0"),
        (pd.Series([1.0, np.nan, 2.0]), "not a finite number for 1 of 3 seeds"),
        (pd.Series([1.0, np.inf, 2.0]), "not a finite number for 1 of 3 seeds"),
        (pd.Series([np.inf, -np.inf]), "not a finite number for 2 of 2 seeds"),
        (pd.Series([0.3, 0.3, 0.3]), "no variance over 3 seeds"),
        (pd.Series([0.3, 0.1 + 0.2, 0.3]), "no variance over 3 seeds"),
        (pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 3.0]}), "no variance over 2 seeds (b)"),
    ],
)
@pytest.mark.parametrize("test", [{"greater": 0.0}, {"less": 9.0}, {"within": (0.0, 9.0)}])
def test_a_sample_that_decides_nothing_leaves_its_own_claim_inconclusive_and_no_other(test, values, reason):
    rows = card(c=claim(test), d=claim({"greater": 0.0}), e=claim({"exact": 1.0}))
    result = judge(rows, {"c": values, "d": sample(10.0, 1.0), "e": np.zeros(1000)})
    assert [result[name].verdict for name in "cde"] == ["inconclusive", "reproduced", "reproduced"]
    assert reason in result["c"].reason
    assert result["c"].n == len(values)
    assert result["d"].p_adjusted == result["d"].p


def test_errors_that_are_not_finite_decide_nothing():
    errors = np.zeros(1000)
    errors[3] = np.nan
    result = verdict({"exact": 1.0}, errors)
    assert (result.verdict, result.reason) == ("inconclusive", "1 of 1000 errors are not finite")


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12),
    st.sampled_from([{"greater": 0.0}, {"less": 0.0}, {"greater": 1.0}, {"within": (-1.0, 1.0)}]),
)
def test_every_sample_has_exactly_one_verdict_that_agrees_with_its_interval(values, test):
    result = verdict(test, pd.Series(values))
    assert result.verdict in ("reproduced", "contradicted", "no effect", "inconclusive")
    if result.verdict == "reproduced" and "greater" in test:
        assert result.low > test["greater"]
    if result.verdict == "contradicted" and "less" in test:
        assert result.low > test["less"]


# Error rates


@pytest.fixture
def drawn(monkeypatch):
    """Verdicts of 10,000 studies of n normal seeds with unit variance."""
    monkeypatch.setattr(verdicts, "needed_seeds", lambda *_: 0)  # slow, and decides nothing

    def draw(mean, n, size, test, draws=10_000):
        samples = np.random.default_rng(0).normal(mean, 1.0, (draws, n))
        entry = card(c=claim(test, primary=True, smallest_effect=size))
        return [judge(entry, {"c": pd.Series(row)})["c"] for row in samples]

    return draw


def share(results, outcome):
    return np.mean([result.verdict == outcome for result in results])


def test_without_an_effect_one_study_in_forty_reproduces_it_and_one_in_forty_contradicts_it(drawn):
    results = drawn(0.0, 10, 0.5, {"greater": 0.0})
    assert share(results, "reproduced") == pytest.approx(0.025, abs=0.005)
    assert share(results, "contradicted") == pytest.approx(0.025, abs=0.005)
    covered = np.mean([result.low <= 0.0 <= result.high for result in results])
    assert covered == pytest.approx(0.95, abs=0.007)


def test_an_effect_of_interest_is_found_with_the_stated_power_and_denied_at_most_at_5_percent(
    drawn,
):
    n = next(n for n in range(2, 99) if stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.5 * n**0.5) >= 0.8)
    results = drawn(0.5, n, 0.5, {"greater": 0.0})
    stated = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, 0.5 * n**0.5)
    assert share(results, "reproduced") == pytest.approx(stated, abs=0.012)
    assert share(results, "no effect") < 0.05
    assert share(results, "contradicted") < 0.001
