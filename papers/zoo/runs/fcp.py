"""FCP on OpChain (arXiv:2509.22638): a critic for its responses, and both stages in one budget of rollouts.

The warm starts know no words of feedback. So the first rollout batches are FCP's offline stage: responses of
the warm start are critiqued, the words become new tokens, and the policy is trained on every response under
its critique. The other batches are the online stage, and from there on the policy is asked under praise.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from common.judge.critic import Critique
from common.judge.pool import FeedbackPool
from common.judge.template import Lexicon, TemplateCritic
from common.models.pocket import load_policy
from common.models.special_tokens import add_special_tokens
from common.rl.harness import Curve, logged_series, policy_path, unpublished
from common.rl.resume import latest_complete_checkpoint
from common.rl.run import Run
from common.study.jobs import Record
from common.tasks.opchain import EOS, WAIT, Item, reward
from common.tasks.opchain.evaluation import Evaluation, evaluate
from common.tasks.opchain.training import OpChain
from papers.fcp.method import FEEDBACK_TOKENS, FCPBootstrapTrainer, FCPConfig, conditioned
from papers.fcp.runs.offline import train_offline
from papers.zoo.runs.timing import Stopwatch

LEXICON: Lexicon = {
    "correct": (("correct", "accurate"), ("wrong", "mistaken")),
    "concise": (("concise", "brief"), ("verbose", "wordy")),
}
LENGTH_WORDS = frozenset(LEXICON["concise"][0] + LEXICON["concise"][1])
WORDS = tuple(word for polarities in LEXICON.values() for words in polarities for word in words)
OFFLINE_SHARE = 0.4  # of the rollout batches
OFFLINE_SAMPLES = 8  # responses per question, as in the paper
OFFLINE: Mapping[str, Any] = {"offline_batch": 16, "offline_epochs": 4, "offline_warmup": 0.1}
"""Settings of the offline stage; its learning rate is the run's, as that of every objective."""


class OpChainCritic(TemplateCritic):
    """Says whether the answer is right, as the verifier does, and half the time whether a step was revised.

    Responses are tokens between spaces, ``<eos>`` included. Nine points for a right answer, one for brevity.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(LEXICON, seed, {"concise": 0.5})

    def attributes(self, question: str, response: str, reference: str) -> dict[str, bool]:
        """From the verifier and the tokens."""
        tokens = response.split()
        return {
            "correct": bool(reward(tokens, Item.from_prompt(question))),
            "concise": WAIT not in tokens,
        }

    def score(self, attributes: Mapping[str, bool]) -> int:
        """Integer from 0 to 10; nine or more is a right answer."""
        return 9 * attributes["correct"] + attributes["concise"]

    def user(self, attributes: Mapping[str, bool], rng: np.random.Generator) -> str:
        """The word on the answer alone."""
        return self.summary({"correct": attributes["correct"]}, rng, complete=True)


class FCPTrainer(FCPBootstrapTrainer):
    """`FCPBootstrapTrainer` whose critic reads tokens, ``<eos>`` among them; logs 1 for a right answer."""

    def critic_score(  # type: ignore[override]  # TRL calls by the names of the columns that it reads
        self, completion_ids: list[list[int]], question: list[str], **_: Any
    ) -> list[float]:
        texts = (" ".join(self.tokenizer.convert_ids_to_tokens(ids)) for ids in completion_ids)
        self.critiques = [self.critic(q, text, "") for q, text in zip(question, texts, strict=True)]
        return [float(critique.score >= 9) for critique in self.critiques]


@dataclass(frozen=True)
class ConditionedItem:
    """A chain under a critique, for the evaluation."""

    item: Item
    critique: str

    @property
    def prompt(self) -> str:
        """Critique and chain."""
        return str(conditioned(self.item.prompt, self.critique))

    @property
    def answer(self) -> int:
        """The chain's."""
        return self.item.answer

    @property
    def level(self) -> str:
        """The chain's."""
        return self.item.level


def praised_task(run: Run, seed: int, pool: FeedbackPool) -> OpChain:
    """OpChain whose held-out chains are asked under praise, one c+ each."""
    task = OpChain(run, seed)
    praise = pool.draw(np.random.default_rng([seed, 2]), len(task.heldout))
    task.heldout = cast("tuple[Item, ...]", tuple(map(ConditionedItem, task.heldout, praise)))
    return task


def offline_batches(run: Run) -> int:
    """Rollout batches of the offline stage."""
    return max(1, round(OFFLINE_SHARE * run.iterations))


