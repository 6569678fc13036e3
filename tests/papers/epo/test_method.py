"""EPO's equations against closed forms and finite differences, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.epo.method import (
    Corridor,
    accumulated_deviation,
    average,
    beta_schedule,
    decay_weights,
    entropy,
    entropy_advantages,
    epo_loss,
    net_entropy_coefficient,
    smoothing_penalty,
)

PUBLISHED = Corridor()
WORKING = Corridor(0.5, 1.5, alpha=2.0)
NATS = st.floats(0.0, 8.0)
TURNS = torch.tensor([[0, 0, 0, 1, 1, -1], [0, 1, 2, 2, 2, 2]])
MASK = torch.tensor([[1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 0, 1]])


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@given(NATS, NATS, st.floats(0.01, 4.0), st.floats(0.0, 0.9), st.floats(1.0, 3.0))
def test_the_penalty_is_zero_inside_only_and_one_lipschitz(first, second, reference, low, high):
    corridor = Corridor(low, high)
    values, bounds = tensor(first, second), (low * reference, high * reference)
    penalties = smoothing_penalty(values, tensor(reference), corridor)
    inside = (values >= bounds[0]) & (values <= bounds[1])
    assert bool((penalties >= 0).all())
    assert ((penalties == 0) == inside).all()
    assert abs(float(penalties[0] - penalties[1])) <= abs(first - second) + 1e-12


@pytest.mark.parametrize("corridor", [PUBLISHED, WORKING, Corridor(0.8, 1.2, alpha=0.4)])
def test_the_hinges_gradient_is_that_of_finite_differences(corridor):
    logits = 2 * torch.randn(64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    reference = tensor(0.6)
    assert torch.autograd.gradcheck(
        lambda free: smoothing_penalty(entropy(free), reference, corridor), (logits,)
    )


def test_the_indicator_has_no_gradient_and_counts_an_entropy_of_zero():
    values = tensor(0.0, 0.5, 5.0).requires_grad_()
    penalties = smoothing_penalty(values, tensor(1.0), Corridor(penalty="indicator"))
    assert penalties.tolist() == [1.0, 0.0, 1.0]
    assert not penalties.requires_grad


def gradient(corridor, beta, values, reference, coefficient=0.1):
    """∂L/∂H of tokens that are averaged, times their number."""
    free = values.clone().requires_grad_()
    turns = torch.zeros(1, len(values), dtype=torch.long)
    loss = epo_loss(
        free[None],
        reference.expand(1, len(values)),
        turns,
        torch.ones_like(turns),
        coefficient,
        corridor,
        beta,
    )
    return torch.autograd.grad(loss, free)[0] * len(values)


@settings(max_examples=50)
@given(st.lists(NATS, min_size=1, max_size=8), st.floats(0.1, 2.0), st.floats(0, 3), st.floats(1, 2))
def test_the_net_force_on_a_token_is_the_closed_form(entropies, reference, alpha, beta):
    corridor, values = Corridor(0.5, 1.5, alpha), tensor(*entropies)
    edges = [bound * reference for bound in (0.5, 1.5)]
    values = torch.where(sum((values - edge).abs() < 1e-9 for edge in edges) > 0, values + 1e-3, values)
    closed = net_entropy_coefficient(values, tensor(reference), 0.1, corridor, beta)
    torch.testing.assert_close(
        gradient(corridor, beta, values, tensor(reference)), closed, rtol=0, atol=1e-12
    )


@given(NATS, st.floats(0.01, 4.0), st.integers(0, 100), st.sampled_from([0.05, 0.1]))
def test_the_published_constants_never_push_entropy_down(value, reference, step, alpha):
    beta = beta_schedule(step, 100)
    force = net_entropy_coefficient(tensor(value), tensor(reference), 1.0, Corridor(alpha=alpha), beta)
    assert -1.0 <= float(force) <= -(1 - 2 * alpha)


def test_a_corridor_with_alpha_beta_above_one_does():
    force = net_entropy_coefficient(tensor(3.0, 1.0, 0.1), tensor(1.0), 1.0, WORKING, 1.0)
    assert force.tolist() == [1.0, -1.0, -3.0]


@given(NATS, st.floats(0.0, 8.0))
def test_a_lower_end_of_zero_is_off(value, reference):
    above = max(0.0, value - 2 * reference)
    assert float(smoothing_penalty(tensor(value), tensor(reference), PUBLISHED)) == pytest.approx(above)


def test_the_upper_end_is_inert_above_half_of_the_largest_entropy():
    top = math.log(8)
    values = tensor(0.0, 1.0, top)
    assert not smoothing_penalty(values, tensor(top / 2), PUBLISHED).any()
    assert smoothing_penalty(values, tensor(top / 2 - 0.01), PUBLISHED).any()


def test_the_schedule_of_the_paper_falls_from_two():
    assert beta_schedule(0, 100) == 2.0
    assert beta_schedule(50, 100) == pytest.approx(1 + math.exp(-3))
    assert beta_schedule(100, 100) == pytest.approx(1.0025, abs=1e-4)
    assert [beta_schedule(step, 100, "constant") for step in (0, 50, 100)] == [1.0] * 3


def test_the_schedule_of_the_code_falls_to_nothing():
    values = [beta_schedule(step, 150, "code") for step in (0, 74, 75, 150)]
    assert values == pytest.approx([1.0, 0.8278, 0.8, 0.0398], abs=1e-3)
    with pytest.raises(ValueError, match="outside"):
        beta_schedule(151, 150)
    with pytest.raises(ValueError, match="schedule"):
        beta_schedule(0, 150, "none")  # type: ignore[arg-type]


def test_the_average_is_nested_and_leaves_padding_out():
    values = tensor([1, 3, 90, 5, 7, 90], [2, 4, 6, 8, 90, 10])
    first, second = (2 + 6) / 2, (2 + 4 + 8) / 3
    assert float(average(values, TURNS, MASK)) == pytest.approx((first + second) / 2)
    assert float(average(values, TURNS, MASK, "tokens")) == pytest.approx(46 / 9)
    nothing = torch.zeros_like(MASK)
    assert float(average(values, TURNS, nothing)) == 0.0
    dropped = torch.stack([MASK[0], nothing[1]])
    assert float(average(values, TURNS, dropped)) == pytest.approx(first)


def test_padding_gets_no_gradient():
    values = torch.rand(2, 6, dtype=torch.float64).requires_grad_()
    epo_loss(values, torch.full((2, 6), 0.1), TURNS, MASK, 0.1, WORKING, 2.0).backward()
    assert ((values.grad != 0) == MASK.bool()).all()


def test_without_a_history_or_alpha_there_is_only_the_bonus():
    values, reference = torch.rand(2, 6, dtype=torch.float64), torch.full((2, 6), 0.1)
    bonus = -0.1 * average(values, TURNS, MASK)
    assert epo_loss(values, None, TURNS, MASK, 0.1, WORKING, 2.0) == bonus
    assert epo_loss(values, reference, TURNS, MASK, 0.1, Corridor(alpha=0.0), 2.0) == bonus


def test_drift_grows_with_the_square_of_the_turns_until_the_ceiling():
    for turns in (1, 10, 20):
        assert accumulated_deviation(turns, 0.1) / (0.1 * turns) == pytest.approx((turns + 1) / 2)
    assert accumulated_deviation(1000, 0.1, math.log(8)) <= 1000 * math.log(8)


def test_decay_falls_over_turns_with_mean_one():
    weights = decay_weights(torch.arange(30), 30)
    assert float(weights[0]) == 1.5
    assert float(weights[-1]) == pytest.approx(0.5)
    assert float(weights.mean()) == pytest.approx(1.0)


def test_entropy_advantages_are_bounded_and_constant():
    entropies = tensor(0.1, 10.0, 10.0).requires_grad_()
    shaped = entropy_advantages(tensor(1.0, 1.0, -1.0), entropies, alpha=0.4)
    assert shaped.tolist() == pytest.approx([1.04, 1.5, -0.5])
    assert not shaped.requires_grad


@pytest.mark.parametrize("fields", [{"low": 2.0}, {"low": -1.0}, {"penalty": "hings"}])
def test_a_corridor_that_is_none_is_refused(fields):
    with pytest.raises(ValueError, match=r"corridor|penalty"):
        Corridor(**fields)
