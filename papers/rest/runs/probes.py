"""Policies as they are: what tokens decide and how noisy gradients are at warm starts (C5, C6); how sure a
real model is of real calls (C4).

For the last, SmolLM2 reads a question of BFCL with its tools, writes a thought, and then reads the right call
as if it had written it. Nothing is trained and no call is sampled: so small a model calls no tool rightly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.agents.call_regions import REGIONS, call_regions
from common.agents.gradients import gradient_noise
from common.agents.regions import pieces, region_means
from common.models.decoding import sample
from common.models.pocket import load_policy
from common.models.pretrained import load_smollm2
from common.rl.advantages import mean_advantages
from common.study.assets import verified
from common.study.jobs import Job, Record, Scalar
from common.tasks import toolcall
from common.tasks.toolcall import EOS, LEVELS, Item, Mark, scored
from common.tasks.toolcall.evaluation import Forced, Started, answer, continued
from common.tasks.toolcall.evaluation import pieces as tokens_of
from common.tasks.toolcall.published import Question, load_questions
from common.tasks.toolcall.training import ToolCalls
from papers.rest.method import Weighting, scheduled_reward, token_weights

WEIGHTINGS: dict[str, Weighting] = {
    "uniform": Weighting("uniform"),
    "inverse": Weighting("paper", curriculum=False),
    "permuted": Weighting("paper", curriculum=False, permuted=True),
    "proportional": Weighting("proportional"),
    "code": Weighting("code"),
}
PARTS = (*REGIONS, "structure", "random")
SHORT = 1200
"""Characters of the tools' descriptions; questions with longer ones are left out."""
EXAMPLE = (
    "Tools: [{'name': 'clock.set', 'description': 'Set an alarm.', 'parameters': {'hour': 'integer'}}]\n"
    "User: Wake me at seven.\n"
    "<think>The user wants an alarm at seven, so I set the clock to hour 7.</think>\n"
    '<tool_call>\n{"name": "clock.set", "arguments": {"hour": 7}}\n</tool_call>\n\n'
)
Part = tuple[dict[str, Scalar], Record]


class Sample(NamedTuple):
    """Responses of a warm start to training steps, `group` to each.

    Attributes:
        forced: The warm start and its responses.
        tokenizer: Its tokenizer.
        items: Step of each row.
        marks: What the responses are worth.
        masks: Their regions.
        group: G.
    """

    forced: Forced
    tokenizer: PreTrainedTokenizerBase
    items: tuple[Item, ...]
    marks: tuple[Mark, ...]
    masks: Mapping[str, Bool[Tensor, "B T"]]
    group: int

    def texts(self, ids: Int[Tensor, "B T"]) -> list[list[str]]:
        """Tokens of each row, padding left out."""
        return tokens_of(self.tokenizer, ids.numpy(), self.forced.mask.numpy())


def frozen(job: Job, _workspace: Path) -> Record:
    """Entry point. Config: `model` (of `ToolCalls.models`), `steps` and `group` of the sample, `batches`
    of the gradients, `heldout` steps of each level.

    Emits ``accuracy`` (greedy, held-out steps), ``formed`` and ``right`` (of the sample), ``misread`` (wrong
    ones among well-formed calls); by the column `region` ``entropy`` and ``change`` (see `changes`);
    ``thought_1`` to ``thought_3`` (see `thoughts`); by the column `weights` ``snr`` (per batch), ``signal``
    (the same times the batches) and ``cosine`` to the uniform mean gradient.
    """
    (seed,) = job.seeds
    own = job.config
    model, tokenizer = load_policy(ToolCalls.models[job.config["model"]](seed))
    items = tuple(item for item in toolcall.items(seed, own["steps"]) for _ in range(own["group"]))
    given = answer(model, tokenizer, items, temperature=1.0, seed=seed)
    forced = Forced.of(model, tokenizer, given)
    masks: dict[str, Tensor] = {**call_regions(tokens_of(tokenizer, given.ids, given.mask), " ")}
    drawn = Sample(forced, tokenizer, items, given.marks, masks, own["group"])
    with torch.no_grad():
        logits = forced.logits()
    generator = torch.Generator().manual_seed(seed)
    fresh = _drawn(logits, generator)
    sure = _entropies(logits)
    heldout = [item for level in LEVELS for item in toolcall.heldout(level, own["heldout"])]
    greedy = answer(model, tokenizer, heldout, temperature=0.0, seed=0)
    scalars = {
        "accuracy": float(greedy.right.mean()),
        "formed": float(given.formed.mean()),
        "right": float(given.right.mean()),
        "misread": float(np.mean([not each.right for each in given.marks if each.formed and each.calls])),
        **thoughts(drawn, fresh),
    }
    parts = [
        *_by("region", "entropy", region_means(sure, masks, forced.mask)),
        *_by("region", "change", changes(drawn, fresh, generator)),
        *signals(drawn, sure, own["batches"], generator),
    ]
    return Record({name: np.array([value]) for name, value in scalars.items()}, parts=parts)


