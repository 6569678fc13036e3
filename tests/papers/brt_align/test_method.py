"""The recursion, the law of its lead, the losses and the controls of BRT-Align."""

import math

import pytest
import torch
from torch import Tensor

import papers.brt_align
from common.models.hidden_states import State
from papers.brt_align.method import (
    BRTConfig,
    LeastRestrictiveFilter,
    REControl,
    RuntimeMonitor,
    SafetyPolytope,
    SafetyValueModel,
    differences,
    fit_value,
    gradient,
    hinge,
    lead_time_bound,
    reachability_targets,
    sample_ball,
    squared,
    targets,
)

STATES = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))


def first_coordinate() -> SafetyValueModel:
    """A probe that is tanh of the first coordinate."""
    value = SafetyValueModel(STATES, ())
    value.mean.zero_()
    value.spread.fill_(1.0)
    with torch.no_grad():
        value.network[0].weight.zero_()
        value.network[0].weight[0, 0] = 1.0
        value.network[0].bias.zero_()
    return value.requires_grad_(False)


def state(rows: int, running: list[bool] | None = None) -> State:
    going = torch.ones(rows, dtype=torch.bool) if running is None else torch.tensor(running)
    return State(0, torch.arange(rows), going, lambda ids: ids, torch.zeros(rows, 1))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_recursion_by_hand_and_at_its_ends():
    margin = torch.tensor([[1.0, 0.5, -1.0, 2.0], [1.0, 2.0, -5.0, -5.0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    value = reachability_targets(margin, mask, 0.5)
    assert value[0].tolist() == [0.5 + 0.5 * -0.25, 0.25 - 0.5, -1.0, 2.0]
    assert value[1, :2].tolist() == [1.0, 2.0]
    assert reachability_targets(margin, mask, 0.0)[0].tolist() == margin[0].tolist()
    assert reachability_targets(margin, mask, 1.0)[0].tolist() == [-1.0, -1.0, -1.0, 2.0]
    final = targets(margin, mask, BRTConfig("final"))
    assert (final[0].tolist(), final[1, :2].tolist()) == ([2.0] * 4, [2.0, 2.0])
    assert torch.equal(
        targets(margin, mask, BRTConfig("future_min")), reachability_targets(margin, mask, 1.0)
    )


def test_the_lead_of_the_sheet():
    leads = {0.8: 3, 0.9: 6, 0.93: 9, 0.95: 13, 0.99: 68}
    assert {gamma: lead_time_bound(gamma, 1.0, 1.0) for gamma in leads} == leads
    assert lead_time_bound(0.95, 1.0, 0.5) == 7
    assert lead_time_bound(0.9, 0.5, 1.0) == 10
    assert (lead_time_bound(0.0, 1.0, 1.0), lead_time_bound(1.0, 1.0, 1.0)) == (0.0, math.inf)
    assert lead_time_bound(0.9, 1.0, 1.0, delta=0.5) > 6


def test_a_fit_learns_its_target_and_the_seed_fixes_it():
    wanted = (STATES[:, 0] > 0).float() * 2 - 1

    def fitted(seed: int) -> SafetyValueModel:
        torch.manual_seed(0)
        value = SafetyValueModel(STATES)
        return fit_value(value, squared(STATES, wanted), 200, seed, epochs=60, batch=50)

    value = fitted(3)
    assert float(((value(STATES) > 0) == (wanted > 0)).float().mean()) > 0.95
    assert torch.equal(value(STATES), fitted(3)(STATES))
    assert not any(parameter.requires_grad for parameter in value.parameters())


def test_a_state_that_is_not_finite_is_an_error_that_names_it():
    broken = STATES.clone()
    broken[7, 2] = math.nan
    with pytest.raises(ValueError, match=r"1 of 200 hidden states are not finite, the first at \[7\]"):
        SafetyValueModel(broken)


def test_the_polytope_is_the_nearest_facet_and_its_hinge_asks_for_a_margin():
    value = SafetyPolytope(STATES, features=5, facets=3)
    facets = value.network((STATES - value.mean) / value.spread)
    assert torch.equal(value(STATES), facets.amin(1))
    rows = torch.arange(200)
    safe = torch.ones(200, dtype=torch.bool)
    expected = (1 - value(STATES)).clamp(min=0).mean()
    assert torch.equal(hinge(STATES, safe)(value, rows), expected)


@pytest.mark.parametrize("terminal", ["last", "as_coded"])
def test_recontrol_ties_neighbours_and_puts_the_reward_at_one_end(terminal):
    hidden, mask = STATES[:8].reshape(2, 4, 6), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    value, reward = first_coordinate(), torch.tensor([1.0, -1.0])
    found = differences(hidden, mask, reward, terminal)(value, torch.arange(2))
    expected = torch.zeros(())
    for row, length in ((0, 4), (1, 2)):
        values = torch.tanh(hidden[row, :length, 0])
        place = length - 1 if terminal == "last" else 0
        expected += (values.diff().square().sum() + (values[place] - reward[row]) ** 2) / 2
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="unknown terminal 'first'; choose one of last, as_coded"):
        differences(hidden, mask, reward, "first")


def test_the_monitor_alarms_once_and_not_on_padding():
    states = torch.zeros(2, 3, 6)
    states[..., 0] = torch.tensor([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0]])
    assert RuntimeMonitor(first_coordinate()).alarms(
        states, torch.tensor([[1, 1, 1], [1, 1, 0]])
    ).tolist() == [1, -1]


def test_candidates_lie_in_the_ball_and_the_first_changes_nothing():
    drawn = sample_ball(3, 50, 40, 2.0, generator())
    assert float(drawn.norm(dim=-1).max()) <= 2.0
    assert drawn[:, 0].abs().max() == 0
    assert 0.4 < float(drawn[:, 1:].norm(dim=-1).min()) < 0.6


def test_the_filter_moves_only_what_is_low_and_uphill():
    hidden = torch.zeros(4, 6)
    hidden[:, 0] = torch.tensor([0.5, -0.1, -0.1, -0.1])
    value, own = first_coordinate(), state(4, [True, True, True, False])
    moved = LeastRestrictiveFilter(value, BRTConfig(epsilon=1.0), generator())(hidden, own)
    assert torch.equal(moved[[0, 3]], hidden[[0, 3]])
    assert own.log["acted"].tolist() == [0, 1, 1, 0]
    assert (moved[1:3, 0] > 0.3).all()
    torch.testing.assert_close(own.log["moved"], (moved - hidden).norm(dim=-1))
    assert float(own.log["moved"].max()) <= 1.0
    still = LeastRestrictiveFilter(value, BRTConfig(epsilon=0.0), generator())(hidden, state(4))
    assert torch.equal(still, hidden)


def test_a_random_direction_acts_as_often_and_as_far():
    hidden = torch.randn(64, 6, generator=generator())
    logs = {}
    for direction in ("value", "random"):
        own = state(64)
        LeastRestrictiveFilter(first_coordinate(), BRTConfig(), generator(), direction)(hidden, own)
        logs[direction] = own.log
    assert torch.equal(logs["value"]["acted"], logs["random"]["acted"])
    torch.testing.assert_close(logs["value"]["moved"], logs["random"]["moved"])


def test_always_on_acts_on_all_that_run():
    own = state(3, [True, True, False])
    LeastRestrictiveFilter(first_coordinate(), BRTConfig(always=True), generator())(torch.ones(3, 6), own)
    assert own.log["acted"].tolist() == [1, 1, 0]


def test_recontrol_climbs_without_a_ball():
    hidden, own = torch.zeros(2, 6), state(2)
    moved = REControl(first_coordinate(), rate=1.0, steps=30)(hidden, own)
    assert (moved[:, 0] > 1.5).all()
    assert moved[:, 1:].abs().max() == 0
    assert own.log["acted"].tolist() == [1, 1]


def test_the_gradient_is_that_of_the_value():
    slope = gradient(first_coordinate(), torch.zeros(1, 6))
    assert slope.tolist() == [[1.0, 0, 0, 0, 0, 0]]
    assert isinstance(slope, Tensor)


def test_wrong_knobs_are_named_and_the_package_exports_its_method():
    with pytest.raises(ValueError, match="unknown variant 'rll'; choose one of rl, final, future_min"):
        BRTConfig("rll")
    with pytest.raises(ValueError, match=r"need gamma in \[0, 1\], epsilon >= 0 and samples >= 1"):
        BRTConfig(gamma=1.5)
    assert all(getattr(papers.brt_align, name) for name in papers.brt_align.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = papers.brt_align.nothing
