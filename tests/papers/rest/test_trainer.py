"""`ResTTrainer`: uniform it is TRL bit for bit; else the weighed loss of the code reaches the gradient."""

from __future__ import annotations

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl import testing
from common.rl.testing import assert_bitwise, pocket_trainer, weights
from papers.rest.method import ResTConfig, ResTTrainer, token_weights

SETTINGS = {"loss_type": "bnpo", "max_completion_length": 8}


class Tagged(ResTTrainer):
    """Reads some words of the pocket vocabulary as tags, so that random responses have regions; keeps the
    batches of its updates and their losses.
    """

    def weights(self, rollout):
        ids = rollout.completion_ids
        masks = {name: ids % 4 == place for place, name in enumerate(("tags", "think", "name", "arguments"))}
        entropies = None if self.args.rest_form == "code" else rollout.entropies
        return token_weights(masks, rollout.mask, self.args.weighting, 115 * self.progress, entropies)

    def extra_loss(self, log_probs, entropies, batch):
        self.seen = [*getattr(self, "seen", []), (log_probs.detach().clone(), batch)]
        return super().extra_loss(log_probs, entropies, batch)

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.losses = [*getattr(self, "losses", []), (inputs, float(loss.detach()))]
        return loss


@pytest.fixture
def trained(tmp_path):
    """A trainer after its training."""

    def run(kind=Tagged, config=ResTConfig, **fields):
        torch.set_num_threads(1)
        trainer = pocket_trainer(
            kind, config, **{"output_dir": tmp_path, "max_steps": 8, **SETTINGS, **fields}
        )
        trainer.train()
        return trainer

    return run


def test_uniform_weights_are_stock_trl_bit_for_bit(trained):
    stock = trained(GRPOTrainer, GRPOConfig, max_steps=20)
    assert_bitwise(weights(trained(ResTTrainer, rest_form="uniform", max_steps=20)), weights(stock))
    with pytest.raises(AssertionError):
        assert_bitwise(weights(trained(rest_form="code", max_steps=20)), weights(stock))


def test_the_loss_is_the_weighed_mean_of_the_code(trained):
    trainer = trained(rest_form="code", epsilon=0.2, epsilon_high=0.2, dual_clip=3.0, learning_rate=0.1)
    assert len(trainer.losses) == len(trainer.seen) == 8
    clipped = 0
    for (inputs, loss), (log_probs, batch) in zip(trainer.losses, trainer.seen, strict=True):
        w, mask = inputs["rest_weights"], inputs["completion_mask"]
        advantages = inputs["advantages"][:, None]
        old = inputs.get("old_per_token_logps")
        ratio = (log_probs - (log_probs if old is None else old)).exp()
        objective = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        bounded = torch.where(advantages < 0, torch.max(objective, 3.0 * advantages), objective)
        clipped += int((objective != ratio * advantages).sum())
        wanted = -(bounded * w * mask).sum() / (w * mask).sum()
        assert loss == pytest.approx(float(wanted), abs=1e-6)
        assert batch["advantages"].shape == mask.shape
    assert clipped > 0


def test_responses_without_weight_are_zero_loss_and_no_nan(trained):
    trainer = trained(ResTTrainer, rest_form="code", rest_separator=" ")
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())
    start = weights(pocket_trainer(GRPOTrainer, GRPOConfig, trainer.args.output_dir))
    assert_bitwise(weights(trainer), start)  # no response has a tag
    assert trainer.state.log_history[0]["rest/silent"] == 1.0


def test_weights_go_with_their_rows_through_the_shuffle(trained):
    trainer = trained(rest_form="code")
    for inputs, _ in trainer.losses:
        ids, w = inputs["completion_ids"], inputs["rest_weights"]
        for row in range(len(ids)):
            own = inputs["completion_mask"][row].bool()
            for residue in range(4):
                same = w[row][own & (ids[row] % 4 == residue)]
                assert same.numel() == 0 or float(same.max() - same.min()) < 1e-6


@pytest.mark.parametrize("form", ["paper", "proportional"])
def test_forms_with_entropies_train(trained, form):
    trainer = trained(rest_form=form)
    assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_permuted_weights_depend_on_seed_and_batch_only(trained):
    first, again = (trained(rest_form="code", rest_permuted=True) for _ in range(2))
    assert_bitwise(weights(first), weights(again))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"rest_form": "flat"}, "unknown form"), ({"loss_type": "dr_grpo"}, "loss_type 'bnpo' or 'dapo'")],
)
def test_a_bad_configuration_is_an_error(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        ResTConfig(**{**testing.NEUTRAL, **SETTINGS, "output_dir": str(tmp_path), **fields})
