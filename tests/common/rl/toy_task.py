"""A task from outside `common.tasks`: say the number that the prompt names."""

from __future__ import annotations

from datasets import Dataset

from common.models.pocket import build_tokenizer, save_pocket
from common.models.recipe import ModelShape, build_model

SPECIAL = ("<pad>", "<bos>", "<eos>")
NUMBERS = ("0", "1", "2", "3")


def random_policy(seed: int) -> str:
    """A policy of about 4,000 parameters that knows the task's words."""
    words = build_tokenizer((*SPECIAL, *NUMBERS), *SPECIAL)
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=16)
    save_pocket(build_model(shape, words, seed), words, Echo.folder / f"echo-{seed}", {})
    return str(Echo.folder / f"echo-{seed}")


class Echo:
    """Prompts name a number; its token has to come first."""

    models = {"random": random_policy}  # noqa: RUF012
    folder = None

    def __init__(self, run, seed, tokenizer):
        self.numbers = tokenizer.convert_tokens_to_ids(list(NUMBERS))
        self.dataset = Dataset.from_dict({"prompt": [f"<bos> {n}" for n in NUMBERS], "index": [0, 1, 2, 3]})

    def reward(self, completion_ids, index, **_):
        return [
            float(ids[0] == self.numbers[place]) for ids, place in zip(completion_ids, index, strict=True)
        ]

    def evaluate(self, model, tokenizer, samples, seed):
        return {"pass_at_1/all": 0.5, "length": 1.0}
