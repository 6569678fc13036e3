"""The tabular tier against the equations token by token, and against its own controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from common.study.errors import StudyError
from common.study.jobs import Job
from papers.epo.experiment import ARMS as LISTED
from papers.epo.method import Corridor, average, entropy, smoothing_penalty
from papers.epo.runs.tabular import ARMS, Agent, Training, Visits, probe, simulate

SMALL = Training(steps=4, episodes=32, learning_rate=0.01, coefficient=0.03, batches=3)
CONFIG = {"steps": 4, "episodes": 32, "learning_rate": 0.01, "coefficient": 0.03, "batches": 3}


def job(arm="base", seeds=(0,), **changes):
    return Job("plain", {}, "", {**CONFIG, "arm": arm, **changes}, seeds)


def padded(episodes, values):
    """A value of each row as the tensors that the trainer's equations read: [E, T (F+1)], turns, mask."""
    tokens = values[torch.from_numpy(episodes.rows)].transpose(0, 1).flatten(1)
    width = episodes.rows.shape[-1]
    turns = torch.arange(len(episodes.alive)).repeat_interleave(width).expand(tokens.shape)
    return tokens, turns, torch.from_numpy(episodes.alive.T.copy()).repeat_interleave(width, dim=1)


@pytest.fixture(scope="module")
def played():
    agent = Agent(SMALL, ARMS["base"], 3)
    with torch.no_grad():
        agent.logits += torch.randn(agent.logits.shape, generator=torch.Generator().manual_seed(1))
    return agent, agent.roll_out(0)


def test_the_warm_start_solves_one_to_four_percent():
    for regime in ("plain", "decoy"):
        assert 0.01 < Agent(replace(SMALL, regime=regime), ARMS["base"], 0).success() < 0.04


def test_pooled_entropy_terms_are_the_equations_token_by_token(played):
    agent, episodes = played
    visits = Visits.of(episodes, len(agent.logits), np.random.default_rng(0))
    values, corridor = entropy(agent.logits.detach()), Corridor(0.5, 1.5)
    tokens, turns, mask = padded(episodes, values)
    by_token = average(tokens, turns, mask)
    torch.testing.assert_close((visits.mass * values[:, None]).sum(), by_token)
    reference = torch.linspace(0.2, 1.2, agent.lock.turns, dtype=torch.float64)
    expected = average(smoothing_penalty(tokens, reference[turns], corridor), turns, mask)
    torch.testing.assert_close(visits.penalty(values[:, None], reference, corridor), expected)


def test_the_pooled_policy_loss_is_ppos_token_by_token(played):
    agent, episodes = played
    arm = ARMS["ppo"]
    loss = agent.objective(episodes, arm, 0)
    old = agent.logits.detach().log_softmax(-1)
    with torch.no_grad():
        moved = agent.logits + 0.3 * torch.randn(old.shape, generator=torch.Generator().manual_seed(2))
    ratios = (moved.log_softmax(-1) - old).exp()[episodes.rows, episodes.symbols][episodes.alive]
    raw = (episodes.success - agent.values[episodes.task, episodes.stages])[episodes.alive]
    advantages = torch.from_numpy((raw - raw.mean()) / (raw.std() + 1e-8))[:, None]
    clipped = torch.minimum(ratios * advantages, ratios.clamp(0.8, 1.2) * advantages)
    kept = agent.logits.detach().clone()
    agent.logits.data.copy_(moved)
    torch.testing.assert_close(loss().detach(), -clipped.mean())
    agent.logits.data.copy_(kept)


def test_the_control_pushes_as_many_tokens_the_same_way(played):
    agent, episodes = played
    visits = Visits.of(episodes, len(agent.logits), np.random.default_rng(0))
    equal = replace(visits, shares=torch.ones_like(visits.shares))
    reference, corridor = torch.tensor([0.3], dtype=torch.float64), Corridor(0.9, 1.1)
    flat = torch.ones(len(agent.logits), 1, dtype=torch.float64)
    assert equal.scattered(flat, reference, corridor) == float((flat[visits.rows] > 0.33).sum())
    own = entropy(agent.logits.detach())[:, None]
    assert equal.scattered(own, reference, corridor) != equal.penalty(own, reference, corridor)


def test_the_indicator_is_the_bonus_alone_and_no_coefficient_is_ppo(tmp_path):
    base = simulate(job("base"), tmp_path).series
    official, hinge = (simulate(job(arm), tmp_path).series for arm in ("indicator", "working"))
    np.testing.assert_array_equal(official["entropy"], base["entropy"])
    np.testing.assert_array_equal(official["success"], base["success"])
    assert (hinge["entropy"] != base["entropy"]).any()
    silent, ppo = simulate(job("epo", coefficient=0.0), tmp_path), simulate(job("ppo"), tmp_path)
    np.testing.assert_array_equal(silent.series["success"], ppo.series["success"])


def test_a_seed_does_not_depend_on_its_company(tmp_path):
    pair, alone = (simulate(job("epo", seeds), tmp_path).series for seeds in ((0, 1), (1,)))
    for name, values in alone.items():
        np.testing.assert_array_equal(pair[name][1:], values)


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_runs(arm, tmp_path):
    series = simulate(job(arm, steps=2), tmp_path).series
    assert series["success"].shape == (1, 2)
    assert np.isfinite(series["entropy"]).all()


def test_the_study_lists_every_arm():
    assert set(LISTED) == set(ARMS)


def test_the_probe_compares_arms_on_the_same_batches(tmp_path):
    parts = {labels["arm"]: record for labels, record in probe(job(), tmp_path).parts}
    assert set(parts) == {"base", "epo", "random"}
    assert all((record.series["variation"] > 0).all() for record in parts.values())


@pytest.mark.parametrize("changes", [{"arm": "eop"}, {"regime": "plane"}])
def test_a_misspelt_name_is_explained(changes, tmp_path):
    with pytest.raises(StudyError, match="did you mean"):
        simulate(job(**changes), tmp_path)
