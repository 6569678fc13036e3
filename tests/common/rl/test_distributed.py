"""Two processes (gloo): groups gathered over ranks, the right slice on each, one policy: as one process."""

from __future__ import annotations

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.waiting import finish

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("two_processes.py")


def launch(folder: Path) -> list[dict]:
    """Results of two ranks, started as `torchrun` starts them."""
    folder.mkdir()
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*start, str(WORKER), str(folder), "2"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _, errors = finish(process)
    assert process.returncode == 0, errors[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def alone(folder: Path) -> dict:
    """The same in this process."""
    folder.mkdir()
    runpy.run_path(str(WORKER))["main"](folder, 1)
    return json.loads((folder / "rank0.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[dict, list[dict]]:
    folder = tmp_path_factory.mktemp("distributed")
    return alone(folder / "one"), launch(folder / "two")


def test_two_processes_really_run(runs):
    _, ranks = runs
    for rank in ranks:
        assert (rank["mean"]["world"], rank["mean"]["type"]) == (2, "DistributedType.MULTI_CPU")


@pytest.mark.parametrize("method", ["mean", "qae"])
def test_gathered_advantages_equal_those_of_one_process(runs, method):
    one, ranks = runs
    assert len(one[method]["notes"]) == 3
    for single, left, right in zip(
        one[method]["notes"], *(rank[method]["notes"] for rank in ranks), strict=True
    ):
        assert left["rewards"] == right["rewards"] == single["rewards"]
        assert left["used"] + right["used"] == single["used"]
        assert (left["first"], right["first"]) == (0, 12)
        assert any(single["used"])


@pytest.mark.parametrize("method", ["mean", "qae"])
def test_what_is_logged_is_gathered_too(runs, method):
    one, ranks = runs
    for rank in ranks:
        assert rank[method]["logged"] == one[method]["notes"][-1]["used"]
        assert rank[method]["zero"] == pytest.approx(one[method]["zero"])
        for ours, single in zip(rank[method]["entropy"], one[method]["entropy"], strict=True):
            assert [math.nan if value is None else value for value in ours] == pytest.approx(
                [math.nan if value is None else value for value in single], rel=1e-5, nan_ok=True
            )


@pytest.mark.parametrize("method", ["mean", "qae"])
def test_both_ranks_hold_the_policy_of_one_process(runs, method):
    one, ranks = runs
    assert ranks[0][method]["weights"] == ranks[1][method]["weights"]
    for name, values in one[method]["weights"].items():
        torch.testing.assert_close(
            torch.tensor(ranks[0][method]["weights"][name]), torch.tensor(values), rtol=1e-4, atol=1e-6
        )


def test_a_stop_inside_a_buffer_leaves_no_trace_on_two_processes(runs):
    _, ranks = runs
    assert [rank["gap"] for rank in ranks] == [0.0, 0.0]


def test_streams_and_conversations_train_as_in_trl_on_two_processes(runs):
    _, ranks = runs
    assert [rank["to_trl"] for rank in ranks] == [{"stream": 0.0, "messages": 0.0}] * 2
