"""Final-answer mathematics on local files, with a pocket policy."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer, load_policy, save_pocket
from common.models.recipe import ModelShape, build_model
from common.rl.config import GroupConfig
from common.rl.harness import shared_arguments, train_arm
from common.rl.run import Run
from common.rl.tasks import load_task
from common.rl.trainer import GroupTrainer
from common.study.jobs import Record
from common.tasks.math_answers import format_prompt
from common.tasks.math_answers.training import Math, evaluation_sources
from tests.common.rl.runs import RUN

PROBLEMS = [{"problem": f"{a} + {b} ?", "answer": a + b} for a in (0, 1) for b in (0, 1)]
WORDS = sorted({word for row in PROBLEMS for word in format_prompt(row["problem"]).split()})
SPECIAL = ("<pad>", "<bos>", "<eos>")
VOCABULARY = (*SPECIAL, *WORDS, *(rf"\boxed{{{number}}}" for number in range(3)))
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} <bos>{% endif %}"


def tokenizer():
    return build_tokenizer(VOCABULARY, *SPECIAL)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Training problems, two evaluation sets and a random policy of about 4,000 parameters."""
    folder = tmp_path_factory.mktemp("math")
    for name, rows in {"train": PROBLEMS * 3, "left": PROBLEMS[:1], "right": PROBLEMS[1:]}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128)
    save_pocket(build_model(shape, tokenizer(), seed=0), tokenizer(), folder / "policy", {})
    return folder


@pytest.fixture
def config(files):
    return RUN.changed(
        {
            "model": str(files / "policy"),
            "task": "math",
            "dataset": str(files / "train.jsonl"),
            "evaluation_sets": f"left={files / 'left.jsonl'},right={files / 'right.jsonl'}",
            "learning_rate": 0.01,
            "batch": 64,
            "max_response": 8,
            "iterations": 1,
            "training_prompts": 0,
            "evaluation_temperature": 0.7,
        }
    )


def train(run: Run, workspace) -> Record:
    args = GroupConfig(**shared_arguments(run, 0, workspace), loss_type="dapo")
    return train_arm(run, 0, workspace, GroupTrainer, args)


def test_the_whole_path_trains_a_policy_on_local_files(config, tmp_path):
    records = [train(config, tmp_path / name) for name in ("once", "twice")]
    names = {f"final/pass_at_{k}/{level}" for k in (1, 16) for level in ("left", "right", "all")}
    assert set(records[0].scalars) == names | {"final/length"}
    assert 0 < records[0].scalars["final/pass_at_1/all"][0] < 1
    assert 0 < records[0].series["reward"][0, 0] < 1
    assert records[0].series["grad_norm"][0, 0] > 0
    assert set(records[0].series) >= {"curve/pass_at_1", "curve/pass_at_16", "curve/length"}
    for part in ("scalars", "series"):
        first, second = (getattr(record, part) for record in records)
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_files_enter_the_key_of_a_job(config, files):
    names = [str(files / f"{name}.jsonl") for name in ("train", "left", "right")]
    assert list(config.inputs(0)) == names


def test_problems_are_distinct_and_drawn_from_the_seed(config):
    whole = Math(config, 0, tokenizer()).dataset
    assert whole["prompt"][:] == [format_prompt(row["problem"]) for row in PROBLEMS]
    few = config.changed({"training_prompts": 3})
    drawn = [tuple(Math(few, seed, tokenizer()).dataset["prompt"]) for seed in range(20)]
    assert all(len(set(prompts)) == 3 for prompts in drawn)
    assert len(set(drawn)) > 5


def encoded(*words):
    return tokenizer().convert_tokens_to_ids([*words, "<eos>"])


def test_the_reward_reads_tokens_and_is_binary(config):
    task = Math(config, 0, tokenizer())
    completions = [encoded(r"\boxed{1}"), encoded(r"\boxed{2}", "+"), encoded("1")]
    assert task.reward(completions, answer=["1", "1", "1"], prompts=None) == [1.0, 0.0, 0.0]


def test_length_shaping_is_added_on_request(config):
    shaped = config.changed({"overlong_shaping": True, "overlong_cache": 4})
    task = Math(shaped, 0, tokenizer())
    completions = [encoded(r"\boxed{1}"), encoded(*["+"] * 4, r"\boxed{1}"), encoded(*["+"] * 7)]
    assert task.reward(completions, answer=["1", "1", "1"]) == [1.0, 0.5, -1.0]


@pytest.mark.parametrize("template", [None, CHAT], ids=["plain", "chat"])
def test_evaluation_in_batches_is_that_of_one_prompt_at_a_time(config, template):
    """Greedily, every batch size gives the same answers, whatever the padding."""
    words = tokenizer()
    words.chat_template = template
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128), words, seed=3).eval()
    measured = []
    for budget in (1, 100, 10_000):
        greedy = config.changed({"evaluation_tokens": budget, "evaluation_temperature": 0.0})
        measured.append(load_task(greedy, 0, words).evaluate(model, words, samples=16, seed=0))
    assert measured[0] == measured[1] == measured[2]


def test_the_cache_stays_within_its_budget(config, monkeypatch):
    seen = []

    def sample(model, ids, mask, length, *rest, **others):
        seen.append((ids.shape[0], ids.shape[0] * (ids.shape[1] + length)))
        ids = torch.tensor([encoded(r"\boxed{1}")]).repeat(len(ids), 1)
        return SimpleNamespace(ids=ids, mask=torch.ones_like(ids))

    monkeypatch.setattr("common.tasks.math_answers.training.sample", sample)
    small = config.changed({"evaluation_tokens": 200})
    measured = Math(small, 0, tokenizer()).evaluate(
        SimpleNamespace(device=torch.device("cpu")), tokenizer(), samples=16, seed=0
    )
    assert sum(rows for rows, _ in seen) == 16 * len(PROBLEMS)
    assert 0 < max(tokens for _, tokens in seen) <= 200
    assert measured["pass_at_1/left"] == 0
    assert measured["pass_at_1/right"] == pytest.approx(2 / 3)
    assert measured["pass_at_16/all"] == 0.5
    assert measured["length"] == 2


def test_a_chat_template_makes_a_conversation(config):
    words = tokenizer()
    words.chat_template = CHAT
    (first, *_) = Math(config, 0, words).dataset["prompt"]
    assert first == [{"role": "user", "content": format_prompt(PROBLEMS[0]["problem"])}]


def test_training_on_a_chat_template(config, files, tmp_path):
    words = tokenizer()
    words.chat_template = CHAT
    model, _ = load_policy(str(files / "policy"))
    save_pocket(model, words, tmp_path / "policy", {})
    record = train(config.changed({"model": str(tmp_path / "policy")}), tmp_path / "work")
    assert 0 < record.series["reward"][0, 0] < 1


@pytest.mark.parametrize("text", ["", "left", "=a", "a=b,", "all=a"])
def test_sets_that_cannot_be_read_are_refused(text):
    with pytest.raises(ValueError, match="NAME=SOURCE"):
        evaluation_sources(text)


def test_pass_at_k_is_the_runs(config):
    words = tokenizer()
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128), words, seed=3).eval()
    measured = load_task(config.changed({"pass_at": 8}), 0, words).evaluate(model, words, samples=16, seed=0)
    assert {name for name in measured if name.endswith("all")} == {"pass_at_1/all", "pass_at_8/all"}
