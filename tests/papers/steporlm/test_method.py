"""The equations against autograd and DPO, the rules against brute force, and the loop on a toy."""

import json
from itertools import combinations

import pytest
import torch

from common.preference.critique import Unparsed, parse, render
from common.preference.pairs import Pair
from papers.steporlm.method import (
    CoEvolution,
    Rules,
    agrees,
    critic_rows,
    is_hard,
    policy_rows,
    reweighted,
    weighted_dpo,
    weighted_dpo_gradient,
)

EXACT = {"rtol": 0.0, "atol": 1e-10}


def draw(rows=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sums = -40 * torch.rand(4, rows, generator=generator, dtype=torch.float64)
    return sums, torch.rand(rows, generator=generator, dtype=torch.float64)


def test_the_gradient_is_the_closed_form():
    sums, weights = draw()
    chosen, rejected = sums[0].requires_grad_(), sums[1].clone().requires_grad_()
    weighted_dpo(chosen, rejected, weights, 0.3).backward()
    wanted = weighted_dpo_gradient((chosen - rejected).detach(), weights, 0.3)
    torch.testing.assert_close(chosen.grad, wanted, **EXACT)
    torch.testing.assert_close(rejected.grad, -wanted, **EXACT)


def test_weights_of_one_are_dpo_and_a_constant_reference_changes_nothing():
    sums, weights = draw()
    plain = -torch.nn.functional.logsigmoid(0.1 * (sums[0] - sums[1])).mean()
    torch.testing.assert_close(weighted_dpo(sums[0], sums[1], torch.ones(64)), plain, **EXACT)
    free = weighted_dpo(sums[0], sums[1], weights)
    torch.testing.assert_close(weighted_dpo(sums[0], sums[1], weights, reference=(sums[2], sums[2])), free)
    assert weighted_dpo(sums[0], sums[1], weights, reference=(sums[2], sums[3])) != free


def test_only_unanimous_right_answers_are_easy():
    assert [is_hard(votes) for votes in ([True] * 5, [True, False], [False] * 5)] == [False, True, True]


@pytest.mark.parametrize(
    ("weighting", "decided", "weight"),
    [("process", True, 0.4), ("unit", True, 1.0), ("inverted", True, 0.1), ("inverted", False, 1.0)],
)
def test_weights_are_exchanged(weighting, decided, weight):
    assert reweighted(Pair(0, 1, 0.4), decided, weighting) == Pair(0, 1, weight)


def solution(outcome, steps, problem=0, status="optimal"):
    name = f"{outcome} {steps}"
    critique = render(steps) if steps else "no verdict"
    row = {"problem": problem, "response": name, "outcome": outcome, "status": status}
    return row | {"steps": max(len(steps), 1), "critique": critique}


GROUP = [
    solution(True, (True, True)),
    solution(True, (True, False)),
    solution(False, (False, False)),
    solution(False, (True, True)),
    solution(True, ()),
]


def test_algorithm_1_by_brute_force():
    wanted = set()
    shares = [1.0, 0.5, 0.0, 1.0, None]
    for a, b in combinations(range(5), 2):
        outcomes = GROUP[a]["outcome"], GROUP[b]["outcome"]
        if outcomes[0] != outcomes[1]:
            first = (a, b) if outcomes[0] else (b, a)
            wanted.add((*first, 1.0, 1))
        elif None not in (shares[a], shares[b]) and shares[a] != shares[b]:
            first = (a, b) if shares[a] > shares[b] else (b, a)
            wanted.add((*first, abs(shares[a] - shares[b]), 2))
    places = {row["response"]: place for place, row in enumerate(GROUP)}
    rows = policy_rows(GROUP, Rules(most=10))
    found = {(places[r["chosen"]], places[r["rejected"]], r["weight"], r["rule"]) for r in rows}
    assert found == wanted


def test_without_rule_2_the_process_says_nothing_and_no_pair_leaves_its_problem():
    rows = list(
        policy_rows([*GROUP, solution(False, (True, True), problem=1)], Rules(by_process=False, most=10))
    )
    assert {row["rule"] for row in rows} == {1}
    assert {row["problem"] for row in rows} == {0}
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("steps", "is_ok", "kept"),
    [((1, 1), True, True), ((1, 0), True, False), ((1, 0), False, True), ((1, 1), False, False)],
)
def test_the_filter_keeps_critiques_that_agree_with_the_solver(steps, is_ok, kept):
    assert agrees(parse(render(list(map(bool, steps))), 2), is_ok) is kept
    assert not agrees(Unparsed("none"), is_ok)


def test_the_worded_filter_takes_a_wrong_optimum_for_right():
    wrong_value = solution(False, (True, True))
    assert list(critic_rows([wrong_value], Rules())) == []
    assert len(list(critic_rows([wrong_value], Rules(filter_on="status")))) == 1
    assert list(critic_rows([wrong_value], Rules(filter_on="status", evolves=False))) == []
    assert len(list(critic_rows(GROUP, Rules(filter_on="nothing")))) == 4


@pytest.mark.parametrize("wrong", [{"weighting": "none"}, {"filter_on": "luck"}, {"most": 0}])
def test_wrong_rules_are_refused(wrong):
    with pytest.raises(ValueError, match="Rules"):
        Rules(**wrong)


class Toy:
    """The policy is how many of four solutions are right, the verifier how many it passes."""

    def sample(self, number, policy):
        right = json.loads((policy / "state.json").read_text())
        return [
            {"problem": 0, "response": f"{number} {place}", "steps": 2, "status": "optimal"}
            | {"outcome": place < right}
            for place in range(4)
        ]

    def judge(self, _number, critic, solutions):
        passed = json.loads((critic / "state.json").read_text())
        return [render([True, place < passed]) for place, _ in enumerate(solutions)]

    def _train(self, number, start, rows, folder):
        folder.mkdir()
        before = json.loads((start / "state.json").read_text())
        (folder / "state.json").write_text(json.dumps(before + (len(rows) > 0)))

    train_policy = train_critic = _train


def test_the_loop_trains_both_and_goes_on_where_it_stopped(tmp_path):
    for name in ("policy", "critic"):
        (tmp_path / "start" / name).mkdir(parents=True)
        (tmp_path / "start" / name / "state.json").write_text("1")
    loop = CoEvolution(Toy())
    first = list(loop.rounds(tmp_path / "run", tmp_path / "start", 2, {"seed": 0}))
    assert [one.models for one in loop.rounds(tmp_path / "run", tmp_path / "start", 2, {"seed": 0})] == [
        one.models for one in first
    ]
    states = [(first[-1].models / name / "state.json").read_text() for name in ("policy", "critic")]
    assert states == ["3", "3"]
    assert {row["for"] for row in first[0].pairs} == {"policy", "critic"}
    with pytest.raises(ValueError, match="other settings"):
        list(CoEvolution(Toy(), Rules(most=1)).rounds(tmp_path / "run", tmp_path / "start", 2, {"seed": 0}))
