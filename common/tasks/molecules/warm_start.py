"""Lead optimisation for pocket policies: worlds, codec, and a warm start on random edits.

The warm start is a policy that writes admissible edits and knows little of what is good: similarity-aware
instruction tuning at pocket size, on episodes of random edits that are learned from as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from common.agents.episodes import Codec, Rules, World
from common.models.pocket import build_tokenizer
from common.models.recipe import IGNORED, ModelShape, Policy, build_model, cached, fit, next_token_loss
from common.study.errors import unknown
from common.tasks.molecules import moses, templates
from common.tasks.molecules.assay import Bench
from common.tasks.molecules.designs import Lead, Space
from common.tasks.molecules.environment import BOS, CLOSE, EOS, PAD, LeadOptimization, vocabulary
from common.tasks.molecules.goals import oracles, task
from common.tasks.molecules.search import PROOF, survey

UNLIMITED = 10**9  # training counts its oracle calls and is not stopped by them
CANDIDATES = 4000  # molecules of the template space that are looked at for leads
SEEDS = {"train": 11, "test": 12, "scaffolds": 13}
WARM_STARTS = 3  # checkpoints that seeds share
FIRST = 5_000_000  # seeds of demonstrations, away from those of runs


@dataclass(frozen=True)
class Setting:
    """Where leads come from and what is asked for.

    Attributes:
        world: ``"moses"``: side chains of real leads; ``"templates"``: the space made by hand.
        task: A task of `common.tasks.molecules.goals`.
        train_leads, test_leads: Leads of each split.
        hardness: Fewest oracle calls that local search took to its witness: easier leads are left out.
        budget: Oracle calls of a test lead, within which local search found a witness of every lead.
        rdkit: Version that scores.
    """

    world: str
    task: str
    train_leads: int
    test_leads: int
    hardness: int
    budget: int
    rdkit: str

    @property
    def space(self) -> Space:
        """What may be designed."""
        if self.world == "templates":
            return templates.SPACE
        if self.world != "moses":
            raise unknown("world", self.world, ("moses", "templates"))
        return moses.space()

    def bench(self, budget: int = UNLIMITED) -> Bench:
        """Assays of all leads, each with a budget of its own."""
        goal = task(self.task)
        return Bench(goal, oracles(goal), budget)

    def leads(self, split: moses.Split) -> tuple[Lead, ...]:
        """The leads of a split, each with a witness; the same for every seed.

        Raises:
            StudyError: too few molecules can be improved within the budget and are as hard as asked for.
        """
        return _leads(self, split)


@cache
def _leads(setting: Setting, split: moses.Split) -> tuple[Lead, ...]:
    wanted = setting.train_leads if split == "train" else setting.test_leads
    calls = min(setting.budget, PROOF), setting.hardness
    if setting.world == "moses":
        return moses.leads(split, setting.task, wanted, SEEDS[split], *calls).leads
    return _of_templates(setting, split, wanted, *calls)


def _of_templates(
    setting: Setting, split: moses.Split, count: int, budget: int, fewest: int
) -> tuple[Lead, ...]:
    rng = np.random.default_rng(SEEDS[split])
    known = [name for name in templates.SPACE.scaffolds if name not in templates.HELD_OUT]
    scaffolds = templates.HELD_OUT if split == "scaffolds" else tuple(known)
    candidates = (templates.draw(rng, scaffolds) for _ in range(CANDIDATES))
    goal = task(setting.task)
    return survey(templates.SPACE, candidates, goal, oracles(goal), count, budget, fewest).leads


class Placed(gymnasium.Wrapper[str, str, str, str]):
    """An environment on one lead and from one start, which keeps what became of each proposal.

    Args:
        env: The environment.
        lead: Number of the lead.
        start: Design to start from; None is the lead's own.
        told: Takes the proposal's tokens and `info` of each turn.
    """

    def __init__(
        self,
        env: LeadOptimization,
        lead: int,
        start: Sequence[str] | None = None,
        told: list[tuple[tuple[str, ...], dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(env)
        self.lead, self.start, self.told = lead, start, told

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin on the lead, at the start."""
        start = {} if self.start is None else {"start": tuple(self.start)}
        return self.env.reset(seed=seed, options={**(options or {}), "lead": self.lead, **start})

    def step(self, action: str) -> Any:
        """Propose a design."""
        answer = self.env.step(action)
        if self.told is not None:
            design = tuple(token for token in action.split() if token != CLOSE)
            self.told.append((design, answer[4]))
        return answer


def world(
    space: Space,
    bench: Bench,
    leads: Sequence[Lead],
    turns: int,
    lead: int,
    start: Sequence[str] | None = None,
    told: list[tuple[tuple[str, ...], dict[str, Any]]] | None = None,
) -> World:
    """The world of a trajectory on one lead; environments share the bench's budgets."""

    def make() -> Placed:
        return Placed(LeadOptimization(space, bench, leads, turns), lead, start, told)

    return World(make, seed=0)


def tokenizer(space: Space) -> PreTrainedTokenizerBase:
    """One token a word of the environment."""
    return build_tokenizer(vocabulary(space), PAD, BOS, EOS)


def codec(words: PreTrainedTokenizerBase) -> Codec:
    """Observations and designs as texts of one token a word."""

    def action(ids: list[int]) -> str:
        return " ".join(words.convert_ids_to_tokens(ids))

    return Codec(partial(words.encode, add_special_tokens=False), action)


