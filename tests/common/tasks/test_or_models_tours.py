import pytest

from common.tasks.or_models.solver import solve
from common.tasks.or_models.tours import (
    CITIES,
    COSTS,
    Tour,
    assignment,
    lucky_share,
    miller_tucker_zemlin,
    shortest_tour,
)

TWO_TRIANGLES = tuple(
    tuple(0 if i == j else 1 if i // 3 == j // 3 else 10 for j in range(6)) for i in range(6)
)


def test_the_papers_case_has_one_optimum_three_ways():
    best = shortest_tour(COSTS)
    assert best.cost == 158
    assert "".join(CITIES[city] for city in best.cities) == "EFGHI"
    assert solve(assignment(COSTS)).objective == pytest.approx(158, abs=1e-9)
    assert solve(miller_tucker_zemlin(COSTS)).objective == pytest.approx(158, abs=1e-9)


def test_subtour_constraints_matter_where_cities_lie_in_two_groups():
    assert shortest_tour(TWO_TRIANGLES) == Tour(24, (0, 1, 2, 3, 4, 5))
    assert solve(miller_tucker_zemlin(TWO_TRIANGLES)).objective == pytest.approx(24)
    assert solve(assignment(TWO_TRIANGLES)).objective == pytest.approx(6)


def test_how_often_they_do_not():
    # Three cities have no two closed tours. Four pair off, and to and fro is cheap; five leave three over.
    assert lucky_share(3, 5, seed=0) == 1
    assert lucky_share(4, 30, seed=0) < lucky_share(5, 30, seed=0)
    assert 0 < lucky_share(5, 30, seed=0) < 0.5
