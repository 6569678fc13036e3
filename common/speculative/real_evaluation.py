"""What a draft of SmolLM2 is worth: exact acceptance on held-out texts, and decoding by the clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.speculative.drafts import Draft, PromptLookupDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.lookup_first import LookupFirstDraft
from common.speculative.networks import DraftNetwork
from common.speculative.profile import forward_seconds
from common.speculative.prompts import STYLES
from common.speculative.real import Row, TextRecipe, encoded, pad, smollm2, texts, tokenizer
from common.speculative.reduced import ReducedDraft
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import read_texts, score_trees
from common.speculative.tree import DraftTree, TreePolicy
from common.speculative.verify import SamplingParams, Verdict, verify_greedy, widen

SCORED = 8  # texts of a forward


class Turn(NamedTuple):
    """One text of one decoder.

    Attributes:
        wall, cpu: Seconds on the clock, and of the process.
        tokens: Written.
        cycles: Forwards of the target behind the prefill.
        same: Tokens up to the first that plain decoding did not write.
    """

    wall: float
    cpu: float
    tokens: int
    cycles: int
    same: int


def acceptance(
    draft: DraftNetwork, shape: TreePolicy, prompts: int, tokens: int, positions: int
) -> dict[str, float]:
    """Exact τ at temperatures 0 and 1 on held-out texts that the target wrote, by style and in the mean.

    Args:
        draft: The draft; a copy in the target's type is evaluated.
        shape: Of its trees.
        prompts: Prompts of a style.
        tokens: Longest answer.
        positions: Places of an answer, evenly spaced.
    """
    network = own_copy(draft).to(smollm2().dtype).eval()
    values: dict[str, float] = {}
    for style in STYLES:
        counts = {name: prompts if name == style else 0 for name in STYLES}
        rows = texts(TextRecipe(split="heldout", tokens=tokens, **counts)).rows()
        taus = np.concatenate([_taus(network, part, shape, positions) for part in _portions(rows)], axis=1)
        values |= {f"tau{kind}/{style}": float(taus[kind].mean()) for kind in (0, 1)}
    means = {
        f"tau{kind}/all": float(np.mean([values[f"tau{kind}/{style}"] for style in STYLES]))
        for kind in (0, 1)
    }
    return values | means


def _portions(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    return (rows[start : start + SCORED] for start in range(0, len(rows), SCORED))


def _taus(
    network: DraftNetwork, rows: Sequence[Row], shape: TreePolicy, positions: int
) -> Float[np.ndarray, "2 BP"]:
    ids, share = pad([row["ids"] for row in rows]), torch.linspace(0, 1, positions + 1)[:-1]
    first = torch.tensor([int(row["supervised"].to(torch.uint8).argmax()) for row in rows])
    last = torch.tensor([len(row["ids"]) - 1 for row in rows])
    roots = (first[:, None] + share * (last - first)[:, None]).long()
    features = read_texts(smollm2(), ids).features
    scored = score_trees(network, smollm2(), ids, features, roots, shape)
    return torch.stack([scored.greedy_acceptance, scored.acceptance]).double().numpy()


def own_copy(draft: DraftNetwork) -> Any:
    """Weights of its own, the target's embeddings shared."""
    return copy.deepcopy(draft, {id(draft._shared): draft._shared})


def turns(
    target: Target, network: Any, shape: TreePolicy, prompts: int, new: int, seed: int
) -> list[dict[str, Turn]]:
    """Decoders in turn on held-out prompts, one row, greedy; the first turn is not counted.

    Args:
        target: SmolLM2.
        network: Its draft, in the same type.
        shape: Of the trees.
        prompts: Prompts of a style.
        new: Longest answer.
        seed: Of the choice of prompts.
    """
    params = SamplingParams(new, temperature=0.0, eos_ids=(tokenizer().eos_token_id,))
    decoders = {"generate": partial(stock, target, params)} | {
        name: partial(_decode, engine, params) for name, engine in engines(target, network, shape).items()
    }
    rows = [row for style in STYLES for row in encoded(style, "heldout", prompts, seed)]
    return [_turn(decoders, row) for row in (rows[0], *rows)][1:]


