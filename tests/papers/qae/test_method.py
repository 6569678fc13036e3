"""The quantile baseline against the CDF definition, the gates on a hand-made batch, the closed forms."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.rl.advantages import mean_advantages
from papers.qae.method import (
    check_quantile,
    entropy_change,
    entropy_safety_bound,
    objective_weights,
    quantile_advantages,
    quantile_baseline,
)

NAN = float("nan")
MISMATCHES = {
    (4, 0.4): (2, 0.2),
    (8, 0.4): (3, 0.8),
    (32, 0.4): (13, 0.4),
    (4, 0.2): (1, 0.6),
    (8, 0.2): (2, 0.4),
    (32, 0.2): (7, 0.2),
    (4, 0.6): (2, 0.8),
    (8, 0.6): (5, 0.2),
    (32, 0.6): (19, 0.6),
    (4, 0.8): (3, 0.4),
    (8, 0.8): (6, 0.6),
    (32, 0.8): (25, 0.8),
}
"""(G, K) -> (number of wrong responses, linear-interpolation baseline); without an entry none differs."""


def binary_groups(size: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """All compositions of a group: the n-th has n correct responses, wrong ones first."""
    return (torch.arange(size) >= size - torch.arange(size + 1)[:, None]).to(dtype).flatten()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantile_is_the_cdf_definition_in_integer_arithmetic(dtype):
    for size in range(2, 33):
        rewards = binary_groups(size, dtype)
        for step in range(1, 20):
            expected = [float((size - correct) * 20 < step * size) for correct in range(size + 1)]
            assert quantile_baseline(rewards, size, step / 20).tolist() == expected, (size, step)


@pytest.mark.parametrize(("k", "size"), [(0.6, 5), (0.56, 25), (0.28, 50), (0.1 + 0.2, 10), (1 - 0.4, 5)])
def test_threshold_survives_float_rounding_of_k_times_g(k, size):
    wrong = round(k * size)
    at, below = ([0.0] * n + [1.0] * (size - n) for n in (wrong, wrong - 1))
    assert quantile_baseline(torch.tensor(at + below), size, k).tolist() == [0.0, 1.0]


@given(
    values=st.lists(st.one_of(st.integers(-2, 2), st.floats(-3, 3)), min_size=2, max_size=20),
    percent=st.integers(1, 99),
)
def test_graded_rewards_keep_the_definition(values, percent):
    """inf{x : F(x) >= K} by search over the rewards, with exact fractions."""
    k = Fraction(percent, 100)
    expected = min(x for x in values if Fraction(sum(v <= x for v in values), len(values)) >= k)
    rewards = torch.tensor(values, dtype=torch.float64)
    assert quantile_baseline(rewards, len(values), percent / 100).item() == expected


@given(values=st.lists(st.floats(-3, 3), min_size=2, max_size=20), k=st.floats(0.01, 0.99))
def test_linear_interpolation_is_torch_quantile(values, k):
    rewards = torch.tensor(values, dtype=torch.float64)
    baseline = quantile_baseline(rewards, len(values), k, "linear")
    torch.testing.assert_close(baseline[0], torch.quantile(rewards, k))
    assert baseline.item() == pytest.approx(np.quantile(values, k), abs=1e-12)


@pytest.mark.parametrize("k", [0.2, 0.4, 0.6, 0.8])
@pytest.mark.parametrize("size", [4, 8, 16, 32])
def test_linear_interpolation_leaves_the_definition_at_one_composition_at_most(size, k):
    rewards = binary_groups(size)
    linear, exact = quantile_baseline(rewards, size, k, "linear"), quantile_baseline(rewards, size, k)
    correct = ((linear - exact).abs() > 1e-9).nonzero().flatten().tolist()
    mismatches = [(size - n, round(linear[n].item(), 9)) for n in correct]
    assert mismatches == ([MISMATCHES[size, k]] if (size, k) in MISMATCHES else [])


def test_unscored_rewards_are_left_out_of_the_distribution():
    rewards = torch.tensor([0.0, NAN, 1.0, NAN, 0.0, 1.0, NAN, NAN, NAN, NAN, NAN, NAN])
    baseline = quantile_baseline(rewards, 6, 0.5)
    assert baseline[0] == 0.0
    assert baseline[1].isnan()
    advantages = quantile_advantages(rewards, 6, 0.5, std="population")
    expected = [0.0, 0.0, 2.0, 0.0, 0.0, 2.0] + [0.0] * 6
    assert advantages.tolist() == expected


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_no_quantile_is_the_mean_baseline_bit_for_bit(data):
    size = data.draw(st.integers(1, 8))
    value = st.one_of(st.sampled_from([0.0, 1.0, 0.1, NAN]), st.floats(-2, 2, width=32))
    rewards = torch.tensor(data.draw(st.lists(value, min_size=2 * size, max_size=2 * size)))
    for std in ("trl", "population", "unbiased"):
        expected = mean_advantages(rewards, size, std)
        assert torch.equal(quantile_advantages(rewards, size, None, std=std), expected)
        assert torch.equal(quantile_advantages(rewards, size, -1, "linear", std=std), expected)


@pytest.mark.parametrize("k", [0.0, 1.0, -1.0, -0.4, 1.5, 40, math.inf, NAN])
def test_values_outside_the_unit_interval_are_refused(k):
    with pytest.raises(ValueError, match=r"outside \(0, 1\)"):
        quantile_advantages(torch.tensor([0.0, 1.0]), 2, k)
    if k != -1:
        with pytest.raises(ValueError, match=r"outside \(0, 1\)"):
            quantile_baseline(torch.tensor([0.0, 1.0]), 2, k, "linear")


def test_a_percentage_is_answered_with_the_fraction():
    with pytest.raises(ValueError, match=r"quantile_k=40 is outside \(0, 1\): write quantile_k=0\.4 for"):
        check_quantile(40)
    assert check_quantile(0.4) == 0.4
    assert check_quantile(-1, "linear") is None


def test_other_misuse_is_refused():
    rewards = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="num_generations >= 2"):
        quantile_advantages(rewards, 1)
    with pytest.raises(ValueError, match="unknown quantile interpolation 'nearest'"):
        quantile_advantages(rewards, 2, interpolation="nearest")
    with pytest.raises(ValueError, match="advantage mask 'positive' is unknown; choose one of none, pos"):
        quantile_advantages(rewards, 2, mask="positive")
    with pytest.raises(ValueError, match="'neg' acts on the quantile's gate"):
        quantile_advantages(rewards, 2, None, mask="neg")
    with pytest.raises(ValueError, match=r"needs a torch\.Generator"):
        quantile_advantages(rewards, 2, mask="random_gate")
    with pytest.raises(ValueError, match="not a whole number of groups"):
        quantile_advantages(rewards, 3)


def test_two_regimes_of_equation_four():
    """A = 1/sqrt(p(1-p)) on correct responses of hard prompts, its negative on wrong ones of easy prompts."""
    for correct in range(1, 10):
        p = correct / 10
        rewards = torch.tensor([1.0] * correct + [0.0] * (10 - correct), dtype=torch.float64)
        advantages = quantile_advantages(rewards, 10, 0.4, std="population")
        scale = 1 / math.sqrt(p * (1 - p))
        expected = scale * rewards if correct <= 6 else -scale * (1 - rewards)
        torch.testing.assert_close(advantages, expected)


HARD, EASY = [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]
SCALE = 1 / math.sqrt(0.25 * 0.75)


@pytest.mark.parametrize(
    ("mask", "hard", "easy"),
    [
        ("none", [1, 0, 0, 0], [0, 0, 0, -1]),
        ("pos", [1, -1, -1, -1], [0, 0, 0, -1]),
        ("neg", [1, 0, 0, 0], [1, 1, 1, -1]),
        ("inverted", [0, -1, -1, -1], [1, 1, 1, 0]),
        ("b0", [1, 0, 0, 0], [1, 1, 1, 0]),
        ("b1", [0, -1, -1, -1], [0, 0, 0, -1]),
    ],
)
def test_masks_and_gates_by_hand(mask, hard, easy):
    rewards = torch.tensor(HARD + EASY + [1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    advantages = quantile_advantages(rewards, 4, 0.4, std="population", mask=mask)
    torch.testing.assert_close(advantages, SCALE * torch.tensor(hard + easy + [0] * 8).double())
    assert (advantages[8:] == 0).all()


def test_masks_ignore_unscored_responses():
    rewards = torch.tensor([*HARD, NAN, *EASY, NAN], dtype=torch.float64)
    for mask in ("none", "pos", "neg", "inverted", "b0", "b1"):
        advantages = quantile_advantages(rewards, 5, 0.4, mask=mask).view(2, 5)
        clean = quantile_advantages(torch.tensor(HARD + EASY).double(), 4, 0.4, mask=mask).view(2, 4)
        torch.testing.assert_close(advantages[:, :4], clean)
        assert (advantages[:, 4] == 0).all()


def gate_of(advantages: torch.Tensor) -> list[str]:
    """The gate behind each group's advantages: hard groups have no negatives, easy groups no positives."""
    signs = advantages.view(-1, 4).sign()
    return [{1: "hard", -1: "easy", 0: "none"}[int(row.sum().sign())] for row in signs]


