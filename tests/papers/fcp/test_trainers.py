"""The two trainers: neutral they are TRL, online the loss is the likelihood under the fresh critique."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from common.judge.critic import NO_FEEDBACK, Critique
from common.judge.pool import FeedbackPool
from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.models.special_tokens import add_special_tokens
from common.rl.testing import NEUTRAL, assert_bitwise, weights
from papers.fcp.method import FEEDBACK_TOKENS, FCPBootstrapTrainer, FCPConfig, FCPOfflineTrainer, conditioned

WORDS = ("<pad>", "<bos>", "<eos>", "good", "bad", "longer", "praise", "other", *(f"w{i}" for i in range(12)))
PRAISE = ("praise", "praise other")


def policy(seed=0, dtype=torch.float32):
    tokenizer = build_tokenizer(WORDS, "<pad>", "<bos>", "<eos>")
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), tokenizer, seed)
    add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, seed)
    return model.to(dtype), tokenizer


def critic(question, response, reference):
    """Two words for long responses, one for short ones; the score is not what trains."""
    summary = "bad longer" if len(response.split()) > 2 else "good"
    return Critique("good", "", summary, 10 if summary == "good" else 0)


def questions(count=8):
    return Dataset.from_dict(
        {
            "prompt": [
                " ".join(f"w{(5 * row + at) % 12}" for at in range(1 + row % 3)) for row in range(count)
            ],
            "reference": ["w1"] * count,
        }
    )


class Watching(FCPBootstrapTrainer):
    """Keeps every batch that reaches the loss, and the rollout prompts."""

    def _generate(self, prompts):
        self.rolled = [*getattr(self, "rolled", []), list(prompts)]
        return super()._generate(prompts)

    def _compute_loss(self, model, inputs):
        self.batches = [*getattr(self, "batches", []), {k: v.clone() for k, v in inputs.items()}]
        return super()._compute_loss(model, inputs)


def bootstrap(folder, kind=Watching, judge=critic, data=None, dtype=torch.float32, **fields):
    torch.set_num_threads(1)
    model, tokenizer = policy(dtype=dtype)
    pool = FeedbackPool([Critique("", "", text, 10) for text in PRAISE])
    args = FCPConfig(**{**NEUTRAL, "output_dir": str(folder), "decoder": "lean", "max_steps": 4, **fields})
    data = questions() if data is None else data
    return kind(model, judge, pool, args, data, processing_class=tokenizer)


def prompts_of(trainer, batch):
    """The prompts of a batch as words, without padding."""
    rows = zip(batch["prompt_ids"], batch["prompt_mask"].bool(), strict=True)
    return [trainer.processing_class.decode(ids[mask]) for ids, mask in rows]


def responses_of(trainer, batch):
    rows = zip(batch["completion_ids"], batch["completion_mask"].bool(), strict=True)
    return [trainer.processing_class.decode(ids[mask], skip_special_tokens=True) for ids, mask in rows]


# --- offline


def offline_rows():
    data = questions()
    return {"prompt": data["prompt"], "completion": [" w1 w2", " w3"] * 4}


def offline(kind, folder, rows):
    torch.set_num_threads(1)
    model, tokenizer = policy()
    keep = ("use_cpu", "bf16", "gradient_checkpointing", "report_to", "save_strategy", "disable_tqdm", "seed")
    args = SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=4, num_train_epochs=2, learning_rate=1e-2,
        completion_only_loss=True, max_length=None, **{name: NEUTRAL[name] for name in keep},
    )  # fmt: skip
    trainer = kind(model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer)
    trainer.train()
    return trainer


def test_without_a_condition_offline_is_sft_bit_for_bit(tmp_path):
    ours, stock = (offline(kind, tmp_path, offline_rows()) for kind in (FCPOfflineTrainer, SFTTrainer))
    assert_bitwise(weights(ours), weights(stock))


def test_offline_puts_the_critique_before_the_question_and_counts_response_tokens_only(tmp_path):
    trainer = offline(FCPOfflineTrainer, tmp_path, offline_rows() | {"critique": ["good", "bad longer"] * 4})
    rows = trainer.train_dataset
    tokenizer = trainer.processing_class
    for index, critique in enumerate(["good", "bad longer"] * 4):
        ids, labels = rows[index]["input_ids"], rows[index]["labels"]
        question, response = offline_rows()["prompt"][index], offline_rows()["completion"][index]
        assert tokenizer.decode(ids).split() == f"<EF> {critique} </EF> {question}{response} <eos>".split()
        counted = [label for label in labels if label != -100]
        assert tokenizer.decode(counted).split() == [*response.split(), "<eos>"]
        assert labels[-len(counted) :] == counted


def test_bad_responses_are_trained_on_like_good_ones(tmp_path):
    trainer = offline(FCPOfflineTrainer, tmp_path, offline_rows() | {"critique": ["bad"] * 8})
    assert len(trainer.train_dataset) == 8


# --- online


def test_the_loss_sees_the_fresh_critique_and_never_the_praise(tmp_path):
    trainer = bootstrap(tmp_path)
    trainer.train()
    assert all(prompt.startswith("<EF>praise") for prompts in trainer.rolled for prompt in prompts)
    seen = 0
    for batch in trainer.batches:
        for prompt, response in zip(prompts_of(trainer, batch), responses_of(trainer, batch), strict=True):
            assert prompt.split()[1:-1][0] != "praise"
            expected = critic("", response, "").summary
            assert prompt.split("</EF>")[0].replace("<EF>", "").strip() == expected
            seen += 1
    assert seen == 16
    assert {key for batch in trainer.batches for key in batch}.isdisjoint(
        {"old_per_token_logps", "ref_per_token_logps", "importance_sampling_ratio"}
    )


def test_padding_and_mask_are_those_of_the_new_prompt(tmp_path):
    trainer = bootstrap(tmp_path)
    trainer.train()
    tokenizer = trainer.processing_class
    for batch in trainer.batches:
        mask = batch["prompt_mask"]
        assert mask[:, -1].all()
        assert (mask.diff(dim=1) >= 0).all()
        assert (batch["prompt_ids"][mask == 0] == tokenizer.pad_token_id).all()
        assert (batch["prompt_ids"][mask == 1] != tokenizer.pad_token_id).all()
    assert any((batch["prompt_mask"] == 0).any() for batch in trainer.batches)


@pytest.mark.parametrize("mode", ["token_mean", "sequence_sum", "sequence_mean"])
def test_the_gradient_is_that_of_a_likelihood_by_hand_in_float64(tmp_path, mode):
    trainer = bootstrap(tmp_path, dtype=torch.float64, aggregation=mode, max_steps=1)
    inputs = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    reference, _ = policy(dtype=torch.float64)
    trainer.current_gradient_accumulation_steps = 1
    trainer._compute_loss(trainer.model, inputs).backward()
    sums, counts = [], []
    rows = zip(
        prompts_of(trainer, inputs), inputs["completion_ids"], inputs["completion_mask"].bool(), strict=True
    )
    for prompt, response, mask in rows:  # one unpadded row at a time
        before = trainer.processing_class(prompt, return_tensors="pt")["input_ids"][0]
        after = response[mask]
        log_probs = reference(torch.cat([before, after])[None]).logits[0].log_softmax(dim=-1)
        places = torch.arange(len(before) - 1, len(before) + len(after) - 1)
        sums.append(-log_probs[places, after].sum())
        counts.append(len(after))
    total = torch.stack(sums)
    expected = {
        "token_mean": total.sum() / sum(counts),
        "sequence_sum": total.mean(),
        "sequence_mean": (total / torch.tensor(counts)).mean(),
    }[mode]
    expected.backward()
    for (name, ours), theirs in zip(trainer.model.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6), name  # rotary angles are float32


def test_the_score_is_logged_and_moves_nothing(tmp_path):
    def generous(question, response, reference):
        return Critique("", "", critic(question, response, reference).summary, 7)

    ours, same = bootstrap(tmp_path), bootstrap(tmp_path, judge=generous)
    start = torch.random.get_rng_state()
    for trainer in (ours, same):
        torch.random.set_rng_state(start)
        trainer.train()
    assert_bitwise(weights(ours), weights(same))
    logged = [entry["reward"] for entry in same.state.log_history if "reward" in entry]
    assert logged == pytest.approx([0.7])


def test_a_failed_critic_trains_under_the_empty_condition(tmp_path):
    trainer = bootstrap(tmp_path, judge=lambda *_: NO_FEEDBACK)
    trainer.train()
    prompts = [prompt for batch in trainer.batches for prompt in prompts_of(trainer, batch)]
    assert all(prompt.replace(" ", "").startswith("<EF></EF>w") for prompt in prompts)
    assert all(entry["nll"] > 0 for entry in trainer.state.log_history if "nll" in entry)


def test_self_distillation_keeps_the_praise(tmp_path):
    trainer = bootstrap(tmp_path, condition="rollout")
    trainer.train()
    prompts = [prompt for batch in trainer.batches for prompt in prompts_of(trainer, batch)]
    assert all(
        prompt.split()[0:2] in (["<EF>", "praise"], ["<EF>praise"]) or "praise" in prompt
        for prompt in prompts
    )


def test_praise_is_shared_by_the_rollouts_of_a_prompt_or_drawn_for_each(tmp_path):
    for choice, shared in (("prompt", True), ("rollout", False)):
        trainer = bootstrap(tmp_path, praise_per=choice)
        trainer.train()
        groups = [trainer.rolled[0][at : at + 4] for at in range(0, 16, 4)]
        assert all(len(set(group)) == 1 for group in groups) == shared
        assert len({prompt.split("</EF>")[0] for prompt in trainer.rolled[0]}) == 2


def test_user_style_feedback_and_left_truncation(tmp_path):
    trainer = bootstrap(tmp_path, feedback="user", max_prompt_tokens=3)
    trainer.train()
    prompts = [
        prompt.replace("</EF>", " </EF> ").split()
        for b in trainer.batches
        for prompt in prompts_of(trainer, b)
    ]
    assert all(len(prompt) <= 3 for prompt in prompts)
    assert any("</EF>" in prompt for prompt in prompts)


def test_zero_variance_groups_are_trained_on(tmp_path):
    trainer = bootstrap(tmp_path, judge=lambda *_: Critique("", "", "good", 10))
    before = weights(trainer)
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in weights(trainer).items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"aggregation": "mean"}, "aggregation=.mean.; choose one of token_mean"),
        ({"condition": "old"}, "condition='old'; choose one of fresh, rollout"),
        ({"praise_per": "batch"}, "praise_per"),
        ({"feedback": "score"}, "feedback"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens=0"),
        ({"beta": 0.1}, "switch off beta"),
        ({"row_skipping": True}, "switch off row_skipping"),
        ({"num_iterations": 2}, "switch off num_iterations"),
    ],
)
def test_what_the_loss_does_not_have_is_refused(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        FCPConfig(**{**NEUTRAL, "output_dir": str(tmp_path), **fields})


def test_the_critique_stands_first_in_the_users_turn():
    assert conditioned("2+2?", "right, calm") == "<EF>right, calm</EF>2+2?"
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}]
    prompt = conditioned(messages, "")
    assert prompt == [messages[0], {"role": "user", "content": "<EF></EF>2+2?"}]
    assert messages[1]["content"] == "2+2?"


def test_a_critique_cannot_close_its_own_slot():
    with pytest.raises(ValueError, match="must not hold"):
        conditioned("q", "fine</EF>")
    with pytest.raises(ValueError, match="user"):
        conditioned([{"role": "assistant", "content": "a"}], "fine")
