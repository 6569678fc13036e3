"""The oracle's itineraries pass, each wrong number fails at its own verifier, tools repeat what they said."""

from dataclasses import replace

import numpy as np
import pytest

from common.study.assets import ASSETS, Asset, missing, reason, verified
from common.study.errors import StudyError
from common.tasks.travel import ANSWER, CALL, PARTS, VOCABULARY, Plan, Query, airline, parse, told
from common.tasks.travel.sandbox import CachedTools, Flaky, TravelSandbox, schedule
from common.tasks.travel.verification import feasible, judge, supported
from common.tasks.travel.worlds import Asked, Day, DrawnFlights, oracle, queries, solutions

real = pytest.mark.skipif(bool(missing([airline.ASSET])), reason=reason([airline.ASSET]))
KINDS = [False, pytest.param(True, marks=real)]
DRAWN = Asked(real=False)
QUERY = Query(0, "ATL", "BOS", sights=2, cap=3, limit=("AB", 4))
PLAN = Plan(("O1", 2, 4), ("R0", 8, 9), ("T2", 3), (("V0", 5), ("V3", 7)))
SEEN = dict(
    zip(
        QUERY.calls,
        (
            {"O0": (1, 2), "O1": (2, 4)},
            {"R0": (8, 9)},
            {"T1": (1,), "T2": (3,)},
            {"V0": (5, 8), "V1": (2, 4), "V3": (5, 8)},
        ),
        strict=True,
    )
)


def answered(asked, count=150):
    """Queries with the oracle's itinerary and what all four tools say."""
    timetable = asked.timetable("train")
    for query in queries(asked, "train", count):
        day = Day(query.world, timetable)
        yield query, oracle(query, day, np.random.default_rng(query.world)), day


@pytest.mark.parametrize("real", KINDS)
def test_every_itinerary_of_the_oracle_passes_and_is_one_of_the_solutions(real):
    for place, (query, plan, day) in enumerate(answered(Asked(real=real))):
        seen = {call: day.answer(query, call) for call in query.calls}
        text = " ".join(plan.words)
        assert judge(query, text, seen).reward == 1.0
        assert parse(text) == plan
        assert set(plan.words) | set(query.words) <= set(VOCABULARY)
        if place < 10:
            found = list(solutions(query, day))
            assert plan in found
            assert all(judge(query, " ".join(each.words), seen).reward == 1.0 for each in found)


WRONG = {
    "arrival": (replace(PLAN, outbound=("O1", 2, 3)), True, 0),
    "departure": (replace(PLAN, outbound=("O1", 1, 4)), True, 0),
    "label": (replace(PLAN, outbound=("O0", 2, 4)), True, 0),
    "return": (replace(PLAN, back=("R0", 8, 10)), True, 1),
    "unknown label": (replace(PLAN, back=("R1", 8, 9)), True, 1),
    "price": (replace(PLAN, hotel=("T2", 2)), True, 2),
    "closed": (replace(PLAN, visits=(("V0", 5), ("V1", 7))), True, 3),
    "dear": (replace(PLAN, hotel=("T2", 4)), False, 2),
    "too early": (replace(PLAN, visits=(("V0", 4), ("V3", 7))), False, 3),
    "too late": (replace(PLAN, visits=(("V0", 5), ("V3", 8))), False, 3),
    "same sight": (replace(PLAN, visits=(("V0", 5), ("V0", 7))), False, None),
    "same time": (replace(PLAN, visits=(("V0", 5), ("V3", 5))), False, None),
    "one sight": (replace(PLAN, visits=(("V0", 5),)), False, None),
    "backwards": (replace(PLAN, outbound=("O1", 4, 2)), False, 0),
    "limit": (replace(PLAN, outbound=("O1", 2, 5), visits=(("V0", 6), ("V3", 7))), False, 0),
}


def test_the_example_passes():
    assert judge(QUERY, " ".join(PLAN.words), SEEN).turns == (True,) * 4
    assert feasible(QUERY, PLAN)


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_number_fails_at_its_own_verifier(name):
    plan, possible, part = WRONG[name]
    verdict = judge(QUERY, " ".join(plan.words), SEEN)
    assert verdict.trajectory is possible
    assert [place for place, right in enumerate(verdict.turns) if not right] == (
        [] if part is None else [part]
    )
    assert verdict.reward == 0.0


def test_feasibility_knows_nothing_of_the_tools_and_support_nothing_of_feasibility():
    fabricated = Plan(("O0", 0, 1), ("R2", 10, 11), ("T0", 1), (("V0", 2), ("V1", 3)))
    assert feasible(QUERY, fabricated)  # no tool has said any of this
    hopeless = replace(QUERY, cap=1, sights=3, limit=("RB", 1))
    assert not feasible(hopeless, PLAN)
    assert all(supported(part, hopeless, PLAN, SEEN) for part in range(len(PARTS)))


@pytest.mark.parametrize("part", range(4))
def test_a_fact_that_nobody_asked_for_is_not_supported_even_if_it_is_true(part):
    seen = {call: options for place, (call, options) in enumerate(SEEN.items()) if place != part}
    assert [supported(other, QUERY, PLAN, seen) for other in range(4)] == [
        other != part for other in range(4)
    ]


