"""Online rounds: who answers, what is labelled, what is kept on disk."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import json

import pytest
import torch
from transformers import set_seed
from trl import DPOConfig, DPOTrainer

from common.preference.online import compare, online, sample
from common.rl.testing import pocket_tokenizer
from tests.common.preference.pairs import PLAIN, pocket_policy

PROMPTS = [f"<bos> w{row} " for row in range(6)]  # words are told apart by spaces, and TRL joins the texts
MESSAGES = [[{"role": "user", "content": f"w{row}"}] for row in range(3)]
CHAT = "<bos>{% for message in messages %} {{ message.content }}{% endfor %}"


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def writes(model, word):
    """The model made to write one word only."""
    bias = torch.zeros(32)
    bias[3 + word] = 1e4
    head = torch.nn.Linear(16, 32)
    head.weight, head.bias = torch.nn.Parameter(torch.zeros(32, 16)), torch.nn.Parameter(bias)
    model.lm_head = head
    model.config.tie_word_embeddings = False
    return model


def count(word):
    """A judge that likes a word."""

    def prefer(prompts, first, second):
        return [
            one.split().count(word) > other.split().count(word)
            for one, other in zip(first, second, strict=True)
        ]

    return prefer


def rounds(folder, policy, prefer=None, number=3, **fields):
    args = DPOConfig(**{**PLAIN, "max_steps": 2, "output_dir": str(folder), **fields})
    prefer = prefer or count("w3")
    return online(policy, pocket_tokenizer(), PROMPTS, prefer, DPOTrainer, args, number, 4, max_new_tokens=3)


def test_each_policy_answers_and_the_source_of_the_winner_is_told():
    new, old = writes(pocket_policy(), 1), writes(pocket_policy(), 2)
    for word, previous_wins in (("w1", False), ("w2", True)):
        pairs = compare(new, old, pocket_tokenizer(), PROMPTS, count(word), 4, max_new_tokens=2)
        assert pairs["previous_chosen"] == [previous_wins] * 6
        assert set(pairs["chosen"]) == {f"{word} {word}"}
        assert pairs["prompt"] == PROMPTS


def test_messages_are_answered_with_messages():
    tokenizer = pocket_tokenizer()
    tokenizer.chat_template = CHAT
    model = writes(pocket_policy(), 1)
    pairs = compare(model, model, tokenizer, MESSAGES, count("w1"), 2, max_new_tokens=1)
    assert pairs["chosen"] == [[{"role": "assistant", "content": "w1"}]] * 3
    assert pairs["prompt"] == MESSAGES


def test_a_response_is_drawn_from_the_whole_distribution():
    """Top-k is off: a flat policy writes words of all ranks."""
    model = pocket_policy()
    model.lm_head = torch.nn.Linear(16, 32, bias=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.generation_config.top_k = 2
    words = sample(model, pocket_tokenizer(), PROMPTS * 20, 60, max_new_tokens=4)
    assert len({word for text in words for word in text.split()}) > 20


def test_the_previous_policy_is_one_round_old(tmp_path):
    """At a rate that moves every weight, its answers are those of the snapshot before the last training."""
    policy, asked = pocket_policy(), []

    def prefer(prompts, first, second):
        asked.append((list(prompts), list(second)))
        return [True] * len(prompts)

    snapshots = []
    for _ in rounds(tmp_path, policy, prefer, learning_rate=0.1):
        snapshots.append({name: value.clone() for name, value in policy.state_dict().items()})
    assert [prompts for prompts, _ in asked] == [PROMPTS[:4], [*PROMPTS[4:], *PROMPTS[:2]], PROMPTS[2:]]
    for number, weights in ((1, None), (2, snapshots[0])):
        old, new = pocket_policy(), pocket_policy()
        if weights:
            old.load_state_dict(weights)
        new.load_state_dict(snapshots[number - 1])
        set_seed(number)
        again: list = []

        def judge(prompts, first, second, into=again):
            into.append(list(second))
            return [True] * len(prompts)

        compare(new, old, pocket_tokenizer(), asked[number][0], judge, 8, max_new_tokens=3)
        assert again == [asked[number][1]]


def test_rounds_keep_their_pairs_and_take_trls_wrappers_off(tmp_path):
    policy = pocket_policy()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    trainers = list(rounds(tmp_path, policy))
    assert [trainer.state.global_step for trainer in trainers] == [2, 2, 2]
    assert any(not torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert "forward" not in vars(policy)
    for number in range(3):
        lines = (tmp_path / f"round-{number:03}" / "pairs.jsonl").read_text().splitlines()
        assert [set(json.loads(line)) for line in lines] == [
            {"prompt", "chosen", "rejected", "previous_chosen"}
        ] * 4


def test_equal_arguments_give_equal_rounds(tmp_path):
    first, second = pocket_policy(), pocket_policy()
    for folder, policy in (("a", first), ("b", second)):
        list(rounds(tmp_path / folder, policy))
    assert all(
        torch.equal(one, other)
        for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_a_policy_learns_what_the_judge_likes(tmp_path):
    policy, tokenizer = pocket_policy(), pocket_tokenizer()

    def share():
        torch.manual_seed(1)
        words = " ".join(sample(policy, tokenizer, PROMPTS * 20, 60, max_new_tokens=3)).split()
        return words.count("w3") / len(words)

    before = share()
    list(rounds(tmp_path, policy, number=12, max_steps=6))
    assert share() > before + 0.2
