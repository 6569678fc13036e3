"""The enumerable model: its enumeration against the transformer token by token, its instances, its loop."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from common.study.jobs import Job
from papers.rlhf_exploration.runs.training import (
    SYMBOLS,
    EnumeratedModel,
    Table,
    corpus,
    online,
    pretrained,
    probabilities,
    reward,
    train,
)

CONFIG = {
    "instance": "rare", "protocol": "proposed", "policy": "model", "scale": 4.0, "beta": 0.2, "alpha": 3.0,
    "rounds": 3, "comparisons": 8, "steps": 2, "pretraining": 3, "length": 2, "hidden": 16,
    "learning_rate": 1e-3, "table_learning_rate": 0.1,
}  # fmt: skip


def run(seed=0, **changes):
    return train(Job("lm", {}, "", CONFIG | changes, (seed,)), Path())


@pytest.mark.parametrize("length", [2, 3])
def test_the_enumeration_is_the_autoregressive_probability(length):
    model = EnumeratedModel(16, length, 0)
    with torch.no_grad():
        enumerated = model()
        assert_allclose(enumerated.exp().sum().item(), 1, rtol=1e-5)
        responses = list(itertools.product(range(SYMBOLS), repeat=length))
        for index in (0, 5, len(responses) // 3, len(responses) - 1):
            ids = [int(model.prefixes[0, 0])]
            total = 0.0
            for token in responses[index]:
                logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1, :SYMBOLS]
                total += float(logits.log_softmax(dim=0)[token])
                ids.append(token)
            assert_allclose(enumerated[index].item(), total, atol=1e-5)


def test_corpora_are_distributions_and_the_good_families_are_rare():
    for instance in ("rare", "pattern"):
        assert_allclose(corpus(instance, 3, 1).sum(), 1)
    first = corpus("rare", 3, 1).reshape(SYMBOLS, -1).sum(axis=1)
    assert_allclose(first[[6, 7]], 0.005)
    assert first[:6].min() > 0.005


def test_rewards_have_the_range_and_the_gap_that_the_instance_says():
    rare = reward("rare", 3, 4.0, 0).reshape(SYMBOLS, -1)
    assert_array_equal(rare.mean(axis=1), [0, 0, 0, 0, 0, 0, 4, 3])
    pattern = reward("pattern", 3, 1.0, 0)
    assert (pattern.min(), pattern.max()) == (0, 1)
    assert not np.allclose(pattern, reward("pattern", 3, 1.0, 1))


def test_pretraining_moves_the_model_to_the_corpus():
    target = corpus("pattern", 2, 0)
    distances = []
    for steps in (0, 60):
        _, reference = pretrained(CONFIG | {"pretraining": steps}, target, 0)
        distances.append((target * np.log(target / reference)).sum())
    assert distances[1] < 0.3 * distances[0]


def test_a_run_is_deterministic_and_its_regret_starts_at_the_references():
    first, second = run(), run()
    for name, values in first.series.items():
        assert_array_equal(values, second.series[name])
    assert_allclose(first.series["regret"][0, 1], first.scalars["first"][0], rtol=1e-9)
    assert_allclose(first.series["regret"][0, -1], first.scalars["total"][0])
    assert first.series["distance"][0, 1] == 0 < first.series["distance"][0, -1]
    assert not np.array_equal(first.series["regret"], run(seed=1).series["regret"])


def test_methods_start_alike_and_part_with_the_first_fit():
    records = [run(protocol=name) for name in ("passive", "xpo", "vpo", "proposed")]
    starts = [record.series["regret"][0, 1] for record in records]
    assert len(set(starts)) == 1
    assert len({record.series["regret"][0, -1] for record in records}) == 4


def test_a_table_starts_at_the_reference_and_learns():
    record = run(policy="table", rounds=20, comparisons=64, alpha=0.0, protocol="passive", steps=10)
    assert record.scalars["last"][0] < record.scalars["first"][0]
    assert_allclose(probabilities(Table(torch.tensor([0.1, 0.9]).log().double())), [0.1, 0.9])


def test_partners_are_who_they_should_be():
    """A policy that is never fitted (no steps) compares with itself; π_ref is somebody else."""
    policy = Table(torch.tensor([0.0] * 63 + [40.0], dtype=torch.float64))
    reference, truth = np.full(64, 1 / 64), np.zeros(64)
    equal = {}
    for name in ("vpo", "xpo", "proposed"):
        config = CONFIG | {"protocol": name, "policy": "table", "steps": 0}
        rounds = [pairs for _, pairs in online(policy, reference, truth, config, 0)]
        equal[name] = [bool((pairs[0] == pairs[1]).all()) for pairs in rounds]
    assert equal == {"vpo": [True] * 3, "xpo": [False] * 3, "proposed": [False, True, True]}
