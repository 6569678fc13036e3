"""The entry point of tier C: arms differ in the treatment of zero-variance groups alone."""

from __future__ import annotations

import numpy as np
import pytest

from common.study.configuration import configure
from common.study.errors import StudyError
from papers.rl_zvp.experiment import PROFILES, Config, training_jobs
from papers.rl_zvp.runs.training import train, training_arguments

TINY = configure(Config, PROFILES, "smoke").changed(
    {"run.batch": 32, "run.mini_batch": 16, "run.training_prompts": 20, "run.evaluation_prompts": 4}
)


def job(sweep: str, arm: str):
    return next(
        each for each in training_jobs(TINY, (1,)) if (each.sweep, each.labels["arm"]) == (sweep, arm)
    )


@pytest.mark.parametrize("arm", ["zvp", "ds"])
def test_twice_the_same_record(arm, tmp_path):
    first, second = (train(job("hard", arm), tmp_path / str(run)) for run in range(2))
    for part in ("scalars", "series"):
        assert getattr(first, part).keys() == getattr(second, part).keys()
        for name, values in getattr(first, part).items():
            np.testing.assert_array_equal(values, getattr(second, part)[name], err_msg=name)
    assert {f"final/pass_at_{k}/all" for k in (1, 8)} <= set(first.scalars)
    assert {"zero_variance", "negative_prompts", "entropy", "length"} <= set(first.series)
    if arm == "ds":
        assert (first.series["rollouts_generated"] <= 64).all()
    else:
        shares = first.series["negative_prompts"] + first.series["positive_prompts"]
        np.testing.assert_allclose(first.series["zero_variance"], shares)


def test_arms_differ_in_the_method_only(tmp_path):
    arms = {
        arm: training_arguments(job("easy", arm).config, 0, tmp_path).to_dict()
        for arm in ("grpo", "zvp", "const", "shuffle")
    }
    for name, args in arms.items():
        different = {field for field, value in args.items() if value != arms["zvp"][field]}
        assert different <= {"zvp_shape", "zvp_use_positive", "zvp_use_negative"}, name
    assert arms["const"]["zvp_shape"] == "const"


def test_an_unknown_arm_is_a_clear_error(tmp_path):
    with pytest.raises(StudyError, match="unknown arm 'reinforce', known: alpha, const"):
        training_arguments({**job("easy", "zvp").config, "arm": "reinforce"}, 0, tmp_path)
