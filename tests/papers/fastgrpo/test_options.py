"""All fields of `GRPOConfig`: switched off the trainer is stock TRL in each, on it heeds or refuses each."""

from __future__ import annotations

import pytest
import torch
from trl import GRPOConfig

from common.rl.testing import pocket_trainer
from common.speculative.generate import SpeculativeGenerator
from common.speculative.verify import SamplingParams
from papers.fastgrpo.method import FastGRPOConfig, FastGRPOTrainer
from tests.common.rl.sweep import (
    check_heeded,
    check_inherited,
    check_option,
    parametrised,
    parametrised_by,
    rows_named_by,
)

HOOK = ("scale_rewards", "multi_objective_aggregation")
SAMPLING = {
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "generation_kwargs": "generation_kwargs",
    "cache_implementation": "cache_implementation",
    "use_vllm": "vllm",
    "use_transformers_continuous_batching": "use_transformers_continuous_batching",
}
UPDATE = {
    "top_entropy_quantile": "top_entropy_quantile",
    "entropy_coef": "entropy_coef",
    "use_adaptive_entropy": "use_adaptive_entropy",
    "entropy_target": "use_adaptive_entropy",
    "entropy_coef_delta": "use_adaptive_entropy",
    "entropy_coef_max": "use_adaptive_entropy",
    "entropy_coef_min": "use_adaptive_entropy",
}
REFUSED = {**{name: name for name in HOOK}, **SAMPLING, **UPDATE, "disable_dropout": "rotary"}
"""How the message names what is refused; the policy with dropout has learned positions."""


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def off(**given):
    return pocket_trainer(FastGRPOTrainer, FastGRPOConfig, speculation="off", **given)


def on(**given):
    return pocket_trainer(FastGRPOTrainer, FastGRPOConfig, c_peak=40, **given)


def test_nothing_that_is_not_swept_is_named_in_our_code():
    backends = ("deepspeed", "fsdp")  # words of a message, not the fields
    check_inherited(FastGRPOTrainer, FastGRPOConfig, others=backends)


PASSED_ON = [(field, 0) for field in ("beta", "epsilon", "num_iterations")]
"""Some of the fields that only the parent's code names."""


@parametrised_by(sorted({*rows_named_by(FastGRPOTrainer, FastGRPOConfig), *PASSED_ON}))
def test_off_an_option_acts_as_in_trl_or_is_refused(field, at):
    check_option(off, field, at, HOOK)


@parametrised
def test_on_an_option_changes_the_run_or_is_refused(field, at):
    refusal = check_heeded(on, field, at)
    if field in REFUSED:
        assert refusal is not None, f"{field} was to be refused"
        assert REFUSED[field] in refusal
    else:
        assert refusal is None


def test_the_engine_samples_as_asked(tmp_path, monkeypatch):
    """Scoring heeds the temperature too, so a run that differs does not show that sampling does."""
    asked, generate = [], SpeculativeGenerator.generate

    def spy(engine, prompts, params, **rest):
        asked.append(params)
        return generate(engine, prompts, params, **rest)

    monkeypatch.setattr(SpeculativeGenerator, "generate", spy)
    on(output_dir=tmp_path, temperature=0.5, top_p=0.9, max_completion_length=5, max_steps=1).train()
    assert asked == [SamplingParams(5, 0.5, 0.9, (2,))]


@pytest.mark.parametrize(
    "more",
    [{"decoder": "lean"}, {"max_completion_length": None}, {"rollout_func": print}],
    ids=lambda more: next(iter(more)),
)
def test_what_the_engine_does_not_know_is_refused(tmp_path, more):
    kind = FastGRPOTrainer
    (name,) = more
    arguments = {} if name in GRPOConfig.__dataclass_fields__ or name == "decoder" else more

    def build(**given):
        return kind(**given, **arguments)

    with pytest.raises(ValueError, match=name):
        pocket_trainer(build, FastGRPOConfig, tmp_path, **({} if arguments else more))
