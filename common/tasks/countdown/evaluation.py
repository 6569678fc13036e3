"""Traces and answers of a policy, their log-probabilities, and what the verifier says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.models.decoding import sample
from common.models.recipe import Policy
from common.preference.losses import sequence_logprob, span_masks
from common.statistics import pass_at_k
from common.tasks.countdown import ANSWER_TOKENS, DONE, EOS, TRACE_TOKENS, Question

ROWS = 512  # of a batch that is scored
WRITTEN = 2048  # of a batch that is written: its cache is all there is in memory


class Solver(Policy):
    """A model of this task with its tokenizer."""

    def continued(
        self,
        prompts: Sequence[str],
        samples: int,
        tokens: int,
        ends: Sequence[str],
        temperature: float,
        seed: int,
    ) -> list[str]:
        """`samples` continuations of each prompt, prompt after prompt, with their end marks."""
        generator = torch.Generator(self.model.device).manual_seed(seed)
        words = np.array(self.tokenizer.convert_ids_to_tokens(list(range(len(self.tokenizer)))))
        stop, step = self.tokenizer.convert_tokens_to_ids(list(ends)), max(1, WRITTEN // samples)
        texts: list[str] = []
        for start in range(0, len(prompts), step):
            encoded = self.tokenizer(
                list(prompts[start : start + step]), return_tensors="pt", padding=True, padding_side="left"
            ).to(self.model.device)
            drawn = sample(
                self.model.eval(),
                encoded["input_ids"].repeat_interleave(samples, dim=0),
                encoded["attention_mask"].repeat_interleave(samples, dim=0),
                tokens,
                temperature,
                eos_id=stop,
                pad_id=self.tokenizer.pad_token_id,
                generator=generator,
            )
            rows = zip(drawn.ids.cpu().numpy(), drawn.mask.sum(1).tolist(), strict=True)
            texts += [" ".join(words[ids[:length]]) for ids, length in rows]
        return texts

    def traces(self, prompts: Sequence[str], samples: int, temperature: float, seed: int) -> list[str]:
        """Traces, prompt after prompt; one that does not end is given its end mark."""
        drawn = self.continued(prompts, samples, TRACE_TOKENS, (DONE, EOS), temperature, seed)
        return [text if text.endswith(DONE) else f"{text.removesuffix(EOS).strip()} {DONE}" for text in drawn]

    def answers(self, prompts: Sequence[str], samples: int, temperature: float, seed: int) -> list[str]:
        """Answers to prompts that end with a trace, prompt after prompt, without the end mark."""
        drawn = self.continued(prompts, samples, ANSWER_TOKENS, (EOS,), temperature, seed)
        return [text.removesuffix(EOS).strip() for text in drawn]

    @torch.no_grad()
    def log_probs(self, parts: Sequence[tuple[str, ...]]) -> Float[np.ndarray, "B S"]:
        """Log-probability in nats of each text of a row after those before it, the first left out."""
        words = self.tokenizer.get_vocab()
        ids = [[[words[word] for word in text.split()] for text in row] for row in parts]
        order = sorted(range(len(ids)), key=lambda place: sum(map(len, ids[place])))
        scores = np.zeros((len(ids), len(ids[0]) - 1))
        for start in range(0, len(order), ROWS):
            places = order[start : start + ROWS]
            scores[places] = self._scored([ids[place] for place in places]).double().cpu().numpy()
        return scores

    def _scored(self, rows: Sequence[Sequence[Sequence[int]]]) -> Float[Tensor, "B S"]:
        whole = [torch.tensor([token for part in row for token in part]) for row in rows]
        lengths = torch.tensor([[len(part) for part in row] for row in rows])
        ids = pad_sequence(whole, batch_first=True, padding_value=self.tokenizer.pad_token_id)
        spans: Bool[Tensor, "S B T"] = span_masks(lengths, ids.shape[1])[1:]
        logits = self.model.eval()(input_ids=ids.to(self.model.device), use_cache=False).logits
        return sequence_logprob(logits, ids.to(logits.device), spans.to(logits.device)).T


@dataclass(frozen=True)
class Solved:
    """What n responses to each of Q questions are worth.

    Attributes:
        questions: The Q questions.
        correct: Of each response.
        traces: Text of each trace, prompt after prompt.
        lengths: Words of each trace and answer, end marks included.
    """

    questions: Sequence[Question]
    correct: Bool[np.ndarray, "Q n"]
    traces: Sequence[str]
    lengths: Float[np.ndarray, "Q n"]

    def rate(self, hard: bool | None = None) -> float:
        """Share of correct responses, to all questions or to the hard or easy ones."""
        return float(self.correct[self.chosen(hard)].mean())

    def passed(self, k: int, hard: bool | None = None) -> float:
        """pass@k, unbiased."""
        right = self.correct[self.chosen(hard)].sum(axis=1)
        return float(np.mean(pass_at_k(self.correct.shape[1], right, k)))

    def chosen(self, hard: bool | None) -> Bool[np.ndarray, " Q"]:
        """Which questions are hard (or easy); all of them for None."""
        return np.array([hard is None or own.hard == hard for own in self.questions])


def solve(
    solver: Solver, questions: Sequence[Question], samples: int, temperature: float, seed: int
) -> Solved:
    """Responses, trace and answer in one go, at a temperature."""
    prompts = [question.text for question in questions]
    tokens = TRACE_TOKENS + ANSWER_TOKENS
    drawn = solver.continued(prompts, samples, tokens, (EOS,), temperature, seed)
    correct, traces = [], []
    for index, text in enumerate(drawn):
        trace, done, answer = text.partition(DONE)
        correct.append(bool(done) and questions[index // samples].verify(answer.removesuffix(EOS)))
        traces.append(trace + done)
    lengths = np.array([len(text.split()) for text in drawn], dtype=float)
    return Solved(questions, np.reshape(correct, (-1, samples)), traces, lengths.reshape(-1, samples))
