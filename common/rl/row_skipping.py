"""Policy updates without the rows that carry no advantage and without padding columns.

A row whose advantage is 0 contributes exactly 0 to a loss that is linear in the advantage, and so does its
gradient; only its share of the denominator matters. So the model sees the other rows alone, and their
log-probabilities are put back among the *old* ones of the skipped rows (importance ratio 1): the loss and its
denominators then see the whole batch. The gradient equals that of the full batch in exact arithmetic;
floating point differs in the last digits, because matrix products of another shape add in another order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional

Score = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def kept_rows(advantages: Float[Tensor, " B"] | Float[Tensor, "B T"]) -> Int[Tensor, " K"]:
    """Rows with a non-zero advantage; the first row if there is none, so that a backward pass always runs.

    Under data parallelism each process has to run one, and the optimizer steps on an exact zero gradient as
    it would without skipping.
    """
    nonzero = (advantages.reshape(len(advantages), -1) != 0).any(dim=1)
    rows = nonzero.nonzero().squeeze(1)
    return rows if rows.numel() else rows.new_zeros(1)


def used_columns(attention_mask: Num[Tensor, "K L"], completion_length: int) -> tuple[slice, int]:
    """Columns from the first token of a prompt to the last token of a completion, and the completions' width
    there.

    At least one column of prompt and one of completion stay.
    """
    prompt_length = attention_mask.shape[1] - completion_length
    used = attention_mask.any(dim=0).nonzero().squeeze(1)
    first = int(used[0]) if used.numel() else 0
    last = int(used[-1]) if used.numel() else 0
    stop = max(last + 1, prompt_length + 1)
    return slice(min(first, prompt_length - 1), stop), stop - prompt_length


def score_rows(
    score: Score,
    input_ids: Int[Tensor, "B L"],
    attention_mask: Num[Tensor, "B L"],
    completion_length: int,
    rows: Int[Tensor, " K"],
    fill: tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Log-probabilities and entropies of `rows` from `score`, of the others from `fill`.

    Args:
        score: Maps (ids, mask, completion length) to log-probabilities and entropies of the completions'
            tokens.
        input_ids: Prompts and completions, padded left and right.
        attention_mask: 1 on tokens.
        completion_length: Columns that belong to the completions (T).
        rows: Rows that the model has to see.
        fill: Log-probabilities and entropies of the rows that it does not see.
    """
    columns, width = used_columns(attention_mask[rows], completion_length)
    scored = score(input_ids[rows][:, columns], attention_mask[rows][:, columns], width)
    padded = [functional.pad(values, (0, completion_length - width)) for values in scored]
    merged = [
        rest.index_copy(0, rows, values.to(rest.dtype)) for rest, values in zip(fill, padded, strict=True)
    ]
    return merged[0], merged[1]


def fill_values(
    old_log_probs: Float[Tensor, "B T"] | None,
    old_entropies: Float[Tensor, "B T"] | None,
    completion_ids: Int[Tensor, "B T"],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """What stands in for skipped rows: old log-probabilities (any value if on-policy) and old entropies, else
    NaN.
    """
    shape, device = completion_ids.shape, completion_ids.device
    log_probs = torch.zeros(shape, device=device) if old_log_probs is None else old_log_probs
    unknown = torch.full(shape, torch.nan, device=device) if old_entropies is None else old_entropies
    return log_probs, unknown
