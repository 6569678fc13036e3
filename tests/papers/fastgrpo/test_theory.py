"""The exact checks find what they should, and fail where a rule is broken."""

import itertools

import numpy as np
import pytest
import torch

from common.speculative.verify import SamplingParams
from common.study.jobs import Job
from papers.fastgrpo.runs import theory
from papers.fastgrpo.runs.theory import LENGTH, VOCABULARY


def job(**config: object) -> Job:
    return Job("exact", {}, "a:b", config, (3,))


def test_token_matching_is_lossless_on_random_targets_and_trees(tmp_path):
    errors = theory.lossless(job(draws=40), tmp_path).series["lossless"]
    assert errors.shape == (1, 40)
    assert errors.max() < 1e-12


def test_the_enumeration_sees_a_rule_that_is_not_lossless(monkeypatch, tmp_path):
    """Accepting a child that the target did not draw is found out."""
    accepted = theory.accepted_texts

    def greedy_for_the_draft(tree, draws):
        changed = draws.clone()
        changed[:, 0] = tree.tokens[0, 0]
        return accepted(tree, changed)

    monkeypatch.setattr(theory, "accepted_texts", greedy_for_the_draft)
    assert np.median(theory.lossless(job(draws=9), tmp_path).series["lossless"]) > 1e-3


def test_a_target_law_is_a_distribution_over_all_texts():
    rng = np.random.default_rng(0)
    given = theory.conditionals(theory.processed_table(rng, SamplingParams(LENGTH, 0.7, 0.9)))
    assert given.shape == (VOCABULARY**LENGTH, LENGTH)
    assert given.prod(axis=1).sum() == pytest.approx(1)


def test_accepted_texts_by_hand():
    tree, prefixes = theory.random_tree(np.random.default_rng(1))
    draws = torch.tensor(list(itertools.product(range(VOCABULARY), repeat=len(prefixes))))
    emitted, counts = theory.accepted_texts(tree, draws)
    for row, choice in enumerate(draws.tolist()):
        text: tuple[int, ...] = ()
        while text in prefixes:
            text = (*text, choice[prefixes.index(text)])
        assert tuple(emitted[row, : counts[row]].tolist()) == text


def test_roofline_and_rule(tmp_path):
    assert np.abs(theory.roofline(job(draws=50), tmp_path).series["roofline"]).max() < 1e-12
    errors = theory.rule(job(), tmp_path).series["rule"]
    assert errors.shape == (1, len(theory.ROWS_OF_THE_RULE) * len(theory.PEAKS))
    assert errors.max() == 0
