"""Drafts that watch a run: what they learn from its rollouts, and how long their trees are accepted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import TrainerCallback

from common.rl.advantages import group_mean, mixed_groups
from common.rl.rollout import Rollout
from common.speculative.generate import Generation
from common.speculative.networks import DraftNetwork
from common.speculative.target import Target
from common.speculative.texts import score_trees
from common.speculative.tree import TreePolicy
from papers.fastgrpo.method import FastGRPOTrainer, OnlineDraftLearner
from papers.fastgrpo.runs.drafts import roots
from papers.fastgrpo.runs.replay import tree_of

PROBE_TOKENS = 16
"""Tokens of a row in the trees by which drafts are compared."""


@dataclass
class Observer:
    """A draft that watches the rollouts of a run.

    Attributes:
        network: The draft.
        learner: What trains it; None leaves it as it is.
        used_only: Learn from rollouts with an advantage only.
        shuffled: Control: features in the wrong order.
        curve: Expected acceptance lengths measured so far.
    """

    network: DraftNetwork
    learner: OnlineDraftLearner | None = None
    used_only: bool = False
    shuffled: bool = False
    curve: list[float] = field(default_factory=list)


class ObservedTrainer(FastGRPOTrainer):
    """`FastGRPOTrainer` with observers, the time of every part, and GPG's advantages if asked to.

    Args:
        observers: By name; the trainer's own draft is measured as ``online``.
        every: Iterations between measurements of acceptance; 0 measures never.
        gpg: Advantages of group policy gradient (arXiv:2504.02546) in place of GRPO's.
    """

    def __init__(
        self,
        *rest: Any,
        observers: Mapping[str, Observer] | None = None,
        every: int = 0,
        gpg: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(*rest, **others)
        self.observers, self.every, self.gpg = dict(observers or {}), every, gpg
        if self.learner is not None:
            self.observers["online"] = Observer(self.draft.network)
        self._iteration, self._extra = 0, 0.0

    def advantages(self, rewards: Float[Tensor, " N"], rollout: Rollout) -> Float[Tensor, " B"]:
        """GRPO's, or the centred rewards scaled by groups over mixed groups."""
        usual = super().advantages(rewards, rollout)
        if not self.gpg:
            return usual
        size = rollout.num_generations
        mixed = mixed_groups(rewards, size)
        scale = len(mixed) / mixed.sum().clamp(min=1)
        centred = rewards - group_mean(rewards, size).repeat_interleave(size)
        return (scale * centred)[rollout.local]

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        """Keep the rollouts; measure every draft on them."""
        super().after_generation(generation, prompt_ids)
        clock = time.perf_counter()
        if self.every and self._iteration % self.every == 0:
            probe = Probe.of(generation, prompt_ids)
            for observer in self.observers.values():
                observer.curve.append(probe.measure(observer.network, self.target))
        self._iteration += 1
        self._extra += time.perf_counter() - clock

    def teach_draft(self, mixed: Bool[Tensor, " B"]) -> float:
        """The method's step, then the observers'."""
        clocks = [time.perf_counter()]
        loss = super().teach_draft(mixed)
        clocks.append(time.perf_counter())
        self.log_metric("draft/used", mixed.float().mean().item())
        for observer in self.observers.values():
            if observer.learner is not None:
                self._observe(observer, mixed)
        clocks.append(time.perf_counter())
        self.log_metric("seconds/learn", clocks[1] - clocks[0])
        self._extra += clocks[2] - clocks[1]
        return loss

    def _observe(self, observer: Observer, used: Bool[Tensor, " N"]) -> None:
        assert observer.learner is not None
        for generation, prompts in self.generations:
            shown = shuffled(generation, self._iteration) if observer.shuffled else generation
            with torch.enable_grad():
                observer.learner.step([shown], prompts, used if observer.used_only else None)

    def rollout(self, prompts: list[dict[str, Any]]) -> Rollout:
        """The method's, with the observers' time apart."""
        self._extra = 0.0
        rollout = super().rollout(prompts)
        self.log_metric("seconds/extra", self._extra)
        return rollout


def shuffled(generation: Generation, seed: int) -> Generation:
    """The same tokens with every row's features in random order."""
    draws = torch.Generator().manual_seed(seed)
    features = [row[torch.randperm(len(row), generator=draws)] for row in generation.features or []]
    return Generation(generation.tokens, generation.stats, features)


@dataclass(frozen=True)
class Probe:
    """Places in rollouts at which drafts are compared.

    Attributes:
        ids: Texts, padded on the right.
        features: Of all tokens but the last.
        places: Roots of the trees.
    """

    ids: Tensor
    features: Tensor
    places: Tensor

    @classmethod
    def of(cls, generation: Generation, prompts: list[list[int]], rows: int = 16, each: int = 6) -> Probe:
        """`rows` rollouts at equal distances, `each` places in every one."""
        step = max(1, len(prompts) // rows)
        chosen = range(0, len(prompts), step)
        texts = [torch.cat([torch.tensor(prompts[row]), generation.tokens[row]]) for row in chosen]
        features = [(generation.features or [])[row] for row in chosen]
        pad = torch.nn.utils.rnn.pad_sequence
        sizes = [len(prompts[row]) for row in chosen]
        lengths = [len(generation.tokens[row]) for row in chosen]
        places = torch.tensor(list(roots(sizes, lengths, each)))
        return cls(pad(texts, batch_first=True), pad(features, batch_first=True), places)

    @property
    def where(self) -> tuple[Tensor, Tensor, Tensor]:
        """Texts, features and roots, as `score_trees` takes them."""
        return self.ids, self.features, self.places

    def measure(self, network: DraftNetwork, target: Target) -> float:
        """Mean expected acceptance length of a draft."""
        shape: TreePolicy = tree_of(PROBE_TOKENS)
        trees = score_trees(network, target, *self.where, shape)
        return float(trees.acceptance.mean())


class Clock(TrainerCallback):
    """Seconds of every iteration, from the end of one optimizer step to the end of the next."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """Start."""
        self.marks = [time.perf_counter()]

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002
        """One optimizer step per iteration."""
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> Float[np.ndarray, " T"]:
        """Of each iteration."""
        return np.diff(self.marks)
