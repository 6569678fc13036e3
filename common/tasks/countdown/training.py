"""Supervised training on Countdown with a weight per sequence; traces that are sampled and scored for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.models.recipe import cosine, fit
from common.preference.losses import span_masks, weighted_nll
from common.tasks.countdown import EOS, Question, Teacher, items, read
from common.tasks.countdown.evaluation import Solver

WARMUP = 10  # optimizer steps


@dataclass(frozen=True)
class Demonstration:
    """A question of the training set with the teacher's trace and answer."""

    question: Question
    trace: str
    answer: str

    def prompt(self, hint: str = "") -> str:
        """The question, perhaps with an answer as a hint."""
        return self.question.hinted(hint) if hint else self.question.text


@dataclass(frozen=True)
class Row:
    """A sequence to train on; the weight multiplies its summed loss."""

    prompt: str
    completion: str
    weight: float = 1.0


def demonstrations(teacher: Teacher, count: int, seed: int) -> list[Demonstration]:
    """Questions of the training split, each with the teacher's trace and answer."""
    rng = np.random.default_rng([seed, 0xDE])
    return [Demonstration(own, *teacher(own, rng)) for own in items("train", count, seed)]


def demonstrated(rows: Sequence[Demonstration], hinted: bool = False) -> list[Row]:
    """Rows of demonstrations, each under its own answer if hinted."""
    return [Row(own.prompt(own.answer if hinted else ""), f"{own.trace} {own.answer} {EOS}") for own in rows]


def hinted(rows: Sequence[Demonstration], wrong: bool = False) -> list[str]:
    """Prompts with the answer of each question, or with that of the next one."""
    answers = [own.answer for own in rows]
    shown = answers[1:] + answers[:1] if wrong else answers
    return [own.prompt(answer) for own, answer in zip(rows, shown, strict=True)]


