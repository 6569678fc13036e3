"""All fields of `GRPOConfig` on `GroupTrainer`: as in stock TRL, or refused at construction."""

from __future__ import annotations

from functools import cache, partial

import pytest

from common.rl.config import GroupConfig
from common.rl.testing import pocket_trainer
from common.rl.trainer import GroupTrainer
from tests.common.rl.options import LOGGED, SILENT
from tests.common.rl.sweep import (
    case,
    case_without,
    check_heeded,
    check_inherited,
    check_option,
    check_table,
    differs,
    moves,
    outcome,
    parametrised,
    stock,
    stock_without,
)

REFUSED = ("scale_rewards", "multi_objective_aggregation")
"""The advantages come from the hook."""


def build(**given):
    return pocket_trainer(GroupTrainer, GroupConfig, **given)


@cache
def with_variant(name):
    return partial(build, loss_variant=name)


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
    shown, without = stock(field, at), stock_without(field, at)
    assert differs(shown, without) == (field not in SILENT)
    if shown.error is None:
        assert moves(shown, without) == (field not in SILENT | LOGGED)
    else:
        assert field in ("use_vllm", "cache_implementation")


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
    if variant == "kl_cov" and field in (
        "epsilon",
        "epsilon_high",
    ):  # it clips nothing, and logs what would be
        shown, without = (outcome(with_variant(variant), given(field)) for given in (case, case_without))
        assert differs(shown, without)
        assert not moves(shown, without)
    else:
        check_heeded(with_variant(variant), field)
