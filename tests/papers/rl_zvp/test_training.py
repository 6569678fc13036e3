"""The entry point of tier C: arms differ in the treatment of zero-variance groups alone."""

from __future__ import annotations

import numpy as np
import pytest

from common.rl.testing import assert_bitwise, pocket_trainer, weights
from common.study.configuration import configure
from common.study.errors import StudyError
from papers.rl_zvp.experiment import PROFILES, Config, training_jobs
from papers.rl_zvp.method import RLZVPConfig, RLZVPTrainer
from papers.rl_zvp.runs.training import ProbedTrainer, train, training_arguments

TINY = configure(Config, PROFILES, "smoke").changed(
    {"run.batch": 32, "run.mini_batch": 16, "run.training_prompts": 20, "run.evaluation_prompts": 4}
)


def job(sweep: str, arm: str):
    return next(
        each for each in training_jobs(TINY, (1,)) if (each.sweep, each.labels["arm"]) == (sweep, arm)
    )


@pytest.mark.parametrize(("sweep", "arm"), [("proofs", "zvp"), ("easy", "ds")])
def test_twice_the_same_record(sweep, arm, tmp_path):
    first, second = (train(job(sweep, arm), tmp_path / str(run)) for run in range(2))
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
        arm: training_arguments(job("proofs", arm).config, 0, tmp_path).to_dict()
        for arm in ("grpo", "zvp", "const", "shuffle", "flip")
    }
    tuned = {"learning_rate", "zvp_alpha"}
    for name, args in arms.items():
        different = {field for field, value in args.items() if value != arms["zvp"][field]} - tuned
        assert different <= {"zvp_shape", "zvp_use_positive", "zvp_use_negative", "zvp_sign_flip"}, name
    assert arms["const"]["zvp_shape"] == "const"


def test_an_unknown_arm_is_a_clear_error(tmp_path):
    with pytest.raises(StudyError, match="unknown arm 'reinforce', known: alpha, const"):
        training_arguments({**job("proofs", "zvp").config, "arm": "reinforce"}, 0, tmp_path)


def test_the_probe_measures_the_parts_of_the_gradient_and_touches_nothing(tmp_path):
    def all_wrong(completion_ids, **_):
        return [0.0] * len(completion_ids)

    def half_right(completion_ids, **_):
        return [float(index % 2) for index in range(len(completion_ids))]

    def trained(kind, reward):
        trainer = pocket_trainer(kind, RLZVPConfig, tmp_path, reward=reward, max_steps=4)
        trainer.train()
        return trainer

    for reward, share in ((all_wrong, 1.0), (half_right, 0.0)):
        probed = trained(ProbedTrainer, reward)
        assert_bitwise(weights(probed), weights(trained(RLZVPTrainer, reward)))
        logged = [entry["zvp/gradient_share"] for entry in probed.state.log_history if "reward" in entry]
        assert logged == pytest.approx([share])
