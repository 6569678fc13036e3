import numpy as np
import pytest

from common.study.jobs import Job
from papers.gto.runs import theory


def record(name: str, draws: int = 50, seeds: tuple[int, ...] = (0,)):
    job = Job("theory", {}, f"papers.gto.runs.theory:{name}", {"draws": draws}, seeds)
    return job.function()(job, None)


def by(result, column: str, kind: str = "scalars") -> dict:
    """Values of a record's parts by what tells them apart."""
    return {labels[column]: getattr(part, kind) for labels, part in result.parts}


def test_what_survives_of_theorem_1():
    assert record("bounds").series["violation"].max() <= 1e-12
    assert not record("monotonicity").series["coordinate"].any()
    assert not record("monotonicity").series["expectation"].any()
    assert not record("slack").series["failed"].any()


def test_the_bounds_are_tight_enough_to_fail():
    lengths, mask = np.array([[1.0, 1.0, 0.2]]), np.array([[True, True, False]])
    assert theory.rewards(lengths, mask)[0] == pytest.approx(1.0 + np.log(2))  # the upper bound is attained


def test_the_counterexample_is_the_published_one():
    trees = by(record("counterexample"), "tree")
    reward, expected = (
        {tree: values[name][0] for tree, values in trees.items()} for name in ("reward", "expected")
    )
    assert reward == pytest.approx({"A": 1.431, "A+": 1.432, "B": 1.588}, abs=5e-4)
    assert expected == pytest.approx({"A": 0.96, "A+": 0.962, "B": 0.509}, abs=5e-4)


def test_both_verifiers_accept_the_node_sum_and_are_lossless():
    for verifier, part in by(record("verifiers", draws=200), "verifier", "series").items():
        assert abs(part["length"]).max() < 1e-12, verifier
        assert abs(part["law"]).max() < 1e-12, verifier


def test_discordance_is_large_for_leaf_sums_and_zero_for_the_node_sum():
    modes = by(record("discordance", draws=2000, seeds=(0, 1)), "mode")
    for mode, share in {"node_sum": 0.0, "lse": 0.2, "max": 0.12, "average": 0.15}.items():
        assert modes[mode]["discordant"] == pytest.approx([share, share], abs=0.03 if share else 0.0), mode
