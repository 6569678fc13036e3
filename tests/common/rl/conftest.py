"""Short trainings of a pocket policy as fixtures."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch

from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def build(tmp_path):
    """`common.rl.testing.pocket_trainer`, by default of a `GroupTrainer`."""

    def make(kind=GroupTrainer, config=GroupConfig, **fields):
        return testing.pocket_trainer(kind, config, **{"output_dir": tmp_path / "out", **fields})

    return make


@pytest.fixture
def trained(build):
    """Builds, trains, and returns weights and log."""

    def run(*kinds, **fields):
        trainer = build(*kinds, **fields)
        trainer.train()
        return testing.weights(trainer), testing.timeless_log(trainer)

    return run
