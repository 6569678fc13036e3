"""Training data of every form that TRL takes: streams, conversations, further columns, two kinds of each."""

from __future__ import annotations

import pytest
from trl import GRPOConfig, GRPOTrainer

from common.rl.config import GroupConfig
from common.rl.testing import assert_bitwise, pocket_prompts, pocket_trainer, timeless_log, weights
from common.rl.trainer import GroupTrainer
from papers.qae.method import QAEConfig, QAETrainer
from papers.rl_zvp.method import RLZVPConfig, RLZVPTrainer
from tests.common.rl.options import chat_tokenizer, conversations

TRAINERS = {
    "group": (GroupTrainer, GroupConfig, {}),
    "qae": (QAETrainer, QAEConfig, {"quantile_k": None}),
    "rl_zvp": (RLZVPTrainer, RLZVPConfig, {"zvp_use_positive": False, "zvp_use_negative": False}),
}


def marked(completion_ids, mark, **_):
    """A reward that needs a further column of the data."""
    return [float(sum(ids) % 3 == number % 3) for ids, number in zip(completion_ids, mark, strict=True)]


def with_marks(data):
    """The data with a column of numbers."""
    return data.add_column("mark", list(range(len(data))))


def messages_or_text(kind):
    """Prompts with marks, as text or as messages with the tokenizer for them."""
    if kind == "text":
        return {"data": with_marks(pocket_prompts())}
    return {"data": with_marks(conversations()), "tokenizer": chat_tokenizer()}


def run(trainer):
    """Weights and log after the training."""
    trainer.train()
    return weights(trainer), timeless_log(trainer)


@pytest.mark.parametrize("streamed", [False, True], ids=["indexed", "streamed"])
@pytest.mark.parametrize("kind", ["text", "messages"])
@pytest.mark.parametrize("method", TRAINERS)
def test_any_form_of_data_trains_as_in_trl(tmp_path, method, kind, streamed):
    given = {**messages_or_text(kind), "reward": marked, "max_steps": 5, "output_dir": tmp_path}
    evaluated = given["data"].select(range(2))
    if streamed:
        given["data"], evaluated = given["data"].to_iterable_dataset(), evaluated.to_iterable_dataset()
    given |= {"evaluated": evaluated, "eval_strategy": "steps", "eval_steps": 5}
    trainer, config, neutral = TRAINERS[method]
    stock, stock_log = run(pocket_trainer(GRPOTrainer, GRPOConfig, **given))
    ours, log = run(pocket_trainer(trainer, config, **given, **neutral))
    assert_bitwise(ours, stock)
    assert [
        {name: entry[name] for name in other} for entry, other in zip(log, stock_log, strict=True)
    ] == stock_log
    assert "eval_loss" in log[-1]


@pytest.mark.parametrize("kind", ["text", "messages"])
def test_further_rounds_of_dynamic_sampling_have_the_columns_of_the_first(tmp_path, kind):
    given = {**messages_or_text(kind), "reward": marked, "max_steps": 4, "dynamic_sampling_rounds": 9}
    trainer = pocket_trainer(GroupTrainer, GroupConfig, tmp_path, **given)
    trainer.train()
    assert trainer.prompt_stream.drawn > 0


@pytest.mark.parametrize(
    "fields",
    [{"dynamic_sampling_rounds": 1}, {"exact_resume": True}],
    ids=["dynamic_sampling_rounds", "exact_resume"],
)
def test_what_needs_an_index_refuses_a_stream(tmp_path, fields):
    data = pocket_prompts().to_iterable_dataset()
    with pytest.raises(ValueError, match=f"{next(iter(fields))}: needs a dataset with an index"):
        pocket_trainer(GroupTrainer, GroupConfig, tmp_path, data=data, **fields)
