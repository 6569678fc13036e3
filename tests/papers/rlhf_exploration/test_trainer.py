"""The trainer: DPO when neutral, the loss of `method` otherwise."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from trl import DPOConfig, DPOTrainer

from common.rl.testing import assert_bitwise, timeless_log, weights
from papers.rlhf_exploration import ExplorationDPOConfig, ExplorationDPOTrainer, optimistic_dpo_loss
from tests.common.preference.pairs import pocket_pairs, preference_trainer
from tests.papers.model_cards import check_model_card
from tests.papers.readme import run_example, tiny_policy, tiny_questions

SOURCES = [row % 3 == 0 for row in range(12)]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ours(folder, sources=SOURCES, **fields):
    data = pocket_pairs(previous_chosen=sources)
    return preference_trainer(ExplorationDPOTrainer, ExplorationDPOConfig, folder, data, **fields)


def test_without_optimism_it_is_dpo_bit_for_bit_over_20_steps(tmp_path):
    stock = preference_trainer(DPOTrainer, DPOConfig, tmp_path / "stock")
    neutral = ours(tmp_path / "ours", optimism=0.0)
    for trainer in (stock, neutral):
        trainer.train()
    assert neutral.state.global_step == 20
    assert_bitwise(weights(stock), weights(neutral))
    assert timeless_log(stock) == timeless_log(neutral)


def log_ratios(trainer, batch):
    """Summed log π - log π_ref of chosen and rejected responses, without TRL's fused head."""
    labels = batch["input_ids"][:, 1:]
    mask = batch["completion_mask"][:, 1:]
    sums = []
    for model in (trainer.model, trainer.ref_model):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        tokens = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0]
        sums.append((tokens * mask).sum(dim=1))
    return (sums[0] - sums[1].detach()).chunk(2), sums[1].detach().chunk(2)


def test_the_gradient_is_that_of_the_papers_loss(tmp_path):
    """With α = optimism · N; the constant log π_ref of the bonus has no gradient."""
    trainer = ours(tmp_path, optimism=0.5, max_steps=2)
    trainer.train()  # away from π_ref
    batch = next(iter(trainer.get_train_dataloader()))
    source, model = batch["previous_chosen"], trainer.model.train()
    (chosen, rejected), reference = log_ratios(trainer, batch)
    wanted = optimistic_dpo_loss(
        chosen, rejected, torch.where(source, chosen, rejected), trainer.beta, 0.5 * len(chosen)
    )
    constant = 0.5 * trainer.beta * torch.where(source, *reference).mean()
    gradients = []
    for loss in (wanted, trainer.compute_loss(model, dict(batch))):
        model.zero_grad()
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(trainer.compute_loss(model, dict(batch)), wanted + constant)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("source", ["chosen", "rejected"])
def test_optimism_pushes_the_previous_policys_responses_down(tmp_path, source):
    ends = []
    for optimism in (0.0, 2.0):
        trainer = ours(tmp_path, [source == "chosen"] * 12, optimism=optimism, max_steps=6)
        trainer.train()
        ends.append([entry for entry in trainer.state.log_history if "logps/chosen" in entry][-1])
    plain, optimistic = ends
    assert optimistic[f"logps/{source}"] < plain[f"logps/{source}"]


def test_evaluation_reports_dpos_loss(tmp_path):
    trainer = ours(tmp_path, optimism=1.0, max_steps=1)
    neutral = ours(tmp_path, optimism=0.0, max_steps=1)
    data = trainer.train_dataset
    assert trainer.evaluate(data)["eval_loss"] == neutral.evaluate(data)["eval_loss"]


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"loss_type": ["hinge"]}, "sigmoid"),
        ({"f_divergence_type": "js_divergence"}, "reverse KL"),
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"optimism": -1.0}, "not negative"),
    ],
)
def test_what_the_bonus_does_not_belong_to_is_refused(tmp_path, fields, match):
    with pytest.raises(ValueError, match=match):
        ExplorationDPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **fields)


def test_pairs_without_a_source_are_refused_where_there_is_a_bonus(tmp_path):
    with pytest.raises(ValueError, match="previous_chosen"):
        preference_trainer(ExplorationDPOTrainer, ExplorationDPOConfig, tmp_path)
    preference_trainer(ExplorationDPOTrainer, ExplorationDPOConfig, tmp_path, optimism=0.0)


def test_the_model_card_cites_the_paper(tmp_path):
    check_model_card(ours(tmp_path), "Exploration DPO", "li2025exploration", "- rlhf-exploration\n")


@pytest.mark.slow
def test_the_example_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    names = {
        "Qwen/Qwen2.5-0.5B-Instruct": tiny_policy(tmp_path / "policy"),
        "trl-lib/ultrafeedback-prompt": tiny_questions(tmp_path / "questions", 32),
    }
    trainer = run_example("rlhf_exploration", names)["trainer"]
    assert isinstance(trainer, ExplorationDPOTrainer)
    assert len(list(tmp_path.glob("*/round-*/pairs.jsonl"))) == 10
