"""Real pretrained models, read from installed packages: a language model, and sentence embeddings.

The language model's package holds 4-bit weights (GGUF). They are turned into bfloat16 safetensors once, in a
folder that plain transformers loads like any other, so what takes a folder takes the model. What was lost to
four bits stays lost: this is a somewhat worse SmolLM2 than the published one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from common.study.assets import verified
from common.study.models import model_folder

MARKER = "complete.json"


def smollm2_folder() -> Path:
    """Folder of SmolLM2-135M-Instruct, converted on first use (half a minute, 269 MB).

    A lock lets one process convert while the others wait. The marker, which holds the checksums of all
    files, is written last: a folder that was left half written, or changed since, is made again.

    Raises:
        StudyError: the package is not installed, or holds another file.
    """
    place = model_folder("smollm2")
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not _intact(place):
            shutil.rmtree(place, ignore_errors=True)
            _convert(verified("smollm2"), place)
            (place / MARKER).write_text(json.dumps(_checksums(place)))
    return place


def load_smollm2(dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """SmolLM2-135M-Instruct in evaluation mode, with its tokenizer, which pads on the left.

    Args:
        dtype: float32, or the stored bfloat16: half the memory, and about twice as fast in training.

    Raises:
        StudyError: the package is not installed, or holds another file.
    """
    folder = smollm2_folder()
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, local_files_only=True
    )
    return model.eval(), AutoTokenizer.from_pretrained(folder, padding_side="left", local_files_only=True)


def embed(texts: Sequence[str], batch: int = 32) -> Float[Tensor, "B 384"]:
    """Sentence embeddings of all-MiniLM-L6-v2: means over tokens, of length one; a product is the cosine.

    Texts are cut after 512 tokens. Padding is masked: neighbours in a batch change a row by rounding alone.

    Raises:
        StudyError: the package is not installed, or holds another file.
    """
    encoder, tokenizer = _encoder()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch):
            some = list(texts[start : start + batch])
            tokens = tokenizer(some, padding=True, truncation=True, max_length=512, return_tensors="pt")
            hidden, mask = encoder(**tokens).last_hidden_state, tokens.attention_mask[..., None]
            rows.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.nn.functional.normalize(torch.cat(rows), dim=-1)


@cache
def _encoder() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = verified("minilm").parent
    encoder = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return encoder.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _convert(source: Path, place: Path) -> None:
    """Dequantise a GGUF file and save it the way transformers does.

    `save_pretrained` of a model read from GGUF refuses (its quantizer cannot write), so the weights are saved
    directly; the output matrix is the embedding and is left out.
    """
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    del model.config.quantization_config
    model.config.dtype, model.config.architectures = torch.bfloat16, [type(model).__name__]
    place.mkdir()
    weights = {
        name: value.bfloat16().contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    model.config.save_pretrained(place)
    model.generation_config.save_pretrained(place)
    tokenizer.save_pretrained(place)


def _intact(place: Path) -> bool:
    """True if the marker holds the checksums of what is in the folder."""
    try:
        return bool(json.loads((place / MARKER).read_text()) == _checksums(place))
    except (OSError, ValueError):
        return False


def _checksums(place: Path) -> dict[str, str]:
    found = {}
    for path in sorted(place.iterdir()):
        if path.name != MARKER:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    smollm2_folder()
