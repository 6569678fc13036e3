"""Thoughts of a frozen language model behind prompts, measured with the model as it is."""

from __future__ import annotations

from typing import Any

from common.models.responses import read_again
from common.models.stepwise import Decoded, Hook, decode
from common.models.subject import Subject
from common.models.thoughts import different_pairs, measure


def think(subject: Subject, given: list[Any], hook: Hook) -> dict[str, float]:
    """What the subject writes behind prompts with a hook, as means.

    Args:
        subject: Model and prompts.
        given: The prompts.
        hook: Logs what `common.models.thoughts.measure` reads, and ``partners``, the tokens of a mixture.

    Returns:
        The measures of `measure`; ``surprise``, of the visible text in nats a token, read by the plain model;
        ``pairs``, see `different_pairs`; ``moved``, see `moved`.
    """
    (ids, mask), words = subject.encode(given), subject.policy.tokenizer
    ends = words.eos_token_id, words.pad_token_id
    decoded = decode(subject.model, ids, mask, subject.steps, hook, *ends, taps=(subject.depth,))
    return {
        **measure(decoded, subject.depth),
        "surprise": float(read_again(subject, given, decoded.ids, decoded.mask)[0].mean()),
        "pairs": different_pairs(decoded.ids, decoded.mask),
        "moved": moved(subject, decoded),
    }


def moved(subject: Subject, decoded: Decoded) -> float:
    """Distance of the mixtures from their visible tokens' embeddings, over the length of these, mean."""
    table = subject.model.get_input_embeddings().weight.detach()
    visible = table[decoded.ids]
    mixed = (decoded.log["weights"][..., None] * table[decoded.log["partners"]]).sum(dim=-2)
    far = (mixed - visible).norm(dim=-1) / visible.norm(dim=-1)
    return float(far[decoded.mask.bool()].mean())
