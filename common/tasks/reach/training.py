"""Reach as what a policy is trained and evaluated on, with the policies that know its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run
from common.study.errors import StudyError
from common.tasks import reach
from common.tasks.reach.evaluation import accuracy
from common.tasks.reach.warm_start import committed_base


class Reach:
    """Graphs whose first hop has a choice; training graphs are drawn from the seed, one set is held out.

    Raises:
        StudyError: a policy with another vocabulary.
    """

    models: ClassVar[Mapping[str, Callable[[int], str]]] = {"pocket": committed_base}
    branches: ClassVar[int] = reach.AMBIGUOUS
    vocabulary: ClassVar[Sequence[str]] = reach.VOCABULARY
    score = staticmethod(reach.reward)

    def __init__(self, run: Run, seed: int, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        if tokenizer is not None and len(tokenizer) != len(reach.VOCABULARY):
            raise StudyError("reach knows its own policies alone: leave MODEL out (model=pocket)")
        self.run = run
        self.training = reach.items(self.branches, "train", run.training_prompts, seed)
        self.heldout = reach.items(self.branches, "heldout", run.evaluation_prompts, 0)
        self.dataset = Dataset.from_dict(
            {"prompt": [item.prompt for item in self.training], "index": list(range(len(self.training)))}
        )

    def reward(self, completion_ids: list[list[int]], index: list[int], **_: object) -> list[float]:
        """1 iff the response ends with the goal that can be reached; ids are places in the vocabulary."""
        return [
            reach.reward([reach.VOCABULARY[token] for token in ids], self.training[place])
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """``pass_at_1/all`` on the held-out graphs."""
        temperature = self.run.evaluation_temperature
        return {"pass_at_1/all": accuracy(model, tokenizer, self.heldout, samples, temperature, seed)}


class Determined(Reach):
    """Graphs in which every hop has one way to go."""

    branches: ClassVar[int] = reach.DETERMINED
