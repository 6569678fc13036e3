"""Does a decoding loop of our own compute what the model computes?

A loop gives the model masks, positions and a cache. Some architectures make their own (windows, ALiBi,
positions counted from the padding id) and then decode another text without a word. Whatever the reason, the
logits part from those of the model's plain forward: these are compared, once for each model, on a text longer
than its windows. Windows too long for that are shortened, in a twin that shares the model's weights.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from accelerate import init_empty_weights
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

LENGTH = 18  # tokens of the text that is compared
WINDOW = 5  # what a longer window is shortened to

_SPAN = re.compile(r"(^|_)(window|window_size|chunk_size|local_attention|block_size|index_topk)$")
_MARKS = {
    "build_alibi_tensor": "ALiBi",
    "build_mpt_alibi_tensor": "ALiBi",
    "create_position_ids_from_input_ids": "positions counted from the padding id",
    "relative_attention_bias": "relative positions",
}
_passed: WeakKeyDictionary[PreTrainedModel, set[tuple[str, str]]] = WeakKeyDictionary()


class Replayed(NamedTuple):
    """What a loop makes of a text.

    Attributes:
        logits: Next-token logits of B rows at n places.
        places: The places, from 0.
    """

    logits: Float[Tensor, "B n V"]
    places: Int[Tensor, "B n"]


Replay = Callable[[PreTrainedModel, Int[Tensor, "2 L"]], Replayed]
"""(model in evaluation mode, texts) to the logits that the loop gets when it decodes these texts."""


def require_own_logits(model: PreTrainedModel, replay: Replay, loop: str) -> None:
    """Refuse a model whose plain forward gives other logits than a loop; one that passed is not tried again.

    Args:
        model: The model, in any mode.
        replay: The loop, on given texts.
        loop: What it is called.

    Raises:
        ValueError: names architecture, difference and what in the model explains it.
    """
    passed = _passed.setdefault(model, set())
    case = (loop, str(getattr(model.config, "_attn_implementation", None)))
    if case not in passed:
        fault, cause = _fault(model, replay)
        if fault:
            raise ValueError(
                f"{type(model).__name__} ({_peculiarities(model)}): {loop} cannot decode it, {fault}; "
                "use the model's `generate`"
            ) from cause
        passed.add(case)


def context_of(model: PreTrainedModel) -> int:
    """Longest text that the model was made for, in tokens; the largest number where its config names none."""
    config = model.config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "max_target_positions", "max_seq_len"):
        if isinstance(length := getattr(config, name, None), int) and length > 0:
            return length
    return sys.maxsize


@torch.no_grad()
def _fault(model: PreTrainedModel, replay: Replay) -> tuple[str, Exception | None]:
    """How the loop's logits part from the model's own, empty if they do not; and what was raised."""
    ids = _text(model)
    try:
        with _evaluation(_short_windows(model)) as subject:
            own, tolerance = _own_logits(subject, ids)
            logits, places = replay(subject, ids)
    except Exception as error:  # foreign code: whatever it raises, it does not take what the loop gives it
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", error
    own = own.gather(1, places[..., None].expand(-1, -1, own.shape[-1])).double()
    spread = (own - own.mean(dim=-1, keepdim=True)).norm()
    difference = (logits.double() - own).norm()
    if difference <= tolerance * spread:
        return "", None
    if spread.isnan():
        return "its own logits are NaN", None
    return f"logits differ from the model's own by {float(difference / spread):.1%} of their spread", None


def _text(model: PreTrainedModel) -> Int[Tensor, "2 L"]:
    """Two texts of ordinary tokens."""
    config = model.config.get_text_config(decoder=True)
    special = {
        value for name, value in model.config.to_dict().items() if name.endswith("_id") and type(value) is int
    }
    ordinary = [token for token in range(min(config.vocab_size, 1000)) if token not in special]
    places = torch.arange(2 * min(LENGTH, context_of(model)))
    chosen = torch.tensor(ordinary)[(places * 7 + places**2 % 5) % len(ordinary)]
    return chosen.view(2, -1).to(model.device)


@contextmanager
def _evaluation(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """The model in evaluation mode; every module goes back to the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield model
    finally:
        for module in training:
            module.training = True


def _windows(model: PreTrainedModel) -> dict[str, int]:
    """Fields of the config that let a token see only a part of the text."""
    values = model.config.get_text_config(decoder=True).to_dict()
    return {
        name: value
        for name, value in values.items()
        if _SPAN.search(name) and type(value) is int and 0 < value < context_of(model)
    }


def _short_windows(model: PreTrainedModel) -> PreTrainedModel:
    """The model, or a twin on the same weights if a window is longer than the text."""
    long = [name for name, value in _windows(model).items() if value > LENGTH // 2]
    if not long:
        return model
    config = copy.deepcopy(model.config)
    for name in long:
        setattr(config.get_text_config(decoder=True), name, WINDOW)
    with init_empty_weights():  # but buffers are made: they hold masks and rotary frequencies
        twin = type(model)(config)
    twin.load_state_dict(model.state_dict(), assign=True)
    for buffer in twin.buffers():
        buffer.data = buffer.data.to(model.device)
    return twin


def _own_logits(model: PreTrainedModel, ids: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B L V"], float]:
    """Logits of the plain forward, and the rounding of its arithmetic in shares of their spread."""
    types = [torch.float32, model.dtype]  # norms and positions are float32 in a float64 model too
    head = model.get_output_embeddings() or model
    handle = head.register_forward_hook(  # under mixed precision it computes in less than its weights have
        lambda *call: types.append(getattr(call[-1], "dtype", model.dtype))
    )
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return logits, max(torch.finfo(kind).eps for kind in types) ** 0.5


def _peculiarities(model: PreTrainedModel) -> str:
    """What in a model may explain that it does not take a loop's masks, positions or cache."""
    config = model.config.get_text_config(decoder=True)
    signs = [f"{name}={value}" for name, value in _windows(model).items()]
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    signs += [f"{', '.join(sorted(kinds))} layers"] if kinds else []
    signs += ["ALiBi"] if getattr(config, "alibi", False) else []
    signs += ["is_decoder=False"] if getattr(config, "is_decoder", None) is False else []
    signs += [words for name, words in _MARKS.items() if any(hasattr(part, name) for part in model.modules())]
    return "; ".join(dict.fromkeys(signs)) or "masks, positions or a cache of its own"