def _by(column: str, name: str, found: Mapping[str, float]) -> list[Part]:
    return [({column: label}, Record({name: np.array([value])})) for label, value in found.items()]


def _entropies(logits: Float[Tensor, "B T V"]) -> Float[Tensor, "B T"]:
    log_probs = logits.log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


# What tokens decide


def _drawn(logits: Float[Tensor, "B T V"], generator: torch.Generator) -> Int[Tensor, "B T"]:
    """One token from each distribution."""
    flat = logits.softmax(dim=-1).flatten(0, 1)
    return torch.multinomial(flat, 1, generator=generator).view(logits.shape[:2])


def changes(drawn: Sample, fresh: Int[Tensor, "B T"], generator: torch.Generator) -> dict[str, float]:
    """Absolute change of the reward (at RL step 0) per token that comes out otherwise where a region is drawn
    anew, all other tokens kept; in the mean, what is drawn from the policy is as good.

    ``structure`` is name and arguments together, ``random`` as many random tokens of each response.
    """
    forced, masks = drawn.forced, dict(drawn.masks)
    masks["structure"] = masks["name"] | masks["arguments"]
    keys = torch.rand(forced.mask.shape, generator=generator).where(forced.mask, 2.0)
    ranks = keys.argsort(dim=1).argsort(dim=1)
    masks["random"] = ranks < masks["structure"].sum(dim=1, keepdim=True)
    before, found = _rewards(drawn.marks), {}
    for name, chosen in masks.items():
        texts = drawn.texts(forced.ids.where(~chosen, fresh))
        after = _rewards([scored(text, item) for text, item in zip(texts, drawn.items, strict=True)])
        other = chosen & (fresh != forced.ids)
        found[name] = float((before - after).abs().sum() / other.sum().clamp(min=1))
    return found


def _rewards(marks: tuple[Mark, ...] | list[Mark]) -> Float[Tensor, " B"]:
    return torch.tensor([scheduled_reward(each, 0.0) for each in marks])


def thoughts(drawn: Sample, fresh: Int[Tensor, "B T"]) -> dict[str, float]:
    """Responses that turn right or wrong per token of a thought that comes out otherwise where it is drawn
    anew and what follows rewritten (greedily), by operations of a step's longest chain; one a step.
    """
    think, ids = drawn.masks["think"], drawn.forced.ids
    asked = range(0, len(drawn.items), drawn.group)
    rows = [row for row in asked if think[row].any() and drawn.items[row].chosen]
    ends = [int(think[row].nonzero()[-1]) + 2 for row in rows]
    rights = []
    for texts in (drawn.texts(ids), drawn.texts(ids.where(~think, fresh))):
        steps = [
            Started(drawn.items[row], tuple(texts[row][:end])) for row, end in zip(rows, ends, strict=True)
        ]
        ended = np.array([EOS in step.start for step in steps])
        rights.append(continued(drawn.forced.model, drawn.tokenizer, steps) & ~ended)
    turned = rights[0] != rights[1]
    other = (think & (fresh != ids))[rows].sum(dim=1).numpy()
    depths = np.array([drawn.items[row].depth for row in rows])
    return {
        f"thought_{depth}": float(turned[depths == depth].sum() / max(1, other[depths == depth].sum()))
        for depth in (1, 2, 3)
    }


# How noisy gradients are


def signals(
    drawn: Sample, sure: Float[Tensor, "B T"], batches: int, generator: torch.Generator
) -> list[Part]:
    """Signal-to-noise ratio of the policy gradient under each of `WEIGHTINGS`, over independent batches."""
    advantages = mean_advantages(_rewards(drawn.marks), drawn.group)
    rows = len(drawn.items) // batches
    parameters = list(drawn.forced.model.parameters())
    noise = {}
    for name, weighting in WEIGHTINGS.items():
        weights = token_weights(drawn.masks, drawn.forced.mask, weighting, 0.0, sure, generator)
        starts = range(0, rows * batches, rows)
        losses = (partial(_loss, drawn, weights, advantages, slice(at, at + rows)) for at in starts)
        noise[name] = gradient_noise(parameters, losses)
    return [
        part
        for name, each in noise.items()
        for measure, value in (
            ("snr", each.snr),
            ("signal", each.snr * batches),
            ("cosine", each.cosine(noise["uniform"])),
        )
        for part in _by("weights", measure, {name: value})
    ]


