"""Part A: posteriors, the KL-regularised objective and rounds of bootstrapping, against loops."""

import numpy as np
import pytest

from common.study.jobs import Job
from papers.fcp.method import (
    bootstrap_closed_form,
    bootstrap_round,
    divergence,
    joint,
    kl_regularised,
    posterior,
)
from papers.fcp.runs import theory
from papers.fcp.runs.theory import fit

PI = np.array([0.2, 0.5, 0.3])
ENV = np.array([[0.9, 0.1, 0.4], [0.1, 0.9, 0.6]])


def run(name, **config):
    config = {"draws": 40, "responses": 6, "critiques": 4, "rounds": 5, **config}
    return getattr(theory, name)(Job("theory", {}, "", config, (0,)), None).series


def test_the_posterior_is_bayes_rule():
    expected = np.array([[0.18, 0.05, 0.12], [0.02, 0.45, 0.18]])
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.allclose(posterior(joint(PI, ENV)), expected, atol=1e-15)


def test_the_fit_finds_the_posterior_of_each_critique():
    assert np.abs(fit(joint(PI, ENV)) - posterior(joint(PI, ENV))).max() < 1e-5


def test_the_fit_works_over_leading_axes():
    pairs = np.stack([joint(PI, ENV), joint(PI[::-1], ENV)])
    assert np.abs(fit(pairs) - posterior(pairs)).max() < 1e-5


def test_divergence_handles_zeros():
    assert divergence(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    assert divergence(PI, PI) == 0


def test_the_objective_by_hand_and_its_best_policy():
    by_hand = sum(p * np.log(e) for p, e in zip(PI, ENV[0], strict=True))
    assert kl_regularised(PI, PI, ENV[0]) == pytest.approx(by_hand)
    best = posterior(joint(PI, ENV))[0]
    values = [kl_regularised(p, PI, ENV[0]) for p in np.random.default_rng(0).dirichlet(np.ones(3), size=200)]
    assert max(values) <= kl_regularised(best, PI, ENV[0]) + 1e-12


def test_a_round_by_hand_and_twice_the_closed_form():
    once = bootstrap_round(PI, ENV)
    assert np.allclose(once[0], PI * ENV[0] / (PI * ENV[0]).sum())
    assert np.allclose(bootstrap_round(once[0], ENV)[0], bootstrap_closed_form(PI, ENV[0], 2), atol=1e-14)


def test_many_rounds_pick_the_most_praised_response_and_impossible_ones_stay_impossible():
    late = bootstrap_closed_form(np.array([0.0, 0.5, 0.5]), np.array([1.0, 0.2, 0.4]), 1000)
    assert np.allclose(late, [0, 0, 1])
    assert bootstrap_closed_form(PI, np.array([0.0, 0.5, 0.5]), 1)[0] == 0


def test_records_hold_small_errors_and_controls_that_fail():
    offline, link, rounds = run("offline"), run("link_to_rl"), run("fixed_point")
    assert max(offline[name].max() for name in ("own", "other_0", "other_1", "other_2")) < 1e-4
    assert offline["reversed"].max() < 1e-3 < offline["reversed_posterior"].min()
    assert max(values.max() for values in link.values()) < 1e-10
    assert rounds["error"].max() < 1e-10
    assert rounds["fall"].max() < 1e-12
    assert rounds["exponent_error"].min() > 1e-6


def test_praise_of_brevity_shortens_and_plain_praise_does_not():
    series = run("example")
    assert (np.diff(series["length_concise_iterated"]) < 0).all()
    assert series["length_correct_iterated"][0, -1] > 6.5
    for name in ("praise_correct", "praise_concise", "length_correct", "length_concise"):
        assert np.allclose(series[f"{name}_iterated"], series[f"{name}_closed"], atol=1e-10)
