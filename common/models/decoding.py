"""A lean batched sampler for decoder-only transformers models.

Against `generate`, this loop removes what plain sampling does not need: a prompt repeated in consecutive rows
(a GRPO group) is read once and its cache expanded, keys and values are written into buffers of the final size
instead of being concatenated at every step, finished rows leave the batch, and only the last position gets
logits. Measured and rejected: splitting a large batch into chunks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from common.models.fidelity import Replayed, require_own_logits
from common.models.options import require_plain_sampling

LOOP = "the lean sampler"
COMPACT_BELOW = 0.5  # drop finished rows once fewer than this share of the batch still runs (measured best)


class Completions(NamedTuple):
    """Sampled completions of N prompts.

    Attributes:
        ids: Token ids, end of sequence included, then padding on the right; T is the longest length.
        mask: 1 on tokens, 0 on padding.
        entropies: Entropy in nats of the distribution that each token was drawn from, 0 on padding;
            None unless asked for.
    """

    ids: Int[Tensor, "N T"]
    mask: Int[Tensor, "N T"]
    entropies: Float[Tensor, "N T"] | None


class _BufferedLayer(DynamicLayer):
    """Keys and values of chosen rows of a filled layer, in buffers of `room` positions, written in place."""

    def __init__(self, keys: Tensor, values: Tensor, rows: Int[Tensor, " n"], room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.buffers = []
        for filled in (keys, values):
            buffer = filled.new_empty(len(rows), filled.shape[1], room, filled.shape[3])
            buffer[:, :, : filled.shape[2]] = filled[rows]
            self.buffers.append(buffer)
        self._show(keys.shape[2])

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, :length] for buffer in self.buffers)
        self.keys, self.values = keys, values
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        return self._show(end)

    def batch_select_indices(self, indices: Int[Tensor, " n"]) -> None:
        """Move the chosen rows to the front of the buffers and forget the others."""
        length = self.get_seq_length()
        for buffer in self.buffers:
            buffer[: len(indices), :, :length] = buffer[indices, :, :length]
        self.buffers = [buffer[: len(indices)] for buffer in self.buffers]
        self._show(length)


def _buffered(layer: object, rows: Int[Tensor, " n"], room: int) -> _BufferedLayer:
    if type(layer) is not DynamicLayer or layer.keys is None or layer.values is None:
        raise ValueError(f"it needs full attention in every layer, not {type(layer).__name__}")
    return _BufferedLayer(layer.keys, layer.values, rows, room)


def _prefill(
    model: PreTrainedModel, ids: Int[Tensor, "N P"], mask: Int[Tensor, "N P"], room: int
) -> tuple[Float[Tensor, "N V"], Cache]:
    """Read each run of equal prompts once; return next-token logits and a cache with one row per prompt."""
    prompts, rows = torch.unique_consecutive(torch.stack([ids, mask], dim=1), dim=0, return_inverse=True)
    ids, mask = prompts.unbind(1)
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=_positions(mask),
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]
    return logits[rows], Cache(layers=[_buffered(layer, rows, room) for layer in cache.layers])


def _step(
    model: PreTrainedModel,
    token: Int[Tensor, " n"],
    mask: Int[Tensor, "n L"],
    places: Int[Tensor, "n 1"],
    cache: Cache,
) -> Float[Tensor, "n V"]:
    """Read one token a row behind L - 1 others; returns next-token logits."""
    return model(
        input_ids=token[:, None],
        attention_mask=mask,
        position_ids=places,
        cache=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]


def _replay(model: PreTrainedModel, ids: Int[Tensor, "2 L"]) -> Replayed:
    """Decode two texts, the second one behind padding."""
    length, padding = ids.shape[1], 2
    width = padding + max(length // 3, 1)
    ids = torch.stack([ids[0], ids[1].roll(padding)])
    mask = torch.ones_like(ids)
    mask[1, :padding] = 0
    places = _positions(mask)
    logits, cache = _prefill(model, ids[:, :width], mask[:, :width], length)
    steps = [logits]
    for seen in range(width + 1, length + 1):
        token = ids[:, seen - 1]
        steps.append(_step(model, token, mask[:, :seen], places[:, seen - 1 : seen], cache))
    return Replayed(torch.stack(steps, dim=1), places[:, width - 1 :])


def _positions(mask: Int[Tensor, "N L"]) -> Int[Tensor, "N L"]:
    return (mask.cumsum(dim=1) - 1).clamp_(min=0)


def _pick(
    logits: Float[Tensor, "n V"], temperature: float, top_p: float, generator: torch.Generator | None
) -> Int[Tensor, " n"]:
    """Draw one token per row by an exponential race, the fastest exact sampler on a CPU; greedy at zero."""
    weights = logits if temperature == 0 else torch.softmax(logits.float() / temperature, dim=-1)
    if bool(weights.isnan().any()):  # every choice from NaN is token 0
        raise ValueError("the model gives NaN logits, or none that is finite; look at its weights and dtype")
    if temperature == 0:
        return logits.argmax(dim=-1)
    if top_p < 1:
        weights = _nucleus(weights, top_p)
    return weights.div_(torch.empty_like(weights).exponential_(generator=generator)).argmax(dim=-1)


def _nucleus(probabilities: Float[Tensor, "n V"], top_p: float) -> Float[Tensor, "n V"]:
    """Zero outside the smallest set of likeliest tokens whose probability reaches `top_p`; not normalised."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    kept = ordered.masked_fill(ordered.cumsum(dim=-1) - ordered >= top_p, 0.0)
    return torch.zeros_like(kept).scatter(-1, order, kept)


