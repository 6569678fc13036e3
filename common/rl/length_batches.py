"""Updates in batches of similar length: little padding, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor
from torch.nn import functional

from common.rl.row_skipping import fill_values, score_rows, used_columns

Scores = tuple[Float[Tensor, "B T"], Float[Tensor, "B T"] | None, Float[Tensor, ""] | None]
"""Log-probabilities, entropies and the router's loss, the last two None if they are not asked for."""
Score = Callable[[Tensor, Tensor, int], Scores]


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
) -> Scores:
    """Scores of the completions' tokens, zero on columns that a group leaves out.

    The router's loss is the mean over groups, as TRL's is over the parts that it scores one by one.

    Args:
        score: Maps (ids, mask, completion length) to the scores of a group.
        ids: Prompts and completions, padded left and right.
        attention_mask: 1 on tokens.
        completion_length: Columns that belong to the completions (T).
        tokens: See `length_groups`.
        gap: See `length_groups`.
    """
    groups = length_groups(attention_mask.sum(dim=1).tolist(), tokens, gap)
    log_probs, entropies, routers = [], [], []
    for group in groups:
        rows = torch.tensor(group, device=ids.device)
        columns, width = used_columns(attention_mask[rows], completion_length)
        found, nats, router = score(ids[rows][:, columns], attention_mask[rows][:, columns], width)
        log_probs.append(functional.pad(found, (0, completion_length - width)))
        if nats is not None:
            entropies.append(functional.pad(nats, (0, completion_length - width)))
        if router is not None:
            routers.append(router)
    order = torch.tensor([row for group in groups for row in group], device=ids.device).argsort()
    return (
        torch.cat(log_probs)[order],
        torch.cat(entropies)[order] if entropies else None,
        torch.stack(routers).mean() if routers else None,
    )


def score_mixed(
    score: Score,
    ids: Int[Tensor, "B L"],
    attention_mask: Num[Tensor, "B L"],
    completion_length: int,
    batch: Mapping[str, Any],
) -> Scores:
    """Scores of the rows whose group holds different rewards, those at the group's mean included.

    The others get the reference's log-probabilities (without one, those of sampling), so that their KL term
    and its gradient are exactly 0, and unknown (NaN) entropies; the router's loss is that of the rows scored.

    Args:
        score: Maps (ids, mask, completion length) to the scores of some rows.
        ids: Prompts and completions, padded left and right.
        attention_mask: 1 on tokens.
        completion_length: Columns that belong to the completions (T).
        batch: TRL's inputs of the update, with ``mixed``: 1 on those rows.
    """
    rows = batch["mixed"].nonzero()[:, 0]
    none = not len(rows)
    rows = rows.new_zeros(1) if none else rows  # so that a backward pass always runs
    known = batch.get("ref_per_token_logps", batch.get("old_per_token_logps"))
    fill = fill_values(known, None, batch["completion_ids"])
    routers: list[Tensor | None] = []

    def both(ids: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
        log_probs, entropies, router = score(ids, mask, length)
        routers.append(router)
        return log_probs, torch.full_like(log_probs, torch.nan) if entropies is None else entropies

    log_probs, entropies = score_rows(both, ids, attention_mask, completion_length, rows, fill)
    (router,) = routers
    if none:
        log_probs, router = fill[0] + 0.0 * log_probs, None if router is None else 0.0 * router
    return log_probs, entropies, router
