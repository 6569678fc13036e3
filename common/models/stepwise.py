"""A decoder that is open at every step: what a method may see and change in a model while it writes.

The loop of `common.models.decoding`, with three openings. A *hook* makes the next token of the logits and, if
it likes, the vector that the model reads in place of the token's embedding: a mixture of tokens. *Taps*
record hidden states of the last position. *Overrides* edit them, and with them the keys and values of all
layers above. With none of these it is the lean sampler, bit for bit; taps change nothing.

Hidden states are counted as by `output_hidden_states`: k < L is what decoder layer k reads, L is the state
behind the final norm, which the language-model head reads. State t is the one that token t is chosen from: at
the prompt's last token for t = 0, then at token t - 1. What comes behind a row's last token is never read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache

from common.models import decoding
from common.models.fidelity import Replayed, require_own_logits
from common.models.hidden_states import Override, Probe, State, not_finite
from common.models.options import require_plain_sampling

LOOP = "the step-wise decoder"


class Step(NamedTuple):
    """What a hook chooses.

    Attributes:
        ids: The token of each row that stands in its text, and may end it.
        embeddings: What the model reads next; the embeddings of `ids` if None.
    """

    ids: Int[Tensor, " n"]
    embeddings: Float[Tensor, "n D"] | None = None


Hook = Callable[[Float[Tensor, "n V"], State], Step]
"""(next-token logits, state) to the next tokens."""


@dataclass(frozen=True)
class Draw:
    """The hook of plain decoding: one token a row from softmax(logits / temperature), or from its nucleus.

    Attributes:
        temperature: Zero is greedy.
        top_p: Probability of the nucleus; 1 keeps the whole distribution.
        generator: Source of randomness, on the model's device; the global one if None.

    Raises:
        ValueError: a negative temperature, or `top_p` outside (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < math.inf and 0 < self.top_p <= 1):
            raise ValueError(f"need temperature ≥ 0 and 0 < top_p ≤ 1; got {self.temperature}, {self.top_p}")

    def __call__(self, logits: Float[Tensor, "n V"], _: State) -> Step:
        return Step(decoding._pick(logits, self.temperature, self.top_p, self.generator))


class Decoded(NamedTuple):
    """Completions of N prompts; T is the longest length.

    Attributes:
        ids: Token ids, end of sequence included, then padding on the right.
        mask: 1 on tokens, 0 on padding.
        hidden: Tapped layer to the hidden state that each token was chosen from; 0 on padding.
        log: What hooks and overrides logged, by name; 0 on padding and where they logged nothing.
    """

    ids: Int[Tensor, "N T"]
    mask: Int[Tensor, "N T"]
    hidden: dict[int, Float[Tensor, "N T D"]]
    log: dict[str, Num[Tensor, "N T ..."]]


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    prompt_ids: Int[Tensor, "N P"],
    prompt_mask: Int[Tensor, "N P"],
    max_new_tokens: int,
    hook: Hook,
    eos_id: int | Sequence[int],
    pad_id: int,
    taps: Collection[int] = (),
    overrides: Mapping[int, Override] | None = None,
    tap_dtype: torch.dtype | None = None,
) -> Decoded:
    """Complete every prompt, step by step.

    Equal prompts in consecutive rows are read once, unless there are overrides: these may treat each row in
    its own way. Gradients are off; an override that climbs one switches them on for itself.

    Args:
        model: A decoder-only model with full attention in every layer, in the mode that it is in, whose
            logits in this loop are those of its plain forward: tried at first use, with ids and embeddings.
        prompt_ids: Prompts, padded on the left or on the right.
        prompt_mask: 1 on prompt tokens, 0 on padding.
        max_new_tokens: Longest completion; one that reaches it has no `eos_id`.
        hook: Chooses the tokens; `Draw` is plain decoding.
        eos_id: Ends a completion; several tokens may.
        pad_id: Fills the rest.
        taps: Layers whose hidden states are recorded, 0 … L.
        overrides: Layer to what edits its hidden states.
        tap_dtype: What hidden states are recorded in (float16 is half the memory); the model's type if None.

    Raises:
        ValueError: an empty prompt, `max_new_tokens` < 1, a layer that the model lacks, a hook or override
            whose answer does not fit the rows, a number that is not finite in a hidden state that is tapped
            or edited, NaN logits, or a model that the loop cannot decode.
    """
    if max_new_tokens < 1 or not prompt_mask.any(dim=1).all():
        raise ValueError(
            f"need max_new_tokens ≥ 1 and no empty prompt; got {max_new_tokens} and "
            f"{int((prompt_mask != 0).sum(dim=1).min())} tokens in the shortest prompt"
        )
    probe = Probe(model, taps, overrides or {}, tap_dtype)
    ends = torch.as_tensor(eos_id, device=prompt_ids.device).reshape(-1)
    require_plain_sampling(model, ends.tolist(), LOOP)
    require_own_logits(model, _replay, LOOP)
    return _Run(model, probe, *_left_padded(prompt_ids, prompt_mask), max_new_tokens, ends, pad_id).run(hook)


