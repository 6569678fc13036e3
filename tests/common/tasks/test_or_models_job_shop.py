from itertools import permutations, product

import pytest

from common.tasks.or_models.job_shop import FT06, JobShop, disjunctive, makespan_bounds, read_instances
from common.tasks.or_models.solver import solve

SMALL = JobShop("small", ((0, 1, 2), (1, 0, 2), (2, 1, 0)), ((3, 2, 2), (2, 4, 1), (4, 1, 3)))


def makespan(shop, orders):
    """Longest path where each machine has an order of the jobs; None if they wait for each other."""
    ready, free = [0] * len(shop.machines), dict.fromkeys(range(3), 0)
    place, turn = [0] * len(shop.machines), [0] * len(orders)
    while any(p < len(row) for p, row in zip(place, shop.machines, strict=True)):
        movable = [
            job
            for job, p in enumerate(place)
            if p < 3 and orders[shop.machines[job][p]][turn[shop.machines[job][p]]] == job
        ]
        if not movable:
            return None
        job = movable[0]
        machine = shop.machines[job][place[job]]
        ready[job] = free[machine] = max(ready[job], free[machine]) + shop.durations[job][place[job]]
        place[job] += 1
        turn[machine] += 1
    return max(ready)


def test_a_small_shop_against_all_orders():
    values = (makespan(SMALL, orders) for orders in product(permutations(range(3)), repeat=3))
    best = min(value for value in values if value is not None)
    assert solve(disjunctive(SMALL)).objective == pytest.approx(best)
    assert makespan_bounds(SMALL, 10) == (pytest.approx(best), pytest.approx(best))


def test_the_optimum_of_six_by_six_is_proved():
    assert makespan_bounds(FT06, 60) == (pytest.approx(FT06.best), pytest.approx(FT06.best))


def test_without_time_the_longest_job_and_the_fullest_machine_bound_it():
    bounds = makespan_bounds(FT06, 0.0)
    assert bounds.lower == max(47, *map(sum, FT06.durations))
    assert bounds.upper == float("inf")


def test_instances_are_parsed_and_not_run(tmp_path):
    path = tmp_path / "instances.py"
    path.write_text(
        "import nothing_like_this\n"
        f"ft06 = np.array([{list(map(list, FT06.machines))}, {list(map(list, FT06.durations))}])\n"
        "ft06_makespan = 55\nft06_makespan_is_optimal = True\n"
        "other = np.array([[[0]], [[7]]])\nraise SystemExit\n"
    )
    assert read_instances(path) == (FT06, JobShop("other", ((0,),), ((7,),)))