def test_random_gate_permutes_the_decisions_of_mixed_groups():
    rewards = torch.tensor((HARD + [0.0] * 4) * 6 + (EASY + [1.0] * 4) * 3)
    informed = gate_of(quantile_advantages(rewards, 4))
    seen = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        gates = gate_of(quantile_advantages(rewards, 4, mask="random_gate", generator=generator))
        assert sorted(gates) == sorted(informed)
        assert [gate == "none" for gate in gates] == [gate == "none" for gate in informed]
        seen.add(tuple(gates))
    assert len(seen) > 10


def test_random_gate_depends_on_its_generator_alone():
    rewards = torch.tensor(HARD * 6 + EASY * 3)
    first, second = (
        quantile_advantages(rewards, 4, mask="random_gate", generator=torch.Generator().manual_seed(7))
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("mask", ["none", "pos", "neg", "inverted", "b0", "b1", "random_gate"])
@pytest.mark.parametrize("std", ["trl", "population", "unbiased"])
@given(value=st.floats(-2, 2, width=32))
@settings(max_examples=10, deadline=None)
def test_constant_groups_are_exact_zeros(mask, std, value):
    rewards = torch.tensor([value] * 6 + [0.0, 1.0, 1.0])
    advantages = quantile_advantages(rewards, 3, 0.4, std=std, mask=mask, generator=torch.Generator())
    assert (advantages[:6] == 0).all()
    assert advantages.isfinite().all()


@given(correct=st.integers(1, 31), percent=st.integers(1, 99), shuffle=st.permutations(range(32)))
@settings(max_examples=50, deadline=None)
def test_one_side_is_always_at_zero_and_order_does_not_matter(correct, percent, shuffle):
    rewards = (torch.arange(32) < correct).double()
    advantages = quantile_advantages(rewards, 32, percent / 100)
    assert ((advantages != 0) == (rewards == (1.0 if advantages.max() > 0 else 0.0))).all()
    assert torch.equal(quantile_advantages(rewards[shuffle], 32, percent / 100), advantages[shuffle])


def test_rewards_stay_untouched():
    rewards = torch.tensor(HARD + EASY)
    quantile_advantages(rewards, 4, mask="random_gate", generator=torch.Generator().manual_seed(1))
    assert rewards.tolist() == HARD + EASY


def test_objective_weights_by_hand():
    p = torch.tensor([0.0, 0.2, 0.6, 0.8, 1.0], dtype=torch.float64)
    root = [0.0, 0.5, math.sqrt(1.5), 2.0, 0.0]  # sqrt(p / (1 - p))
    inverse = [0.0, 2.0, math.sqrt(1 / 1.5), 0.5, 0.0]
    hard = [0.0, 1.0, 1.0, 0.0, 0.0]  # 0.6 is the switch point of K = 0.4 and still hard
    easy = [0.0, 0.0, 0.0, 1.0, 0.0]

    def times(weights, gate):
        return torch.tensor([w * g for w, g in zip(weights, gate, strict=True)], dtype=torch.float64)

    everywhere = [1.0] * 5
    for mask, gates in {"none": (hard, easy), "pos": (hard, everywhere), "neg": (everywhere, easy)}.items():
        positive, negative = objective_weights(p, 0.4, mask)
        torch.testing.assert_close(positive, times(root, gates[0]))
        torch.testing.assert_close(negative, times(inverse, gates[1]))
    mean = objective_weights(p, None)
    torch.testing.assert_close(mean[0], (p * (1 - p)).sqrt())
    assert torch.equal(mean[0], mean[1])


def random_bandits(count: int, arms: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, arms, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, 2, (count, arms), generator=generator).double()


def entropy(logits: torch.Tensor) -> torch.Tensor:
    return torch.distributions.Categorical(logits=logits).entropy()


@pytest.mark.parametrize("baseline", [0.0, 0.3, 1.0])
def test_entropy_change_is_the_directional_derivative(baseline):
    logits, rewards = random_bandits(200, 50)
    logits.requires_grad_()
    probs = logits.softmax(dim=1)
    (slope,) = torch.autograd.grad(entropy(logits).sum(), logits)
    expected = (slope * probs * (rewards - baseline)).sum(dim=1)
    torch.testing.assert_close(
        entropy_change(probs, rewards, baseline), expected.detach(), atol=1e-12, rtol=0
    )
    torch.testing.assert_close(entropy_change(probs, rewards, baseline, 0.1), 0.1 * expected.detach())


def test_entropy_change_is_the_covariance_of_the_proposition():
    logits, rewards = random_bandits(1, 8)
    probs = logits.softmax(dim=1)
    cov = np.cov(probs.log()[0], (probs * (rewards - 0.4))[0], aweights=probs[0], ddof=0)[0, 1]
    assert entropy_change(probs, rewards, 0.4).item() == pytest.approx(-cov)


def test_baseline_cancels_in_the_true_gradient():
    """Fact 1 of the sheet: the centred update changes the entropy by the same amount for every b."""
    logits, rewards = random_bandits(200, 50)
    probs = logits.softmax(dim=1)

    def centred_change(b: float) -> torch.Tensor:
        advantages = rewards - b
        step = probs * (advantages - (probs * advantages).sum(dim=1, keepdim=True))
        return entropy(logits + 0.1 * step) - entropy(logits)

    torch.testing.assert_close(centred_change(0.0), centred_change(1.0), atol=1e-14, rtol=0)
    lower, upper = entropy_safety_bound(probs, rewards)
    assert (lower < upper).all()


def test_entropy_bound_holds_every_baseline_and_is_tight():
    logits, rewards = random_bandits(200, 20)
    probs = logits.softmax(dim=1)
    lower, upper = entropy_safety_bound(probs, rewards, 0.5)
    baselines = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    changes = entropy_change(probs, rewards, baselines, 0.5)
    assert (changes.diff(dim=0) > 0).all()
    assert torch.equal(changes[0], lower)
    assert torch.equal(changes[-1], upper)


def test_uniform_policies_do_not_feel_the_baseline():
    probs = torch.full((1, 4), 0.25, dtype=torch.float64)
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    lower, upper = entropy_safety_bound(probs, rewards)
    assert lower.item() == upper.item() == 0.0