def rules(words: PreTrainedTokenizerBase, turns: int, temperature: float = 1.0) -> Rules:
    """A turn is at most a scaffold, three side chains and the closing token."""
    return Rules(
        ends=(words.convert_tokens_to_ids(CLOSE),),  # type: ignore[arg-type]  # one id of one token
        turns=turns,
        turn_tokens=5,
        context=192,
        observation=64,
        temperature=temperature,
    )


# Demonstrations


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a warm start's weights beside its seed.

    Attributes:
        setting: Where the leads come from.
        turns: Of a demonstration.
        demonstrations: Episodes of random edits of one place, some of two.
        improving: Share of the episodes of which only the turns that were rewarded are learned; of the others
            all admissible ones are, so that the policy knows the language and not yet what is good.
        sft_steps, sft_batch, sft_rate: AdamW.
        hidden, layers: Of the model.
    """

    setting: Setting
    turns: int = 5
    demonstrations: int = 800
    improving: float = 0.25
    sft_steps: int = 300
    sft_batch: int = 32
    sft_rate: float = 3e-3
    hidden: int = 96
    layers: int = 3


def warm_start(config: Mapping[str, Any], seed: int) -> Path:
    """The folder of the warm start of a seed, trained on first use."""
    kinds = {item.name for item in fields(Recipe)} - {"setting"}
    setting = Setting(**{item.name: config[item.name] for item in fields(Setting)})
    recipe = Recipe(setting, **{name: config[name] for name in kinds})
    number = seed % WARM_STARTS
    return cached(recipe, partial(train, recipe, number), number)


def train(recipe: Recipe, seed: int) -> Policy:
    """A policy that proposes admissible edits and knows little of what is good."""
    words = tokenizer(recipe.setting.space)
    texts = demonstrate(recipe, seed)
    encoded = [
        [(words.encode(text, add_special_tokens=False), learned) for text, learned in episode]
        for episode in texts
    ]
    ids, labels = batched(encoded, words.pad_token_id or 0)
    shape = ModelShape(recipe.hidden, recipe.layers, 4, 3 * recipe.hidden, context=192)
    model = build_model(shape, words, seed).train()
    rng = np.random.default_rng(FIRST + seed)

    def loss(_step: int) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(ids), size=recipe.sft_batch))
        width = int((ids[rows] != words.pad_token_id).sum(dim=1).max())
        return next_token_loss(model, ids[rows, :width], labels[rows, :width])

    fit(model.parameters(), loss, recipe.sft_steps, recipe.sft_rate)
    return Policy(model.eval(), words)


Episode = list[tuple[str, bool]]
"""Texts in their order, and whether the policy learns to write them."""


def demonstrate(recipe: Recipe, seed: int) -> list[Episode]:
    """Episodes of random edits of the current molecule, on the training leads in turn."""
    setting, rng = recipe.setting, np.random.default_rng(FIRST + seed)
    leads, bench = setting.leads("train"), setting.bench()
    env = LeadOptimization(setting.space, bench, leads, recipe.turns)
    return [
        _episode(env, number % len(leads), rng.random() < recipe.improving, rng)
        for number in range(recipe.demonstrations)
    ]


def _episode(env: LeadOptimization, lead: int, improving: bool, rng: np.random.Generator) -> Episode:
    observation, _ = env.reset(options={"lead": lead})
    episode: Episode = [(observation, False)]
    over = False
    while not over:
        design = edited(env.space, env.lead, current(observation), rng)
        observation, reward, ended, cut, info = env.step(" ".join(design))
        over = ended or cut
        learned = reward > 0 if improving else info["outcome"] == "ok"
        episode.append((" ".join([*design, CLOSE]), learned))
        if not over:
            episode.append((observation, False))
    return episode


def current(observation: str) -> tuple[str, ...]:
    """The design that an observation shows as the current one: ``… now <design> t<turn> <mol>``."""
    words = observation.split()
    last = len(words) - 1 - words[::-1].index("now")
    return tuple(words[last + 1 : -2])


def edited(
    space: Space, lead: Lead, design: tuple[str, ...], rng: np.random.Generator, twice: float = 0.2
) -> tuple[str, ...]:
    """One place drawn anew, or with probability `twice` two."""
    choices, new = space.choices(lead), list(design)
    for place in rng.choice(len(design), size=min(len(design), 1 + (rng.random() < twice)), replace=False):
        new[place] = choices[place][rng.integers(len(choices[place]))]
    return tuple(new)


def batched(
    episodes: list[list[tuple[list[int], bool]]], pad: int
) -> tuple[Int[Tensor, "N T"], Int[Tensor, "N T"]]:
    """Ids and labels, padded on the right; what is not learned has the label `IGNORED`."""
    longest = max(sum(len(part) for part, _ in episode) for episode in episodes)
    ids = torch.full((len(episodes), longest), pad)
    labels = torch.full_like(ids, IGNORED)
    for row, episode in enumerate(episodes):
        place = 0
        for part, learned in episode:
            span = slice(place, place + len(part))
            ids[row, span] = torch.tensor(part)
            if learned:
                labels[row, span] = ids[row, span]
            place += len(part)
    return ids, labels
