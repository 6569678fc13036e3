"""ToolCall-Mini as what a policy is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run
from common.tasks import toolcall
from common.tasks.toolcall import LEVELS, TURNS, VOCABULARY, Item, Mark, scored
from common.tasks.toolcall.evaluation import answer, solved
from common.tasks.toolcall.warm_start import pocket


class ToolCalls:
    """ToolCall-Mini with training steps drawn from the seed and fixed held-out steps and dialogues.

    `Run.evaluation_prompts` is the number of steps of each level; dialogues of a kind are a quarter.
    """

    models: ClassVar[Mapping[str, Callable[[int], str]]] = {"pocket": pocket}

    def __init__(self, run: Run, seed: int, _tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.run = run
        self.training = toolcall.items(seed, run.training_prompts)
        self.dataset = Dataset.from_dict(
            {"prompt": [item.prompt for item in self.training], "index": list(range(len(self.training)))}
        )

    def marks(self, completion_ids: list[list[int]], index: list[int]) -> list[Mark]:
        """What completions are worth; token ids are places in the vocabulary."""
        return [
            scored([VOCABULARY[token] for token in ids], self.training[place])
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    @property
    def reward(self) -> Callable[..., list[float]]:
        """1 for the right calls in the right form, else 0."""

        def right(completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
            return [float(each.right and each.formed) for each in self.marks(completion_ids, index)]

        return right

    def evaluate(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        samples: int,  # noqa: ARG002 - one response a step
        seed: int,
    ) -> dict[str, float]:
        """``pass_at_1/<level>`` of steps, ``pass_at_1/<kind>`` of dialogues, ``formed`` and ``length``."""
        temperature, longest = self.run.evaluation_temperature, self.run.max_response
        steps = {level: toolcall.heldout(level, self.run.evaluation_prompts) for level in LEVELS}
        every = [item for level in LEVELS for item in steps[level]]
        answers = answer(model, tokenizer, every, temperature, seed, longest)
        rates = dict(zip(LEVELS, answers.right.reshape(len(LEVELS), -1).mean(axis=1), strict=True))
        rates["all"] = answers.right.mean()
        for kind in TURNS:
            dialogues = [
                toolcall.dialogue(kind, each) for each in range(max(1, self.run.evaluation_prompts // 4))
            ]
            asked: list[Item] = [step for steps in dialogues for step in steps]
            given = answer(model, tokenizer, asked, temperature, seed, longest)
            rates[kind] = solved(given, dialogues).mean()
        depths = {f"depth_{depth}": [item.depth == depth for item in every] for depth in (1, 2, 3)}
        rates |= {name: answers.right[chosen].mean() for name, chosen in depths.items() if any(chosen)}
        return {
            **{f"pass_at_1/{name}": float(rate) for name, rate in rates.items()},
            "formed": float(answers.formed.mean()),
            "length": float(answers.mask.sum(axis=1).mean()),
        }
