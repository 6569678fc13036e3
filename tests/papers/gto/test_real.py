"""SmolLM2's part of the study with a small model in its place: both arms of Phase II train from one draft."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.speculative import real_evaluation
from common.speculative.real import RealDraftRecipe
from common.speculative.target import Target
from common.study.jobs import Job
from papers.gto.runs import real as runs
from tests.common.speculative.conftest import small as small  # a fixture
from tests.common.speculative.conftest import written

CONFIG = {
    **{"code": 4, "arithmetic": 0, "chat": 0, "tokens": 12},
    **{"heldout": 2, "positions": 2, "timed": 1, "new": 9},
    **{"draft_kept": 12, "draft_steps": 8, "draft_batch": 3, "draft_learning_rate": 1e-2},
    **{"depth": 2, "top_k": 2, "budget": 4, "groups": 1, "group_size": 2},
    **{"tuning_steps": 2, "tuning_batch": 2, "tuning_rate": 1e-3},
}


def test_both_arms_of_phase_two_train_and_are_evaluated(
    small: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(runs, "smollm2", lambda dtype=None: small)
    monkeypatch.setattr(runs, "texts", written)
    record = runs.evaluate(Job("real", {}, "papers.gto.runs.real:evaluate", CONFIG, (3,)), tmp_path)
    arms = {labels["arm"]: part.scalars for labels, part in record.parts}
    assert set(arms) == {"untuned", "continual", "gto"}
    for scalars in arms.values():
        assert 1 <= scalars["tau1/all"][0] <= 3
        assert scalars["tau0/all"][0] == np.mean([scalars[f"tau0/{s}"][0] for s in real_evaluation.STYLES])
    assert arms["untuned"]["tau1/code"][0] != arms["continual"]["tau1/code"][0]


def test_every_decoder_is_timed(small: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(runs, "smollm2", lambda dtype=None: small)
    record = runs.speed(Job("real_speed", {}, "papers.gto.runs.real:speed", CONFIG, (3,)), tmp_path)
    found = {labels["decoder"]: part.scalars for labels, part in record.parts}
    assert set(found) == {"generate", "plain", "lookup", "eagle3", "both"}
    assert {part["same"][0] for part in found.values()} == {1.0}


def test_a_recipe_is_read_from_a_job() -> None:
    recipe = runs.recipe(CONFIG)
    assert recipe == replace(
        RealDraftRecipe(), kept=12, steps=8, batch=3, learning_rate=1e-2, texts=recipe.texts
    )
    assert (recipe.texts.code, recipe.texts.chat, recipe.texts.tokens) == (4, 0, 12)
