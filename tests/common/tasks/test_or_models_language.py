import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.or_models.language import MalformedError, interpret, parse_parameters, split
from common.tasks.or_models.solver import Program, Row, Solution, solve, solve_file

LISTS = {"c": (3, 5), "A": (2, 1), "b": (7,), "k": (2,), "K": (4, 6), "d": (1, 2), "e": (1, 2, 3)}


def program(text):
    return interpret(split(text.split(), ";"), LISTS)


def dense(stated):
    rows = np.zeros((len(stated.rows), len(stated.costs)))
    for place, row in enumerate(stated.rows):
        for column, value in row.terms:
            rows[place, column] = value
    return rows.tolist(), [(row.lower, row.upper) for row in stated.rows]


def test_large_numbers_have_a_verdict():
    lists = {"a": (10**9 - 1,), "c": (10**9 - 1, 1)}
    stated = interpret([("x", "int", "2"), ("max", "a", "c", "x"), ("a", "c", "x", "<=", "a")], lists)
    assert stated.costs == (pytest.approx(1e18), 10**9 - 1)
    assert solve(stated, seconds=1).status in ("optimal", "failed")


def test_every_form_of_line():
    stated = program("x int 2 unit ; y bin 2 ; max k c x + A y ; A x <= b ; x >= d ; x <= K * y ; sum x = b")
    assert stated.maximize
    assert stated.costs == (6, 10, 2, 1)
    assert stated.integer == (True,) * 4
    assert stated.upper == (math.inf, math.inf, 1, 1)
    rows, limits = dense(stated)
    assert rows == [
        [2, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [1, 0, -4, 0],
        [0, 1, 0, -6],
        [1, 1, 0, 0],
    ]
    inf = math.inf
    assert limits == [(-inf, 7), (1, inf), (2, inf), (-inf, 0), (-inf, 0), (7, 7)]


def test_packing_adds_whole_numbers_of_boxes():
    stated = program("x cont 2 ; min c x ; x pack k")
    assert stated.integer == (False, False, True, True)
    assert stated.costs == (3, 5, 0, 0)
    assert dense(stated) == ([[1, 0, -2, 0], [0, 1, 0, -2]], [(0, 0), (0, 0)])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x int 2", "no objective"),
        ("x int 2 ; max c x ; min c x", "second objective"),
        ("x int 2 ; x int 2 ; max c x", "declared twice"),
        ("c int 2 ; max c x", "declared twice"),
        ("x int 0 ; max c x", "no declaration"),
        ("x int 100 ; max c x", "no declaration"),
        ("x int 2 crate ; max c x", "no declaration"),
        ("max c x ; x int 2", "no variable"),
        ("x int 2 ; max x", "is a list"),
        ("x int 2 ; max e x", "other lengths"),
        ("x int 2 ; max c A x", "is a list"),
        ("x int 2 ; max k k c x", "other lengths"),
        ("x int 2 ; max c", "no variable"),
        ("x int 2 ; max * x", "other lengths"),
        ("x int 2 ; max c x + ", "empty term"),
        ("x int 2 ; max c x + x", "different lengths"),
        ("x int 2 ; max c x ; A x", "neither"),
        ("x int 2 ; max c x ; A x <= b <= b", "neither"),
        ("x int 2 ; max c x ; A x <= 7", "no variable"),
        ("x int 2 ; max c x ; A x <= d", "different lengths"),
        ("x int 2 ; max c x ; sum x <= x", "different lengths"),
        ("x int 2 ; max c x ; x <= sum x", "different lengths"),
        ("x int 2 ; max c x ; <= b", "empty term"),
        ("x int 2 ; max c x ; x pack c", "single number"),
        ("x int 2 ; max c x ; x pack q", "no parameter"),
        ("x int 2 ; max c x ;", "neither"),
        ("", "neither"),
    ],
)
def test_malformed_programs(text, why):
    with pytest.raises(MalformedError, match=why):
        program(text)


@pytest.mark.parametrize(
    "text", ["", "c", "3 4", "c 1 d", "c 1 ; c 2", "c 1 ;", "c -1", "c ²", "c 1.5", "c 1000000000"]
)
def test_malformed_parameters(text):
    with pytest.raises(MalformedError):
        parse_parameters(text.split())


