"""Answers of a policy on ladder, and the reward as TRL calls it."""

from types import SimpleNamespace

from common.models.recipe import ModelShape, build_model
from common.tasks.ladder import Item, evaluation
from common.tasks.ladder.warm_start import encode, tokenizer

RIGHT = "7+b3=10;ans 10<eos>"


def test_answers_are_read_from_the_response(monkeypatch):
    """A model that always writes the same text is right where that is the answer."""
    shape = ModelShape(hidden=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn=64, context=256, tied=True)
    model = build_model(shape, tokenizer(), 0).eval()

    class Fixed:
        def __init__(self, *_):
            pass

        def generate(self, prompts, _):
            return SimpleNamespace(tokens=[encode(RIGHT) for _ in prompts])

    monkeypatch.setattr(evaluation, "SpeculativeGenerator", Fixed)
    answers = evaluation.answer(model, [Item((7, 3)), Item((7, 4)), Item((1, 2, 7))])
    assert answers.correct.tolist() == [True, False, True]
    assert answers.verbose.all()
    assert set(answers.length.tolist()) == {15}


def test_a_reward_belongs_to_the_prompt_of_its_row():
    reward = evaluation.reward_of([Item((7, 3)), Item((7, 4))])
    texts = [encode(RIGHT).tolist()] * 2
    assert reward(completion_ids=texts, index=[1, 0], prompts=["", ""]) == [0.2, 1.2]
