"""The seam to the group trainers: off it is `GroupTrainer`, on it samples from the policy as it is now."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer
from common.speculative.drafts import PromptLookupDraft, SmallLMDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.rollouts import SpeculativeRollouts
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy


class WithItself(SpeculativeRollouts):
    """The policy drafts for itself, so that every draft token that sampling would choose first is there."""

    def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator:
        self.engine = SpeculativeGenerator(
            Target(model, (1,)), SmallLMDraft(model), StaticScheduler(TreePolicy(2, 4, 12))
        )
        return self.engine

    def after_generation(self, generation: Generation, prompt_ids: list[list[int]]) -> None:
        self.seen = [*getattr(self, "seen", []), (generation, prompt_ids)]


def make(kind: type[GroupTrainer], folder: Path, **fields: object) -> GroupTrainer:
    return testing.pocket_trainer(
        kind, GroupConfig, folder, **{"max_steps": 8, "top_k": 0, "max_completion_length": 5, **fields}
    )


def test_without_an_engine_it_is_the_group_trainer(tmp_path: Path) -> None:
    runs = []
    for kind in (GroupTrainer, SpeculativeRollouts):
        trainer = make(kind, tmp_path / kind.__name__)
        trainer.train()
        runs.append((testing.weights(trainer), testing.timeless_log(trainer)))
    testing.assert_bitwise(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_rollouts_come_from_the_engine(tmp_path: Path) -> None:
    trainer = make(WithItself, tmp_path)
    before = testing.weights(trainer)
    trainer.train()
    after = testing.weights(trainer)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert len(trainer.seen) == 2
    for generation, prompts in trainer.seen:
        assert len(generation.tokens) == len(prompts) == 16
        assert generation.stats.acceptance_length > 1
        assert prompts[0] == prompts[3] != prompts[4]
        assert generation.features is not None
        for text, states, prompt in zip(generation.tokens, generation.features, prompts, strict=True):
            assert len(states) == len(prompt) + len(text) - 1
            assert len(text) == 5 or int(text[-1]) in trainer.eos_token_ids
    steps = [entry for entry in trainer.state.log_history if "completions/mean_length" in entry]
    lengths = [sum(map(len, generation.tokens)) / 16 for generation, _ in trainer.seen]
    assert steps[0]["completions/mean_length"] == pytest.approx(lengths[0])


def test_the_distribution_is_that_of_the_updated_policy(tmp_path: Path) -> None:
    """First tokens of 4,000 rollouts after a training, against the policy's probabilities."""
    trainer = make(WithItself, tmp_path, temperature=0.7, learning_rate=0.03)
    trainer.train()
    prompt = trainer.tokenizer("<bos> w3")["input_ids"]
    completions, _ = trainer._generate_single_turn([prompt] * 4000)
    with torch.no_grad():
        logits = trainer.model(torch.tensor([prompt])).logits[0, -1]
    expected = torch.softmax(logits / 0.7, dim=-1)
    counts = torch.bincount(torch.tensor([text[0] for text in completions]), minlength=len(expected))
    error = (counts / 4000 - expected).abs()
    assert (error < 4.5 * (expected * (1 - expected) / 4000).sqrt() + 1e-3).all()
    assert not any(module._forward_pre_hooks for module in trainer.model.modules())


@pytest.mark.parametrize("field", [{"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.1}])
def test_options_that_the_engine_does_not_know(tmp_path: Path, field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        make(WithItself, tmp_path, **field)


def test_any_draft_will_do(tmp_path: Path) -> None:
    class Lookup(SpeculativeRollouts):
        def speculation(self, model: PreTrainedModel) -> SpeculativeGenerator:
            return SpeculativeGenerator(
                Target(model), PromptLookupDraft(), StaticScheduler(TreePolicy(3, 1, 3))
            )

    trainer = make(Lookup, tmp_path)
    trainer.train()
    assert trainer.last_generation is not None
    assert trainer.last_generation.features is None
