"""Small Qwen3 decoders from nothing: shape, supervised training, and a folder for each trained recipe.

A model that is too large to commit is trained on first use and kept under the hash of its recipe. Targets of
inference papers are deep and narrow on purpose: a token costs many layers of small operators, as a large
model's token costs layers of memory traffic, so checking twenty tokens in one pass costs little more than
one, and a draft of one layer costs little beside it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock
from jaxtyping import Float, Int
from rich.progress import track
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3ForCausalLM

from common.study.keys import product_name
from common.study.paths import store_root

IGNORED = -100  # label of positions that carry no loss
Schedule = Callable[[int], float]
"""Step to the share of the peak learning rate."""
ADAMW = partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.0)


@dataclass(frozen=True)
class ModelShape:
    """Shape of a Qwen3 decoder.

    Attributes:
        hidden: Width of the residual stream.
        layers: Decoder layers.
        heads: Query heads.
        ffn: Width of the gated feed-forward layer.
        context: Longest sequence, prompt included, in tokens.
        kv_heads: Key-value heads; divides `heads`, and by default equals it.
        head_dim: Width of a head, even; by default hidden / heads.
        tied: The embeddings are the output matrix too.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    ffn: int = 128
    context: int = 64
    kv_heads: int | None = None
    head_dim: int | None = None
    tied: bool = False

    def validate(self) -> None:
        """Check every field.

        Raises:
            ValueError: names the field, the value and what would be right.
        """
        for name, value in vars(self).items():
            if value is not None and name != "tied" and value < 1:
                raise ValueError(f"ModelShape.{name} is {value}; expected at least 1")
        if self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"ModelShape.kv_heads is {self.kv_heads}; it must divide heads = {self.heads}")
        if self.head_dim is None and self.hidden % (2 * self.heads):
            raise ValueError(
                f"ModelShape.heads is {self.heads}; rotary heads have even width: 2·heads must divide "
                f"hidden = {self.hidden}"
            )
        if (self.head_dim or 0) % 2:
            raise ValueError(f"ModelShape.head_dim is {self.head_dim}; rotary heads have even width")


def build_model(shape: ModelShape, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen3ForCausalLM:
    """Randomly initialised float32 decoder for a tokenizer's vocabulary, in evaluation mode.

    The global generator is left alone.

    Raises:
        ValueError: an impossible shape.
    """
    shape.validate()
    qwen = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        head_dim=shape.head_dim or shape.hidden // shape.heads,
        intermediate_size=shape.ffn,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.tied,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(qwen).eval()


def cosine(warmup: int, steps: int, first: int = 1) -> Schedule:
    """Linear warm-up from `first` / `warmup`, then a cosine to zero at `steps`."""

    def share(step: int) -> float:
        if step < warmup:
            return (step + first) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return share


def fit(
    parameters: Iterable[torch.nn.Parameter],
    loss: Callable[[int], Float[Tensor, ""]],
    steps: int,
    learning_rate: float,
    schedule: Schedule | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    max_grad_norm: float = 1.0,
    progress: str = "",
) -> list[float]:
    """Minimise ``loss(step)``; returns the loss of every step.

    Args:
        parameters: What is trained.
        loss: Of a step, whose batch it draws.
        steps: Optimizer steps.
        learning_rate: Peak.
        schedule: By default twenty steps of warm-up and a cosine.
        optimizer: Takes the parameters and ``lr``; `ADAMW` has a shorter memory than AdamW and no decay.
        max_grad_norm: Gradients are clipped to it.
        progress: Text of a progress bar; none without.
    """
    parameters = list(parameters)
    descent = optimizer(parameters, lr=learning_rate)
    rates = torch.optim.lr_scheduler.LambdaLR(descent, schedule or cosine(20, steps))
    losses = []
    for step in track(range(steps), description=progress, disable=not progress):
        value = loss(step)
        descent.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        descent.step()
        rates.step()
        losses.append(value.item())
    return losses


def next_token_loss(
    model: PreTrainedModel, ids: Int[Tensor, "B T"], labels: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats of the labelled tokens (`IGNORED` elsewhere).

    Rows are padded on the right, where causality hides the padding.
    """
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED
    )


class Saved(Protocol):
    """A model that can write itself into a folder."""

    def save_pretrained(self, folder: Path, /) -> Any:
        """Write it."""


@dataclass(frozen=True)
class Policy:
    """A model with its tokenizer, as `load_policy` reads them from one folder."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def save_pretrained(self, folder: Path) -> None:
        """Write both."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def cached(recipe: Any, train: Callable[[], Saved], seed: int | None = None) -> Path:
    """Folder with the model that `train` gives for a frozen dataclass `recipe`, trained on first use.

    It lies beside the store of records; its name is a hash of recipe and seed, of the source that the module
    which defines the recipe reaches (that module trains), and of versions and processor. A lock lets one
    process train while the others wait, and a half written model is never seen.

    Args:
        recipe: Everything that decides the weights.
        train: Trains the model.
        seed: Where the recipe does not hold it.

    Raises:
        Exception: what `train` raised, with a note that says for which recipe; nothing of it is kept.
    """
    name = type(recipe).__name__
    content = asdict(recipe) | ({} if seed is None else {"seed": seed})
    place = store_root().parent / "models" / f"{name}-{product_name(content, type(recipe).__module__)}"
    staged = place.with_suffix(".part")
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.is_dir():
            shutil.rmtree(staged, ignore_errors=True)  # of a process that was killed
            try:
                train().save_pretrained(staged)
            except BaseException as error:
                shutil.rmtree(staged, ignore_errors=True)
                error.add_note(f"while a model was trained by the recipe {recipe}; nothing of it was kept")
                raise
            staged.rename(place)
    return place
