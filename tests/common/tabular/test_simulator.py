"""The training loop: equal to a plain torch loop, blind to the company of a seed, and it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.tabular.objective import Rollout
from common.tabular.simulator import History, Training, describe, simulate
from common.tabular.start import Start, World, draw_start

WORLD = World(vocabulary=4, length=3, prompts=5, sigma_shared=1.0, sigma_private=0.7, rates=(0.1, 0.4))
TRAINING = Training(
    group_size=6, iterations=5, inner_steps=3, optimizer="adam", learning_rate=0.1, epsilon_high=0.28
)


def centred(rollout: Rollout) -> np.ndarray:
    return rollout.rewards - rollout.rewards.mean(axis=-1, keepdims=True)


def run(
    seeds: tuple[int, ...], rule=centred, world: World = WORLD, norm_rule=None, **changes
) -> tuple[History, Start]:
    start = draw_start(world, seeds)
    return simulate(start, replace(TRAINING, **changes), rule, seeds, norm_rule), start


def arrays(history: History) -> dict[str, np.ndarray]:
    return history.exact | history.sampled | {"counts": history.counts}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("drop", [True, False])
def test_equal_to_dense_autograd_training(optimizer: str, drop: bool) -> None:
    """Replays the batches that the simulator drew through an independent dense loop."""
    batches: list[Rollout] = []

    def rule(rollout: Rollout) -> np.ndarray:
        batches.append(rollout)
        return rollout.rewards - 0.3

    _, start = run((8,), rule, optimizer=optimizer, drop_zero_variance=drop)
    fresh = draw_start(WORLD, (8,)).policy
    tables = [torch.tensor(table[:, 0], requires_grad=True) for table in (fresh.shared, fresh.private)]
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
    reference = kind(tables, lr=TRAINING.learning_rate)
    for batch in batches:
        nodes, tokens = torch.from_numpy(batch.nodes[0]), torch.from_numpy(batch.tokens[0])
        prompt = torch.arange(WORLD.prompts)[:, None, None]
        rewards = torch.from_numpy(batch.rewards[0])
        mixed = rewards.amin(dim=1) < rewards.amax(dim=1)
        kept = mixed if drop else torch.ones_like(mixed)

        def log_probs(nodes=nodes, tokens=tokens, prompt=prompt) -> torch.Tensor:
            table = torch.log_softmax(tables[0][:, None] + tables[1], dim=0)
            return table[tokens, prompt, nodes]

        old = log_probs().detach()
        for _ in range(TRAINING.inner_steps):
            ratio = torch.exp(log_probs() - old)
            a = (rewards - 0.3)[..., None]
            terms = torch.minimum(ratio * a, ratio.clamp(0.8, 1.28) * a) * kept[:, None, None]
            reference.zero_grad()
            (-terms.sum() / max(int(kept.sum()) * tokens[0].numel(), 1)).backward()
            reference.step()
    np.testing.assert_allclose(start.policy.shared[:, 0], tables[0].detach().numpy(), atol=1e-9)
    np.testing.assert_allclose(start.policy.private[:, 0], tables[1].detach().numpy(), atol=1e-9)


@pytest.mark.parametrize(
    "world", [WORLD, replace(WORLD, prompts=1), replace(WORLD, vocabulary=9, prompts=17)]
)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_seed_is_bit_for_bit_the_same_in_any_company(world: World, optimizer: str) -> None:
    seeds = (3, 14, 15, 92, 65)
    together, start = run(seeds, world=world, optimizer=optimizer)
    for company in ((3,), (92,), (65, 14)):
        history, own = run(company, world=world, optimizer=optimizer)
        rows = [seeds.index(seed) for seed in company]
        for name, value in arrays(history).items():
            np.testing.assert_array_equal(value, arrays(together)[name][rows], err_msg=name)
        np.testing.assert_array_equal(own.policy.private, start.policy.private[:, rows])


def test_arms_of_a_seed_share_the_start_and_the_first_batch() -> None:
    first, _ = run((5, 6))
    second, _ = run((5, 6), lambda rollout: rollout.rewards, optimizer="sgd", inner_steps=1)
    for name in first.exact:
        np.testing.assert_array_equal(first.exact[name][:, 0], second.exact[name][:, 0])
    np.testing.assert_array_equal(first.counts[:, 0], second.counts[:, 0])
    assert (first.exact["entropy"][:, 1] != second.exact["entropy"][:, 1]).all()


def test_training_raises_success_and_a_reversed_rule_lowers_it() -> None:
    seeds = tuple(range(8))
    better, _ = run(seeds, iterations=25)
    worse, _ = run(seeds, lambda rollout: -centred(rollout), iterations=25)
    success = better.exact["success"]
    assert success.shape == (8, 26)
    assert (success[:, -1] > success[:, 0] + 0.2).all()
    assert (worse.exact["success"][:, -1] < success[:, 0]).all()


def test_zero_advantages_leave_the_policy_alone() -> None:
    history, _ = run((1, 2), lambda rollout: np.zeros_like(rollout.rewards))
    assert np.ptp(history.exact["entropy"], axis=1).max() == 0.0
    assert (history.sampled["grad_norm"] == 0.0).all()
    assert (history.sampled["share_zero"][history.sampled["mixed_groups"] > 0] == 1.0).all()


def test_matched_norm_makes_the_scale_of_the_advantages_irrelevant() -> None:
    plain, _ = run((1, 2), optimizer="sgd", inner_steps=1, learning_rate=0.5)
    matched, _ = run(
        (1, 2),
        lambda r: 7.0 * centred(r),
        norm_rule=centred,
        optimizer="sgd",
        inner_steps=1,
        learning_rate=0.5,
    )
    other, _ = run(
        (1, 2), lambda r: r.rewards, norm_rule=centred, optimizer="sgd", inner_steps=1, learning_rate=0.5
    )
    np.testing.assert_allclose(matched.exact["entropy"], plain.exact["entropy"], rtol=1e-10)
    np.testing.assert_allclose(other.sampled["grad_norm"][:, 0], plain.sampled["grad_norm"][:, 0], rtol=1e-10)
    assert (other.exact["entropy"][:, 1] != plain.exact["entropy"][:, 1]).all()


def test_one_step_on_policy_is_never_clipped() -> None:
    history, _ = run((1, 2), inner_steps=1)
    assert (history.sampled["clip_high"] == 0.0).all()
    assert (history.sampled["clip_low"] == 0.0).all()
    several, _ = run((1, 2), inner_steps=8)
    assert (several.sampled["clip_high"] > 0.0).any()
    assert (several.sampled["clip_low"] > 0.0).any()


def test_shares_and_entropies_by_sign_on_a_hand_made_batch() -> None:
    rewards = np.array([[[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [[0.0] * 4, [0.0] * 4]])
    shape = (2, 2, 4, 2)
    entropies = np.arange(32.0).reshape(shape)
    empty = np.zeros(shape, dtype=int)
    rollout = Rollout(empty, empty, entropies, rewards, np.zeros(rewards.shape))
    advantages = np.broadcast_to(np.array([2.0, 0.0, 0.0, -1.0])[:, None], shape)
    values = describe(rollout, advantages, rollout.mixed)
    expected = {
        "mixed_groups": (0.5, 0.0),
        "share_positive": (0.25, np.nan),
        "share_zero": (0.5, np.nan),
        "share_negative": (0.25, np.nan),
        "entropy_positive": (0.5, np.nan),
        "entropy_zero": (3.5, np.nan),
        "entropy_negative": (6.5, np.nan),
    }
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    no_negative = describe(rollout, np.maximum(advantages, 0.0), rollout.mixed)
    assert no_negative["share_negative"][0] == 0.0
    assert np.isnan(no_negative["entropy_negative"][0])
