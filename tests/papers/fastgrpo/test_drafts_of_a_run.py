"""The draft belongs to the run: in its checkpoints, in the policy's type, the same on every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from common.rl import testing
from papers.fastgrpo.learner import OnlineDraftLearner, TwoHeadEagleNetwork
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer
from tests.common.rl.options import half_policy, pocket_policy
from tests.waiting import finish

ROOT = Path(__file__).parents[3]
SAVED: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3}


def make(folder: Path, **fields: Any) -> FastGRPOTrainer:
    return testing.pocket_trainer(
        FastGRPOTrainer, FastGRPOConfig, folder, **{"max_steps": 6, "c_peak": 40, **fields}
    )


def drafts(trainer: FastGRPOTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.draft.network.state_dict().items()}


@pytest.mark.parametrize("half", [False, True])
def test_a_stop_leaves_no_trace_in_policy_and_draft(tmp_path: Path, half: bool) -> None:
    """Stopped inside a rollout buffer after three of six steps; the second run starts from another draft."""

    def fresh() -> dict[str, Any]:
        return {"model": half_policy() if half else pocket_policy(), "exact_resume": True, **SAVED}

    whole = make(tmp_path / "whole", **fresh())
    whole.train()
    make(tmp_path / "part", **{**fresh(), "max_steps": 3}).train()
    torch.manual_seed(99)
    resumed = testing.pocket_trainer(
        lambda **given: FastGRPOTrainer(**given, draft=TwoHeadEagleNetwork(given["model"])),
        FastGRPOConfig,
        tmp_path / "part",
        max_steps=6,
        c_peak=40,
        **fresh(),
    )
    resumed.train(resume_from_checkpoint=True)
    testing.assert_bitwise(testing.weights(resumed), testing.weights(whole))
    testing.assert_bitwise(drafts(resumed), drafts(whole))
    for ours, theirs in zip(resumed.learner.masters, whole.learner.masters, strict=True):
        assert torch.equal(ours, theirs)


def test_every_checkpoint_and_the_saved_model_hold_the_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("papers.fastgrpo.method.measure_latency_knee", lambda _: (24, None))
    trainer = make(tmp_path, c_peak=0, **SAVED)
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    for folder in ("checkpoint-6", "final"):
        testing.assert_bitwise(load_file(tmp_path / folder / "draft.safetensors"), drafts(trainer))
    state = torch.load(tmp_path / "checkpoint-6" / "draft_state.pt", weights_only=True)
    assert state["c_peak"] == trainer.c_peak == 24


def test_a_checkpoint_without_a_draft_is_no_start_for_one(tmp_path: Path) -> None:
    make(tmp_path, speculation="plain", max_steps=3, **SAVED).train()
    with pytest.raises(ValueError, match="cannot be continued with a draft"):
        make(tmp_path, **SAVED).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    with pytest.raises(ValueError, match="needs speculation='draft', not 'plain'"):
        testing.pocket_trainer(
            lambda **given: FastGRPOTrainer(**given, draft=TwoHeadEagleNetwork(given["model"])),
            FastGRPOConfig,
            tmp_path,
            speculation="plain",
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_draft_has_the_policys_type_and_learns_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    trainer = make(tmp_path, model=pocket_policy().to(dtype), max_steps=2, learning_rate=1e-5)
    assert {weight.dtype for weight in trainer.draft.network.parameters()} == {dtype}
    masters = [master.clone() for master in trainer.learner.masters]
    trainer.train()
    assert trainer.state.log_history[0]["draft/loss"] > 0
    for master, before, weight in zip(
        trainer.learner.masters, masters, trainer.learner.parameters, strict=True
    ):
        assert master.dtype == torch.float32
        assert not torch.equal(master, before)
        assert torch.equal(weight, master.to(dtype))


def test_steps_too_small_for_half_precision_add_up() -> None:
    """A weight of 1 has neighbours 2^-8 and more away in bfloat16: fifty steps of 1e-3 reach farther."""
    network = torch.nn.Linear(4, 4).to(torch.bfloat16)
    torch.nn.init.ones_(network.weight)
    learner = OnlineDraftLearner(network, learning_rate=1e-3)
    for _ in range(50):
        for weight in learner.parameters:
            weight.grad = torch.ones_like(weight)
        learner._apply()
    assert (network.weight - 0.95).abs().max() < 5e-3


def test_two_processes_share_one_draft(tmp_path: Path) -> None:
    """They sample different rollouts, use different numbers of them, and hold equal drafts all along."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = Path(__file__).with_name("two_processes.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*start, str(worker), str(tmp_path)], env=environment, text=True, **pipes)
    _, errors = finish(process)
    assert process.returncode == 0, errors[-3000:]
    left, right = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert left["rollouts"] != right["rollouts"]
    for name in ("before", "after", "c_peak"):
        assert left[name] == right[name]
    assert left["before"] != left["after"]
    saved = load_file(tmp_path / "run" / "checkpoint-4" / "draft.safetensors")
    assert sum(value.numel() for value in saved.values()) == len(left["after"])
