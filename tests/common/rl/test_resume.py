"""Exact resume: a stop inside or between rollout buffers leaves no trace, half a checkpoint is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from common.rl.resume import (
    MARKER,
    BufferState,
    Layout,
    latest_complete_checkpoint,
    load_state,
    mark_complete,
    resolve,
    save_state,
)
from common.rl.testing import assert_bitwise, pocket_prompts, timeless_log, weights
from tests.common.rl.scoring_calls import pocket_experts
from tests.common.rl.sweep import settings

SAVING = {"exact_resume": True, "save_strategy": "steps", "save_steps": 1}
LAYOUT = Layout(1, 4, 4, 1, 1, 4)


def interrupted(build, directory: Path, stop: int, **fields):
    """Train to the end with a checkpoint at `stop`, forget what came later, and train on in a new trainer."""
    saving = {**SAVING, "save_steps": stop, "output_dir": str(directory), **fields}
    build(**saving).train()
    for folder in directory.glob("checkpoint-*"):
        if folder.name != f"checkpoint-{stop}":
            shutil.rmtree(folder)
    trainer = build(**saving)
    trainer.train(resume_from_checkpoint=True)
    return trainer


@pytest.mark.parametrize("stop", [3, 4, 6, 12, 14], ids=lambda step: f"step{step}")
def test_a_stop_leaves_no_trace(build, tmp_path, stop):
    # A buffer lasts 4 steps, an epoch 12.
    whole = build(max_steps=16)
    whole.train()
    resumed = interrupted(build, tmp_path / "run", stop, max_steps=16)
    assert_bitwise(weights(resumed), weights(whole))
    assert timeless_log(resumed) == timeless_log(whole)


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient_accumulation_steps": 2},
        {"num_iterations": 2, "steps_per_generation": 2},
        {"logging_steps": 5},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_stop_leaves_no_trace_in_other_layouts(build, tmp_path, fields):
    whole = build(max_steps=10, **fields)
    whole.train()
    resumed = interrupted(build, tmp_path / "run", 7, max_steps=10, **fields)
    assert_bitwise(weights(resumed), weights(whole))
    assert timeless_log(resumed) == timeless_log(whole)


def test_stock_resume_does_leave_a_trace(build, tmp_path):
    """The fault that exact resume repairs exists; if TRL repairs it, this package can shrink."""
    whole = build(max_steps=8)
    whole.train()
    saving = {"save_strategy": "steps", "save_steps": 3, "max_steps": 8, "output_dir": str(tmp_path / "run")}
    build(**saving).train()
    resumed = build(**saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-6"))
    gaps = [(weights(resumed)[name] - value).abs().max() for name, value in weights(whole).items()]
    assert max(gaps) > 1e-4


def test_half_written_checkpoints_are_ignored(tmp_path):
    assert latest_complete_checkpoint(tmp_path) is None
    for step in (2, 10, 9):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-x").mkdir()
    for name in ("checkpoint-2", "checkpoint-9", "checkpoint-x"):
        mark_complete(tmp_path / name, LAYOUT, step=8)
    assert latest_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert resolve(True, tmp_path, LAYOUT) == str(tmp_path / "checkpoint-9")
    assert resolve(None, tmp_path, LAYOUT) is None
    with pytest.raises(ValueError, match=r"no complete checkpoint in .*checkpoint-10"):
        resolve(str(tmp_path / "checkpoint-10"), tmp_path, LAYOUT)


def test_a_kill_while_a_checkpoint_is_written_falls_back_to_the_one_before(build, monkeypatch, tmp_path):
    trainer = build(output_dir=str(tmp_path), max_steps=6, **SAVING)
    save_rng = trainer._save_rng_state

    def killed_at_step_five(folder: str) -> None:
        if folder.endswith("-5"):
            raise KeyboardInterrupt
        save_rng(folder)

    monkeypatch.setattr(trainer, "_save_rng_state", killed_at_step_five)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert (tmp_path / "checkpoint-5").is_dir()
    assert latest_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-4")


def test_another_layout_continues_between_buffers_only(tmp_path):
    two = Layout(2, 2, 4, 1, 1, 4)
    mark_complete(tmp_path, LAYOUT, step=8)
    assert resolve(str(tmp_path), tmp_path, two) == str(tmp_path)
    mark_complete(tmp_path, LAYOUT, step=7)
    assert resolve(str(tmp_path), tmp_path, LAYOUT) == str(tmp_path)
    with pytest.raises(ValueError, match=r"inside a rollout buffer .*world_size 1 -> 2"):
        resolve(str(tmp_path), tmp_path, two)


def test_state_survives_the_disk(tmp_path):
    whole = torch.arange(12).reshape(4, 3)
    chunks = [
        {"ids": whole[:2], "none": None, "count": torch.tensor(7)},
        {"ids": whole[2:], "x": torch.ones(2) / 3},
    ]
    state = BufferState(5, 11, {"loss": [0.1, float("nan")]}, 1 / 3, 4, chunks)
    save_state(tmp_path, 3, state)
    loaded = load_state(tmp_path, 3)
    assert load_state(tmp_path, 0) is None
    assert (loaded.step, loaded.drawn, loaded.loss_sum, loaded.last_logged) == (5, 11, 1 / 3, 4)
    assert json.dumps(loaded.metrics) == json.dumps(state.metrics)
    for ours, theirs in zip(loaded.chunks, chunks, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(
            value is None if theirs[name] is None else torch.equal(value, theirs[name])
            for name, value in ours.items()
        )


def test_the_marker_is_gone_while_a_checkpoint_is_written_again(build, monkeypatch, tmp_path):
    build(output_dir=str(tmp_path), max_steps=2, **SAVING).train()
    assert (tmp_path / "checkpoint-2" / MARKER).is_file()
    again = build(output_dir=str(tmp_path), max_steps=2, **SAVING)
    monkeypatch.setattr(
        again, "_save_rng_state", lambda folder: seen.append((Path(folder) / MARKER).exists())
    )
    seen: list[bool] = []
    again.train()
    assert seen == [False, False]


def test_settings_that_break_exactness_are_refused(build):
    with pytest.raises(ValueError, match="save_total_limit >= 2"):
        build(exact_resume=True, save_total_limit=1)
    with pytest.raises(ValueError, match="ignore_data_skip"):
        build(exact_resume=True, ignore_data_skip=True)
    with pytest.raises(ValueError, match="log_completions"):
        build(exact_resume=True, log_completions=True)
    with pytest.raises(ValueError, match="save_only_model=False"):
        build(exact_resume=True, save_only_model=True)
    with pytest.raises(ValueError, match="eval_on_start=False"):
        build(exact_resume=True, eval_on_start=True, evaluated=pocket_prompts(2))
    with pytest.raises(ValueError, match="sync_ref_model=False"):
        build(exact_resume=True, sync_ref_model=True, beta=0.1)
    with pytest.raises(ValueError, match="Qwen3MoeForCausalLM is saved under other names"):
        build(exact_resume=True, model=pocket_experts())


RESUMED = (
    "cast_lm_head_to_fp32",
    "disable_dropout",
    "beta",
    "num_generations_eval",
    "num_iterations",
    "shuffle_dataset",
    "use_adaptive_entropy",
    "gradient_accumulation_steps",
    "optim",
)
"""Options with a state, a random number or a position of their own."""


@pytest.mark.parametrize("field", RESUMED)
def test_a_resume_is_exact_under_every_option_that_is_not_refused(build, tmp_path, field):
    def run(folder, steps, **more):
        given = {**settings(field), "output_dir": str(tmp_path / folder), **SAVING, "save_steps": 3}
        trainer = build(**{**given, "max_steps": steps})
        trainer.train(**more)
        return weights(trainer), timeless_log(trainer)

    whole, log = run("whole", 6)
    run("part", 3)
    resumed, resumed_log = run("part", 6, resume_from_checkpoint=True)
    assert_bitwise(resumed, whole)
    assert resumed_log == log
