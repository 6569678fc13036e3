"""Options of a model's generation config that a loop of our own does not express."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel

NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(("top_k", "min_p", "epsilon_cutoff", "eta_cutoff", "penalty_alpha"), 0),
    **dict.fromkeys(("typical_p", "top_h", "guidance_scale"), 1),
    **dict.fromkeys(("repetition_penalty", "encoder_repetition_penalty"), 1),
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), 0),
    **dict.fromkeys(("num_beams", "num_beam_groups"), 1),
    **dict.fromkeys(("min_length", "min_new_tokens", "diversity_penalty"), 0),
    **dict.fromkeys(("bad_words_ids", "force_words_ids", "constraints", "sequence_bias"), None),
    **dict.fromkeys(("suppress_tokens", "begin_suppress_tokens"), None),
    **dict.fromkeys(("forced_bos_token_id", "forced_eos_token_id"), None),
    **dict.fromkeys(("exponential_decay_length_penalty", "stop_strings", "max_time"), None),
    **dict.fromkeys(("watermarking_config", "dola_layers", "token_healing"), None),
}
"""Options that change a text, beside temperature, nucleus, length and its ends; and what turns each off."""


def require_plain_sampling(model: PreTrainedModel, eos_ids: Sequence[int], loop: str) -> None:
    """Refuse a model whose generation config asks for what a loop does not do.

    Args:
        model: The model.
        eos_ids: Tokens that end a completion in the loop; empty where it is meant to have no end.
        loop: What it is called.

    Raises:
        ValueError: names the options, or the ends of a sequence that are left out.
    """
    config = getattr(model, "generation_config", None)
    chosen = {name: getattr(config, name, None) for name in NEUTRAL}
    odd = [
        f"{name}={value}"
        for name, value in chosen.items()
        if value not in (None, NEUTRAL[name], [], {}) and value is not False  # a forced token may be 0
    ]
    if odd:
        raise ValueError(
            f"the generation_config of {type(model).__name__} sets {', '.join(odd)}; {loop} samples with "
            "temperature and top_p only: set them to None"
        )
    ends = _ends(model)
    if ends & set(eos_ids) and not ends <= set(eos_ids):
        raise ValueError(
            f"the generation_config of {type(model).__name__} ends a text with any of {sorted(ends)}, {loop} "
            f"would only with {sorted(eos_ids)}: give all of them"
        )


def all_ends(model: PreTrainedModel, eos_id: int) -> tuple[int, ...]:
    """An end of sequence, with those that stand beside it in the model's generation config."""
    ends = _ends(model)
    return tuple(sorted(ends)) if eos_id in ends else (eos_id,)


def _ends(model: PreTrainedModel) -> set[int]:
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if ends is None:
        return set()
    return set(ends) if isinstance(ends, list | tuple) else {ends}