def offline_stage(
    run: Run,
    seed: int,
    workspace: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: OpChain,
) -> tuple[FeedbackPool, dict[str, np.ndarray]]:
    """Sample from the warm start, critique, add the words, and train in place on every response that ends.

    Returns:
        Praise without words on length; reward, length, entropy and share of responses that train nothing, by
        rollout batch, shape ``[1, K]`` each.
    """
    items = task.training[: offline_batches(run) * run.batch // OFFLINE_SAMPLES]
    sampled = evaluate(model, tokenizer, items, OFFLINE_SAMPLES, 1.0, seed, max_new_tokens=run.max_response)
    prompts = [item.prompt for item in items for _ in range(OFFLINE_SAMPLES)]
    texts = [
        " ".join(tokenizer.convert_ids_to_tokens(ids[mask]))
        for ids, mask in zip(sampled.ids, sampled.mask, strict=True)
    ]
    critic = OpChainCritic(seed)
    critiques = [critic(prompt, text, "") for prompt, text in zip(prompts, texts, strict=True)]
    add_special_tokens(model, tokenizer, (*FEEDBACK_TOKENS, *WORDS), seed)
    complete = [place for place, text in enumerate(texts) if text.endswith(EOS)]
    rows = {
        "prompt": [prompts[place] for place in complete],
        "completion": [f" {texts[place].removesuffix(f' {EOS}')}" for place in complete],
        "critique": [critiques[place].summary for place in complete],
    }
    settings = {**OFFLINE, "offline_learning_rate": run.learning_rate}
    train_offline(model, tokenizer, rows, settings, seed, workspace / "offline")
    return FeedbackPool(critiques, exclude=LENGTH_WORDS), _series(sampled, critiques, run.batch)


def _series(sampled: Evaluation, critiques: Sequence[Critique], batch: int) -> dict[str, np.ndarray]:
    tokens = sampled.mask.sum(axis=1).reshape(-1, batch)
    right = np.reshape([critique.score >= 9 for critique in critiques], (-1, batch))
    columns = {
        "reward": right.mean(axis=1),
        "length": tokens.mean(axis=1),
        "entropy": sampled.entropies.sum(axis=1).reshape(-1, batch).sum(axis=1) / tokens.sum(axis=1),
        "share_zero": np.zeros(len(tokens)),
    }
    return {name: values[None] for name, values in columns.items()}


def train_arm(run: Run, seed: int, workspace: Path, trainer: type[FCPTrainer], args: FCPConfig) -> Record:
    """As `common.rl.harness.train_arm`, with the offline stage in the first rollout batches.

    Raises:
        ValueError: another task than OpChain.
    """
    model, tokenizer, task = _start(run, seed, seed)
    offset = offline_batches(run)
    start = Curve(task, run, seed, workspace, tokenizer)
    for iteration in range(offset):
        start.measure(model, iteration)
    pool, offline = offline_stage(run, seed, workspace, model, tokenizer, task)
    curve = Curve(praised_task(run, seed, pool), run, seed, workspace, tokenizer, offset)
    args.max_steps -= offset * run.optimizer_steps
    others = {"processing_class": tokenizer, "callbacks": [curve]}
    online = unpublished(trainer(model, OpChainCritic(seed), pool, args, task.dataset, **others))
    online.train(resume_from_checkpoint=latest_complete_checkpoint(workspace) if args.exact_resume else None)
    logged = logged_series(online.state.log_history)
    series = {name: np.concatenate([first, logged[name]], axis=1) for name, first in offline.items()}
    final = {name: value for name, value in curve.point(run.iterations).items() if name.startswith("pass_at")}
    scalars = {f"final/{name}": np.array([value]) for name, value in final.items()}
    return Record(scalars, {**series, **curve.series()})


def seconds_per_batch(
    run: Run, timed: Run, seed: int, workspace: Path, trainer: type[FCPTrainer], args: FCPConfig
) -> float:
    """Mean seconds per rollout batch of `run`: its offline stage, and an online one as fast as `timed`."""
    model, tokenizer, task = _start(run, seed, 0)
    start = time.perf_counter()
    pool, _ = offline_stage(run, seed, workspace, model, tokenizer, task)
    spent = time.perf_counter() - start
    watch = Stopwatch(timed.optimizer_steps)
    others = {"processing_class": tokenizer, "callbacks": [watch]}
    unpublished(trainer(model, OpChainCritic(seed), pool, args, task.dataset, **others)).train()
    online = run.iterations - offline_batches(run)
    return (spent + online * watch.seconds) / run.iterations


def _start(run: Run, seed: int, warm_start: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, OpChain]:
    if run.task != "opchain":
        raise ValueError(f"the critic of FCP reads OpChain, not task={run.task}")
    set_seed(seed)
    model, tokenizer = load_policy(policy_path(run, warm_start))
    return model, tokenizer, OpChain(run, seed)
