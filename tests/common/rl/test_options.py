"""All fields of `GRPOConfig` on `GroupTrainer`: as in stock TRL, or refused at construction."""

from __future__ import annotations

import pytest

from common.rl.config import GroupConfig
from common.rl.testing import pocket_trainer
from common.rl.trainer import GroupTrainer
from tests.common.rl.options import SILENT
from tests.common.rl.sweep import (
    check_inherited,
    check_not_ignored,
    check_option,
    check_table,
    differs,
    parametrised,
    stock,
    stock_without,
)

REFUSED = ("scale_rewards", "multi_objective_aggregation")
"""The advantages come from the hook."""


def build(**given):
    return pocket_trainer(GroupTrainer, GroupConfig, **given)


def test_every_field_is_in_the_table():
    check_table()


def test_nothing_that_is_not_swept_is_named_in_our_code():
    check_inherited(GroupTrainer, GroupConfig)


@parametrised
def test_an_option_acts_as_in_trl_or_is_refused(field, at):
    check_option(build, field, at, REFUSED)


@parametrised
def test_a_case_shows_what_its_field_does(field, at):
    """Else the sweep would pass a trainer that ignores the field, or one that fails where TRL does."""
    assert stock(field, at).error is None or field in ("use_vllm", "cache_implementation")
    assert differs(stock(field, at), stock_without(field, at)) == (field not in SILENT)


@pytest.mark.parametrize("variant", ["clip_cov", "kl_cov"])
@pytest.mark.parametrize(
    "field",
    [
        "beta",
        "delta",
        "entropy_coef",
        "epsilon",
        "epsilon_high",
        "importance_sampling_level",
        "loss_type",
        "num_iterations",
        "off_policy_mask_threshold",
        "top_entropy_quantile",
        "use_adaptive_entropy",
    ],
)
def test_a_loss_of_our_own_ignores_no_option_of_trls(variant, field):
    check_not_ignored(lambda **given: build(loss_variant=variant, **given), field)
