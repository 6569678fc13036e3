"""The model that is decoded: a transformers decoder, run on staged tokens, with its hidden states tapped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.speculative.cache import RaggedKVCache


class Reading(NamedTuple):
    """What a forward of the target gave at Q staged tokens.

    Attributes:
        logits: Next-token logits.
        features: Tapped hidden states side by side; width 0 without taps.
    """

    logits: Float[Tensor, "B Q V"]
    features: Float[Tensor, "B Q F"]


class Target:
    """Any decoder-only transformers model with full attention and a key-value cache.

    Args:
        model: The model; it is used in the mode (training or evaluation) that it is in.
        taps: Hidden states that a draft reads: i < L is the input of decoder layer i, L the state after the
            final norm (what the language-model head reads).

    Raises:
        ValueError: a model without key-value cache or without full attention, or a tap that it lacks.
    """

    def __init__(self, model: PreTrainedModel, taps: tuple[int, ...] = ()) -> None:
        self.model, self.taps = model, taps
        self.layers = _decoder_layers(model)
        wrong = [tap for tap in taps if not 0 <= tap <= len(self.layers)]
        if wrong:
            raise ValueError(f"taps {wrong} lie outside 0 … {len(self.layers)}, the layers of this model")
        self._check_cache()

    @contextmanager
    def _tapped(self) -> Iterator[dict[int, Tensor]]:
        """Hidden states by tap, filled by the forwards inside; the hooks go when it ends."""
        seen: dict[int, Tensor] = {}

        def before_layer(tap: int) -> Any:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                seen[tap] = args[0] if args else kwargs["hidden_states"]

            return hook

        def after_norm(module: nn.Module, args: Any, output: Any) -> None:
            seen[len(self.layers)] = output.last_hidden_state

        handles = [
            self.layers[tap].register_forward_pre_hook(before_layer(tap), with_kwargs=True)
            if tap < len(self.layers)
            else self.model.get_decoder().register_forward_hook(after_norm)
            for tap in set(self.taps)
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self.embeddings.weight.shape[1]

    @property
    def feature_size(self) -> int:
        """Width F of the features."""
        return self.hidden * len(self.taps)

    @property
    def context(self) -> int:
        """Longest text that the model was made for, in tokens."""
        return self.model.config.get_text_config().max_position_embeddings

    @property
    def vocabulary(self) -> int:
        """Number V of logits."""
        return self.model.get_output_embeddings().weight.shape[0]

    @property
    def embeddings(self) -> nn.Embedding:
        """Token embeddings."""
        return cast(nn.Embedding, self.model.get_input_embeddings())

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embeddings.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of its weights."""
        return self.embeddings.weight.dtype

    def new_cache(self, lengths: Int[Tensor, " B"], capacity: int) -> RaggedKVCache:
        """An empty cache for B rows."""
        return RaggedKVCache(len(self.layers), lengths, capacity)

    def read(
        self,
        tokens: Int[Tensor, "B Q"],
        positions: Int[Tensor, "B Q"],
        mask: Float[Tensor, "B 1 Q S"],
        cache: RaggedKVCache | None = None,
        logits_to_keep: int = 0,
    ) -> Reading:
        """Run the model; with a cache, on entries staged there before.

        Args:
            tokens: Token ids.
            positions: Their places in the text.
            mask: Additive attention mask over all keys.
            cache: Where keys and values are kept.
            logits_to_keep: Logits of the last so many tokens only; 0 means all. Features are kept of all.
        """
        with self._tapped() as seen:
            logits = self.model(
                input_ids=tokens,
                position_ids=positions,
                attention_mask=mask,
                cache=cache,
                use_cache=cache is not None,
                logits_to_keep=logits_to_keep,
            ).logits
        parts = [seen[tap] for tap in self.taps]
        features = torch.cat(parts, dim=-1) if parts else logits.new_empty(*tokens.shape, 0)
        return Reading(logits, features)

    @torch.no_grad()
    def _check_cache(self) -> None:
        lengths = torch.zeros(1, dtype=torch.long, device=self.device)
        cache = self.new_cache(lengths, capacity=1)
        cache.stage(1)
        training = self.model.training
        self.model.eval()  # gradient checkpointing leaves the cache alone in training
        self_only = torch.ones(1, 1, 1, dtype=torch.bool, device=self.device)
        try:
            self.read(lengths[None], lengths[None], cache.mask(self_only, self.dtype), cache)
        except (TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(_no_cache(self.model)) from error
        finally:
            self.model.train(training)
        if not cache.filled:
            raise ValueError(_no_cache(self.model))


def _no_cache(model: PreTrainedModel) -> str:
    return (
        f"{type(model).__name__} does not fill a key-value cache in every layer; speculative decoding needs "
        "a decoder-only transformers model with one"
    )


def _decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if model.config.is_encoder_decoder or kinds != {"full_attention"}:
        raise ValueError(
            f"{type(model).__name__} has {', '.join(sorted(kinds))} layers; speculative decoding needs a "
            "decoder-only model with full attention in every layer"
        )
    decoder = model.get_decoder()
    for name in ("layers", "h"):
        if isinstance(found := getattr(decoder, name, None), nn.ModuleList):
            return list(found)
    raise ValueError(_no_cache(model))
