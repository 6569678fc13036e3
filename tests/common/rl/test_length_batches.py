"""Batches of similar length: bounded, complete, and without influence on the numbers."""

from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.length_batches import length_groups, score_by_length, score_mixed
from common.rl.trainer import GroupTrainer

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 40))
def test_groups_hold_every_row_once_within_the_bounds(lengths, tokens, gap):
    groups = length_groups(lengths, tokens, gap)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[row] for row in group]
        assert max(sizes) - min(sizes) <= gap
        assert len(group) == 1 or len(group) * max(sizes) <= tokens


@given(LENGTHS)
def test_no_group_could_take_the_next_row(lengths):
    groups = length_groups(lengths, 64, 16)
    for group, following in pairwise(groups):
        longest = lengths[following[0]]
        full = (len(group) + 1) * longest > 64
        assert full or longest - lengths[group[0]] > 16


def test_scores_come_back_in_their_places():
    prompt, width = 3, 5
    ids = torch.arange(32).view(4, 8)
    mask = torch.tensor(
        [[0, 1, 1, 1, 1, 0, 0, 0], [1] * 8, [0, 0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0]]
    )
    seen = []

    def score(part, part_mask, length):
        seen.append(part_mask.shape)
        return part[:, -length:].double(), 2.0 * part[:, -length:].double(), torch.tensor(1.0 * len(seen))

    *found, router = score_by_length(score, ids, mask, width, tokens=10, gap=4)
    kept = mask[:, prompt:].double()
    for factor, values in zip((1, 2), found, strict=True):
        torch.testing.assert_close(values * kept, factor * ids[:, prompt:].double() * kept)
    assert sum(rows * columns for rows, columns in seen) < ids.numel()
    assert router == (1 + len(seen)) / 2


def test_entropies_and_router_may_be_missing():
    ids, mask = torch.ones(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.long)
    found = score_by_length(
        lambda part, _, length: (part[:, -length:] * 1.0, None, None), ids, mask, 2, 99, 9
    )
    assert found[1:] == (None, None)


def test_rows_of_mixed_groups_are_scored_and_the_others_stand_at_the_reference():
    ids, mask = torch.arange(16).view(4, 4), torch.ones(4, 4, dtype=torch.long)
    reference = torch.full((4, 2), -3.0)
    weight = torch.ones((), requires_grad=True)
    for kept in ([0, 3], []):
        batch = {
            "mixed": torch.tensor([row in kept for row in range(4)]),
            "completion_ids": ids[:, 2:],
            "ref_per_token_logps": reference,
        }
        found, nats, router = score_mixed(
            lambda part, _, n: (part[:, -n:] * weight, None, 5.0 * weight), ids, mask, 2, batch
        )
        for row in range(4):
            assert torch.equal(found[row], ids[row, 2:].float() if row in kept else reference[row])
        assert router == (5.0 if kept else 0.0)
        (gradient,) = torch.autograd.grad(found.sum() + router, weight)
        assert gradient == (ids[kept, 2:].sum() + 5.0 if kept else 0.0)
        assert bool(nats.isnan().all())


def test_the_update_is_that_of_one_padded_batch(tmp_path: Path):
    trained = []
    for tokens in (0, 16):
        trainer = testing.pocket_trainer(
            GroupTrainer,
            GroupConfig,
            tmp_path / str(tokens),
            micro_batch_tokens=tokens,
            learning_rate=1e-4,
            max_steps=1,
        )
        trainer.train()
        trained.append(testing.weights(trainer))
    for name, padded in trained[0].items():
        torch.testing.assert_close(trained[1][name], padded, rtol=1e-4, atol=2e-6)
