"""Final-answer mathematics as what a policy is trained and evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.decoding import sample
from common.models.options import all_ends
from common.rl.run import Run
from common.statistics import pass_at_k
from common.tasks import math_answers


class Math:
    """Final-answer mathematics: training problems drawn from the seed, fixed evaluation sets.

    The prompt is the chat template's if the tokenizer has one. A reward is 1 for the right answer in a box
    and else 0; `overlong_shaping` adds DAPO's length penalty.
    """

    models: Mapping[str, Callable[[int], str]] = {}

    def __init__(self, run: Run, seed: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.run, self.tokenizer = run, tokenizer
        problems = math_answers.load_problems(run.dataset, "train")
        if run.training_prompts:
            places = np.random.default_rng(seed).permutation(len(problems))[: run.training_prompts]
            problems = [problems[place] for place in places]
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
                batch_of = sample(
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
            ended = batch_of.mask.sum(dim=1).tolist()
            completions += [row[:end] for row, end in zip(batch_of.ids.tolist(), ended, strict=True)]
        return completions


def evaluation_sources(text: str) -> dict[str, str]:
    """``"AIME24=math-ai/aime24,mine=data/mine.jsonl"`` as name to source.

    Raises:
        ValueError: nothing in it, or a part without name or source.
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(name and source for name, _, source in pairs) or "all" in {name for name, _, _ in pairs}:
        raise ValueError(f"evaluation_sets='{text}'; write NAME=SOURCE,NAME=SOURCE (no set is called 'all')")
    return {name: source for name, _, source in pairs}
