"""The trainers: neutral they are TRL's bit for bit, and their weights are the equation's."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from common.rl.testing import assert_bitwise, pocket_tokenizer, timeless_log, weights
from papers.variational_reasoning import PosteriorTrainer, VariationalConfig, VariationalReasoningTrainer
from papers.variational_reasoning.trainer import weighted_rows
from tests.common.preference.pairs import PLAIN, pocket_pairs, pocket_policy

FIELDS = {name: value for name, value in PLAIN.items() if name != "disable_dropout"}
COLUMNS = {
    "question": [row // 4 for row in range(12)],
    "log_policy": [-10.0 - row % 3 for row in range(12)],
    "log_proposal": [-9.0 - row % 4 for row in range(12)],
    "length": [5 + row % 2 for row in range(12)],
    "accuracy": [0.0, 0.5, 1.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.75, 0.0, 0.0],
    "log_answer": [-4.0 - row % 5 for row in range(12)],
    "answer_length": [4] * 12,
}


def traces(**columns):
    pairs = pocket_pairs()
    return Dataset.from_dict({"prompt": pairs["prompt"], "completion": pairs["chosen"]} | columns)


def trainer(kind, config, tmp_path, data, **fields):
    return kind(
        model=pocket_policy(),
        args=config(**{**FIELDS, "output_dir": str(tmp_path), "max_steps": 5, **fields}),
        train_dataset=data,
        processing_class=pocket_tokenizer(),
    )


def test_without_an_estimator_it_is_trls_bit_for_bit(tmp_path):
    ours = trainer(VariationalReasoningTrainer, VariationalConfig, tmp_path, traces(), estimator="none")
    posterior = trainer(PosteriorTrainer, SFTConfig, tmp_path, traces())
    stock = trainer(SFTTrainer, SFTConfig, tmp_path, traces())
    for each in (ours, posterior, stock):
        each.train()
    for each in (ours, posterior):
        assert_bitwise(weights(each), weights(stock))
        assert timeless_log(each) == timeless_log(stock)


def test_weights_are_normalised_within_a_question_and_rows_without_any_are_dropped():
    rows = weighted_rows(traces(**COLUMNS), "acc", "geo")
    assert rows["question"] == [0, 0, 0, 2]
    found = torch.tensor(rows["weight"]).double()
    assert float(found.mean()) == pytest.approx(1.0)
    places = (1, 2, 3)
    logs = [
        (COLUMNS["log_policy"][place] - COLUMNS["log_proposal"][place]) / COLUMNS["length"][place]
        for place in places
    ]
    raw = torch.tensor(logs).double().exp() * torch.tensor([0.5, 1.0, 0.25])
    torch.testing.assert_close(found[:3] / found[3], raw / raw.sum())


@pytest.mark.parametrize("estimator", ["gml", "lik"])
def test_likelihoods_keep_every_trace_and_rank_alike_without_a_ratio(estimator):
    rows = weighted_rows(traces(**COLUMNS), estimator, "none")
    assert len(rows) == 12
    own = torch.tensor(rows["weight"])[:4]
    assert own.argsort().tolist() == torch.tensor(COLUMNS["log_answer"])[:4].argsort().tolist()


def test_the_posterior_sees_the_hint_and_the_policy_does_not(tmp_path):
    data = traces(hint=["w7 w8"] * 12)
    posterior = PosteriorTrainer(
        model=pocket_policy(),
        args=SFTConfig(**{**FIELDS, "output_dir": str(tmp_path), "max_steps": 1}),
        train_dataset=data,
        processing_class=pocket_tokenizer(),
        template="{prompt} {hint}",
    )
    tokenizer = pocket_tokenizer()
    hint = tokenizer.convert_tokens_to_ids(["w7", "w8"])
    rows = [list(row["input_ids"]) for row in posterior.train_dataset]
    assert all(any(row[at : at + 2] == hint for at in range(len(row))) for row in rows)


def test_what_cannot_be_weighed_is_refused():
    with pytest.raises(ValueError, match="estimator='best'; choose one of"):
        VariationalConfig(output_dir="x", use_cpu=True, bf16=False, estimator="best")
    nothing = traces(**COLUMNS | {"accuracy": [0.0] * 12})
    with pytest.raises(ValueError, match="no trace has any weight"):
        weighted_rows(nothing, "acc", "geo")
