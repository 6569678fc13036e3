"""The drafts of a run: trained before it, watching it, and side by side in a replay behind it.

The replay decodes the same prompts with every arm, with the policy and the drafts as training has left them:
legitimate because all arms sample from the same distribution, cheap because no arm has to be trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from common.models.recipe import IGNORED, ModelShape, fit
from common.speculative import pretraining
from common.speculative.checkpoint import Checkpoint
from common.speculative.clock import clock_of
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.measured import termination_speedup
from common.speculative.networks import DraftNetwork
from common.speculative.scheduler import ConcurrencyAwareScheduler, Scheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from common.study.jobs import Record, Scalar
from common.tasks import ladder
from common.tasks.ladder import Item, LadderConfig, TraceLaw
from common.tasks.ladder.warm_start import (
    DATA_SEED,
    LONGEST,
    PolicyRecipe,
    Texts,
    batches,
    encode,
    load,
    policy_folder,
    tokenizer,
)
from papers.fastgrpo.learner import OnlineDraftLearner, TwoHeadEagleNetwork, draft_loss

T = TypeVar("T")
Part = tuple[Mapping[str, Scalar], Record]
"""Values of a record and the columns that tell them apart."""
Kind = Literal["two_head", "eagle2", "hass", "eagle3"]
PUBLISHED: tuple[Kind, ...] = ("eagle2", "hass", "eagle3")
TOKEN_LOSS: Mapping[Kind, pretraining.Kind] = {"eagle2": "eagle", "hass": "hass", "eagle3": "eagle3"}
"""What the published drafts are for the engine: EAGLE-2 is EAGLE with another tree."""
NETWORKS: Mapping[Kind, type[DraftNetwork]] = {
    "two_head": TwoHeadEagleNetwork,
    **{kind: pretraining.NETWORKS[own] for kind, own in TOKEN_LOSS.items()},
}
STATIC = (4, 8, 16)
"""Tokens of a row in the verification passes of the static schedules."""


# A run's models and prompts, from the config of its job


@dataclass(frozen=True)
class DraftRecipe:
    """Everything that decides a draft's weights; all kinds share steps and learning rate.

    Attributes:
        policy: The model to draft for.
        kind: Network and loss.
        law: Traces that it learns from; the default is the policy's own mix.
        steps: AdamW steps on a cosine schedule.
        batch: Traces of a step.
        learning_rate: Peak.
        seed: Of the initial weights and of the traces.
    """

    policy: PolicyRecipe = field(default_factory=PolicyRecipe)
    kind: Kind = "two_head"
    law: TraceLaw = field(default_factory=lambda: TraceLaw(terse=0.4))
    steps: int = 400
    batch: int = 16
    learning_rate: float = 5e-3
    seed: int = 7


def recipe(config: Mapping[str, Any]) -> PolicyRecipe:
    """The warm start of a run."""
    hidden = config["hidden"]
    shape = ModelShape(hidden, config["layers"], kv_heads=2, ffn=3 * hidden, context=256, tied=True)
    return PolicyRecipe(shape, steps=config["policy_steps"])


def draft_recipe(config: Mapping[str, Any], **changes: Any) -> DraftRecipe:
    """A pre-trained draft of a run."""
    return DraftRecipe(recipe(config), steps=config["draft_steps"], **changes)


def training_items(config: Mapping[str, Any], seed: int) -> tuple[Item, ...]:
    """Prompts of a run, drawn from its seed."""
    return ladder.items(LadderConfig(seed=seed, size=config["training_prompts"]))


def scalars(values: Mapping[str, float]) -> Record:
    """A record of one seed."""
    return Record({name: np.array([float(value)]) for name, value in values.items()})


# Pre-training


def target_for(model: PreTrainedModel, kind: Kind) -> Target:
    """The policy with the taps of a kind of draft."""
    return Target(model, NETWORKS[kind].taps(model.config.num_hidden_layers))


def new_network(kind: Kind, model: PreTrainedModel, seed: int) -> DraftNetwork:
    """A draft of a kind before any training."""
    return pretraining.new_network(NETWORKS[kind], model, seed)


def token_loss(kind: Kind, network: DraftNetwork, target: Target, batch: Texts) -> Float[Tensor, ""]:
    """The loss of a kind on responses: the paper's, or a published draft's (EAGLE-3's in three steps)."""
    supervised = torch.zeros_like(batch.ids, dtype=torch.bool)
    supervised[:, :-1] = batch.labels[:, 1:] != IGNORED  # a place is supervised if its next token is
    if kind == "two_head":
        features = read_texts(target, batch.ids).features
        return draft_loss(network, batch.ids, features, supervised).mean()
    return pretraining.token_loss(TOKEN_LOSS[kind], network, target, batch.ids, supervised, steps=3)


def train(recipe: DraftRecipe) -> DraftNetwork:
    """Pre-training on supervised traces, every one seen once; the target stays as it is."""
    model = load(policy_folder(recipe.policy)).requires_grad_(False)
    network, target = new_network(recipe.kind, model, recipe.seed), target_for(model, recipe.kind)
    data = batches(recipe.law, LadderConfig(seed=DATA_SEED + 1000 + recipe.seed), recipe.batch)

    def loss(_step: int) -> Tensor:
        return token_loss(recipe.kind, network, target, next(data))

    fit(network.parameters(), loss, recipe.steps, recipe.learning_rate)
    return network


def pretrained(recipe: DraftRecipe, model: PreTrainedModel) -> DraftNetwork:
    """The draft of a recipe, on the embeddings of `model` as they are now; trained on first use."""
    empty = new_network(recipe.kind, model, recipe.seed)
    return Checkpoint.of(recipe, empty, lambda: Checkpoint(train(recipe))).network


# Watching a run


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


def shuffled(generation: Generation, seed: int) -> Generation:
    """The same tokens with every row's features in random order."""
    draws = torch.Generator().manual_seed(seed)
    features = [row[torch.randperm(len(row), generator=draws)] for row in generation.features or []]
    return Generation(generation.tokens, generation.stats, features)


def tree_of(tokens: int) -> TreePolicy:
    """The tree that the paper's rule gives `tokens` tokens a row."""
    policy = ConcurrencyAwareScheduler(tokens)(1)
    assert policy is not None, "the rule gives no tree to a single token"
    return policy


PROBE_TREE = tree_of(16)
"""The tree by which drafts are compared."""


# Replay


@dataclass(frozen=True)
class Arm:
    """One way to decode.

    Attributes:
        draft: Name of the draft, empty for plain decoding.
        scheduler: Its trees.
        early_termination: Drop finished rows.
        kind: Kind of the draft, which decides the features that it reads.
    """

    draft: str = ""
    scheduler: Scheduler | None = None
    early_termination: bool = True
    kind: Kind = "two_head"

    def engine(self, model: PreTrainedModel, drafts: Mapping[str, DraftNetwork]) -> SpeculativeGenerator:
        """What decodes this way."""
        draft = FeatureDraft(drafts[self.draft]) if self.draft else None
        target = target_for(model, self.kind) if draft else Target(model)
        return SpeculativeGenerator(target, draft, self.scheduler, early_termination=self.early_termination)


def replay_arms(c_peak: int) -> dict[str, Arm]:
    """Baselines, published drafts on static trees, the method, its ablations and its controls."""
    rule = ConcurrencyAwareScheduler(c_peak)
    tree = StaticScheduler(tree_of(16))
    return {
        "vanilla": Arm(early_termination=False),
        "et": Arm(),
        **{kind: Arm(kind, tree, kind=kind) for kind in PUBLISHED},
        **{f"static_{tokens}": Arm("online", StaticScheduler(tree_of(tokens))) for tokens in STATIC},
        "frozen": Arm("frozen", rule),
        "fast": Arm("online", rule),
        "floor": Arm("online", ConcurrencyAwareScheduler(c_peak, l_min=3)),
        "random": Arm("random", rule),
        "peak_high": Arm("online", ConcurrencyAwareScheduler(8 * c_peak)),
        "peak_low": Arm("online", ConcurrencyAwareScheduler(max(1, c_peak // 8))),
    }


def replay_of_run(
    config: Mapping[str, Any],
    seed: int,
    model: PreTrainedModel,
    online: DraftNetwork,
    frozen: DraftNetwork | None,
) -> list[Part]:
    """The arms on prompts that the run has not seen: parts with the column `replayed`.

    Without a frozen draft that has watched the run, plain decoding and the method alone.
    """
    arms, drafts = replay_arms(config["c_peak"]), {"online": online}
    if frozen is None:
        arms = {name: arms[name] for name in ("vanilla", "et", "fast")}
    else:
        drafts |= {kind: pretrained(draft_recipe(config, kind=kind), model) for kind in PUBLISHED}
        drafts |= {"frozen": frozen, "random": new_network("two_head", model, seed)}
    size = config["prompts"]
    unseen = training_items(config, seed + 500_000)[: config["replay_rounds"] * size]
    prompts = [encode(item.prompt) for item in unseen]
    rounds = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    sums = replay(arms, model, drafts, rounds, config["group_size"], seed, config["max_response"])
    return [
        ({"replayed": arm}, scalars({f"replay/{name}": value for name, value in values.items()}))
        for arm, values in sums.items()
    ]


def rotated(arms: Mapping[str, T], start: int) -> list[tuple[str, T]]:
    """The arms in turn, from another one for every `start`: none is timed first each time."""
    names = list(arms)
    first = start % len(names)
    return [(name, arms[name]) for name in names[first:] + names[:first]]


def replay(
    arms: Mapping[str, Arm],
    model: PreTrainedModel,
    drafts: Mapping[str, DraftNetwork],
    rounds: Sequence[Sequence[Tensor]],
    samples: int,
    seed: int,
    longest: int = LONGEST,
) -> dict[str, dict[str, float]]:
    """Time and acceptance of every arm on the same prompts.

    In every round all arms decode its prompts, in turn, starting with another one, so that neither a slow
    moment of the machine nor one round's longest response falls on one arm.

    Returns:
        Of every arm, sums over rounds: ``seconds``, ``tokens``, ``cycles``; ``tau``; of ``et`` the speed-up
        from early termination that its response lengths predict, ``predicted``.
    """
    params = SamplingParams(longest, eos_ids=(tokenizer().eos_token_id,))
    model.eval()
    now = clock_of(model.device)
    decoders = {name: arm.engine(model, drafts) for name, arm in arms.items()}
    for decoder in decoders.values():  # the first generation allocates and is not timed
        decoder.generate(rounds[0][:1], SamplingParams(4), generator=torch.Generator().manual_seed(0))
    sums = {name: dict.fromkeys(("seconds", "tokens", "cycles", "active"), 0.0) for name in arms}
    predictions = []
    for number, prompts in enumerate(rounds):
        turn = rotated(decoders, seed + number * len(decoders) // len(rounds))
        for index, (name, decoder) in enumerate(turn):
            draws = torch.Generator().manual_seed(1_000_003 * seed + 1_009 * number + index)
            begin = now()
            generation = decoder.generate(prompts, params, samples, generator=draws)
            seconds, stats = now() - begin, generation.stats
            for key, value in zip(
                sums[name], (seconds, stats.tokens, stats.cycles, sum(stats.active)), strict=True
            ):
                sums[name][key] += value
            if name == "et":
                predictions.append(termination_speedup(generation, model, len(prompts[0])))
    for total in sums.values():
        total["tau"] = total["tokens"] / total.pop("active")
    sums["et"]["predicted"] = float(np.mean(predictions))
    return sums
