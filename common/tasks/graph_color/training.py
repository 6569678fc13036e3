"""Graph colouring as what a policy is trained and evaluated on, with the policies that know its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import ClassVar

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run
from common.study.errors import StudyError
from common.tasks import graph_color
from common.tasks.graph_color.evaluation import accuracy
from common.tasks.graph_color.warm_start import base_policy


class GraphColor:
    """Reasoning Gym's graphs of a seed to train on; one set is held out.

    Raises:
        StudyError: a policy with another vocabulary.
    """

    models: ClassVar[Mapping[str, Callable[[int], str]]] = {"pocket": base_policy}
    vocabulary: ClassVar[Sequence[str]] = graph_color.VOCABULARY
    score = staticmethod(graph_color.score)

    def __init__(self, run: Run, seed: int, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        if tokenizer is not None and len(tokenizer) != len(self.vocabulary):
            raise StudyError("graph colouring knows its own policies alone: leave MODEL out (model=pocket)")
        self.run = run
        self.training = list(islice(graph_color.stream("train", seed + 1), run.training_prompts))
        self.heldout = graph_color.heldout(run.evaluation_prompts)
        self.dataset = Dataset.from_dict(
            {"prompt": [item.prompt for item in self.training], "index": list(range(len(self.training)))}
        )

    def reward(self, completion_ids: list[list[int]], index: list[int], **_: object) -> list[float]:
        """Reasoning Gym's score of each response; ids are places in the vocabulary."""
        return [
            graph_color.score([self.vocabulary[token] for token in ids], self.training[place])
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """``pass_at_1/all`` on the held-out graphs."""
        temperature = self.run.evaluation_temperature
        return {"pass_at_1/all": accuracy(model, tokenizer, self.heldout, samples, temperature, seed)}
