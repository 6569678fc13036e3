"""What a run says about itself."""

import pytest

from common.rl.run import CURVE, Run
from tests.common.rl.runs import RUN


@pytest.mark.parametrize(
    ("changes", "points"),
    [
        ({}, [round(30 * share) for share in CURVE]),
        ({"curve_samples": 0}, [30]),
        ({"curve_every": 7}, [0, 7, 14, 21, 28, 30]),
        ({"curve_every": 10}, [0, 10, 20, 30]),
        ({"curve_every": 7, "curve_samples": 0}, [30]),
    ],
)
def test_points_of_the_learning_curve(changes, points):
    assert RUN.changed(changes).points == points


@pytest.mark.parametrize(("rows", "passes"), [(0, 1), (16, 1), (15, 2), (4, 4), (1, 16)])
def test_passes_of_an_optimizer_step_hold_at_most_the_rows_asked_for(rows, passes):
    assert RUN.changed({"training_rows": rows}).micro_batches == passes
    assert RUN.changed({"training_rows": rows}).optimizer_steps == 8


def test_a_run_is_read_from_a_job_that_holds_more():
    assert Run.read({**RUN.model_dump(), "baseline": "mean"}) == RUN


def test_the_three_warm_starts_take_turns():
    folders = [RUN.inputs(seed)[0].split("/")[-2] for seed in range(4)]
    assert folders == ["opchain-0", "opchain-1", "opchain-2", "opchain-0"]
    assert RUN.changed({"model": "scratch"}).inputs(0) == ()
