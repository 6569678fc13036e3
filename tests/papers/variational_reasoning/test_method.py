"""Equations against brute force and closed forms, in float64; exact checks of the card, and their mutants."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.study.jobs import Job
from papers.variational_reasoning.method import (
    accuracy_variance,
    answer_scores,
    difficulty_factor,
    effective_size,
    elbo,
    evidence,
    iwae_bound,
    likelihood_variance,
    log_ratios,
    posterior,
    shaped_optimum,
    trace_weights,
    worst_case_variances,
)
from papers.variational_reasoning.runs import theory

PRIOR = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
ACCURACY = torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=torch.float64)
PROPOSAL = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
WEIGHTS = st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=8)


def record(name, draws=1000):
    return getattr(theory, name)(Job("theory", {}, "", {"draws": draws, "traces": 4}, (0,)), None)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_bound_is_the_expectation_over_all_tuples(count):
    ratios = (PRIOR * ACCURACY / PROPOSAL).tolist()
    wanted = sum(
        math.prod(float(PROPOSAL[z]) for z in traces) * math.log(sum(ratios[z] for z in traces) / count)
        for traces in product(range(4), repeat=count)
    )
    assert float(iwae_bound(PRIOR, ACCURACY, PROPOSAL, count)) == pytest.approx(wanted, abs=1e-12)


def test_the_bounds_rise_from_the_elbo_to_the_evidence():
    bounds = [float(iwae_bound(PRIOR, ACCURACY, PROPOSAL, count)) for count in (1, 2, 3, 4)]
    assert bounds[0] == pytest.approx(float(elbo(PRIOR, ACCURACY, PROPOSAL)), abs=1e-12)
    assert bounds == sorted(bounds)
    assert bounds[-1] < float(evidence(PRIOR, ACCURACY).log())
    best = posterior(PRIOR, ACCURACY)
    assert float(iwae_bound(PRIOR, ACCURACY, best, 2) - evidence(PRIOR, ACCURACY).log()) == pytest.approx(0)


@pytest.mark.parametrize(
    ("name", "control"),
    [("bounds", "naive"), ("estimators", ""), ("forward_kl", ""), ("behaviour", ""), ("factors", "")],
)
def test_the_exact_checks_hold_on_random_and_boundary_instances(name, control):
    series = record(name).series
    errors = {
        key: values
        for key, values in series.items()
        if key != control and not key.startswith(("factor_", "norm_"))
    }
    assert all(values.size >= 1000 for values in errors.values())
    assert max(float(values.max()) for values in errors.values()) < 1e-10
    if control:
        assert float(series[control].max()) > 0.1


def test_a_wrong_factor_turns_its_check_red(monkeypatch):
    monkeypatch.setattr(theory.method, "difficulty_factor", lambda kind, chance: chance)
    assert float(record("forward_kl").series["grpo"].max()) > 0.01
    assert float(record("factors").series["variational"].max()) > 0.01


def test_a_posterior_that_forgets_the_prior_turns_its_checks_red(monkeypatch):
    monkeypatch.setattr(
        theory.method, "posterior", lambda prior, accuracy: accuracy / accuracy.sum(-1, keepdim=True)
    )
    assert float(record("bounds").series["equality"].max()) > 0.01
    assert float(record("behaviour").series["optimum"].max()) > 1e-4


@given(st.floats(0.01, 1.0), st.sampled_from([2, 4, 16]))
def test_accuracy_is_better_in_the_worst_case_from_one_over_the_answers_on(p, answers):
    vertex = torch.zeros(answers, dtype=torch.float64)
    vertex[0] = p
    worst, coin = worst_case_variances(p, answers)
    assert float(likelihood_variance(vertex)) == pytest.approx(worst, abs=1e-12)
    assert float(accuracy_variance(vertex)) == pytest.approx(coin, abs=1e-12)
    if abs(p - 1 / answers) > 1e-9:
        assert (worst > coin) == (p > 1 / answers)
    assert likelihood_variance(torch.tensor([p], dtype=torch.float64)) == pytest.approx(0)


def test_the_factors_by_hand():
    chance = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    assert difficulty_factor("rft", chance).tolist() == chance.tolist()
    assert difficulty_factor("grpo", chance).tolist() == pytest.approx([0.5, 1.0, 2.0])
    assert difficulty_factor("variational", chance).tolist() == [1.0] * 3


def test_a_reward_without_format_leads_to_the_posterior():
    best = shaped_optimum(PRIOR, ACCURACY, torch.ones(4).double(), (1.0, 0.0, 0.0), debiased=True)
    torch.testing.assert_close(best, posterior(PRIOR, ACCURACY))


def test_scores_and_weights_by_hand():
    correct = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    scores = answer_scores("acc", correct)
    assert scores[0].exp().tolist() == [0.5, 0.0]
    likelihood, lengths = torch.tensor([-8.0, -2.0]), torch.tensor([4, 4])
    assert answer_scores("lik", log_likelihood=likelihood).tolist() == [-8.0, -2.0]
    assert answer_scores("gml", log_likelihood=likelihood, lengths=lengths).tolist() == [-2.0, -0.5]
    weights = trace_weights(torch.zeros_like(scores), scores)
    assert weights.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    with pytest.raises(ValueError, match="lacks what it reads"):
        answer_scores("acc")


def test_the_root_is_of_the_trace_alone():
    ratios = log_ratios(torch.tensor([-10.0]), torch.tensor([-30.0]), torch.tensor([10]))
    assert ratios.tolist() == [2.0]
    assert log_ratios(torch.tensor([-10.0]), torch.tensor([-30.0]), torch.tensor([10]), "raw").tolist() == [
        20.0
    ]
    assert log_ratios(torch.tensor([-10.0]), torch.tensor([-30.0]), torch.tensor([10]), "none").tolist() == [
        0.0
    ]


@settings(max_examples=200)
@given(WEIGHTS, st.floats(0.0, 3.0), st.floats(0.0, 3.0))
def test_a_root_never_lowers_the_effective_size(values, first, second):
    weights = torch.tensor(values, dtype=torch.float64)
    low, high = sorted([first, second])
    assert float(effective_size(weights**low)) >= float(effective_size(weights**high)) - 1e-9


def test_the_effective_size_at_its_ends():
    assert effective_size(torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.0] * 4])).tolist() == [4.0, 1.0, 0.0]
