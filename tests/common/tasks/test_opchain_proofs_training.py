"""The task as a training run sees it: rewards by place, scores and entropies of the warm start."""

import pytest
from numpy.random import default_rng

from common.models.pocket import load_policy
from common.tasks import opchain
from common.tasks.opchain.warm_start import committed_warm_start
from common.tasks.opchain_proofs import proven
from common.tasks.opchain_proofs.training import ProvenOpChain
from tests.common.rl.runs import RUN

TASK = RUN.model_copy(update={"mix": "0.2,0.0,0.3,0.5", "evaluation_prompts": 40, "pass_at": 8})


def test_rewards_are_those_of_the_prompts_own_chain():
    task = ProvenOpChain(TASK, 0)
    words = opchain.trace(task.training[1], default_rng(0))
    ids = [opchain.VOCABULARY.index(word) for word in words]
    assert proven(words, task.training[1])
    assert task.reward([ids, ids], [1, 0]) == [1.0, 0.0]


def test_the_warm_start_solves_the_easy_level_and_hardly_the_hard_one():
    model, tokenizer = load_policy(committed_warm_start(0))
    values = ProvenOpChain(TASK, 0).evaluate(model.eval(), tokenizer, 8, seed=1)
    assert values["pass_at_1/E"] > 0.8 > 0.2 > values["pass_at_1/H"] > values["pass_at_1/X"]
    assert {"pass_at_8/all", "length"} <= values.keys()
    assert values["entropy/connector"] == pytest.approx(0.69, abs=0.1)
    assert values["entropy/result"] > 0.5
