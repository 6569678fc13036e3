"""OpChain as what a policy is trained and evaluated on, with the policies that know its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run
from common.tasks import opchain
from common.tasks.opchain.evaluation import evaluate, high_entropy_positions
from common.tasks.opchain.warm_start import committed_warm_start, large_warm_start

COUNTED = tuple(token for token in opchain.VOCABULARY if not token.startswith("<"))


class OpChain:
    """OpChain with training prompts drawn from the seed and one fixed held-out set."""

    models: ClassVar[Mapping[str, Callable[[int], str]]] = {
        "pocket": committed_warm_start,
        "scratch": large_warm_start,
    }

    def __init__(self, run: Run, seed: int, _tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.run = run
        self.training = opchain.items(
            opchain.OpChainConfig(seed=seed, size=run.training_prompts, mix=shares(run.mix))
        )
        self.heldout = opchain.items(replace(opchain.HELDOUT, size=run.evaluation_prompts))
        self.dataset = Dataset.from_dict(
            {"prompt": [item.prompt for item in self.training], "index": list(range(len(self.training)))}
        )

    def reward(self, completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        """1 iff the answer is right and the response ends; token ids are places in the vocabulary."""
        words = opchain.VOCABULARY
        return [
            float(opchain.reward([words[token] for token in ids], self.training[place]))
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """See `Task.evaluate`; also ``count/<token>`` per response and ``high_entropy/<token>`` shares."""
        sampled = evaluate(
            model,
            tokenizer,
            self.heldout,
            samples,
            self.run.evaluation_temperature,
            seed,
            max_new_tokens=self.run.max_response,
            top_p=self.run.evaluation_top_p,
        )
        rates = {
            f"pass_at_{k}/{level}": rate
            for k in (1, self.run.pass_at)
            for level, rate in sampled.pass_at(k).items()
        }
        uncertain = sampled.ids[high_entropy_positions(sampled.entropies, sampled.mask)]
        ids = tokenizer.convert_tokens_to_ids(list(COUNTED))
        counts = np.bincount(sampled.ids[sampled.mask], minlength=len(tokenizer))[ids] / len(sampled.ids)
        frequencies = np.bincount(uncertain, minlength=len(tokenizer))[ids] / max(1, len(uncertain))
        return {
            **rates,
            "length": float(sampled.lengths.mean()),
            **{f"count/{token}": float(count) for token, count in zip(COUNTED, counts, strict=True)},
            **{
                f"high_entropy/{token}": float(part) for token, part in zip(COUNTED, frequencies, strict=True)
            },
        }


def shares(text: str) -> tuple[float, float, float, float]:
    """``"0.2,0.3,0.35,0.15"`` as the shares of the levels E, M, H, X.

    Raises:
        ValueError: not four numbers.
    """
    try:
        easy, medium, hard, extreme = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"mix='{text}'; write the shares of E, M, H, X, e.g. 0.2,0.3,0.35,0.15") from error
    return easy, medium, hard, extreme
