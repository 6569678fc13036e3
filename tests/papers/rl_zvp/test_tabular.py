"""Tier B: every arm through the shared advantage code, on correlated prompts."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from common.study.jobs import Job
from common.tabular.objective import Rollout
from papers.rl_zvp.method import VARIANTS
from papers.rl_zvp.runs.tabular import (
    RATES,
    Setting,
    advantage_rule,
    draw_start,
    final_scores,
    predicted_share,
    simulate,
)

SMALL = Setting(
    mix="easy", arm="zvp", alpha=0.1, prompts=8, group_size=4, iterations=5, inner_steps=2,
    learning_rate=0.05, epsilon_low=0.2, epsilon_high=0.28, vocabulary=5, length=3, sigma_shared=1.0,
    sigma_private=0.5,
)  # fmt: skip


def run(tmp_path, seeds=(0, 1), **changes) -> dict[str, np.ndarray]:
    setting = asdict(replace(SMALL, **changes))
    record = simulate(Job("b", {}, "papers.rl_zvp.runs.tabular:simulate", setting, seeds), tmp_path)
    record.frame(seeds)  # raises on a wrong shape
    return {**record.series, **record.scalars}


def rollout(rewards: np.ndarray, length: int = 3) -> Rollout:
    generator = np.random.default_rng(0)
    shape = (*rewards.shape, length)
    tokens = np.zeros(shape, dtype=int)
    return Rollout(
        tokens, tokens, generator.exponential(size=shape), rewards, generator.random(rewards.shape)
    )


def test_correct_sets_have_the_asked_sizes_and_resemble_each_other():
    start = draw_start(replace(SMALL, prompts=10, mix="unsolvable").world(), (0, 1))
    sizes = start.targets.correct.sum(axis=-1)
    wanted = [round(rate * 125) for rate in RATES["unsolvable"]] * 2
    assert sizes.tolist() == [wanted, wanted]
    first, second = start.targets.correct[0, 1], start.targets.correct[0, 6]  # both at rate 0.6
    assert np.corrcoef(first, second)[0, 1] > 0.3
    assert (start.targets.correct[0] != start.targets.correct[1]).any()


def test_grpo_and_rl_zvp_rules_by_hand():
    rewards = np.array([[[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]])
    batch = rollout(rewards)
    entropies = batch.entropies[0]
    grpo, zvp = (advantage_rule(arm, 0.5)(batch)[0] for arm in ("grpo", "zvp"))
    assert (grpo[:2] == 0).all()
    np.testing.assert_allclose(grpo[2], [[1.0] * 3, [-1.0] * 3])
    np.testing.assert_array_equal(zvp[2], grpo[2])
    np.testing.assert_allclose(zvp[0], 0.5 * entropies[0])
    np.testing.assert_allclose(zvp[1], -0.5 * (entropies[1].max(axis=-1, keepdims=True) - entropies[1]))


@pytest.mark.parametrize("arm", VARIANTS)
def test_a_rule_treats_the_seeds_separately(arm):
    rewards = (np.random.default_rng(1).random((3, 6, 4)) < 0.7).astype(float)
    batch = rollout(rewards)
    names = ("nodes", "tokens", "entropies", "rewards", "noise")
    last = Rollout(*(getattr(batch, name)[2:] for name in names))
    rule = advantage_rule(arm, 0.1)
    np.testing.assert_array_equal(rule(batch)[2:], rule(last))


def test_alpha_zero_is_grpo(tmp_path):
    zero, grpo = run(tmp_path, alpha=0.0), run(tmp_path, arm="grpo")
    for name in ("success", "entropy", "zero_variance"):
        np.testing.assert_array_equal(zero[name], grpo[name])


@pytest.mark.parametrize("arm", [arm for arm in VARIANTS if arm != "grpo"])
def test_every_other_arm_is_another_training(arm, tmp_path):
    assert (run(tmp_path, arm=arm)["success"] != run(tmp_path, arm="grpo")["success"]).any()


def test_a_seed_does_not_depend_on_its_company(tmp_path):
    both, alone = run(tmp_path, (3, 4), arm="shuffle"), run(tmp_path, (4,), arm="shuffle")
    for name, values in alone.items():
        np.testing.assert_array_equal(both[name][1:], values)


def test_shares_and_scores(tmp_path):
    found = run(tmp_path, mix="unsolvable", prompts=10)
    np.testing.assert_allclose(found["zero_variance"], found["positive_prompts"] + found["negative_prompts"])
    assert (found["negative_prompts"] >= 0.2).all()
    np.testing.assert_allclose(found["solvable"] * 0.8, found["success"][:, -1])
    assert (found["rollouts"] == 5 * 10 * 4).all()


def test_the_predicted_share_is_that_of_many_groups():
    setting = replace(SMALL, prompts=4)
    start = draw_start(setting.world(), (0,))
    snapshot = start.policy.evaluate()
    success = snapshot.success(start.targets)
    draws = np.random.default_rng(0).random((20000, 1, 4, 8)) < success[..., None]
    share = (draws.all(axis=-1) | ~draws.any(axis=-1)).mean()
    assert predicted_share(success, 8)[0] == pytest.approx(share, abs=0.01)
    assert final_scores(snapshot, start)["pass_at_8"][0] == pytest.approx(draws.any(axis=-1).mean(), abs=0.01)


def test_unknown_names_are_clear_errors():
    with pytest.raises(ValueError, match="unknown arm 'ppo'; choose one of grpo, zvp"):
        advantage_rule("ppo", 0.1)
    with pytest.raises(ValueError, match="unknown mix 'broad'; choose one of hard, easy"):
        replace(SMALL, mix="broad")
