"""The trainers as drop-ins for TRL's: experts, tools, content blocks, streams, evaluation sets, processes."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from common.judge import api
from common.judge.critic import Critique, completion_text, content_text
from common.judge.pool import FeedbackPool
from common.models.recipe import ModelShape, build_model
from common.models.special_tokens import add_special_tokens
from common.rl.config import OF_POLICY_LOSS
from common.rl.testing import NEUTRAL, pocket_prompts, pocket_tokenizer
from papers.fcp.method import (
    FEEDBACK_TOKENS,
    FCPBootstrapTrainer,
    FCPConfig,
    FCPOfflineTrainer,
    conditioned,
    conditioned_rows,
    question_text,
)
from tests.common.rl.scoring_calls import MULTIMODAL, pocket_experts, recorded_calls, update_batch
from tests.papers.model_cards import check_model_card
from tests.papers.readme import run_example, tiny_policy

TOOLS = {"tool_mask": torch.tensor([[1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]])}


def online(folder: Path, experts: bool = False, data=None, **fields):
    torch.set_num_threads(1)
    others = {name: fields.pop(name) for name in ("rollout_func", "eval_dataset") if name in fields}
    tokenizer = pocket_tokenizer()
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32)
    model = pocket_experts() if experts else build_model(shape, tokenizer, seed=0)
    add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, seed=0)
    pool = FeedbackPool([Critique("", "", f"w{number}", 10) for number in range(29)])
    args = FCPConfig(**{**NEUTRAL, "output_dir": str(folder), "max_steps": 2, **fields})
    data = pocket_prompts().add_column("reference", ["w1"] * 12) if data is None else data
    return FCPBootstrapTrainer(
        model, lambda *_: Critique("", "", "w3 w4", 5), pool, args, data, processing_class=tokenizer, **others
    )


def loss_of(trainer, batch):
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 2
    with recorded_calls() as calls:
        return trainer._compute_loss(trainer.model, batch), calls


# --- the loss


def test_the_router_loss_joins_the_likelihood(tmp_path):
    batch = update_batch()
    (ours, calls), (without, _) = (
        loss_of(online(tmp_path, True, router_aux_loss_coef=coefficient), batch) for coefficient in (0.5, 0.0)
    )
    assert calls[0]["compute_aux_loss"]
    model = online(tmp_path, True).model
    ids, attention = (
        torch.cat([batch[f"prompt_{kind}"], batch[f"completion_{kind}"]], dim=1) for kind in ("ids", "mask")
    )
    router = model(input_ids=ids, attention_mask=attention, output_router_logits=True).aux_loss.detach()
    assert float(router) > 0
    torch.testing.assert_close(ours, without + 0.5 * router / 2)


def test_tokens_that_a_tool_wrote_are_not_trained_on(tmp_path):
    """By hand: the mean over the model's own tokens; the others are read, not counted."""
    trainer, batch = online(tmp_path), update_batch(**TOOLS)
    loss, (call,) = loss_of(trainer, batch)
    log_probs = trainer._get_per_token_logps_and_entropies(
        trainer.model, call["input_ids"], call["attention_mask"], 3, compute_entropy=True
    )
    own = (batch["completion_mask"] * TOOLS["tool_mask"]).bool()
    assert log_probs[0] is None  # outside an update nothing is scored
    trainer._batch = batch
    scored = trainer.score(trainer.model, batch)[0]
    torch.testing.assert_close(loss, -scored[own].mean() / 2)


def test_scoring_gets_every_input_that_trls_gets(tmp_path):
    _, (call,) = loss_of(online(tmp_path), update_batch(**MULTIMODAL))
    assert all(call[name] is value for name, value in MULTIMODAL.items())


def test_experts_train(tmp_path):
    trainer = online(tmp_path, True)
    trainer.train()
    assert all(entry["aux_loss"] > 0 for entry in trainer.state.log_history if "nll" in entry)


# --- options


