"""Row skipping: the same gradient from fewer rows and columns, denominators of the whole batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.rl.row_skipping import kept_rows, score_rows, used_columns
from common.rl.testing import assert_bitwise, weights
from common.rl.trainer import GroupTrainer

TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}


class HardPrompts(GroupTrainer):
    """Only correct completions get an advantage, as under a quantile baseline: many rows are zero."""

    def advantages(self, rewards, batch):
        return rewards[batch.local] * (1 + torch.arange(len(batch.mask)) % 3)


class Recording(HardPrompts):
    """Keeps what the model is shown in the policy update."""

    def _get_per_token_logps_and_entropies(self, model, input_ids, *rest, **kwargs):
        if torch.is_grad_enabled():
            original, self.seen = self.model.forward, getattr(self, "seen", [])

            def forward(*args, input_ids, **others):
                self.seen.append(input_ids.shape)
                return original(*args, input_ids=input_ids, **others)

            self.model.forward = forward
            result = super()._get_per_token_logps_and_entropies(model, input_ids, *rest, **kwargs)
            self.model.forward = original
            return result
        return super()._get_per_token_logps_and_entropies(model, input_ids, *rest, **kwargs)


@pytest.mark.parametrize(
    "fields",
    [
        {"loss_type": "dapo"},
        {"loss_type": "grpo"},
        {"loss_type": "bnpo", "gradient_accumulation_steps": 2},
        {"loss_type": "dr_grpo"},
        {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        {"loss_type": "dapo", "gradient_accumulation_steps": 4},
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_training_equals_that_of_all_rows(trained, fields):
    fields = {"optim": "sgd", "learning_rate": 0.3, "max_steps": 6, **fields}
    whole, whole_log = trained(HardPrompts, **fields)
    skipped, skipped_log = trained(HardPrompts, row_skipping=True, **fields)
    for name, value in whole.items():
        torch.testing.assert_close(skipped[name], value, **TOLERANCE)
    for ours, theirs in zip(skipped_log, whole_log, strict=True):
        assert math.isclose(ours["grad_norm"], theirs["grad_norm"], rel_tol=1e-3, abs_tol=1e-6)
        for name in ("loss", "clip_ratio/low_mean", "clip_ratio/high_mean"):
            assert math.isclose(ours[name], theirs[name], rel_tol=1e-4, abs_tol=1e-5)


def test_the_model_sees_fewer_rows_and_columns(build):
    trainer = build(Recording, row_skipping=True, max_steps=8)
    trainer.train()
    rows = [shape[0] for shape in trainer.seen]
    assert len(rows) == 8
    assert max(rows) <= 4
    assert sum(rows) < 0.6 * 8 * 4


def test_a_batch_without_advantage_steps_on_a_zero_gradient(build):
    class Nothing(Recording):
        def advantages(self, rewards, batch):
            return torch.zeros(len(batch.mask))

    trainer = build(Nothing, row_skipping=True, max_steps=4)
    before = weights(trainer)
    trainer.train()
    assert_bitwise(weights(trainer), before)
    assert [shape[0] for shape in trainer.seen] == [1] * 4
    assert all(entry["grad_norm"] == 0 for entry in trainer.state.log_history[:-1])
    assert trainer.state.global_step == 4


def test_skipped_rows_keep_the_entropy_of_sampling(trained):
    """On the first step of a buffer the policy is the one that sampled: all entropies are known."""
    _, whole = trained(HardPrompts, max_steps=1)
    _, skipped = trained(HardPrompts, row_skipping=True, max_steps=1)
    for name in ("entropy", "entropy/positive", "entropy/zero"):
        assert math.isclose(whole[0][name], skipped[0][name], rel_tol=1e-5)
    assert skipped[0]["entropy/negative"] is None


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_scoring_a_part_puts_every_value_in_its_place(rows, prompt, completion, seed):
    generator = torch.Generator().manual_seed(seed)
    left = torch.randint(0, prompt, (rows,), generator=generator)
    length = torch.randint(1, completion + 1, (rows,), generator=generator)
    at = torch.arange(prompt + completion)
    attention = ((at >= left[:, None]) & (at < prompt + length[:, None])).long()
    ids = torch.randint(1, 99, attention.shape, generator=generator) * attention
    advantages = torch.randint(0, 2, (rows,), generator=generator).float()
    kept = kept_rows(advantages)

    def score(ids, mask, width):
        values = (ids * mask).double()[:, -width:]
        return values, values / 2

    fill = (torch.full((rows, completion), -1.0).double(), torch.full((rows, completion), -2.0).double())
    log_probs, entropies = score_rows(score, ids, attention, completion, kept, fill)
    columns, width = used_columns(attention[kept], completion)
    assert attention[kept][:, columns].sum() == attention[kept].sum()
    assert columns.stop - columns.start >= width + 1 >= 2
    for row in range(rows):
        expected = ids[row, prompt:].double() if row in kept else fill[0][row]
        assert torch.equal(log_probs[row], expected)
        assert torch.equal(entropies[row], expected / 2 if row in kept else fill[1][row])


def test_rows_are_kept_by_any_token_and_never_all_dropped():
    assert kept_rows(torch.tensor([0.0, -1.0, 0.0, 2.0])).tolist() == [1, 3]
    assert kept_rows(torch.tensor([[0.0, 0.0], [0.0, 0.5]])).tolist() == [1]
    assert kept_rows(torch.zeros(3)).tolist() == [0]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"beta": 0.1}, "beta"),
        ({"entropy_coef": 0.1}, "entropy_coef"),
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy"),
        ({"top_entropy_quantile": 0.2}, "top_entropy_quantile"),
        ({"loss_variant": "clip_cov"}, "clip_cov"),
        ({"loss_variant": "kl_cov"}, "kl_cov"),
    ],
)
def test_terms_that_need_every_row_are_refused(build, fields, name):
    with pytest.raises(ValueError, match=name):
        build(row_skipping=True, **fields)
