"""The entry point of tier C: a record is a function of configuration and seed, stops or no stops."""

from __future__ import annotations

import numpy as np
import pytest

from common.rl import harness
from common.rl.harness import Curve, logged_series
from common.study.configuration import configure
from common.study.jobs import Job, Record
from papers.qae.experiment import PROFILES, Config, training_jobs
from papers.qae.train import train, training_arguments

TINY = configure(Config, PROFILES, "smoke").changed(
    {
        "run.batch": 64,
        "run.mini_batch": 16,
        "run.training_prompts": 20,
        "run.evaluation_prompts": 4,
        "run.max_response": 16,
        "run.save_every": 3,
    }
)
MU = TINY.run.optimizer_steps


def job(base: str = "clip_higher", baseline: str = "quantile", config: Config = TINY) -> Job:
    found = [each for each in training_jobs(config, (1,)) if each.sweep in ("main", "bases")]
    wanted = {"base": base, "baseline": baseline}
    return next(each for each in found if wanted.items() <= each.labels.items())


def assert_equal(left: Record, right: Record) -> None:
    for part in ("scalars", "series"):
        first, second = getattr(left, part), getattr(right, part)
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Record:
    return train(job(), tmp_path_factory.mktemp("uninterrupted"))


def test_twice_the_same_record(uninterrupted, tmp_path):
    assert_equal(train(job(), tmp_path), uninterrupted)


def test_the_record_holds_curves_and_final_values(uninterrupted):
    assert uninterrupted.series["reward"].shape == (1, TINY.run.iterations)
    np.testing.assert_array_equal(uninterrupted.series["curve/iteration"], [[0, 1, 2]])
    assert uninterrupted.series["curve/pass_at_1"].shape == (1, 3)
    assert uninterrupted.scalars["final/pass_at_1/all"] == uninterrupted.series["curve/pass_at_1"][0, -1]
    assert np.isfinite(uninterrupted.series["grad_norm"]).all()


def test_the_learning_curve_does_not_touch_training(uninterrupted, tmp_path):
    without = train(job(config=TINY.changed({"run.curve_samples": 0})), tmp_path)
    np.testing.assert_array_equal(without.series["curve/iteration"], [[TINY.run.iterations]])
    logged = {name: values for name, values in uninterrupted.series.items() if "curve/" not in name}
    assert_equal(
        Record(without.scalars, {name: without.series[name] for name in logged}),
        Record(uninterrupted.scalars, logged),
    )


@pytest.mark.parametrize("stop", [MU + 1, 2 * MU - 1], ids=["saved in the first buffer", "in the second"])
def test_a_stop_inside_a_rollout_buffer_leaves_no_trace(uninterrupted, tmp_path, monkeypatch, stop):
    """Checkpoints lie at the steps 3 and 6 of 8, both inside a buffer of four steps."""

    class Stopping(Curve):
        def on_step_end(self, args, state, *rest, **others):
            super().on_step_end(args, state, *rest, **others)
            if state.global_step == stop:
                raise KeyboardInterrupt

    monkeypatch.setattr(harness, "Curve", Stopping)
    with pytest.raises(KeyboardInterrupt):
        train(job(), tmp_path)
    saved = {int(path.name.rpartition("-")[2]) for path in tmp_path.glob("checkpoint-*")}
    assert saved
    assert all(step % MU for step in saved)
    monkeypatch.setattr(harness, "Curve", Curve)
    assert_equal(train(job(), tmp_path), uninterrupted)


def test_a_value_that_was_not_defined_is_nan():
    history = [
        {"reward": 0.5, "entropy": 1.0, "entropy/negative": None},
        {"train_runtime": 1.0, "entropy": 9.0},
        {"reward": 0.25, "entropy": 2.0, "entropy/negative": 0.75, "entropy/zero": None},
        {"reward": 0.0, "grad_norm": "0.125"},
    ]
    series = logged_series(history)
    assert series.keys() == {"reward", "entropy", "entropy_negative", "grad_norm"}
    np.testing.assert_array_equal(series["reward"], [[0.5, 0.25, 0.0]])
    np.testing.assert_array_equal(series["entropy"], [[1.0, 2.0, np.nan]])
    np.testing.assert_array_equal(series["entropy_negative"], [[np.nan, 0.75, np.nan]])
    np.testing.assert_array_equal(series["grad_norm"], [[np.nan, np.nan, 0.125]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "reinforce"}, "unknown base algorithm 'reinforce'; choose clip_higher, clip_cov"),
        ({"baseline": "median"}, "unknown baseline 'median'; choose mean, quantile or random_gate"),
        ({"vllm": True}, "vllm=true needs a GPU and vLLM"),
    ],
    ids=["base", "baseline", "vllm"],
)
def test_what_cannot_be_trained_is_a_clear_error(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        training_arguments({**job().config, **change}, 0, tmp_path)


@pytest.mark.parametrize("base", ["clip_higher", "clip_cov", "kl_cov", "gspo"])
def test_the_arms_of_a_base_differ_in_the_baseline_only(base, tmp_path):
    arms = [
        training_arguments(job(base, baseline).config, 0, tmp_path).to_dict()
        for baseline in ("mean", "quantile")
    ]
    different = {name for name, value in arms[0].items() if value != arms[1][name]}
    assert different <= {"quantile_k", "logging_dir"}
    assert "quantile_k" in different


@pytest.mark.parametrize("base", ["clip_higher", "gspo"])
def test_the_papers_batches_split_into_passes_of_one_completion(base, tmp_path):
    config = Config().changed({"run.vllm": False})
    args = training_arguments(job(base, config=config).config, 0, tmp_path)
    steps = {"clip_higher": 16, "gspo": 4}[base]
    assert args.optimizer_steps_per_rollout == steps
    assert args.per_device_train_batch_size == 1
    assert args.gradient_accumulation_steps * steps == config.run.batch
    assert args.max_completion_length == config.run.max_response


def test_training_in_smaller_passes_is_the_same_training(uninterrupted, tmp_path):
    """Gradient accumulation changes the order of sums, not the policy that comes out."""
    split = train(job(config=TINY.changed({"run.training_rows": 8})), tmp_path)
    for name in ("reward", "grad_norm"):
        np.testing.assert_allclose(split.series[name][:, 0], uninterrupted.series[name][:, 0], rtol=1e-3)
