"""Hidden states of the last position, read and edited while a model writes; see `common.models.stepwise`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel


@dataclass
class State:
    """The batch at step t. Of its N rows n are held: those that run, and ended ones that have not left yet.

    Attributes:
        step: t, from 0.
        rows: Place in the batch of each row that is held.
        running: Whether it goes on; what is chosen for an ended row is dropped.
        embed: Input embeddings of token ids of any shape.
        hidden: Tapped hidden states of this step by layer, after an override of the same layer.
        log: Numbers to keep of this step by name, shape (n, …); hooks and overrides write here.
    """

    step: int
    rows: Int[Tensor, " n"]
    running: Bool[Tensor, " n"]
    embed: Callable[[Int[Tensor, "*s"]], Float[Tensor, "*s D"]]
    _texts: Int[Tensor, "N T"]
    hidden: dict[int, Float[Tensor, "n D"]] = field(default_factory=dict)
    log: dict[str, Num[Tensor, "n ..."]] = field(default_factory=dict)

    @property
    def ids(self) -> Int[Tensor, "n t"]:
        """The tokens that were written before."""
        return self._texts[self.rows, : self.step]


Override = Callable[[Float[Tensor, "n D"], State], Float[Tensor, "n D"]]
"""(hidden states of the last position, state) to what takes their place."""


class Probe:
    """Taps and overrides of a model, which act while they are open."""

    def __init__(
        self,
        model: PreTrainedModel,
        taps: Collection[int],
        overrides: Mapping[int, Override],
        dtype: torch.dtype | None,
    ) -> None:
        self.model, self.taps, self.overrides, self.dtype = model, sorted(set(taps)), overrides, dtype
        self.places = sorted({*taps, *overrides})
        self.layers = _decoder_layers(model) if self.places else []
        self.state: State | None = None
        if wrong := [place for place in self.places if not 0 <= place <= len(self.layers)]:
            raise ValueError(
                f"{type(model).__name__} has no layer {', '.join(map(str, wrong))}: taps and overrides go "
                f"from 0, what its first layer reads, to {len(self.layers)}, the state behind the final norm"
            )

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hang the hooks into the model; they act inside `open`, and let every other forward pass."""
        handles = [self._attach(place, partial(self._through, place)) for place in self.places]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def open(self, state: State) -> Iterator[None]:
        """Let the forwards inside pass through overrides and taps, which write into the state."""
        self.state = state
        try:
            yield
        finally:
            self.state = None

    def _attach(self, place: int, through: Callable[[Tensor], Tensor]) -> RemovableHandle:
        def reads(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (through(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": through(kwargs["hidden_states"])}

        def gives(_: nn.Module, __: Any, output: Any) -> None:
            output.last_hidden_state = through(output.last_hidden_state)

        if place < len(self.layers):
            return self.layers[place].register_forward_pre_hook(reads, with_kwargs=True)
        return self.model.get_decoder().register_forward_hook(gives)

    def _through(self, place: int, hidden: Float[Tensor, "n Q D"]) -> Float[Tensor, "n Q D"]:
        state = self.state
        if state is None:
            return hidden
        if place in self.overrides:
            edited = self._edited(place, state, hidden[:, -1])
            hidden = torch.cat([hidden[:, :-1], edited[:, None]], dim=1)
        if place in self.taps:
            state.hidden[place] = hidden[:, -1]
        return hidden

    def _edited(self, place: int, state: State, hidden: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        edited = self.overrides[place](hidden.clone(), state)
        if edited.shape != hidden.shape:
            raise ValueError(
                f"the override of layer {place} returned the shape {tuple(edited.shape)}; it has to return "
                f"all rows, {tuple(hidden.shape)}, those that it leaves alone as they came"
            )
        if wrong := not_finite(edited, state):
            _require_finite(hidden, state, place)
            raise ValueError(f"the override of layer {place} returned numbers that are not finite, {wrong}")
        return edited.detach().to(hidden.dtype)

    def recorded(self, state: State) -> dict[int, Float[Tensor, "n D"]]:
        """The tapped states in the type that they are recorded in."""
        found = {place: state.hidden[place].to(self.dtype or self.model.dtype) for place in self.taps}
        for place, hidden in found.items():
            if wrong := not_finite(hidden, state):
                _require_finite(state.hidden[place], state, place)
                raise ValueError(
                    f"the hidden state of layer {place} is too large for {self.dtype}, {wrong}; record it "
                    "with tap_dtype=torch.bfloat16 or None"
                )
        return found


def _decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    depth = model.config.get_text_config(decoder=True).num_hidden_layers
    decoder = None if model.config.is_encoder_decoder else model.get_decoder()
    for part in decoder.modules() if isinstance(decoder, nn.Module) else ():
        if isinstance(part, nn.ModuleList) and len(part) == depth:
            return list(part)
    raise ValueError(
        f"{type(model).__name__} has no stack of {depth} decoder layers, which taps and overrides need; use "
        "a decoder-only transformers model"
    )


def not_finite(numbers: Float[Tensor, "n ..."], state: State) -> str:
    """Where numbers are not finite; empty if all are."""
    # One sum tells, but for finite numbers whose sum overflows: it takes an eighth of the time of isfinite.
    if math.isfinite(float(numbers.sum(dtype=torch.float32))) or bool(numbers.isfinite().all()):
        return ""
    wrong = state.rows[~numbers.flatten(1).isfinite().all(dim=1)]
    return f"at step {state.step} in rows {wrong.tolist()}"


def _require_finite(hidden: Float[Tensor, "n D"], state: State, place: int) -> None:
    if wrong := not_finite(hidden, state):
        raise ValueError(
            f"the hidden state of layer {place} is not finite, {wrong}; look at the model's weights and "
            "dtype, and at what was edited or fed before"
        )
