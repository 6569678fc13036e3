"""The seam names the method when TRL moves."""

from __future__ import annotations

import importlib
from pathlib import Path

from transformers import Trainer
from trl import GRPOTrainer

from common.rl import drift
from common.rl.citation import Named
from common.rl.companions import Companions
from common.rl.loss_variants import LossVariants
from common.rl.resume import ExactResume
from common.rl.scored_rows import ScoredRows
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


ROOT = Path(__file__).parents[3]


def trainers():
    """All trainers in `common` and `papers`."""
    for path in (*ROOT.glob("common/**/*.py"), *ROOT.glob("papers/**/*.py")):
        if "Trainer" in path.read_text():
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    kinds, at = [Trainer], 0
    while at < len(kinds):
        kinds, at = kinds + kinds[at].__subclasses__(), at + 1
    return {kind for kind in kinds if kind.__module__.startswith(("common.", "papers."))}


def overridden_by(kind):
    """Methods of TRL and transformers that a class has its own version of, each version below it."""
    below = [base for base in kind.__mro__ if base.__module__.partition(".")[0] in ("trl", "transformers")]
    return {
        f"{base.__module__}:{base.__qualname__}.{name}"
        for base in below
        for name in vars(kind).keys() & vars(base).keys()
        if callable(vars(kind)[name]) and not name.startswith("__")
    }


def test_every_overridden_method_of_every_trainer_is_recorded():
    kinds = trainers()
    assert {GroupTrainer, LossVariants, Scoring, ExactResume} < kinds
    assert {"FastGRPOTrainer", "FCPOfflineTrainer", "GTOTrainer"} <= {kind.__name__ for kind in kinds}
    missing = {
        kind.__name__: names for kind in kinds if (names := overridden_by(kind) - drift.RECORDED.keys())
    }
    assert not missing


def test_the_capabilities_of_the_seam_are_all_checked():
    below = GroupTrainer.__mro__[: GroupTrainer.__mro__.index(GRPOTrainer)]
    assert set(below) == {GroupTrainer, Named, LossVariants, ScoredRows, Scoring, Companions, ExactResume}


def test_a_digest_ignores_comments_docstrings_and_layout_only():
    base = drift.source_digest('def f(x):\n    "doc"\n    return x + 1\n')
    assert base == drift.source_digest("    def f(x):  # why\n\n        return (x + 1)\n")
    assert base != drift.source_digest("def f(x):\n    return x + 2\n")
    assert drift.source_digest('class A:\n    "doc"\n') == drift.source_digest("class A:\n    pass\n")
