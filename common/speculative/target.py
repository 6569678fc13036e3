"""The model that is decoded: a transformers decoder, run on staged tokens, with its hidden states tapped."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.models.fidelity import Replayed, context_of, require_own_logits
from common.speculative.cache import RaggedKVCache

LOOP = "the speculative engine"


class Reading(NamedTuple):
    """What a forward of the target gave at Q staged tokens.

    Attributes:
        logits: Next-token logits.
        features: Tapped hidden states side by side; width 0 without taps.
    """

    logits: Float[Tensor, "B Q V"]
    features: Float[Tensor, "B Q F"]


class Target:
    """A decoder-only transformers model that takes our masks, positions and cache.

    Whether it does is tried: its logits on staged tokens have to be those of its plain forward.

    Args:
        model: The model; it is used in the mode (training or evaluation) that it is in.
        taps: Hidden states that a draft reads: i < L is the input of decoder layer i, L the state after the
            final norm (what the language-model head reads).

    Raises:
        ValueError: a model whose logits differ when it is given them, or a tap that it lacks.
    """

    def __init__(self, model: PreTrainedModel, taps: tuple[int, ...] = ()) -> None:
        self.model, self.taps = model, taps
        self.layers = _decoder_layers(model)
        wrong = [tap for tap in taps if not 0 <= tap <= len(self.layers)]
        if wrong:
            raise ValueError(f"taps {wrong} lie outside 0 … {len(self.layers)}, the layers of this model")
        require_own_logits(model, self._replay, LOOP)

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
        return context_of(self.model)

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
                attention_mask=self._windowed(mask, positions, cache),
                cache=cache,
                use_cache=cache is not None,
                logits_to_keep=logits_to_keep,
            ).logits
        parts = [seen[tap] for tap in self.taps]
        features = torch.cat(parts, dim=-1) if parts else logits.new_empty(*tokens.shape, 0)
        return Reading(logits, features)

    def _windowed(
        self, mask: Float[Tensor, "B 1 Q S"], positions: Int[Tensor, "B Q"], cache: RaggedKVCache | None
    ) -> Tensor | dict[str, Tensor]:
        """The mask, cut to the window of layers that have one; one mask for each kind of layer."""
        config = self.model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)
        if not window or kinds == {"full_attention"}:
            return mask
        keys = positions if cache is None else cache.places(positions)
        far = keys[:, None] <= positions[:, :, None] - window
        near = mask.masked_fill(far[:, None], torch.finfo(mask.dtype).min)
        return {"full_attention": mask, "sliding_attention": near} if kinds else near

    def _replay(self, model: PreTrainedModel, ids: Int[Tensor, "B L"]) -> Replayed:
        """Decode texts of two lengths: a prefill, then trees with a wrong branch before the right one."""
        engine = copy.copy(self)
        engine.model, engine.taps = model, ()
        length = ids.shape[1]
        width = max(length // 3, 1)
        steps, forks = torch.arange(width, device=ids.device), _FORK.to(ids.device)
        cache = engine.new_cache(torch.zeros_like(ids[:, 0]), capacity=length + len(forks))
        cache.stage(width)
        whole = (steps[:, None] >= steps).expand(len(ids), -1, -1)
        engine.read(ids[:, :width], steps.expand(len(ids), -1), cache.mask(whole, self.dtype), cache)
        cache.commit(steps.expand(len(ids), -1), torch.tensor([width, max(width - 2, 1)], device=ids.device))
        path = torch.tensor([[0, 2, 3]], device=ids.device).expand(len(ids), -1)
        logits, places = [], []
        while cache.start + path.shape[1] <= length:
            cache.stage(len(forks))
            place = cache.lengths[:, None] + forks.sum(dim=1) - 1
            mask = cache.mask(forks.expand(len(ids), -1, -1), self.dtype)
            tokens = ids.gather(1, place)
            tokens[:, 1] = ids[:, 0]
            logits.append(engine.read(tokens, place, mask, cache).logits[:, path[0]])
            places.append(place[:, path[0]])
            cache.commit(path, torch.full_like(cache.lengths, path.shape[1]))
        return Replayed(torch.cat(logits, dim=1), torch.cat(places, dim=1))


_FORK = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
"""Who sees whom in a tree of a root, a wrong child, the right one and its child."""


def _decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    decoder = None if model.config.is_encoder_decoder else model.get_decoder()
    for name in ("layers", "h"):
        if isinstance(stack := getattr(decoder, name, None), nn.ModuleList):
            return list(stack)
    raise ValueError(
        f"{type(model).__name__} has no stack of decoder layers; speculative decoding needs a decoder-only "
        "transformers model"
    )
