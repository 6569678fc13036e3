"""ToolCall-Mini with a model: labels, answers, dialogues and the task of a run."""

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer, committed, load_policy
from common.models.recipe import IGNORED, ModelShape, build_model
from common.tasks import toolcall
from common.tasks.toolcall import BOS, EOS, PAD, VOCABULARY, Mark
from common.tasks.toolcall.evaluation import Answers, answer, pieces, solved
from common.tasks.toolcall.warm_start import WarmStart, batches, build, pocket

TINY = WarmStart(ModelShape(hidden=16, layers=1, heads=2, ffn=16, context=96), steps=2, batch=8, warmup=1)


@pytest.fixture(scope="module")
def policy():
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    return build_model(TINY.model, tokenizer, 0), tokenizer


def test_labels_are_the_response_only(policy):
    ids, labels = next(batches(TINY, policy[1], seed=0))
    for row, target in zip(ids.tolist(), labels.tolist(), strict=True):
        words = [VOCABULARY[token] for token in row if token != 0]
        start = words.index("[assistant]") + 1
        assert words[-1] == EOS
        assert target[:start] == [IGNORED] * start
        assert target[start : len(words)] == row[start : len(words)]


def test_answers_are_those_of_their_steps(policy):
    items = toolcall.items(0, 6)
    first, again = (answer(*policy, items, 1.0, seed=3, max_new_tokens=12) for _ in range(2))
    assert np.array_equal(first.ids, again.ids)
    assert len(first.marks) == 6
    texts = pieces(policy[1], first.ids, first.mask)
    assert [len(text) for text in texts] == first.mask.sum(axis=1).tolist()


def test_a_dialogue_is_solved_if_all_its_steps_are():
    marks = tuple(Mark(True, right, True, 1.0, True) for right in (True, True, True, False, True))
    items = toolcall.items(0, 5)
    empty = np.zeros((5, 1))
    given = Answers(items, empty.astype(int), empty.astype(bool), empty, marks)
    assert solved(given, [items[:2], items[2:4], items[4:]]).tolist() == [True, False, True]


def test_a_warm_start_is_built_with_its_card(tmp_path):
    card = build(TINY, 0, tmp_path / pocket(2))
    assert (tmp_path / "toolcall-0" / "card.json").is_file()
    assert set(card["right"]["greedy"]) == {*toolcall.LEVELS, "formed"}


@pytest.mark.parametrize("name", [name for name in committed() if name.startswith("toolcall")])
def test_committed_warm_starts_call_in_form_and_are_often_wrong(name):
    model, tokenizer = load_policy(name)
    assert model.config.vocab_size == len(tokenizer) == len(VOCABULARY)
    given = answer(model, tokenizer, toolcall.heldout("2", 60), 1.0, seed=0)
    assert given.formed.mean() > 0.75
    assert 0.1 < given.right.mean() < 0.7


def test_the_task_rewards_right_calls_and_evaluates_levels_and_dialogues(policy):
    from common.tasks.toolcall.training import ToolCalls
    from papers.rest.experiment import PROFILES, Config

    run = Config().changed(PROFILES["smoke"]).run
    task = ToolCalls(run, seed=0)
    right = [toolcall.trace(item, np.random.default_rng(0)) for item in task.training[:4]]
    ids = [[VOCABULARY.index(token) for token in tokens] for tokens in right]
    assert task.reward(completion_ids=ids, index=[0, 1, 2, 3]) == [1.0] * 4
    assert task.reward(completion_ids=ids[:1], index=[5]) == [0.0]
    torch.manual_seed(0)
    found = task.evaluate(*policy, 1, seed=0)
    assert {"pass_at_1/all", "pass_at_1/base", "pass_at_1/long", "pass_at_1/3", "formed", "length"} <= {
        *found
    }
