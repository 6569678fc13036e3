"""What a run says about itself."""

import pytest

from common.rl.run import CURVE, Run

RUN = Run(
    model="pocket",
    task="opchain",
    dataset="",
    evaluation_sets="",
    learning_rate=1e-4,
    batch=128,
    mini_batch=16,
    group_size=16,
    max_response=32,
    iterations=30,
    training_prompts=40,
    evaluation_samples=16,
    curve_samples=16,
    evaluation_temperature=1.0,
    evaluation_prompts=12,
    save_every=80,
    training_rows=0,
    scoring_batch=128,
    vllm=False,
)


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
