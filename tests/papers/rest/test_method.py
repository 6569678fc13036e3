"""Regions, weights and rewards by hand, the theory by enumeration."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.agents.call_regions import call_regions
from common.study.jobs import Job
from common.tasks.toolcall.calls import Mark
from papers.rest.method import (
    Weighting,
    code_levels,
    correctness_range,
    format_range,
    optimal_weights,
    paper_levels,
    scheduled_reward,
    shuffled,
    token_weights,
    variance_bound,
)
from papers.rest.runs import theory

# fmt: off
RESPONSE = [
    "<think>", "a", "b", "</think>", "<tool_call>",
    '{"name":', '"n3"', ',"parameters":{', '"k1"', ":", "4", "}}",
    '{"name":', '"n4"', ',"parameters":{', '"k2"', ":", "5", "}}", "</tool_call>", "<eos>",
]
# fmt: on
TAGS = [0, 3, 4, 19]


def masks(*texts, **options):
    return call_regions([list(text) for text in texts], " ", **options)


def places(mask):
    return mask[0].nonzero()[:, 0].tolist()


def own(*texts):
    width = max(map(len, texts))
    return torch.tensor([[place < len(text) for place in range(width)] for text in texts])


def test_regions_are_those_of_the_first_call():
    found = masks(RESPONSE)
    assert places(found["tags"]) == TAGS
    assert places(found["think"]) == [1, 2]
    assert places(found["name"]) == [6]
    assert places(found["arguments"]) == [7, 8, 9, 10, 11][: len(places(found["arguments"]))]
    assert 12 not in places(found["name"])


def test_regions_of_every_call_on_demand():
    found = masks(RESPONSE, every_call=True)
    assert len(places(found["name"])) == 2
    assert set(places(masks(RESPONSE)["arguments"])) < set(places(found["arguments"]))


def test_a_block_that_is_not_closed_is_no_region():
    text = ["<think>", "a", "b", "<tool_call>", "c", "</tool_call>"]
    found = masks(text)
    assert places(found["tags"]) == [3, 5]
    assert places(found["think"]) == []
    assert all(not each.any() for each in masks(["<think>", "a"]).values())


def test_regions_follow_the_tokens_that_were_sampled_not_their_text():
    split = [
        "<th",
        "ink>x",
        "y</think>",
        "<tool_call>{",
        '"name": "ab',
        'c", ',
        '"parameters": {"k"',
        ": 1}}</tool_call>",
    ]
    found = call_regions([split])
    assert places(found["tags"]) == [0, 1, 2, 3, 7]
    assert places(found["think"]) == [1, 2]
    assert places(found["name"]) == [4, 5]
    assert places(found["arguments"]) == [6, 7]


@pytest.mark.parametrize(("step", "think", "arguments"), [(0, 0.6, 0.6), (100, 0.8, 0.8), (400, 1.0, 1.2)])
def test_the_codes_weights_token_by_token(step, think, arguments):
    text = RESPONSE[:12] + RESPONSE[-2:]
    found = masks(text)
    weights = token_weights(found, own(text), Weighting("code"), step)[0]
    levels = torch.zeros(len(text))
    for name, level in {"tags": 1.0, "think": think, "name": 1.2, "arguments": arguments}.items():
        levels[found[name][0]] = level
    assert levels[-1] == 0  # the end is in no region
    assert levels[5] == 0  # nor is punctuation in front of the name
    wanted = levels / levels[levels > 0].mean()
    torch.testing.assert_close(weights, wanted)
    assert weights[weights > 0].mean() == pytest.approx(1.0)


def test_without_curriculum_weights_stay():
    assert code_levels(300, curriculum=False) == code_levels(0)


def test_the_papers_weights_fall_with_entropy_and_move_with_progress():
    entropies = {"tags": 0.1, "think": 0.5, "name": 0.2, "arguments": 1.0}
    start, end = (paper_levels(entropies, progress) for progress in (0.0, 1.0))
    assert start["name"] / start["think"] == pytest.approx((1 - np.exp(-0.5)) / (1 - np.exp(-0.2)))
    assert np.mean([*start.values()]) == pytest.approx(1.0)
    assert start["tags"] > start["name"]
    assert start["think"] > start["arguments"]
    assert end["tags"] == pytest.approx(start["tags"] - 0.4)
    assert end["think"] == pytest.approx(start["think"] + 0.4)
    assert end["name"] == start["name"]
    gone = paper_levels({**entropies, "name": float("nan"), "tags": 0.0}, 0.0)
    assert gone["name"] == 0.0
    assert gone["tags"] == pytest.approx(3.0, abs=0.02)  # all that three regions have


def test_forms_with_entropies_weigh_every_token_with_mean_one():
    text, entropies = RESPONSE, torch.rand(1, len(RESPONSE))
    for form in ("paper", "proportional"):
        weights = token_weights(masks(text), own(text), Weighting(form), 10, entropies)
        assert (weights > 0).all()
        assert weights.mean() == pytest.approx(1.0, rel=1e-6)
    with pytest.raises(ValueError, match="needs the entropy"):
        token_weights(masks(text), own(text), Weighting("paper"))


def test_uniform_weights_are_one():
    assert torch.equal(
        token_weights(masks(RESPONSE), own(RESPONSE), Weighting("uniform")), torch.ones(1, len(RESPONSE))
    )


def test_a_response_without_regions_weighs_nothing_unless_asked():
    bare = ["a", "b"]
    assert token_weights(masks(bare), own(bare), Weighting("code")).tolist() == [[0.0, 0.0]]
    assert token_weights(masks(bare), own(bare), Weighting("code", whole=True)).tolist() == [[1.0, 1.0]]


def test_without_the_thought_it_has_no_weight():
    weights = token_weights(masks(RESPONSE), own(RESPONSE), Weighting("code", thought=False))
    assert weights[0, 1:3].tolist() == [0.0, 0.0]
    assert weights[0, 0] > 0


def test_permuted_weights_have_the_same_histogram_on_own_tokens():
    texts = [RESPONSE, RESPONSE[:8]]
    mask = own(*texts)
    plain = token_weights(masks(*texts), mask, Weighting("code"))
    mixed = shuffled(plain, mask, torch.Generator().manual_seed(0))
    assert not torch.equal(plain, mixed)
    assert torch.equal(plain.sort(dim=1).values, mixed.sort(dim=1).values)
    assert (mixed[~mask] == 0).all()
    assert torch.equal(mixed, shuffled(plain, mask, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("step", "form", "calls"),
    [(0, (-2, 2), (-2, 2)), (75, (-1, 1.5), (-2.5, 2.5)), (150, (-1, 1), (-3, 3)), (300, (-1, 1), (-3, 3))],
)
def test_ranges_of_the_scheduled_reward(step, form, calls):
    assert format_range(step) == pytest.approx(form)
    assert correctness_range(step) == pytest.approx(calls)
    best = Mark(formed=True, right=True, parsed=True, agreement=1.0, calls=True)
    worst = Mark(formed=False, right=False, parsed=False, agreement=0.0, calls=True)
    half = Mark(formed=True, right=False, parsed=True, agreement=0.5, calls=True)
    words = Mark(formed=True, right=True, parsed=True, agreement=0.0, calls=False)
    assert scheduled_reward(best, step) == pytest.approx(form[1] + calls[1])
    assert scheduled_reward(worst, step) == pytest.approx(form[0] + calls[0])
    assert scheduled_reward(half, step) == pytest.approx(form[1])
    assert scheduled_reward(words, step) == pytest.approx(form[1])


def test_the_optimum_is_that_of_projected_gradient_descent():
    beta = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    weights = torch.ones(3, dtype=torch.float64)
    for _ in range(2000):
        gradient = 2 * beta * weights
        weights = weights - 0.05 * (gradient - gradient.mean())
    torch.testing.assert_close(optimal_weights(beta), weights)
    one = torch.tensor(1.0, dtype=torch.float64)
    assert variance_bound(beta, optimal_weights(beta), one) == pytest.approx(9 / float((1 / beta).sum()))


def test_a_wrong_form_is_refused():
    with pytest.raises(ValueError, match="unknown form 'flat'"):
        Weighting("flat")  # type: ignore[arg-type]


def record(name, draws=200):
    return getattr(theory, name)(Job("theory", {}, "x", {"draws": draws}, (3,)), Path()).series


def test_lemma_and_theorems_by_enumeration():
    lemma, variance = record("lemma"), record("variance")
    assert np.abs(lemma["size"]).max() < 1e-12
    assert lemma["excess"].max() < 1e-12
    assert np.abs(variance["optimum"]).max() < 1e-10
    assert np.abs(variance["independent"]).max() < 1e-10
    assert variance["excess_uniform"].max() > 1  # a text-dependent advantage breaks the bound
    assert variance["bias"].max() > 0.1


def test_policies_are_distributions_whose_scores_have_mean_zero():
    own = theory.policies(5, np.random.default_rng(0))
    torch.testing.assert_close(own.law.sum(dim=1), torch.ones(5, dtype=torch.float64))
    mean = (own.law[..., None, None] * own.gradients).sum(dim=1)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-12, rtol=0)


def test_the_codes_weights_do_not_see_the_policy_and_the_papers_do():
    changes = record("audit", 50)
    assert (changes["code"] == 0).all()
    assert changes["paper"].max() > 0