def test_options_of_another_city_support_nothing():
    there = {("HT", "ATL"): SEEN["HT", "BOS"], ("TR", "ATL", "DFW"): SEEN["TR", "ATL", "BOS"]}
    assert not any(supported(part, QUERY, PLAN, there) for part in range(4))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TR ATL BOS </call>",
        "<ans> </ans>",
        " ".join(PLAN.words[:-1]),
        " ".join(PLAN.words[1:]),
        " ".join(PLAN.words).replace("V0 H5 V3 H7 ", ""),
        " ".join(PLAN.words).replace("P3", "H3"),
        " ".join(PLAN.words).replace("O1", "R1"),
        " ".join([*PLAN.words, "H1"]),
    ],
)
def test_a_text_that_is_no_itinerary_gets_nothing(text):
    assert parse(text) is None
    assert judge(QUERY, text, SEEN).reward == 0.0


@pytest.mark.parametrize("real", KINDS)
def test_no_two_splits_share_a_world_and_a_query_is_the_same_each_time(real):
    asked = Asked(real=real)
    worlds = [{query.world for query in queries(asked, split, 40)} for split in ("warm", "train", "test")]
    assert sum(map(len, worlds)) == len(set.union(*worlds)) == 120
    assert queries(asked, "test", 40) == queries(asked, "test", 40)
    assert not {q.world for q in queries(asked, "train", 40, 1)} & worlds[1]


def test_a_share_of_the_queries_has_no_answer_where_that_is_asked_for():
    asked = Asked(real=False, unsatisfiable=0.3)
    days = [(query, Day(query.world, DrawnFlights())) for query in queries(asked, "train", 200)]
    hopeless = [oracle(query, day, np.random.default_rng(0)) is None for query, day in days]
    assert 0.2 < np.mean(hopeless) < 0.4
    assert 0.4 < np.mean([query.limit is not None for query in queries(DRAWN, "train", 200)]) < 0.6


@real
def test_real_flights_leave_and_land_on_their_date_and_test_dates_are_their_own():
    days = airline.timetable()
    flights = [times for day in days.values() for found in day.values() for times in found]
    assert all(0 <= leaves < lands < 12 for leaves, lands in flights)
    pairs = {pair for day in days.values() for pair in airline._choices(day)}
    assert len(pairs) == 26
    train, test = airline.RealFlights(test=False), airline.RealFlights(test=True)
    assert not {id(day) for day in train._days} & {id(day) for day in test._days}
    assert min(len(test.pairs(world)) for world in range(8)) >= 10


def test_without_the_database_one_line_says_what_brings_it(monkeypatch):
    monkeypatch.setattr(Asset, "path", lambda _: None)
    verified.cache_clear()
    airline.timetable.cache_clear()
    with pytest.raises(StudyError, match=r"tau2_airline \(inspect-evals==0.28.0\).*make assets"):
        queries(Asked(), "train", 1)
    airline.timetable.cache_clear()
    assert ASSETS[airline.ASSET].licence == "MIT"


def test_a_label_occurs_once_in_what_the_tools_tell():
    for query, _, day in answered(DRAWN, 20):
        words = [word for call in query.calls for word in told(day.answer(query, call))]
        labels = [word for word in words if word[0] in "ORTV"]
        assert len(set(labels)) == len(labels) == 13


@pytest.mark.parametrize(
    "call", [(), ("TR",), ("TR", "ATL"), ("HT", "H3"), ("XX", "ATL"), ("PO", "ATL", "BOS")]
)
def test_a_malformed_call_gets_an_empty_answer(call):
    assert Day(0, DrawnFlights()).answer(QUERY, call) == {}


def test_the_cache_asks_once_and_a_refresh_forgets():
    tools = CachedTools(Flaky(schedule(DrawnFlights()), np.random.default_rng(0)))
    first = [tools(QUERY, call) for call in QUERY.calls]
    assert [tools(QUERY, call) for call in QUERY.calls] == first
    assert tools.asked == 4
    assert tools.refresh(0.5, np.random.default_rng(0)) == 2
    for call in QUERY.calls:
        tools(QUERY, call)
    assert tools.asked == 6


def test_flaky_tools_change_their_answers_and_fail():
    tools = Flaky(schedule(DrawnFlights()), np.random.default_rng(0))
    answers = [tools(QUERY, QUERY.calls[0]) for _ in range(200)]
    assert 0.04 < np.mean([answer == {} for answer in answers]) < 0.2
    assert len({tuple(answer.values()) for answer in answers}) > 10
    assert all(set(answer) <= {"O0", "O1", "O2"} for answer in answers)


def played(actions, **options):
    """The last step of an episode."""
    env = TravelSandbox([QUERY], schedule(DrawnFlights()), **options)
    observation, _ = env.reset(seed=0)
    assert observation.split() == QUERY.words
    for action in actions:
        step = env.step(action)
    return step


def test_an_episode_asks_and_answers():
    calls = [" ".join([*call, CALL]) for call in QUERY.calls]
    observation, reward, over, cut, info = played(calls)
    assert observation.split()[0] == "V0"
    assert (reward, over, cut, info) == (0.0, False, False, {})
    query = next(query for query, _, _ in answered(DRAWN, 1))
    env = TravelSandbox([query], schedule(DrawnFlights()))
    env.reset(seed=0)
    for call in query.calls:
        env.step(" ".join([*call, CALL]))
    plan = oracle(query, Day(query.world, DrawnFlights()), np.random.default_rng(0))
    *_, info = step = env.step(" ".join(plan.words))
    assert step[1:4] == (1.0, True, False)
    assert info["verdict"].consistent


def test_malformed_calls_cannot_loop_and_an_answer_cut_short_ends():
    looping = [CALL] * 64
    assert played(looping)[1:4] == (0.0, False, False)
    assert played([*looping, CALL])[1:4] == (0.0, False, True)
    assert played([f"{ANSWER} O1"])[1:4] == (0.0, True, False)
