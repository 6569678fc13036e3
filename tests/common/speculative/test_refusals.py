"""Bad input: a clear error before the first token."""

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertLMHeadModel,
    MambaConfig,
    MambaForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTLMHeadModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from common.speculative.drafts import FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import Eagle3Network
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from tests.common.speculative.conftest import make_model

TREES = StaticScheduler(TreePolicy(depth=4, top_k=3, budget=10))


def test_a_draft_of_another_hidden_size(qwen: PreTrainedModel) -> None:
    other = make_model(hidden_size=48)
    with pytest.raises(ValueError, match=r"features of width 144, the target gives 96 \(3 taps"):
        SpeculativeGenerator(Target(qwen, (1, 3, 4)), FeatureDraft(Eagle3Network(other)), TREES)


def test_a_draft_with_other_taps(qwen: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"features of width 96, the target gives 32 \(1 taps"):
        SpeculativeGenerator(Target(qwen, (1,)), FeatureDraft(Eagle3Network(qwen)), TREES)


def test_a_draft_of_another_vocabulary(qwen: PreTrainedModel) -> None:
    other = make_model(vocab_size=30)
    for draft in (FeatureDraft(Eagle3Network(other)), SmallLMDraft(other)):
        with pytest.raises(ValueError, match="vocabulary of 30 tokens, the target of 24"):
            SpeculativeGenerator(Target(qwen, (1, 3, 4)), draft, TREES)


def test_a_tree_larger_than_the_cache(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    target, read = Target(qwen), []
    target.read = lambda *args, **kwargs: read.append(args)  # type: ignore[method-assign]
    engine = SpeculativeGenerator(target, PromptLookupDraft(), TREES, cache_tokens=45)
    with pytest.raises(ValueError, match="tree of 11 with its root; give cache_tokens ≥ 50"):
        engine.generate(prompts, SamplingParams(30))
    assert not read


def test_a_text_longer_than_the_context(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="prompts of 9 and 120 new tokens are longer than the"):
        SpeculativeGenerator(Target(qwen)).generate(prompts, SamplingParams(120))


def test_models_that_do_not_take_masks_and_a_cache() -> None:
    small = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 2}
    models = [
        OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=10, n_embd=16, n_layer=2, n_head=2)),
        MambaForCausalLM(MambaConfig(**small)),
        T5ForConditionalGeneration(T5Config(vocab_size=10, d_model=16, num_layers=2, num_heads=2)),
        BertLMHeadModel(BertConfig(**small, num_attention_heads=2, intermediate_size=16)),
    ]
    for model in models:
        with pytest.raises(ValueError, match=r"speculative (decoding needs a|engine cannot decode it)"):
            Target(model.eval())


def test_a_tap_outside_the_model(qwen: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"taps \[7\] lie outside 0 … 6"):
        Target(qwen, (0, 6, 7))


def test_prompts_and_features(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    engine = SpeculativeGenerator(Target(qwen))
    with pytest.raises(ValueError, match="at least two tokens"):
        engine.generate([prompts[0], torch.tensor([1])], SamplingParams(3))
    with pytest.raises(ValueError, match="at least one prompt"):
        engine.generate([], SamplingParams(3))
    with pytest.raises(ValueError, match="target with taps"):
        engine.generate(prompts, SamplingParams(3), return_features=True)
    with pytest.raises(ValueError, match="go together"):
        SpeculativeGenerator(Target(qwen), PromptLookupDraft())
