"""What the base policies of Countdown see, and what the committed ones can do."""

import json

import numpy as np
import pytest
import torch

from common.models.pocket import build_tokenizer, committed, load_pocket, pocket_path
from common.models.recipe import IGNORED, ModelShape
from common.tasks.countdown import (
    BOS,
    DONE,
    EOS,
    HINT,
    OK,
    PAD,
    TRACE_TOKENS,
    VOCABULARY,
    Question,
    held_out,
    read,
)
from common.tasks.countdown.evaluation import Solver
from common.tasks.countdown.warm_start import NAME, BaseConfig, batches, build, row, wrong_steps

COMMITTED = [name for name in committed() if name.startswith(f"{NAME}-")]


def rows(count=300):
    rng = np.random.default_rng(0)
    return [row(BaseConfig(), rng) for _ in range(count)]


def test_nothing_in_the_data_solves_a_question():
    for prompt, rest in rows():
        if "->" not in prompt:
            continue
        numbers, target = prompt[1 : prompt.index("->")], prompt[prompt.index("->") + 1]
        question = Question(tuple(map(int, numbers)), int(target))
        reading = read(question, " ".join(rest))
        assert OK not in rest
        assert DONE not in rest
        assert reading.slips == 0
        assert reading.attempts == 3
        assert not held_out(question.numbers)
        assert len(rest) <= TRACE_TOKENS


def test_expressions_and_steps_say_the_same():
    seen = set()
    for prompt, rest in rows():
        if "->" in prompt:
            continue
        hinted = HINT in prompt
        steps = rest if hinted else prompt[2:-1]
        answer = " ".join(prompt[2:-2] if hinted else rest[:-1])
        assert eval(answer) == int(steps[-1])
        assert read(Question((1, 1, 1), 1), " ".join([*steps, OK])).slips == 0
        assert hinted or rest[-1] == EOS
        seen.add(hinted)
    assert seen == {True, False}


def test_a_batch_scores_what_follows_the_prompt():
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    ids, labels = next(batches(BaseConfig(batch=8), tokenizer, 3))
    assert torch.equal(ids, next(batches(BaseConfig(batch=8), tokenizer, 3))[0])
    scored = labels != IGNORED
    assert bool((labels[scored] == ids[scored]).all())
    assert not bool(scored[:, 0].any())
    assert not bool(scored[ids == tokenizer.pad_token_id].any())


def test_a_checkpoint_is_built_with_its_card(tmp_path):
    tiny = BaseConfig(
        ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128, tied=True), steps=2, batch=2
    )
    card = build(tiny, 0, tmp_path / "built")
    assert json.loads((tmp_path / "built" / "card.json").read_text())["data_seed"] == card["data_seed"] == 0
    assert Solver(*load_pocket(tmp_path / "built")).traces([Question((7, 5, 4), 33).text], 2, 1.0, 0)


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_checkpoints_can_reckon(name):
    card = json.loads((pocket_path(name) / "card.json").read_text())
    assert card["parameters"] < 250_000
    assert card["wrong_steps"] < 0.2
    assert wrong_steps(Solver(*load_pocket(name)), card["data_seed"], count=60) == pytest.approx(
        card["wrong_steps"], abs=0.1
    )