def _loss(
    drawn: Sample, weights: Float[Tensor, "B T"], advantages: Float[Tensor, " B"], rows: slice
) -> Float[Tensor, ""]:
    """-Σ w A log π / Σ w of some rows, the update at the sampling policy."""
    forced = drawn.forced
    chosen = forced.logits(rows).log_softmax(dim=-1).gather(2, forced.ids[rows, :, None])[..., 0]
    weighed = weights[rows] * forced.mask[rows]
    return -(weighed * advantages[rows, None] * chosen).sum() / weighed.sum().clamp(min=1.0)


# A real model on real calls


def published(job: Job, _workspace: Path) -> Record:
    """Entry point. Config: `questions` of each seed, `thought` tokens. Emits by the column `region` (one of
    `PARTS`) the entropy of its tokens in nats, ``entropy``: the mean over questions of that over tokens; and
    ``surprise``, -log p of the forced tokens.
    """
    torch.set_num_threads(1)
    model, tokenizer = load_smollm2()
    own = [
        question
        for question in load_questions(verified("bfcl"), verified("bfcl_answers"))
        if len(json.dumps(question.functions)) <= SHORT and len(question.expected) == 1
    ]
    (seed,), size = job.seeds, int(job.config["questions"])
    chosen = np.random.default_rng([seed, 0xBFC1]).choice(len(own), size, replace=False)
    rows = [_means(model, tokenizer, own[place], int(job.config["thought"]), seed) for place in chosen]
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in PARTS}
    surprise = np.array([np.mean([row["surprise"] for row in rows])])
    return Record({"surprise": surprise}, parts=_by("region", "entropy", means))


@torch.no_grad()
def _means(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: Question, longest: int, seed: int
) -> dict[str, float]:
    prompt = f"{EXAMPLE}Tools: {json.dumps(question.functions)}\nUser: {question.text}\n"
    before = tokenizer.encode(prompt, add_special_tokens=False, return_tensors="pt")
    opening = tokenizer.encode("<think>", add_special_tokens=False, return_tensors="pt")
    asked = torch.cat([before, opening], dim=1)
    written = sample(
        model,
        asked,
        torch.ones_like(asked),
        longest,
        temperature=1.0,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.eos_token_id,
        generator=torch.Generator().manual_seed(seed),
    )
    thought = _until_tag(tokenizer, written.ids[:, : int(written.mask.sum())])
    right = question.expected[0].nearest(None)
    call = json.dumps({"name": right.name, "arguments": right.parameters})
    rest = f"</think>\n<tool_call>\n{call}\n</tool_call>"
    forced = tokenizer.encode(rest, add_special_tokens=False, return_tensors="pt")
    response = torch.cat([opening, thought, forced], dim=1)
    logits = model(input_ids=torch.cat([before, response], dim=1), use_cache=False).logits
    logits = logits[:, before.shape[1] - 1 : -1]
    found = _by_region(tokenizer, response, _entropies(logits), np.random.default_rng([seed, question.line]))
    surprise = -logits.log_softmax(dim=-1).gather(2, response[..., None])[0, -forced.shape[1] :, 0]
    return found | {"surprise": float(surprise.mean())}


def _until_tag(tokenizer: PreTrainedTokenizerBase, ids: Int[Tensor, "1 T"]) -> Int[Tensor, "1 T"]:
    """A thought without its end and what the model wrote behind it."""
    parts = pieces(tokenizer, ids[0].tolist())
    kept = 0
    while kept < len(parts) and "<" not in parts[kept]:
        kept += 1
    return ids[:, :kept]


def _by_region(
    tokenizer: PreTrainedTokenizerBase,
    response: Int[Tensor, "1 T"],
    values: Float[Tensor, "1 T"],
    generator: np.random.Generator,
) -> dict[str, float]:
    """Means over each region, over all structured tokens, and over as many random ones."""
    masks = call_regions([pieces(tokenizer, response[0].tolist())])
    masks["structure"] = masks["tags"] | masks["name"] | masks["arguments"]
    chosen = generator.permutation(response.shape[1])[: int(masks["structure"].sum())]
    masks["random"] = torch.zeros_like(masks["structure"])
    masks["random"][0, chosen] = True
    return {name: float(values[masks[name]].mean()) for name in PARTS}