def _entropy(logits: Float[Tensor, "n V"], temperature: float) -> Float[Tensor, " n"]:
    log_weights = torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)
    return -(log_weights.exp() * log_weights).sum(dim=-1)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompt_ids: Int[Tensor, "N P"],
    prompt_mask: Int[Tensor, "N P"],
    max_new_tokens: int,
    temperature: float,
    eos_id: int | Sequence[int],
    pad_id: int,
    generator: torch.Generator | None = None,
    entropies: bool = False,
    top_p: float = 1.0,
) -> Completions:
    """Sample one completion per row from softmax(logits / temperature), or from its nucleus.

    Args:
        model: A decoder-only model with full attention in every layer, whose logits in this loop are those of
            its plain forward: tried at first use.
        prompt_ids: Prompts, padded on the left; equal ones best in consecutive rows.
        prompt_mask: 1 on prompt tokens, 0 on padding.
        max_new_tokens: Longest completion; one that reaches it has no `eos_id`.
        temperature: Zero is greedy.
        eos_id: Ends a completion; several tokens may.
        pad_id: Fills the rest.
        generator: Source of randomness, on the model's device; the global one if None.
        entropies: Also return the entropy of each token's distribution (at temperature 1 when greedy),
            before it is cut to its nucleus.
        top_p: Probability of the nucleus; 1 keeps the whole distribution.

    Raises:
        ValueError: padding on the right, an empty prompt, a negative temperature, `max_new_tokens` < 1,
            `top_p` outside (0, 1], or a model that the loop cannot decode.
    """
    if not 0 < top_p <= 1:
        raise ValueError(f"need 0 < top_p ≤ 1; got {top_p}")
    if max_new_tokens < 1 or not 0 <= temperature < math.inf:
        raise ValueError(
            f"need max_new_tokens ≥ 1 and temperature ≥ 0; got {max_new_tokens} and {temperature}"
        )
    if not prompt_mask[:, -1].all():
        raise ValueError("prompts must be padded on the left and not be empty")
    ends = torch.as_tensor(eos_id, device=prompt_ids.device).reshape(-1)
    require_plain_sampling(model, ends.tolist(), LOOP)
    require_own_logits(model, _replay, LOOP)
    count, width = prompt_ids.shape
    mask = torch.cat([prompt_mask, prompt_mask.new_ones(count, max_new_tokens)], dim=1)
    places = _positions(mask)
    ids = prompt_ids.new_full((count, max_new_tokens), pad_id)
    nats = torch.zeros(ids.shape, device=ids.device) if entropies else None
    logits, cache = _prefill(model, prompt_ids, prompt_mask, width + max_new_tokens)
    rows = torch.arange(count, device=ids.device)  # the batch rows that the cache holds
    running = torch.ones_like(rows, dtype=torch.bool)
    for step in range(max_new_tokens):
        token = _pick(logits, temperature, top_p, generator).where(running, pad_id)
        ids[rows, step] = token
        if nats is not None:
            nats[rows, step] = _entropy(logits, temperature).where(running, 0.0)
        running = running & ~torch.isin(token, ends)
        alive = int(running.sum())
        if alive == 0 or step + 1 == max_new_tokens:
            break
        if alive < COMPACT_BELOW * len(rows):
            cache.batch_select_indices(running.nonzero()[:, 0])
            rows, token, running = rows[running], token[running], running[running]
        seen = width + step + 1
        logits = _step(model, token, mask[rows, :seen], places[rows, seen - 1 : seen], cache)
    length = step + 1
    return Completions(
        ids[:, :length], _until(ids[:, :length], ends), None if nats is None else nats[:, :length]
    )


def _until(ids: Int[Tensor, "N T"], ends: Int[Tensor, " E"]) -> Int[Tensor, "N T"]:
    """1 up to and including the first end of each row."""
    end = torch.isin(ids, ends).long()
    return (end.cumsum(dim=1) - end == 0).long()
