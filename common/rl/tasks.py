"""What a policy is trained and evaluated on: OpChain (offline), or DAPO-Math-17k with AIME and AMC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.models.evaluate import evaluate, high_entropy_positions
from common.models.options import all_ends
from common.rl.run import Run
from common.statistics import pass_at_k
from common.tasks import math_answers, opchain

COUNTED = tuple(token for token in opchain.VOCABULARY if not token.startswith("<"))


class Task(Protocol):
    """Prompts, a verifier and an evaluation.

    Attributes:
        dataset: Training prompts, column ``prompt`` and whatever the verifier needs.
    """

    dataset: Dataset

    @property
    def reward(self) -> Callable[..., list[float]]:
        """0/1 per completion, as TRL calls it: ``completion_ids`` and the columns of the dataset by name."""

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """``pass_at_1/<level>``, ``pass_at_<k>/<level>``, ``length``, token statistics; held-out prompts."""


def build_task(run: Run, seed: int, tokenizer: PreTrainedTokenizerBase) -> Task:
    """The task of a run; `tokenizer` is the policy's.

    Raises:
        ValueError: unknown task.
        DatasetUnavailableError: problems that cannot be loaded.
    """
    if run.task == "opchain":
        return OpChain(run, seed)
    if run.task == "math":
        return Math(run, seed, tokenizer)
    raise ValueError(f"unknown task '{run.task}'; choose opchain or math")


class OpChain:
    """OpChain with training prompts drawn from the seed and one fixed held-out set."""

    def __init__(self, run: Run, seed: int) -> None:
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
        found = evaluate(
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
            for level, rate in found.pass_at(k).items()
        }
        chosen = high_entropy_positions(found.entropies, found.mask)
        ids = tokenizer.convert_tokens_to_ids(list(COUNTED))
        counts = np.bincount(found.ids[found.mask], minlength=len(tokenizer))[ids] / len(found.ids)
        shares = np.bincount(found.ids[chosen], minlength=len(tokenizer))[ids] / max(1, int(chosen.sum()))
        return {
            **rates,
            "length": float(found.lengths.mean()),
            **{f"count/{token}": float(count) for token, count in zip(COUNTED, counts, strict=True)},
            **{f"high_entropy/{token}": float(share) for token, share in zip(COUNTED, shares, strict=True)},
        }


class Math:
    """Final-answer mathematics: training problems drawn from the seed, fixed evaluation sets.

    The prompt is the chat template's if the tokenizer has one. A reward is 1 for the right answer in a box
    and else 0; `overlong_shaping` adds DAPO's length penalty.
    """

    def __init__(self, run: Run, seed: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.run, self.tokenizer = run, tokenizer
        problems = math_answers.load_problems(run.dataset, "train")
        if run.training_prompts:
            chosen = np.random.default_rng(seed).permutation(len(problems))[: run.training_prompts]
            problems = [problems[place] for place in chosen]
        self.sets = {
            name: math_answers.load_problems(source, "test")[: run.evaluation_prompts or None]
            for name, source in evaluation_sources(run.evaluation_sets).items()
        }
        self.dataset = Dataset.from_dict(
            {
                "prompt": [self._prompt(problem) for problem in problems],
                "answer": [problem.answer for problem in problems],
            }
        )

    def _prompt(self, problem: math_answers.Problem) -> str | list[dict[str, str]]:
        text = math_answers.format_prompt(problem.text)
        return [{"role": "user", "content": text}] if self.tokenizer.chat_template else text

    def reward(self, completion_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
        """1 iff the boxed answer is right, plus the length penalty if the run asks for it."""
        texts = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        right = [float(math_answers.answer_reward(*pair)) for pair in zip(texts, answer, strict=True)]
        if not self.run.overlong_shaping:
            return right
        limits = self.run.max_response, self.run.overlong_cache
        return [
            reward + math_answers.overlong_penalty(len(ids), *limits)
            for reward, ids in zip(right, completion_ids, strict=True)
        ]

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """See `Task.evaluate`; ``all`` is the mean over the problems of all sets, not over the sets."""
        generator = torch.Generator(model.device).manual_seed(seed)
        correct: dict[str, np.ndarray] = {}
        lengths: list[int] = []
        for name, problems in self.sets.items():
            rows = [problem for problem in problems for _ in range(samples)]
            ids = self._sample(model, tokenizer, rows, generator)
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
            right = [
                math_answers.answer_reward(text, row.answer) for text, row in zip(texts, rows, strict=True)
            ]
            correct[name] = np.reshape(right, (len(problems), samples)).sum(axis=1)
            lengths += map(len, ids)
        correct["all"] = np.concatenate(list(correct.values()))
        rates = {
            f"pass_at_{k}/{name}": float(pass_at_k(samples, counts, k).mean())
            for k in (1, self.run.pass_at)
            for name, counts in correct.items()
        }
        return {**rates, "length": float(np.mean(lengths))}

    def _sample(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        rows: Sequence[math_answers.Problem],
        generator: torch.Generator,
    ) -> list[list[int]]:
        """One completion per row, in batches with at most `evaluation_tokens` tokens in the cache."""
        prompts = [self._prompt(row) for row in rows]
        encoded = (
            tokenizer.apply_chat_template(
                prompts, add_generation_prompt=True, tokenize=True, return_dict=True
            )
            if tokenizer.chat_template
            else tokenizer(prompts)
        )["input_ids"]
        room = max(map(len, encoded)) + self.run.max_response
        size = max(1, self.run.evaluation_tokens // room)
        completions: list[list[int]] = []
        for start in range(0, len(rows), size):
            batch = {"input_ids": encoded[start : start + size]}
            padded = tokenizer.pad(batch, padding_side="left", return_tensors="pt").to(model.device)
            with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
                found = sample(
                    model,
                    padded["input_ids"],
                    padded["attention_mask"],
                    self.run.max_response,
                    self.run.evaluation_temperature,
                    eos_id=all_ends(model, tokenizer.eos_token_id),
                    pad_id=tokenizer.pad_token_id,
                    generator=generator,
                    top_p=self.run.evaluation_top_p,
                )
            ended = found.mask.sum(dim=1).tolist()
            completions += [row[:end] for row, end in zip(found.ids.tolist(), ended, strict=True)]
        return completions


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


def evaluation_sources(text: str) -> dict[str, str]:
    """``"AIME24=math-ai/aime24,mine=data/mine.jsonl"`` as name to source.

    Raises:
        ValueError: nothing in it, or a part without name or source.
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(name and source for name, _, source in pairs) or "all" in {name for name, _, _ in pairs}:
        raise ValueError(f"evaluation_sets='{text}'; write NAME=SOURCE,NAME=SOURCE (no set is called 'all')")
    return {name: source for name, _, source in pairs}
