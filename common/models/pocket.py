"""Policies: pocket Qwen3 models with a word-level tokenizer, saved beside a card; and real ones.

A pocket model is an ordinary transformers model of about 0.1 M parameters, so it trains through the same
trainer as Qwen3-8B. Three warm starts of a task lie in ``common/models/pocket``; the task's own `warm_start`
rebuilds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3ForCausalLM,
)

POCKET_FOLDER = Path(__file__).parent / "pocket"
MAX_PARAMETERS = 250_000


class ModelUnavailableError(RuntimeError):
    """A model cannot be loaded; the message names the fix."""


def build_tokenizer(vocabulary: Sequence[str], pad: str, bos: str, eos: str) -> PreTrainedTokenizerFast:
    """Tokenizer that splits on spaces; the id of a token is its place in `vocabulary`.

    It pads on the left and adds no token by itself: ``bos`` is written in the prompt. An unknown word is an
    error when a text is encoded.

    Raises:
        ValueError: a duplicate in the vocabulary, or a special token that it lacks.
    """
    if len(set(vocabulary)) != len(vocabulary):
        raise ValueError("the vocabulary holds a token twice")
    missing = [token for token in (pad, bos, eos) if token not in vocabulary]
    if missing:
        raise ValueError(f"special tokens {missing} are not in the vocabulary")
    words = Tokenizer(WordLevel({token: index for index, token in enumerate(vocabulary)}))
    words.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=pad, bos_token=bos, eos_token=eos, padding_side="left"
    )


def save_pocket(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, card: Mapping[str, Any]
) -> None:
    """Write ``model.safetensors``, ``config.json``, the tokenizer and ``card.json`` into `folder`.

    Raises:
        ValueError: more parameters than a committed checkpoint may have.
    """
    if model.num_parameters() > MAX_PARAMETERS:
        raise ValueError(
            f"a committed checkpoint has at most {MAX_PARAMETERS} parameters, this one has "
            f"{model.num_parameters()}; larger warm starts are cached jobs"
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def committed() -> list[str]:
    """Names of the committed pocket models."""
    return sorted(path.parent.name for path in POCKET_FOLDER.glob("*/config.json"))


def pocket_path(name_or_path: str | Path) -> Path:
    """Folder of a committed pocket model by name (``opchain-0``) or of any saved one by path.

    Raises:
        ModelUnavailableError: neither exists.
    """
    for folder in (POCKET_FOLDER / name_or_path, Path(name_or_path)):
        if (folder / "config.json").is_file():
            return folder
    known = ", ".join(committed()) or "none"
    raise ModelUnavailableError(
        f"no pocket model '{name_or_path}'; committed: {known} (`make pocket-models` rebuilds them)"
    )


def load_pocket(name_or_path: str | Path) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """Load a pocket model in float32 and evaluation mode, with its tokenizer.

    Raises:
        ModelUnavailableError: see `pocket_path`.
    """
    folder = pocket_path(name_or_path)
    model = Qwen3ForCausalLM.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return model.eval(), tokenizer


def load_policy(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a policy to train: a committed pocket model, a local folder, or a model of the Hugging Face hub.

    Weights come in float32 (an AdamW step of 1e-6 vanishes in bfloat16), from safetensors only, and no code
    from the hub is run. The tokenizer pads on the left.

    Raises:
        ModelUnavailableError: the model cannot be had; the message names the fix.
    """
    if model in committed():
        return load_pocket(model)
    try:
        policy = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left", trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelUnavailableError(
            f"cannot load MODEL={model}: {reason} Fix: check the name; without a network, run "
            f"`hf download {model}` on a connected machine and pass the folder with its config, "
            "tokenizer and *.safetensors as MODEL"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return policy, tokenizer