def _left_padded(ids: Int[Tensor, "N P"], mask: Int[Tensor, "N P"]) -> tuple[Tensor, Tensor]:
    """All padding to the left, tokens in their order."""
    mask = (mask != 0).long()
    order = mask.argsort(dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


class _Records:
    """Numbers of every row and step by name; zero where there are none."""

    def __init__(self, rows: int, steps: int) -> None:
        self.shape, self.kept = (rows, steps), dict[Any, Tensor]()

    def keep(self, state: State, numbers: Mapping[Any, Num[Tensor, "n ..."]]) -> None:
        """Take the numbers of one step."""
        for name, values in numbers.items():
            if name not in self.kept:
                self.kept[name] = values.new_zeros(*self.shape, *values.shape[1:])
            buffer = self.kept[name]
            need = (len(state.rows), *buffer.shape[2:]), buffer.dtype
            if (tuple(values.shape), values.dtype) != need:
                raise ValueError(
                    f"log entry {name!r} has shape {tuple(values.shape)}, {values.dtype}, at step "
                    f"{state.step}; it needs a row for each in state.rows, {need[0]}, and one type, {need[1]}"
                )
            rows = slice(None) if len(values) == len(buffer) else state.rows  # all of them, in their order
            buffer[rows, state.step] = values

    def cut(self, mask: Int[Tensor, "N T"]) -> dict[Any, Num[Tensor, "N T ..."]]:
        """The first T steps, zero on padding."""
        padding, length = mask == 0, mask.shape[1]
        for values in self.kept.values():
            values[:, :length][padding] = 0
        return {name: values[:, :length] for name, values in self.kept.items()}


class _Run:
    """One decoding; prompts are padded on the left."""

    def __init__(
        self,
        model: PreTrainedModel,
        probe: Probe,
        ids: Int[Tensor, "N P"],
        mask: Int[Tensor, "N P"],
        steps: int,
        ends: Int[Tensor, " E"],
        pad_id: int,
    ) -> None:
        self.model, self.probe, self.ends, self.pad_id = model, probe, ends, pad_id
        self.embeddings = cast(nn.Embedding, model.get_input_embeddings())
        self.prompts, self.steps = torch.stack([ids, mask], dim=1), steps
        self.mask = torch.cat([mask, mask.new_ones(len(mask), steps)], dim=1)
        self.places = decoding._positions(self.mask)
        self.texts = ids.new_full((len(ids), steps), pad_id)
        self.hidden, self.log = _Records(*self.texts.shape), _Records(*self.texts.shape)
        rows = torch.arange(len(ids), device=ids.device)
        self.state = State(0, rows, torch.ones_like(rows, dtype=torch.bool), self.embeddings, self.texts)
        self.cache: Cache

    def run(self, hook: Hook) -> Decoded:
        """Go on until all rows have ended."""
        with self.probe.attached():
            logits = self._prefill()
            while True:
                chosen = self._choose(hook, logits)
                length, alive = self.state.step + 1, int(self.state.running.sum())
                if not alive or length == self.steps:
                    break
                logits = self._advance(chosen, alive < decoding.COMPACT_BELOW * len(self.state.rows))
        ids = self.texts[:, :length]
        mask = decoding._until(ids, self.ends)
        return Decoded(ids, mask, self.hidden.cut(mask), self.log.cut(mask))

    def _prefill(self) -> Float[Tensor, "N V"]:
        prompts, rows = self.prompts, self.state.rows
        if not self.probe.overrides:
            prompts, rows = torch.unique_consecutive(prompts, dim=0, return_inverse=True)
        ids, mask = prompts.unbind(1)
        self.cache = DynamicCache(config=self.model.config)
        logits = self._read({"input_ids": ids}, mask, decoding._positions(mask))[rows]
        self.state.hidden = {place: hidden[rows] for place, hidden in self.state.hidden.items()}
        room = self.mask.shape[1]
        self.cache = Cache(layers=[decoding._buffered(layer, rows, room) for layer in self.cache.layers])
        return logits

    def _read(
        self, fed: dict[str, Tensor], mask: Int[Tensor, "n S"], places: Int[Tensor, "n Q"]
    ) -> Float[Tensor, "n V"]:
        """Read ids or embeddings behind what the cache holds; returns the logits behind the last."""
        with self.probe.open(self.state):
            return self.model(
                **fed,
                attention_mask=mask,
                position_ids=places,
                cache=self.cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]

    def _choose(self, hook: Hook, logits: Float[Tensor, "n V"]) -> Step:
        """Let the hook choose, and keep what is to be kept of the step."""
        state = self.state
        self.hidden.keep(state, self.probe.recorded(state))
        if bool(logits.isnan().any()):
            raise ValueError(
                f"the model gives NaN logits at step {state.step}; look at its weights and dtype, or tap its "
                "layers to be told the first that is not finite"
            )
        ids, embeddings = self._checked(hook(logits, state))
        ids = ids.to(self.texts.dtype).where(state.running, self.pad_id)
        self.texts[state.rows, state.step] = ids
        self.log.keep(state, state.log)
        state.running = state.running & ~torch.isin(ids, self.ends)
        return Step(ids, embeddings)

    def _checked(self, chosen: Step) -> Step:
        """The hook's answer, if it fits the rows and the model."""
        ids, embeddings = chosen
        rows, table = len(self.state.rows), self.embeddings.weight
        if ids.shape != (rows,) or ids.is_floating_point():
            raise ValueError(
                f"the hook returned ids of shape {tuple(ids.shape)}, {ids.dtype}; it has to return an "
                f"integer for each row in state.rows, {(rows,)}"
            )
        if embeddings is None:
            return chosen
        if embeddings.shape != (rows, table.shape[1]):
            raise ValueError(
                f"the hook returned embeddings of shape {tuple(embeddings.shape)}; it has to return what the "
                f"model reads for each row in state.rows, {(rows, table.shape[1])}"
            )
        if wrong := not_finite(embeddings, self.state):
            raise ValueError(
                f"the hook returned embeddings that are not finite, {wrong}; look at its weights, which a sum"
                " of zero makes NaN"
            )
        return Step(ids, embeddings.detach().to(table.dtype))

    def _advance(self, chosen: Step, compact: bool) -> Float[Tensor, "n V"]:
        """Read what was chosen, with or without the rows that have ended."""
        (ids, embeddings), rows, running = chosen, self.state.rows, self.state.running
        if compact:
            kept = running.nonzero()[:, 0]
            self.cache.batch_select_indices(kept)
            ids, rows, running = ids[kept], rows[kept], running[kept]
            embeddings = None if embeddings is None else embeddings[kept]
        self.state = State(self.state.step + 1, rows, running, self.embeddings, self.texts)
        fed = {"input_ids": ids[:, None]} if embeddings is None else {"inputs_embeds": embeddings[:, None]}
        seen = self.prompts.shape[2] + self.state.step
        return self._read(fed, self.mask[rows, :seen], self.places[rows, seen - 1 : seen])


def _replay(model: PreTrainedModel, ids: Int[Tensor, "2 L"]) -> Replayed:
    """Decode two texts, the second one behind padding; ids and embeddings are read in turn."""
    length, padding = ids.shape[1], 2
    width = padding + max(length // 3, 1)
    texts = torch.stack([ids[0], ids[1].roll(padding)])
    mask = torch.ones_like(texts[:, :width])
    mask[1, :padding] = 0

    def forced(logits: Float[Tensor, "2 V"], state: State) -> Step:
        state.log["logits"] = logits
        token = texts[:, width + state.step]
        return Step(token, state.embed(token) if state.step % 2 else None)

    none = texts.new_empty(0)
    run = _Run(model, Probe(model, (), {}, None), texts[:, :width], mask, length - width, none, pad_id=0)
    return Replayed(run.run(forced).log["logits"], run.places[:, width - 1 : -1])
