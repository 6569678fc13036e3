"""FCP in the zoo: a critic that agrees with the verifier, one budget for both stages, the same warm start."""

import os
from dataclasses import replace

os.environ.setdefault("HF_HUB_OFFLINE", "1")


import numpy as np
import pytest
import torch

from common.judge.critic import Critique
from common.judge.pool import FeedbackPool
from common.models.pocket import load_policy
from common.models.special_tokens import add_special_tokens
from common.rl.run import Run
from common.study.configuration import configure
from common.tasks.opchain import OpChainConfig, items, trace
from papers.fcp.method import CLOSE, FEEDBACK_TOKENS, OPEN
from papers.zoo.experiment import PROFILES, WAITING, Config, jobs
from papers.zoo.runs import fcp
from papers.zoo.runs.training import train

TINY = configure(Config, PROFILES, "smoke").changed({"run.curve_every": 1, "run.evaluation_prompts": 6})
CHAINS = items(OpChainConfig(size=40))


def record_of(objective, workspace, **changes):
    workspace.mkdir()
    return train(job(objective, **changes), workspace)


def job(objective, seed=0, **changes):
    config = TINY.changed({f"run.{name}": value for name, value in changes.items()})
    reference = next(each for each in jobs(config, (seed,)) if each.labels.get("objective") == "grpo")
    if objective == "grpo":
        return reference
    return replace(reference, config={**reference.config, **WAITING[objective].changes(config.run.batch)})


@pytest.fixture
def one_thread():
    torch.set_num_threads(1)


def test_the_critic_says_what_the_verifier_says():
    critic = fcp.OpChainCritic(0)
    for item in CHAINS:
        clean = " ".join(trace(item, np.random.default_rng(0)))
        wrong = clean.replace(f"<ans> {item.answer} ", f"<ans> {(item.answer + 1) % 11} ")
        good, bad, cut = (
            critic(item.prompt, text, "") for text in (clean, wrong, clean.removesuffix(" <eos>"))
        )
        assert set(good.summary.split()) & {"correct", "accurate"}
        assert all(set(each.summary.split()) & {"wrong", "mistaken"} for each in (bad, cut))
        assert (good.score, bad.score, cut.score) == (10, 1, 1)
        assert critic(item.prompt, f"wait {item.answer} ; {clean}", "").score == 9
        assert critic(item.prompt, clean, "") == good


def test_half_of_the_critiques_speak_of_length():
    critic = fcp.OpChainCritic(0)
    said = [
        bool(set(critic(item.prompt, f"{word} <eos>", "").summary.split()) & fcp.LENGTH_WORDS)
        for item in CHAINS
        for word in map(str, range(11))
    ]
    assert np.mean(said) == pytest.approx(0.5, abs=0.1)


def test_the_trainer_shows_the_critic_the_end_and_survives_words_as_answers():
    model, tokenizer = load_policy("opchain-0")
    added = add_special_tokens(model, tokenizer, (*FEEDBACK_TOKENS, *fcp.WORDS), 0)
    trainer = object.__new__(fcp.FCPTrainer)
    trainer.critic, trainer._tokenizer = fcp.OpChainCritic(0), tokenizer
    item = CHAINS[0]
    right = tokenizer.convert_tokens_to_ids(list(trace(item, np.random.default_rng(0))))
    completions = [right, right[:-1], [added[3], *right], [*right[:-2], added[0], right[-1]]]
    scores = trainer.critic_score(completion_ids=completions, question=[item.prompt] * 4)
    assert scores == [1.0, 0.0, 1.0, 0.0]
    assert len(trainer.critiques) == 4


def test_held_out_chains_are_asked_under_praise_and_stay_what_they_are():
    run = Run.read(job("fcp").config)
    pool = FeedbackPool([Critique("", "", "correct", 10), Critique("", "", "wrong", 1)])
    plain, praised = fcp.OpChain(run, 0).heldout, fcp.praised_task(run, 0, pool).heldout
    for own, item in zip(praised, plain, strict=True):
        assert own.prompt == f"{OPEN}correct{CLOSE}{item.prompt}"
        assert (own.answer, own.level) == (item.answer, item.level)


@pytest.mark.parametrize("iterations", [2, 5])
def test_both_stages_share_the_budget_and_begin_where_grpo_begins(
    one_thread, monkeypatch, tmp_path, iterations
):
    questions = []
    monkeypatch.setattr(fcp.OpChainCritic, "__call__", counting(fcp.OpChainCritic.__call__, questions))
    record = record_of("fcp", tmp_path / "fcp", iterations=iterations)
    assert len(questions) == iterations * TINY.run.batch
    assert {record.series[name].shape for name in ("reward", "length", "entropy", "share_zero")} == {
        (1, iterations)
    }
    assert record.series["curve/iteration"].tolist() == [list(range(iterations + 1))]
    reference = record_of("grpo", tmp_path / "grpo", iterations=iterations)
    for name in ("curve/pass_at_1", "curve/length"):
        assert record.series[name][0, 0] == reference.series[name][0, 0]
    assert record.series["reward"].max() <= 1


def counting(call, questions):
    def counted(self, question, response, reference):
        questions.append(question)
        return call(self, question, response, reference)

    return counted


def test_twice_the_same_record(one_thread, tmp_path):
    first, second = (record_of("fcp", tmp_path / str(index)) for index in range(2))
    for part in ("scalars", "series"):
        assert getattr(first, part).keys() == getattr(second, part).keys()
        for name, values in getattr(first, part).items():
            np.testing.assert_array_equal(values, getattr(second, part)[name], err_msg=name)


def test_a_batch_costs_its_share_of_the_offline_stage(monkeypatch, tmp_path):
    """Ten batches: four offline in 8 s, six online at 0.5 s."""
    now = iter([100.0, 108.0])
    pool = FeedbackPool([Critique("", "", "correct", 10)])
    monkeypatch.setattr(fcp.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(fcp, "offline_stage", lambda *_: (pool, {}))

    class Trainer:
        def __init__(self, *_, callbacks, **__):
            self.watch = callbacks[0]

        def train(self):
            self.watch.times = [0.0, 0.5, 1.0, 1.5]

    run = Run.read(job("fcp").config).changed({"iterations": 10})
    seconds = fcp.seconds_per_batch(run, run.changed({"iterations": 4}), 0, tmp_path, Trainer, None)
    assert seconds == pytest.approx((8.0 + 6 * 0.5) / 10)


def test_another_task_is_refused(tmp_path):
    run = Run.read(job("fcp").config).changed({"task": "math"})
    with pytest.raises(ValueError, match="reads OpChain"):
        fcp.train_arm(run, 0, tmp_path, fcp.FCPTrainer, None)
