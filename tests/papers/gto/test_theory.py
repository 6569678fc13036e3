import numpy as np
import pytest

from common.study.jobs import Job
from papers.gto.runs import enumeration, theory


def record(name: str, draws: int = 50, seeds: tuple[int, ...] = (0,)):
    job = Job("theory", {}, f"papers.gto.runs.theory:{name}", {"draws": draws}, seeds)
    return job.function()(job, None)


def test_node_numbers():
    target = enumeration.random_target(np.random.default_rng(0), 3, 2, 1.0)
    assert target.nodes == 12
    assert target.parent.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert target.path[8] == pytest.approx(target.conditional[0, 1] * target.conditional[2, 1])
    assert target.length[8] == pytest.approx(target.path[2] + target.path[8])


def test_random_trees_are_closed_and_of_the_asked_size():
    rng = np.random.default_rng(1)
    target = enumeration.random_target(rng, 3, 3, 0.5)
    for size in range(1, 12):
        chosen = enumeration.random_tree(rng, target, size)
        assert chosen.sum() == size + 1
        assert chosen[target.parent[chosen[1:]]].all()
        inner = {target.parent[node - 1] for node in np.flatnonzero(chosen) if node}
        ends = set(np.flatnonzero(enumeration.leaves(target, chosen)))
        assert ends == set(np.flatnonzero(chosen)) - inner - {0}


def test_what_survives_of_theorem_1():
    assert record("bounds").series["violation"].max() <= 1e-12
    assert not record("monotonicity").series["coordinate"].any()
    assert not record("monotonicity").series["expectation"].any()
    assert not record("slack").series["failed"].any()


def test_the_bounds_are_tight_enough_to_fail():
    lengths, mask = np.array([[1.0, 1.0, 0.2]]), np.array([[True, True, False]])
    assert theory.rewards(lengths, mask)[0] == pytest.approx(1.0 + np.log(2))  # the upper bound is attained


def test_the_counterexample_is_the_published_one():
    values = {name: value[0] for name, value in record("counterexample").scalars.items()}
    assert values["reward/A"] == pytest.approx(1.431, abs=5e-4)
    assert values["expected/A"] == pytest.approx(0.96)
    assert values["reward/B"] == pytest.approx(1.588, abs=5e-4)
    assert values["expected/B"] == pytest.approx(0.509, abs=5e-4)
    assert values["reward/A+"] == pytest.approx(1.432, abs=5e-4)
    assert values["expected/A+"] == pytest.approx(0.962)


def test_both_verifiers_accept_the_node_sum_and_are_lossless():
    for name, errors in record("verifiers", draws=200).series.items():
        assert abs(errors).max() < 1e-12, name


def test_a_verifier_that_keeps_a_rejected_token_is_caught():
    target = enumeration.random_target(np.random.default_rng(2), 3, 1, 0.5)
    chosen = np.array([True, True, False, False])
    wrong = [((0, token), 0.5 * chance) for token, chance in enumerate(target.conditional[1])]
    wrong += [((token,), 0.5 * chance) for token, chance in enumerate(target.conditional[0])]
    right = dict(enumeration.rejection_outcomes(target, chosen))
    assert sum(right.values()) == pytest.approx(1.0)
    assert max(abs(p - enumeration.block_probability(target, block)) for block, p in wrong) > 1e-3


def test_discordance_is_large_for_leaf_sums_and_zero_for_the_node_sum():
    shares = record("discordance", draws=2000, seeds=(0, 1)).scalars
    assert shares["discordance/node_sum"].tolist() == [0.0, 0.0]
    assert shares["discordance/lse"] == pytest.approx([0.2, 0.2], abs=0.03)
    assert shares["discordance/max"] == pytest.approx([0.12, 0.12], abs=0.03)
    assert shares["discordance/average"] == pytest.approx([0.15, 0.15], abs=0.03)