class Norms:
    """Norm of the gradient of each step, before it is clipped."""

    def __init__(self, model: nn.Module) -> None:
        self.squares, self.values = 0.0, list[float]()
        self.handles = [each.register_post_accumulate_grad_hook(self._add) for each in model.parameters()]

    def _add(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.squares += float(parameter.grad.square().sum())

    def close_step(self) -> None:
        """The loss of the next step is asked for, so the last gradient is complete."""
        if self.squares:
            self.values.append(self.squares**0.5)
        self.squares = 0.0

    def remove(self) -> list[float]:
        """Stop; the norms of all steps."""
        self.close_step()
        for handle in self.handles:
            handle.remove()
        return self.values


def train(
    solver: Solver,
    rows: Sequence[Row],
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    naive: bool = False,
) -> dict[str, list[float]]:
    """Weighted supervised training in place, in epochs of shuffled rows; losses and gradient norms.

    The summed losses of a batch are divided by the average length of all completions (Dr. SFT), or by the
    tokens of the batch if `naive`: the loss of `common.preference.weighted.WeightedSFTTrainer`, in a loop
    without its bookkeeping.
    """
    encoded = [encode(solver, (row.prompt, row.completion)) for row in rows]
    weights = torch.tensor([row.weight for row in rows])
    constant = float(np.mean([len(completion) for _, completion in encoded])) * batch
    places, norms = _places(len(rows), seed), Norms(solver.model)

    def loss(_step: int) -> Float[Tensor, ""]:
        norms.close_step()
        chosen = [next(places) for _ in range(batch)]
        scores, tokens = token_log_probs(solver, [encoded[place] for place in chosen])
        return weighted_nll(scores, weights[chosen], tokens if naive else constant)

    solver.model.train()
    losses = fit(solver.model.parameters(), loss, steps, learning_rate, cosine(WARMUP, steps))
    solver.model.eval()
    return {"loss": losses, "norm": norms.remove()}


def _places(rows: int, seed: int) -> Iterator[int]:
    """Endless places; each epoch has an order of its own."""
    rng = np.random.default_rng([seed, 0x5F])
    while True:
        yield from rng.permutation(rows).tolist()


def encode(solver: Solver, texts: Sequence[str]) -> list[list[int]]:
    """Ids of each text; joined texts are never merged over their border."""
    words = solver.tokenizer.get_vocab()
    return [[words[word] for word in text.split()] for text in texts]


def token_log_probs(
    solver: Solver, rows: Sequence[Sequence[Sequence[int]]]
) -> tuple[Float[Tensor, "B T"], Int[Tensor, ""]]:
    """Log-probabilities of the tokens after each prompt, 0 elsewhere, and how many there are."""
    lengths = torch.tensor([[len(part) for part in row] for row in rows])
    whole = [torch.tensor([token for part in row for token in part]) for row in rows]
    ids = pad_sequence(whole, batch_first=True, padding_value=int(solver.tokenizer.pad_token_id))
    inside = span_masks(lengths, ids.shape[1])[1:].any(dim=0)[:, 1:]
    logits = solver.model(input_ids=ids[:, :-1], use_cache=False).logits
    scores = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return scores.where(inside, 0.0), inside.sum()


@dataclass(frozen=True)
class Sampled:
    """K traces of each of Q questions, and what they are scored by.

    Attributes:
        demonstrations: Of the Q questions.
        traces: Text of each trace, end mark included.
        lengths: Tokens of each.
        log_policy: Log-probability of each trace under the policy, which sees no hint.
        log_proposal: Under the proposal and the prompt that it was drawn from.
        correct: Whether each of n answers of the policy to the trace is correct.
        answers: The first correct one, or the reference answer.
        log_answer: Log-likelihood of the reference answer under the policy after the trace.
        answer_lengths: Tokens of the reference answer.
    """

    demonstrations: Sequence[Demonstration]
    traces: Sequence[Sequence[str]]
    lengths: Int[np.ndarray, "Q K"]
    log_policy: Float[np.ndarray, "Q K"]
    log_proposal: Float[np.ndarray, "Q K"]
    correct: Bool[np.ndarray, "Q K n"]
    answers: Sequence[Sequence[str]]
    log_answer: Float[np.ndarray, "Q K"]
    answer_lengths: Int[np.ndarray, " Q"]

    @property
    def accuracy(self) -> Float[np.ndarray, "Q K"]:
        """Share of the policy's answers to each trace that are correct."""
        found: np.ndarray = self.correct.mean(axis=-1)
        return found


@dataclass(frozen=True)
class Draws:
    """How many traces of a question and answers to a trace are drawn, at which temperature and seed."""

    traces: int
    answers: int
    temperature: float
    seed: int


def draw(
    policy: Solver, proposal: Solver, rows: Sequence[Demonstration], prompts: Sequence[str], draws: Draws
) -> Sampled:
    """Traces of the proposal at its prompts, answers of the policy to them, and log-probabilities."""
    count, shape = draws.traces, (len(rows), draws.traces)
    each = [own for own in rows for _ in range(count)]
    traces = proposal.traces(prompts, count, draws.temperature, draws.seed)
    asked = [f"{own.prompt()} {trace}" for own, trace in zip(each, traces, strict=True)]
    answers = policy.answers(asked, draws.answers, draws.temperature, draws.seed)
    tried = [answers[start : start + draws.answers] for start in range(0, len(answers), draws.answers)]
    correct = [[own.question.verify(text) for text in texts] for own, texts in zip(each, tried, strict=True)]
    kept = [
        next((text for text, right in zip(texts, found, strict=True) if right), own.answer)
        for own, texts, found in zip(each, tried, correct, strict=True)
    ]
    scored = policy.log_probs(
        [(own.prompt(), trace, f"{own.answer} {EOS}") for own, trace in zip(each, traces, strict=True)]
    )
    seen = [prompt for prompt in prompts for _ in range(count)]
    drawn = proposal.log_probs(list(zip(seen, traces, strict=True)))
    return Sampled(
        demonstrations=rows,
        traces=np.reshape(traces, shape).tolist(),
        lengths=np.reshape([len(trace.split()) for trace in traces], shape),
        log_policy=scored[:, 0].reshape(shape),
        log_proposal=drawn[:, 0].reshape(shape),
        correct=np.reshape(correct, (*shape, draws.answers)),
        answers=np.reshape(kept, shape).tolist(),
        log_answer=scored[:, 1].reshape(shape),
        answer_lengths=np.array([len(own.answer.split()) + 1 for own in rows]),
    )


def gradient_norms(policy: Solver, own: Sampled) -> Float[np.ndarray, " Q"]:
    """Norm of each question's gradient under rejection sampling, traces weighted by accuracy (z-part)."""
    parameters, norms = list(policy.model.parameters()), []
    for row, traces, right in zip(own.demonstrations, own.traces, own.accuracy, strict=True):
        scores, _ = token_log_probs(policy, [encode(policy, (row.prompt(), trace)) for trace in traces])
        loss = (scores.sum(dim=1) * torch.from_numpy(right).float()).mean()
        gradients = torch.autograd.grad(loss, parameters)
        norms.append(float(sum(each.square().sum() for each in gradients)) ** 0.5)
    return np.array(norms)


def leaks(sampled: Sampled) -> list[bool]:
    """Which traces give their hint away: the hinted solution alone, or no sound step and right answers."""
    found = []
    for own, traces, right in zip(sampled.demonstrations, sampled.traces, sampled.accuracy, strict=True):
        for trace, answered in zip(traces, right, strict=True):
            reading = read(own.question, trace)
            hollow = not reading.attempts or reading.slips > 0
            found.append((reading.attempts == 1 and reading.supported) or (hollow and answered > 0))
    return found