@pytest.mark.parametrize(
    "fields",
    [
        {"dual_clip": 3.0},
        {"row_skipping": True},
        {"dynamic_sampling_rounds": 1},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_our_own_configuration_adds_to_grpos_loss_is_refused(tmp_path, fields):
    """TRL's own fields are swept in `test_options`."""
    (name,) = fields
    with pytest.raises(ValueError, match=f"has no policy loss: switch off .*{name}"):
        FCPConfig(**{**NEUTRAL, "output_dir": str(tmp_path), **fields})
    assert name in OF_POLICY_LOSS


def test_there_is_no_policy_loss(tmp_path):
    with pytest.raises(ValueError, match="loss_variant='kl_cov'; choose one of none"):
        FCPConfig(**{**NEUTRAL, "output_dir": str(tmp_path), "loss_variant": "kl_cov"})


def test_prompts_from_elsewhere_are_refused(tmp_path):
    with pytest.raises(ValueError, match="rollout_func"):
        online(tmp_path, rollout_func=lambda prompts, trainer: {})


def test_rebuilt_prompts_are_padded_as_trls(tmp_path):
    trainer = online(tmp_path, pad_to_multiple_of=8)
    prompts, mask = trainer.encode_prompts(["<bos> w1", "<bos> w1 w2 w3"])
    assert prompts.shape == mask.shape == (2, 8)
    assert mask.tolist() == [[0] * 6 + [1] * 2, [0] * 4 + [1] * 4]


# --- prompts


BLOCKS = [
    {"type": "image", "image": "i"},
    {"type": "text", "text": "2+2?"},
    {"type": "text", "text": " Now."},
]


def test_the_critique_stands_before_the_first_words_of_content_blocks():
    messages = [{"role": "user", "content": BLOCKS}]
    (message,) = conditioned(messages, "calm")
    assert message["content"] == [BLOCKS[0], {"type": "text", "text": "<EF>calm</EF>2+2?"}, BLOCKS[2]]
    assert messages[0]["content"][1]["text"] == "2+2?"
    (silent,) = conditioned([{"role": "user", "content": BLOCKS[:1]}], "calm")
    assert silent["content"] == [BLOCKS[0], {"type": "text", "text": "<EF>calm</EF>"}]


def test_the_critic_reads_words_and_no_python():
    assert question_text([{"role": "user", "content": BLOCKS}]) == "2+2? Now."
    assert completion_text([{"role": "assistant", "content": BLOCKS[1:]}]) == "2+2? Now."
    assert completion_text([{"role": "assistant", "tool_calls": []}]) == ""
    assert content_text(None) == ""


# --- data


def test_online_reads_a_stream(tmp_path):
    rows = pocket_prompts().add_column("reference", ["w1"] * 12)
    trainer = online(tmp_path, data=rows.to_iterable_dataset())
    trainer.train()
    assert any(entry.get("nll", 0) > 0 for entry in trainer.state.log_history)


TOOL = {"type": "function", "function": {"name": "add", "description": "adds"}}
ROWS = Dataset.from_dict(
    {"prompt": ["w1", "w2"], "completion": [" w3", " w4"], "critique": ["w5", "w6 w7"], "tools": [[TOOL]] * 2}
)


@pytest.mark.parametrize("stream", [False, True])
def test_only_prompt_and_critique_of_a_dataset_change(stream):
    rows = list(conditioned_rows(ROWS.to_iterable_dataset() if stream else ROWS))
    assert [row["prompt"] for row in rows] == ["<EF>w5</EF>w1", "<EF>w6 w7</EF>w2"]
    assert all(row.keys() == {"prompt", "completion", "tools"} for row in rows)
    assert [row["tools"] for row in rows] == ROWS["tools"]
    assert ROWS["prompt"][0] == "w1"


def test_every_dataset_by_name_is_conditioned_and_one_without_critiques_stays():
    plain = ROWS.remove_columns("critique")
    parts = conditioned_rows({"judged": ROWS, "plain": plain})
    assert parts["judged"]["prompt"][0] == "<EF>w5</EF>w1"
    assert parts["plain"] is plain
    assert conditioned_rows(None) is None
    assert conditioned_rows("judged") == "judged"


@pytest.mark.parametrize("columns", [{"text": ["w1"]}, {"prompt": ["w1"], "input_ids": [[3]]}])
def test_a_critique_that_conditions_nothing_is_refused(columns):
    with pytest.raises(ValueError, match="needs the columns 'prompt' and 'completion'"):
        conditioned_rows(Dataset.from_dict({**columns, "critique": ["good"]}))


def offline(kind, folder, evaluated=None, rows=ROWS):
    torch.set_num_threads(1)
    tokenizer = pocket_tokenizer()
    model = build_model(ModelShape(hidden=16, layers=1, heads=2, ffn=32), tokenizer, seed=0)
    add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, seed=0)
    names = ("use_cpu", "bf16", "gradient_checkpointing", "report_to", "save_strategy", "disable_tqdm")
    args = SFTConfig(
        str(folder), max_length=None, max_steps=1, per_device_train_batch_size=2,
        **{name: NEUTRAL[name] for name in names},
    )  # fmt: skip
    rows = rows.remove_columns("tools")
    return kind(model, args, None, rows, evaluated, processing_class=tokenizer)


def test_evaluation_is_under_the_critique_too(tmp_path):
    """The loss on judged rows is that of stock TRL on rows written out by hand, wherever they are given."""
    judged = ROWS.remove_columns("tools")
    by_hand = Dataset.from_dict(
        {"prompt": ["<EF>w5</EF>w1", "<EF>w6 w7</EF>w2"], "completion": judged["completion"]}
    )
    expected = offline(SFTTrainer, tmp_path, by_hand, by_hand.add_column("tools", [0, 0])).evaluate()
    trainer = offline(FCPOfflineTrainer, tmp_path, judged)
    for losses in (trainer.evaluate(), trainer.evaluate(judged)):
        assert losses["eval_loss"] == expected["eval_loss"]
    assert trainer.evaluate(judged.remove_columns("critique"))["eval_loss"] != expected["eval_loss"]


# --- processes


@pytest.mark.parametrize("praise_per", ["prompt", "rollout"])
@pytest.mark.parametrize("world", [2, 3])
def test_praise_belongs_to_the_group_and_not_to_the_process(tmp_path, monkeypatch, praise_per, world):
    """24 rows in groups of 4, some of which straddle processes: together they draw what one process does."""
    trainer = online(tmp_path, praise_per=praise_per)
    alone = trainer._draw_praise(24)
    shares = []
    for rank in range(world):
        monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
        monkeypatch.setattr(type(trainer.accelerator), "num_processes", world)
        shares += trainer._draw_praise(24 // world)
    assert shares == alone
    groups = [set(alone[at : at + 4]) for at in range(0, 24, 4)]
    assert all(len(group) == 1 for group in groups) == (praise_per == "prompt")
    assert len(set(alone)) > 3


# --- model cards


def test_model_cards_name_the_method_and_cite_its_paper(tmp_path):
    for trainer in (online(tmp_path / "online"), offline(FCPOfflineTrainer, tmp_path / "offline")):
        card = check_model_card(trainer, "Verbal Feedback", "luo2025fcp", "- fcp")
        assert "GRPO" not in card


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch):
    """With a client that praises every other response in words of the tiny model."""
    replies = itertools.cycle(({"summary": "w5", "score": 10}, {"summary": "w6 w7", "score": 2}))

    def create(**_):
        text = json.dumps({"user": "", "analysis": "", **next(replies)})
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content=text))])

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    monkeypatch.setattr(api, "_client", lambda _: client)
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"w{row % 8} w1", "completion": f" w{row // 8}", "reference": "w1"} for row in range(64)
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer = run_example("fcp", {"Qwen/Qwen2.5-0.5B": tiny_policy(tmp_path / "policy")})["trainer"]
    assert isinstance(trainer, FCPBootstrapTrainer)
    assert trainer.state.global_step == 4
    assert trainer.state.log_history[-1]["train_loss"] > 0
