"""Every decoder of transformers that builds small: our loops decode it as `generate` does, or refuse it."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from common.models.decoding import sample
from common.speculative.drafts import PromptLookupDraft, SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import TreePolicy
from common.speculative.verify import SamplingParams
from tests.common.models.architectures import KINDS, LAST, UNBUILT, VARIANTS, build, names

NEW = 12
BOTH = names("""
apertus apertus1p5_text arcee aria_text biogpt bitnet codegen cohere ctrl diffllama emu3 ernie4_5
ernie4_5_moe exaone falcon flex_olmo flint gemma glm glm4 glm4_moe gpt-sw3 gpt2 gpt_bigcode gpt_neox
gpt_neox_japanese gptj granite granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe hy_v3
hyperclovax internlm3 iquestcoder jais2 jetmoe laguna lfm2 llama mellum minimax_m2 minimax_m3_vl_text
nanochat nemotron olmo olmo2 olmoe opt persimmon phi qwen2 qwen2_moe qwen3 qwen3_moe sarvam_moe seed_oss
smollm3 solar_open stablelm xglm
""")
ENGINE_ALONE = names("""
afmoe beam cohere2 cohere2_moe cwm doge exaone4 exaone_moe gemma2 gemma3_text gpt_oss granite_swa
granitemoe_swa kolibri1 ministral ministral3 mistral mixtral olmo3 phi3 phimoe starcoder2 vaultgemma
""")
SAMPLER_ALONE = names("""
axk1 bert bert-generation big_bird deepseek_v2 deepseek_v3 electra ernie glm4_moe_lite gpt_neo hrm_text
longcat_flash megatron-bert minicpm3 mllama rembert roformer sarvam_mla youtu
""")
ENGINE = {*BOTH, *ENGINE_ALONE, "falcon, grouped queries", "gpt_neox, sequential", "mistral, long window"}
ENGINE |= {"mistral, no window", "qwen2, windows", "qwen3, windows only"}
SAMPLER = {*BOTH, *SAMPLER_ALONE, "falcon, ALiBi", "falcon, grouped queries", "gpt_neox, sequential"}
SAMPLER |= {"gpt_neo, long window", "mistral, no window"}

Texts = list[list[int]]


def stock(model: PreTrainedModel, prompts: list[Tensor]) -> Texts:
    return [
        model.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=LAST,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]


def engine(model: PreTrainedModel, prompts: list[Tensor]) -> Texts:
    """Without a draft, with copied chains, and with branching trees of the model itself: one and the same."""
    params = SamplingParams(NEW, temperature=0.0, eos_ids=(LAST,))
    target = Target(model)
    engines = [
        SpeculativeGenerator(target),
        SpeculativeGenerator(target, PromptLookupDraft(), StaticScheduler(TreePolicy(3, 1, 3))),
        SpeculativeGenerator(target, SmallLMDraft(model), StaticScheduler(TreePolicy(2, 2, 4))),
    ]
    texts = [[text.tolist() for text in one.generate(prompts, params).tokens] for one in engines]
    assert texts[0] == texts[1] == texts[2]
    return texts[0]


def sampler(model: PreTrainedModel, prompts: list[Tensor]) -> Texts:
    width = max(map(len, prompts))
    ids = torch.stack([torch.nn.functional.pad(prompt, (width - len(prompt), 0)) for prompt in prompts])
    drawn = sample(model, ids, (ids > 0).long(), NEW, 0.0, LAST, 0)
    return [row[valid.bool()].tolist() for row, valid in zip(drawn.ids, drawn.mask, strict=True)]


def outcome(loop: Callable[[PreTrainedModel, list[Tensor]], Texts], model: PreTrainedModel) -> Texts | str:
    """Texts, or why the loop refuses."""
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(3, LAST, (size,), generator=generator) for size in (5, 9)]
    try:
        return loop(model, prompts)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", [*KINDS, *VARIANTS])
def test_the_texts_are_those_of_generate_or_the_model_is_refused(name: str) -> None:
    model = build(name)
    expected = outcome(stock, model)
    for loop, decodes in ((engine, ENGINE), (sampler, SAMPLER)):
        found = outcome(loop, model)
        if name in decodes:
            assert found == expected
        else:
            assert re.search(r"decoder-only|cannot decode it|with temperature and top_p only", str(found))
            assert type(model).__name__ in str(found)


def test_no_architecture_is_left_out() -> None:
    assert set(KINDS) | set(UNBUILT) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert len(KINDS) >= 150
    assert set(KINDS) | set(VARIANTS) >= ENGINE | SAMPLER
    assert all(UNBUILT.values())
