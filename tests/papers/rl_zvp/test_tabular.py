"""Tier B: every arm through the shared advantage code, on correlated prompts."""

import numpy as np
import pytest

from common.study.errors import StudyError
from common.study.jobs import Job
from common.tabular.filtering import Batch, Feed, fill, side_by_side
from common.tabular.objective import Rollout, collect
from common.tabular.policy import Snapshot
from common.tabular.start import streams
from papers.rl_zvp.method import VARIANTS
from papers.rl_zvp.runs.tabular import (
    RATES,
    advantage_rule,
    final_scores,
    grpo,
    predicted_share,
    read_start,
    simulate,
    simulate_filter,
)

SMALL = {
    "mix": "easy", "arm": "zvp", "alpha": 0.1, "prompts": 8, "group_size": 4, "iterations": 5,
    "inner_steps": 2, "learning_rate": 0.05, "epsilon_low": 0.2, "epsilon_high": 0.28, "vocabulary": 5,
    "length": 3, "sigma_shared": 1.0, "sigma_private": 0.5,
}  # fmt: skip


def job(seeds=(0, 1), **changes) -> Job:
    return Job("b", {}, "papers.rl_zvp.runs.tabular:simulate", SMALL | changes, seeds)


def run(tmp_path, seeds=(0, 1), entry=simulate, **changes) -> dict[str, np.ndarray]:
    record = entry(job(seeds, **changes), tmp_path)
    record.frame(seeds)  # raises on a wrong shape
    return {**record.series, **record.scalars}


def rollout(rewards: np.ndarray, length: int = 3) -> Rollout:
    generator = np.random.default_rng(0)
    shape = (*rewards.shape, length)
    tokens = np.zeros(shape, dtype=int)
    return Rollout(
        tokens, tokens, generator.exponential(size=shape), rewards, generator.random(rewards.shape)
    )


def filled(seed: int) -> tuple[Snapshot, Batch]:
    start = read_start(job((seed,)))
    _, sampling, order = streams(seed)
    snapshot = start.policy.evaluate()
    return snapshot, fill(snapshot, start, Feed(8, order, sampling), SMALL["group_size"])


def test_correct_sets_have_the_rates_sizes_and_resemble_each_other():
    start = read_start(job(prompts=10, mix="unsolvable"))
    sizes = start.targets.correct.sum(axis=-1)
    rates = [round(rate * 125) for rate in RATES["unsolvable"]] * 2
    assert sizes.tolist() == [rates, rates]
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


@pytest.mark.parametrize(
    ("arm", "entry"), [("shuffle", simulate), ("ds", simulate_filter), ("greso", simulate_filter)]
)
def test_a_seed_does_not_depend_on_its_company(arm, entry, tmp_path):
    both, alone = (run(tmp_path, seeds, entry, arm=arm, mix="hard") for seeds in ((3, 4), (4,)))
    for name, values in alone.items():
        np.testing.assert_array_equal(both[name][1:], values)


def test_a_filter_counts_what_it_rolls_out(tmp_path):
    values = run(tmp_path, entry=simulate_filter, arm="greso", mix="hard")
    assert values["rollouts"].shape == (2, SMALL["iterations"] + 1)
    assert (np.diff(values["rollouts"], axis=1) >= values["kept"] * SMALL["group_size"]).all()


def test_the_surrogate_of_a_filter_is_the_token_mean_over_its_mixed_groups():
    """Against a sum over the groups that are trained on, one by one, in numpy."""
    snapshot, batch = filled(1)
    surrogate = collect(*side_by_side(batch, grpo), snapshot)
    tokens = batch.size * SMALL["group_size"] * SMALL["length"]
    positive = negative = 0.0
    for item in batch.rounds:
        for prompt in item.prompts[item.trained]:
            rewards = item.rollout.rewards[0, prompt]
            scores = (rewards - rewards.mean()) / rewards.std()
            positive += SMALL["length"] * scores[scores > 0].sum() / tokens
            negative += SMALL["length"] * scores[scores < 0].sum() / tokens
    assert surrogate.positive.sum() == pytest.approx(positive)
    assert surrogate.negative.sum() == pytest.approx(negative)


def test_shares_and_scores(tmp_path):
    values = run(tmp_path, mix="unsolvable", prompts=10)
    np.testing.assert_allclose(
        values["zero_variance"], values["positive_prompts"] + values["negative_prompts"]
    )
    assert (values["negative_prompts"] >= 0.2).all()
    np.testing.assert_allclose(values["solvable"] * 0.8, values["success"][:, -1])
    assert (values["rollouts"] == 5 * 10 * 4).all()


def test_the_predicted_share_is_that_of_many_groups():
    start = read_start(job((0,), prompts=4))
    snapshot = start.policy.evaluate()
    success = snapshot.success(start.targets)
    draws = np.random.default_rng(0).random((20000, 1, 4, 8)) < success[..., None]
    share = (draws.all(axis=-1) | ~draws.any(axis=-1)).mean()
    assert predicted_share(success, 8)[0] == pytest.approx(share, abs=0.01)
    assert final_scores(snapshot, start)["pass_at_8"][0] == pytest.approx(draws.any(axis=-1).mean(), abs=0.01)


def test_unknown_names_are_clear_errors(tmp_path):
    with pytest.raises(StudyError, match="unknown arm 'shufle', did you mean 'shuffle'"):
        advantage_rule("shufle", 0.1)
    with pytest.raises(StudyError, match="unknown mix 'broad', known: easy, hard, unsolvable"):
        read_start(job(mix="broad"))
    with pytest.raises(StudyError, match="unknown filter 'dapo', known: ds, greso"):
        run(tmp_path, entry=simulate_filter, arm="dapo")
