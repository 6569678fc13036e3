"""The seam names the method when TRL moves."""

from __future__ import annotations

import pytest
from trl import GRPOTrainer

from common.rl import drift
from common.rl.loss_variants import LossVariants
from common.rl.resume import ExactResume
from common.rl.scoring import Scoring
from common.rl.trainer import GroupTrainer


def test_trl_is_the_one_that_the_seam_was_written_for():
    assert drift.drifted() == [], (
        "TRL or transformers moved; read the changes, then update common/rl/drift.py"
    )
    assert drift.current_digests() == drift.RECORDED


def test_a_changed_method_is_named(monkeypatch):
    def _compute_loss(self, model, inputs):
        return 0.0

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", _compute_loss)
    monkeypatch.delattr(GRPOTrainer, "_generate")
    lines = drift.drifted()
    assert len(lines) == 2
    assert lines[0].startswith("trl.trainer.grpo_trainer:GRPOTrainer._compute_loss has changed (recorded ")
    assert lines[1] == "trl.trainer.grpo_trainer:GRPOTrainer._generate is gone"


@pytest.mark.parametrize("kind", [GroupTrainer, LossVariants, Scoring, ExactResume])
def test_every_overridden_method_is_recorded(kind):
    overridden = [name for name in vars(kind) if callable(vars(kind)[name]) and hasattr(GRPOTrainer, name)]
    recorded = {name.split(".")[-1] for name in drift.RECORDED}
    assert set(overridden) - {"__init__", "__doc__", "__module__"} <= recorded


def test_the_capabilities_of_the_seam_are_all_checked():
    below = GroupTrainer.__mro__[: GroupTrainer.__mro__.index(GRPOTrainer)]
    assert set(below) == {GroupTrainer, LossVariants, Scoring, ExactResume}


def test_a_digest_ignores_comments_docstrings_and_layout_only():
    base = drift.source_digest('def f(x):\n    "doc"\n    return x + 1\n')
    assert base == drift.source_digest("    def f(x):  # why\n\n        return (x + 1)\n")
    assert base != drift.source_digest("def f(x):\n    return x + 2\n")
    assert drift.source_digest('class A:\n    "doc"\n') == drift.source_digest("class A:\n    pass\n")
