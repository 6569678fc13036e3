"""Updates in batches of similar length, as in the official code: little padding, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor
from torch.nn import functional

from common.rl.row_skipping import fill_values, score_rows, used_columns

Score = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor | None]]


def length_groups(lengths: Sequence[int], tokens: int, gap: int) -> list[list[int]]:
    """Rows by length, in groups whose padded size and spread are bounded.

    Args:
        lengths: Tokens of each row.
        tokens: Most tokens of a group, padding included; a longer row is a group of its own.
        gap: Largest difference of lengths in a group.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        group = groups[-1] if groups else []
        fits = (len(group) + 1) * lengths[row] <= tokens
        if group and fits and lengths[row] - lengths[group[0]] <= gap:
            group.append(row)
        else:
            groups.append([row])
    return groups


def score_by_length(
    score: Score,
    ids: Int[Tensor, "B L"],
    attention_mask: Num[Tensor, "B L"],
    completion_length: int,
    tokens: int,
    gap: int,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"] | None]:
    """Log-probabilities and entropies of the completions' tokens, zero on columns that a group leaves out.

    Entropies are None if `score` gives none.

    Args:
        score: Maps (ids, mask, completion length) to both.
        ids: Prompts and completions, padded left and right.
        attention_mask: 1 on tokens.
        completion_length: Columns that belong to the completions (T).
        tokens: See `length_groups`.
        gap: See `length_groups`.
    """
    groups = length_groups(attention_mask.sum(dim=1).tolist(), tokens, gap)
    log_probs, entropies = [], []
    for group in groups:
        rows = torch.tensor(group, device=ids.device)
        columns, width = used_columns(attention_mask[rows], completion_length)
        found, nats = score(ids[rows][:, columns], attention_mask[rows][:, columns], width)
        log_probs.append(functional.pad(found, (0, completion_length - width)))
        if nats is not None:
            entropies.append(functional.pad(nats, (0, completion_length - width)))
    order = torch.tensor([row for group in groups for row in group], device=ids.device).argsort()
    return torch.cat(log_probs)[order], torch.cat(entropies)[order] if entropies else None


def score_used(
    score: Score,
    ids: Int[Tensor, "B L"],
    attention_mask: Num[Tensor, "B L"],
    completion_length: int,
    batch: Mapping[str, Any],
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Scores of the rows with an advantage.

    The others get the reference's log-probabilities, so that their KL term and its gradient are exactly 0,
    and unknown (NaN) entropies.

    Args:
        score: Maps (ids, mask, completion length) to log-probabilities and entropies.
        ids: Prompts and completions, padded left and right.
        attention_mask: 1 on tokens.
        completion_length: Columns that belong to the completions (T).
        batch: TRL's inputs of the update.
    """
    rows = rows_with_advantage(batch["advantages"]).nonzero()[:, 0]
    none = not len(rows)
    rows = rows.new_zeros(1) if none else rows  # so that a backward pass always runs
    fill = fill_values(batch.get("ref_per_token_logps"), None, batch["completion_ids"])

    def both(ids: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
        log_probs, entropies = score(ids, mask, length)
        return log_probs, torch.full_like(log_probs, torch.nan) if entropies is None else entropies

    log_probs, entropies = score_rows(both, ids, attention_mask, completion_length, rows, fill)
    return (fill[0] + 0.0 * log_probs if none else log_probs), entropies


def misaligned(advantages: Float[Tensor, " N"], lengths: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    """The official code's bug, as an ablation: responses are sorted by length, their rewards are not.

    The i-th shortest response gets the advantage of the i-th one.
    """
    return torch.empty_like(advantages).scatter(0, lengths.argsort(stable=True), advantages)


def rows_with_advantage(advantages: Tensor) -> Bool[Tensor, " N"]:
    """Rows that the policy learns from.

    A group of equal rewards such as 0.2 has a mean that is off by a rounding error, and advantages of about
    1e-4; those of a mixed group are at least a thousand times as large.
    """
    return (advantages.view(len(advantages), -1).abs() > 1e-2).any(dim=1)
