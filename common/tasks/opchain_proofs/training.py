"""`opchain_proofs` as what a policy is trained and evaluated on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from datasets import Dataset
from jaxtyping import Int
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run
from common.tasks import opchain
from common.tasks.opchain.evaluation import Evaluation, evaluate
from common.tasks.opchain.training import OpChain, shares
from common.tasks.opchain_proofs import chains, proven

HELDOUT_MIX = (0.3, 0.0, 0.3, 0.4)
"""Levels of the held-out prompts, E, M, H, X."""


class ProvenOpChain(OpChain):
    """OpChain without the operator `#`, so that level X has two `@`, scored by `proven`."""

    def __init__(self, run: Run, seed: int, _tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        self.run = run
        self.training = chains(run.training_prompts, seed, "train", shares(run.mix))
        self.heldout = chains(run.evaluation_prompts, 0, "heldout", HELDOUT_MIX)
        self.dataset = Dataset.from_dict(
            {"prompt": [item.prompt for item in self.training], "index": list(range(len(self.training)))}
        )

    def reward(self, completion_ids: list[list[int]], index: list[int], **_: Any) -> list[float]:
        """1 iff `proven`; token ids are places in the vocabulary."""
        return [
            float(proven([opchain.VOCABULARY[token] for token in ids], self.training[place]))
            for ids, place in zip(completion_ids, index, strict=True)
        ]

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """See `Task.evaluate`; also `entropies_by_kind`."""
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
        scored = replace(sampled, correct=proofs(sampled, tokenizer))
        rates = {
            f"pass_at_{k}/{level}": rate
            for k in (1, self.run.pass_at)
            for level, rate in scored.pass_at(k).items()
        }
        return rates | {"length": float(sampled.lengths.mean())} | entropies_by_kind(sampled, tokenizer)


def proofs(sampled: Evaluation, tokenizer: PreTrainedTokenizerBase) -> Int[np.ndarray, " P"]:
    """Number of proven samples of each prompt."""
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    right = [
        proven([words[token] for token in ids[own]], sampled.items[row // sampled.samples])
        for row, (ids, own) in enumerate(zip(sampled.ids, sampled.mask, strict=True))
    ]
    return np.reshape(right, (len(sampled.items), sampled.samples)).sum(axis=1)


def entropies_by_kind(sampled: Evaluation, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """Mean entropy (nats) where a connector is written, which decides nothing, and where a result is: the
    token before each ``;``. NaN where no response has any.
    """
    results = np.zeros_like(sampled.mask)
    results[:, :-1] = sampled.ids[:, 1:] == tokenizer.convert_tokens_to_ids(";")
    connectors = np.isin(sampled.ids, tokenizer.convert_tokens_to_ids(list(opchain.CONNECTORS)))
    kinds = {"connector": connectors & sampled.mask, "result": results & sampled.mask}
    return {
        f"entropy/{kind}": float(sampled.entropies[own].mean()) if own.any() else float("nan")
        for kind, own in kinds.items()
    }
