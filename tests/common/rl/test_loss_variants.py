"""Loss variants inside the trainer: aggregation, accumulation and metrics are TRL's."""

from __future__ import annotations

import math

import pytest
import torch

from common.rl.losses import clipped_surrogate
from common.rl.testing import assert_bitwise

NO_CLIP = 1e9


def assert_same_training(ours, theirs):
    for name, value in theirs[0].items():
        torch.testing.assert_close(ours[0][name], value, rtol=1e-4, atol=1e-6)
    for left, right in zip(ours[1], theirs[1], strict=True):
        for name in ("loss", "entropy", "entropy/positive", "clip_ratio/low_mean", "clip_ratio/high_mean"):
            assert (left[name] is None) == (right[name] is None)
            assert left[name] is None or math.isclose(left[name], right[name], rel_tol=1e-4, abs_tol=1e-5)


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "bnpo", "dr_grpo"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_kl_cov_without_penalty_is_the_unclipped_loss_of_trl(trained, loss_type, accumulation):
    fields = {
        "loss_type": loss_type,
        "gradient_accumulation_steps": accumulation,
        "max_steps": 4,
        "optim": "sgd",
    }
    fields |= {"epsilon": NO_CLIP, "learning_rate": 0.3}
    stock = trained(**fields)
    assert_same_training(trained(loss_variant="kl_cov", kl_cov_coefficient=0.0, **fields), stock)


def test_clip_cov_without_candidates_is_the_clipped_loss_of_trl(trained):
    fields = {"epsilon": 0.02, "epsilon_high": 0.03, "max_steps": 8, "optim": "sgd", "learning_rate": 1.0}
    stock = trained(dual_clip=1.5, **fields)
    assert any(entry["clip_ratio/low_mean"] > 0 for entry in stock[1])
    ours = trained(
        loss_variant="clip_cov", clip_cov_low=NO_CLIP, clip_cov_high=2 * NO_CLIP, dual_clip=1.5, **fields
    )
    assert_same_training(ours, stock)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss_variant": "kl_cov", "kl_cov_ratio": 0.2},
        {"loss_variant": "clip_cov", "clip_cov_ratio": 0.2, "clip_cov_low": 0.1},
        {"dual_clip": 1.3, "learning_rate": 0.1},
    ],
    ids=["kl_cov", "clip_cov", "dual_clip"],
)
def test_a_variant_changes_training_and_repeats(trained, fields):
    fields = {"max_steps": 8, **fields}
    first, _ = trained(**fields)
    again, _ = trained(**fields)
    assert_bitwise(first, again)
    off = {name: value for name, value in fields.items() if name in ("max_steps", "learning_rate")}
    stock, _ = trained(**off)
    assert max((first[name] - stock[name]).abs().max() for name in stock) > 1e-6


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.2, 1.29, 2.0, 9.0])
@pytest.mark.parametrize("advantage", [-1.5, 0.0, 2.0])
def test_dual_clip_is_trls_delta(ratio, advantage):
    """The formula of TRL's loss with `delta`, against the dual clip of arXiv:1912.09729."""
    r, a = torch.tensor(ratio, dtype=torch.float64), torch.tensor(advantage, dtype=torch.float64)
    trl = -torch.min(r.clamp(max=3.0) * a, r.clamp(0.8, 1.28) * a)
    ours = clipped_surrogate(r.log().view(1, 1), a.view(1, 1), 0.2, 0.28, dual_clip=3.0)
    torch.testing.assert_close(ours.squeeze(), trl)


def test_dual_clip_reaches_trl(build):
    assert build(dual_clip=3.0).args.delta == 3.0
    assert build(delta=2.5).args.delta == 2.5
    assert build(loss_variant="clip_cov", dual_clip=3.0).args.delta is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss_variant": "ppo"}, "choose one of clip, clip_cov, kl_cov"),
        ({"dual_clip": 1.1}, "above 1"),
        ({"dual_clip": 3.0, "delta": 2.0}, "set dual_clip alone"),
        ({"loss_variant": "kl_cov", "dual_clip": 3.0}, "'kl_cov' and 'dual_clip'"),
        ({"loss_variant": "kl_cov", "loss_type": "cispo"}, "needs loss_type in"),
        ({"loss_variant": "kl_cov", "beta": 0.1}, "beta"),
        ({"loss_variant": "clip_cov", "off_policy_mask_threshold": 0.1}, "off_policy_mask_threshold"),
        (
            {"loss_variant": "clip_cov", "importance_sampling_level": "sequence"},
            "'clip_cov' and 'sequence_level'",
        ),
        ({"scale_rewards": "none"}, "leave scale_rewards='group'"),
        ({"decoder": "fast"}, "choose one of generate, lean"),
        ({"decoder": "lean", "top_k": 5}, "top_k"),
    ],
)
def test_what_cannot_work_is_refused_at_construction(build, fields, message):
    with pytest.raises(ValueError, match=message):
        build(**fields)