def race(
    target: Target, network: Any, shape: TreePolicy, prompts: int, new: int, seed: int
) -> dict[str, dict[str, float]]:
    """`compare` on `turns`."""
    return compare(target, shape, turns(target, network, shape, prompts, new, seed))


def compare(
    target: Target, shape: TreePolicy, taken: Sequence[Mapping[str, Turn]]
) -> dict[str, dict[str, float]]:
    """What each decoder is worth.

    Returns:
        By decoder: ``speed_up``, transformers' `generate`'s seconds of a token over its own, median of the
        prompts; ``cpu``, the same in seconds of the process; ``tau``; ``same``, the share of tokens up to the
        first that plain decoding in the same loop does not write; ``bound``, the speed-up of free drafts.
    """
    one, tree = (np.median(forward_seconds(target, 1, n, 128, repeats=9)) for n in (1, shape.nodes + 1))
    found = {}
    for name in taken[0]:
        mine, theirs = (np.array([turn[each] for turn in taken]) for each in (name, "generate"))
        wall, cpu = np.median((theirs[:, :2] / theirs[:, 2:3]) / (mine[:, :2] / mine[:, 2:3]), axis=0)
        tokens, cycles, same = mine[:, 2:].sum(axis=0)
        tau = tokens / cycles
        bound = 1.0 if cycles == tokens else tau * one / tree
        found[name] = {"speed_up": wall, "cpu": cpu, "tau": tau, "same": same / tokens, "bound": bound}
    return found


def engines(target: Target, network: Any, shape: TreePolicy) -> dict[str, SpeculativeGenerator]:
    """Our decoders: without a draft, prompt lookup, EAGLE-3, and EAGLE-3 where there is nothing to copy."""
    eagle, alone = ReducedDraft(network), TreePolicy(depth=shape.budget, top_k=1, budget=shape.budget)
    drafts: dict[str, tuple[Draft, TreePolicy]] = {
        "lookup": (PromptLookupDraft(), alone),
        "eagle3": (eagle, shape),
        "both": (LookupFirstDraft(eagle, chain=shape.budget), shape),
    }
    return {"plain": SpeculativeGenerator(target, verify=verify_wide)} | {
        name: SpeculativeGenerator(target, draft, StaticScheduler(trees), verify_wide)
        for name, (draft, trees) in drafts.items()
    }


def _turn(decoders: Mapping[str, Callable[[Tensor], tuple[Tensor, int]]], row: Tensor) -> dict[str, Turn]:
    """Every decoder once."""
    done, clocks = {}, {}
    for name, decode in decoders.items():
        begin = time.perf_counter(), time.process_time()
        done[name] = decode(row)
        clocks[name] = time.perf_counter() - begin[0], time.process_time() - begin[1]
    plain = done["plain"][0]
    return {
        name: Turn(*clocks[name], len(written), cycles, equal_tokens(written, plain))
        for name, (written, cycles) in done.items()
    }


def _decode(engine: SpeculativeGenerator, params: SamplingParams, row: Tensor) -> tuple[Tensor, int]:
    done = engine.generate([row], params)
    return done.tokens[0], done.stats.cycles


def stock(target: Target, params: SamplingParams, row: Tensor) -> tuple[Tensor, int]:
    """What transformers' `generate` writes, a forward a token."""
    model: Any = target.model
    found = model.generate(
        row[None],
        attention_mask=torch.ones_like(row)[None],
        max_new_tokens=params.max_new_tokens,
        do_sample=False,
        eos_token_id=list(params.eos_ids),
        pad_token_id=tokenizer().pad_token_id,
    )[0, len(row) :]
    return found, len(found)


def verify_wide(
    logits: Float[Tensor, "B N+1 V"],
    tree: DraftTree,
    params: SamplingParams,
    generator: torch.Generator | None = None,
) -> Verdict:
    """Greedy; an argmax over 49,152 logits in bfloat16 takes longer than to widen them and one in float32."""
    return verify_greedy(widen(logits), tree, params, generator)


def equal_tokens(one: Tensor, other: Tensor) -> int:
    """Tokens up to the first different one."""
    length = min(len(one), len(other))
    apart = (one[:length] != other[:length]).nonzero()
    return int(apart[0]) if len(apart) else length
