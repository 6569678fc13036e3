"""Deep and narrow decoders, trained from scratch and cached: targets of inference papers.

Larger than a committed checkpoint may be (about 0.8 M parameters), so they are trained on first use and kept
in a folder named by the hash of their recipe. Deep and narrow on purpose: a token costs many layers of small
operators, as a large model's token costs layers of memory traffic, so checking twenty tokens in one pass
costs little more than one, and a draft of one layer costs little beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from common.study.keys import product_name
from common.study.paths import store_root

IGNORED = -100  # label of positions that carry no loss


@dataclass(frozen=True)
class TinyConfig:
    """Shape of a Qwen3 decoder with grouped-query attention and tied embeddings.

    Attributes:
        hidden: Width of the residual stream.
        layers: Decoder layers.
        heads: Query heads.
        kv_heads: Key-value heads; divides `heads`.
        head_dim: Width of a head; even.
        ffn: Width of the gated feed-forward layer.
        context: Longest sequence in tokens.
    """

    hidden: int = 128
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    ffn: int = 384
    context: int = 512


def tiny_qwen3(config: TinyConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3ForCausalLM:
    """Randomly initialised float32 decoder for a tokenizer's vocabulary; leaves the global generator alone.

    Raises:
        ValueError: query heads that the key-value heads do not divide.
    """
    if config.heads % config.kv_heads:
        raise ValueError(f"TinyConfig.kv_heads is {config.kv_heads}; it must divide heads = {config.heads}")
    qwen = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.ffn,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(qwen).eval()


def cosine_with_warmup(step: int, warmup: int, total: int) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def fit(
    parameters: Iterable[torch.nn.Parameter],
    loss: Callable[[int], Float[Tensor, ""]],
    steps: int,
    learning_rate: float,
    warmup: int = 20,
    max_grad_norm: float = 1.0,
) -> list[float]:
    """Minimise ``loss(step)`` with AdamW on a cosine schedule; returns the loss of every step."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine_with_warmup(step, warmup, steps)
    )
    losses = []
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        schedule.step()
        losses.append(value.item())
    return losses


def next_token_loss(
    model: PreTrainedModel, ids: Int[Tensor, "B T"], labels: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of the labelled tokens (`IGNORED` elsewhere); rows are padded right."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


class Saved(Protocol):
    """A model that can write itself into a folder."""

    def save_pretrained(self, folder: Path, /) -> Any:
        """Write it."""


def cached(recipe: Any, train: Callable[[], Saved]) -> Path:
    """Folder with the model that `train` gives for a frozen dataclass `recipe`, trained on first use.

    It lies beside the store of records; its name is a hash of the recipe, of the source of the module that
    defines it (which is the one that trains), and of versions and processor. A lock lets one process train
    while the others wait, and a half written model is never seen.
    """
    folder = store_root().parent / "models"
    name = product_name(asdict(recipe), type(recipe).__module__)
    place = folder / f"{type(recipe).__name__}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.is_dir():
            staged = place.with_suffix(".part")
            train().save_pretrained(staged)
            staged.rename(place)
    return place
