"""What the base policies of Countdown see, and that they are trained once."""

import numpy as np
import torch

from common.models.pocket import build_tokenizer, load_pocket
from common.models.recipe import IGNORED, ModelShape
from common.tasks.countdown import (
    ANSWER_TOKENS,
    BOS,
    DONE,
    END_HINT,
    EOS,
    HINT,
    PAD,
    THINK,
    TRACE_TOKENS,
    VOCABULARY,
    Question,
    evaluation,
    held_out,
    read,
)
from common.tasks.countdown.evaluation import Solver
from common.tasks.countdown.warm_start import BaseConfig, base_policy, batches, row, train_base


def asked(prompt):
    """The question of a prompt."""
    arrow = prompt.index("->")
    return Question(tuple(map(int, prompt[1:arrow])), int(prompt[arrow + 1]))


def rows(count=300):
    rng = np.random.default_rng(0)
    return [row(BaseConfig(), rng) for _ in range(count)]


def test_attempts_are_sound_and_of_the_training_split():
    kinds = set()
    for prompt, rest in rows():
        question = asked(prompt)
        assert not held_out(question.numbers)
        assert len(rest) <= TRACE_TOKENS + ANSWER_TOKENS
        shown = " ".join(prompt).partition(THINK)[2]
        trace, done, answer = f"{shown} {' '.join(rest)}".partition(DONE)
        reading = read(question, trace)
        assert reading.slips == 0
        assert reading.supported == bool(done)
        assert done or reading.attempts == 3
        assert not done or question.verify(answer.removesuffix(EOS))
        kinds.add((HINT in prompt, bool(shown), bool(done)))
    assert kinds == {(True, False, True), (False, True, True), (False, False, True), (False, False, False)}


def test_a_hint_is_the_answer_at_the_end():
    for prompt, rest in rows():
        if HINT in prompt:
            hint = prompt[prompt.index(HINT) + 1 : prompt.index(END_HINT)]
            assert rest[rest.index(DONE) + 1 : -1] == hint


def test_a_batch_scores_what_follows_the_prompt():
    tokenizer = build_tokenizer(VOCABULARY, PAD, BOS, EOS)
    ids, labels = next(batches(BaseConfig(batch=8), tokenizer, 3))
    assert torch.equal(ids, next(batches(BaseConfig(batch=8), tokenizer, 3))[0])
    scored = labels != IGNORED
    assert bool((labels[scored] == ids[scored]).all())
    assert not bool(scored[:, 0].any())
    assert not bool(scored[ids == tokenizer.pad_token_id].any())


def test_a_base_policy_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    tiny = BaseConfig(
        ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=64, tied=True), steps=2, batch=2
    )
    first, second = (base_policy(tiny, 0) for _ in range(2))
    assert first == second != base_policy(tiny, 1)
    policy = Solver(*load_pocket(first))
    assert policy.traces([Question((7, 5, 4), 33).text], 2, 1.0, 0)
    wanted = train_base(tiny, 0)[0].model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in policy.model.state_dict().items())


def test_prompts_written_a_few_at_a_time_get_what_they_get_together(monkeypatch):
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=64, tied=True)
    base = train_base(BaseConfig(shape, steps=2, batch=2), 0)[0]
    policy = Solver(base.model, base.tokenizer)
    prompts = [Question(numbers, 12).text for numbers in ((7, 5, 4), (1, 2, 9), (3, 3, 3))]
    together = policy.traces(prompts, 2, 0.0, 0)
    monkeypatch.setattr(evaluation, "WRITTEN", 4)
    assert policy.traces(prompts, 2, 0.0, 0) == together
    drawn = policy.traces(prompts, 2, 1.0, 0)
    assert drawn[:2] != drawn[2:4]  # the random numbers go on from batch to batch
