"""Every scoring call of ours has the arguments of TRL's, for image, expert and tool batches."""

from __future__ import annotations

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from common.rl.scoring import MODEL_INPUTS, model_inputs
from common.rl.testing import assert_bitwise, timeless_log, weights
from common.rl.trainer import GroupTrainer
from tests.common.rl.pictures import seeing
from tests.common.rl.scoring_calls import (
    MULTIMODAL,
    assert_same_calls,
    pocket_experts,
    recorded_calls,
    update_batch,
)

TOOLS = {"tool_mask": torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]])}
BATCHES = {"text": {}, "images": MULTIMODAL, "tools": TOOLS}


def test_every_input_of_a_forward_that_trl_knows_is_handed_over():
    assert set(MODEL_INPUTS) == set(MULTIMODAL)
    assert model_inputs({"num_images": [1]}) == {**dict.fromkeys(MULTIMODAL), "num_images": [1]}


def calls_of_the_loss(trainer, batch):
    trainer.current_gradient_accumulation_steps = 2
    with recorded_calls() as calls:
        loss = trainer._compute_loss(trainer.model, batch)
    return calls, loss


@pytest.mark.parametrize("experts", [False, True], ids=["dense", "experts"])
@pytest.mark.parametrize("more", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("variant", ["clip", "clip_cov", "kl_cov"])
def test_a_loss_scores_with_the_arguments_of_trls(build, variant, more, experts):
    model = {"model": pocket_experts()} if experts else {}
    theirs, _ = calls_of_the_loss(build(GRPOTrainer, GRPOConfig, **model), update_batch(**more))
    ours, _ = calls_of_the_loss(build(loss_variant=variant, **model), update_batch(**more))
    assert_same_calls(ours, theirs)
    assert theirs[0]["compute_aux_loss"] == experts


@pytest.mark.parametrize("training", [True, False])
def test_fresh_samples_are_scored_with_the_arguments_of_trls(build, training):
    """TRL scores them for `old_per_token_logps`; ours has the same, and asks for the entropies too."""
    trainer = build(per_device_eval_batch_size=8)
    trainer.model.train(training)
    with recorded_calls() as calls:
        trainer.score_samples(update_batch(**MULTIMODAL))
    (call,) = calls
    assert call["batch_size"] == (4 if training else 8)
    assert call["compute_entropy"]
    assert not call.get("compute_aux_loss", False)
    assert all(call[name] is value for name, value in MULTIMODAL.items())


@pytest.mark.parametrize("variant", ["clip_cov", "kl_cov"])
def test_the_router_loss_joins_a_variants_loss_as_in_trl(build, variant):
    """By hand: loss + coefficient x router loss / parts of an optimizer step; the router's weights move."""
    batch = update_batch()
    with_router = build(model=pocket_experts(), loss_variant=variant)
    without = build(model=pocket_experts(), loss_variant=variant, router_aux_loss_coef=0.0)
    losses = [calls_of_the_loss(trainer, batch)[1] for trainer in (with_router, without)]
    model, ids = with_router.model, torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    router = model(input_ids=ids, attention_mask=attention, output_router_logits=True).aux_loss.detach()
    assert float(router) > 0
    torch.testing.assert_close(losses[0], losses[1] + 0.5 * router / 2)
    assert with_router._metrics["train"]["aux_loss"] == [pytest.approx(float(router))]
    assert not without._metrics["train"]["aux_loss"]


def test_neutral_training_of_experts_equals_stock_trl_bit_for_bit(build):
    runs = []
    for kind in ((GRPOTrainer, GRPOConfig), ()):
        trainer = build(*kind, model=pocket_experts(), max_steps=4)
        trainer.train()
        runs.append((weights(trainer), timeless_log(trainer)))
    (stock, stock_log), (ours, our_log) = runs
    assert_bitwise(ours, stock)
    assert [
        {name: entry[name] for name in other} for entry, other in zip(our_log, stock_log, strict=True)
    ] == stock_log
    assert all(entry["aux_loss"] > 0 for entry in our_log)


class Looks(GroupTrainer):
    """Asks for the entropies of the sampling policy, as RL-ZVP does."""

    def advantages(self, rewards, batch):
        self.entropies = batch.entropies
        return super().advantages(rewards, batch)


def first_update_with_pictures(trainer):
    """All scoring calls of one optimizer step, and the weights after it."""
    with recorded_calls(withheld=()) as calls:
        trainer.train()
    return calls, weights(trainer)


class TestPictures:
    """The same on a model that sees: old log-probabilities, then the update."""

    def test_neutral_training_equals_stock_trl_bit_for_bit(self, build):
        calls, after = first_update_with_pictures(build(GRPOTrainer, GRPOConfig, max_steps=1, **seeing()))
        ours, ours_after = first_update_with_pictures(build(max_steps=1, **seeing()))
        assert_same_calls(ours, calls)
        assert_bitwise(ours_after, after)
        assert len(calls) == 2
        assert all(call["pixel_values"].shape[1:] == (3, 8, 8) for call in calls)

    @pytest.mark.parametrize("variant", ["clip_cov", "kl_cov"])
    def test_a_variants_loss_sees_them(self, build, variant):
        calls, _ = first_update_with_pictures(build(GRPOTrainer, GRPOConfig, max_steps=1, **seeing()))
        ours, _ = first_update_with_pictures(build(loss_variant=variant, max_steps=1, **seeing()))
        assert_same_calls(ours, calls)

    def test_the_entropies_of_fresh_samples_see_them(self, build):
        trainer = build(Looks, max_steps=1, **seeing())
        (old, looked, _), _ = first_update_with_pictures(trainer)
        assert_same_calls([{**looked, "compute_entropy": None}], [old])
        assert looked["pixel_values"] is not None
        assert trainer.entropies.shape == (16, old["logits_to_keep"])

    @pytest.mark.parametrize("fields", [{"dynamic_sampling_rounds": 1}, {"exact_resume": True}])
    def test_what_stores_rows_of_text_refuses_them(self, build, fields):
        with pytest.raises(ValueError, match=f"{next(iter(fields))}: knows batches of text only"):
            build(**fields, **seeing())