NAMES = st.sampled_from(["c", "A1", "lo"])
NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple)


@given(st.dictionaries(NAMES, NUMBERS, min_size=1))
def test_parameters_round_trip(lists):
    text = " ; ".join(f"{name} {' '.join(map(str, values))}" for name, values in lists.items())
    assert parse_parameters(text.split()) == lists


DOMAINS = ("int", "cont", "bin", "unit", "box")
WORDS = [*LISTS, *"xyz123;;=+*", *DOMAINS, "sum", "pack", "max", "min", "<=", ">="]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=25))
def test_any_text_is_a_program_or_malformed(tokens):
    try:
        stated = interpret(split(["x", "int", "2", ";", *tokens], ";"), LISTS)
    except MalformedError:
        return
    assert len(stated.costs) == len(stated.integer) == len(stated.upper) >= 2


SMALL = st.integers(-3, 5)
ROWS = st.lists(st.tuples(SMALL, SMALL, st.integers(-2, 9)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.booleans(), st.tuples(SMALL, SMALL), ROWS)
def test_whole_programs_against_enumeration(maximize, costs, rows):
    limits = tuple(Row(((0, float(a)), (1, float(b))), upper=float(c)) for a, b, c in rows)
    stated = Program(maximize, tuple(map(float, costs)), (True, True), (4.0, 4.0), limits)
    points = [
        (x, y)
        for x, y in itertools.product(range(5), repeat=2)
        if all(a * x + b * y <= c for a, b, c in rows)
    ]
    solution = solve(stated)
    if not points:
        assert solution.status == "infeasible"
    else:
        values = [costs[0] * x + costs[1] * y for x, y in points]
        assert solution == Solution("optimal", pytest.approx(max(values) if maximize else min(values)))


def split_market(n, rows, seed):
    """Halve every row's sum: tiny to state and out of reach of branch and bound."""
    weights = np.random.default_rng(seed).integers(0, 100, (rows, n))
    slack = tuple(((n + 2 * i, 1.0), (n + 2 * i + 1, -1.0)) for i in range(rows))
    halves = [float(total // 2) for total in weights.sum(1)]
    terms = [tuple(enumerate(map(float, row))) for row in weights]
    limits = tuple(Row(t + s, half, half) for t, s, half in zip(terms, slack, halves, strict=True))
    costs = (*[0.0] * n, *[1.0] * (2 * rows))
    upper = (*[1.0] * n, *[math.inf] * (2 * rows))
    return Program(False, costs, (True,) * n + (False,) * (2 * rows), upper, limits)


def test_a_program_that_takes_too_long_has_a_verdict_each_time():
    # The clock of one instance of HiGHS goes on from run to run, and a linear program counts all of it.
    for seed in range(3):
        assert solve(split_market(40, 5, seed), seconds=0.3).status == "time-out"
        line = Program(True, (1.0,), (False,), (3.0,), (Row(((0, 2.0),), upper=5.0 + seed),))
        assert solve(line, seconds=0.3).objective == min(3, 2.5 + seed / 2)


@pytest.mark.parametrize("whole", [False, True])
def test_unbounded_and_infeasible_are_told_apart(whole):
    free = Program(True, (1.0, 1.0), (whole, whole), (math.inf, math.inf), ())
    assert solve(free).status == "unbounded"
    apart = (Row(((0, 1.0), (1, -1.0)), lower=2.0), Row(((0, 1.0), (1, -1.0)), upper=1.0))
    assert (
        solve(Program(True, (1.0, 1.0), (whole, whole), (math.inf, math.inf), apart)).status == "infeasible"
    )
    assert math.isnan(solve(free).objective)


def test_a_file_that_is_no_program_has_a_verdict(tmp_path):
    assert solve_file(tmp_path / "missing.lp").status == "failed"
    (tmp_path / "model.lp").write_text("Maximize\n z: 2 x\nSubject To\n r: 3 x <= 6\nEnd\n")
    assert solve_file(tmp_path / "model.lp") == Solution("optimal", 4.0)
