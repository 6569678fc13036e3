"""Options of generation: a loop expresses them, or refuses a model that asks for them."""

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, PreTrainedModel

from common.models.decoding import sample
from common.models.options import NEUTRAL, all_ends, require_plain_sampling
from common.speculative.generate import SpeculativeGenerator
from common.speculative.target import Target
from common.speculative.verify import SamplingParams
from tests.common.models.architectures import build, names

EXPRESSED = names(
    "max_length max_new_tokens do_sample temperature top_p pad_token_id bos_token_id eos_token_id"
)
NO_CHANGE_OF_TEXT = names(
    """use_cache cache_implementation cache_config max_cache_len prefill_chunk_size low_memory
    output_attentions output_hidden_states output_scores output_logits return_dict_in_generate
    num_return_sequences compile_config disable_compile continuous_batching_config renormalize_logits
    remove_invalid_values decoder_start_token_id _from_model_config transformers_version"""
)  # renormalising and removing NaN matter to other processors and to broken logits, which are refused
ASSISTED = names(
    """use_mtp is_assistant num_assistant_tokens num_assistant_tokens_schedule speculation_type
    assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size assistant_early_exit
    assistant_lookbehind target_lookbehind assistant_ensemble_weight"""
)
ONLY_WITH_BEAMS = names("early_stopping length_penalty")
ODD: dict[str, Any] = {
    "top_k": 20,
    "min_p": 0.1,
    "typical_p": 0.9,
    "top_h": 0.4,
    "epsilon_cutoff": 1e-3,
    "eta_cutoff": 1e-3,
    "penalty_alpha": 0.6,
    "guidance_scale": 1.5,
    "repetition_penalty": 1.1,
    "encoder_repetition_penalty": 1.1,
    "no_repeat_ngram_size": 1,
    "encoder_no_repeat_ngram_size": 3,
    "num_beams": 4,
    "num_beam_groups": 2,
    "min_length": 5,
    "min_new_tokens": 1,
    "diversity_penalty": 0.5,
    "bad_words_ids": [[7]],
    "force_words_ids": [[7]],
    "constraints": [object()],
    "sequence_bias": {(7,): -5.0},
    "suppress_tokens": [7],
    "begin_suppress_tokens": [7],
    "forced_bos_token_id": 5,
    "forced_eos_token_id": 5,
    "exponential_decay_length_penalty": (3, 1.1),
    "stop_strings": ["end"],
    "max_time": 1.0,
    "watermarking_config": {"bias": 2.0},
    "dola_layers": "low",
    "token_healing": True,
}


@pytest.fixture
def model() -> PreTrainedModel:
    return build("llama")


def test_every_option_of_transformers_has_its_place() -> None:
    places = (EXPRESSED, NO_CHANGE_OF_TEXT, ASSISTED, ONLY_WITH_BEAMS, set(NEUTRAL))
    assert set().union(*places) == set(GenerationConfig().to_dict())
    assert sum(map(len, places)) == len(set().union(*places))
    assert set(ODD) == set(NEUTRAL)


@pytest.mark.parametrize("name", NEUTRAL)
def test_an_option_that_changes_texts_is_refused_by_both_loops(model: PreTrainedModel, name: str) -> None:
    target, ids = Target(model), torch.tensor([[5, 6, 7]])
    setattr(model.generation_config, name, ODD[name])
    with pytest.raises(ValueError, match=f"LlamaForCausalLM sets {name}=.*the speculative engine"):
        SpeculativeGenerator(target)
    with pytest.raises(ValueError, match=f"LlamaForCausalLM sets {name}=.*the lean sampler"):
        sample(model, ids, torch.ones_like(ids), 2, 0.0, 2, 0)
    if NEUTRAL[name] is None and name.startswith("forced"):
        setattr(model.generation_config, name, 0)
        with pytest.raises(ValueError, match=f"{name}=0"):
            SpeculativeGenerator(target)
    for neutral in (None, NEUTRAL[name]):
        setattr(model.generation_config, name, neutral)
        SpeculativeGenerator(target)


@pytest.mark.parametrize("name", sorted(EXPRESSED | NO_CHANGE_OF_TEXT | ASSISTED | ONLY_WITH_BEAMS))
def test_other_options_are_let_pass(model: PreTrainedModel, name: str) -> None:
    setattr(model.generation_config, name, 3)
    require_plain_sampling(model, (), "a loop")


def test_ends_of_a_text_are_all_given_or_none(model: PreTrainedModel) -> None:
    model.generation_config.eos_token_id = [2, 9]
    prompt = torch.tensor([5, 6, 7])
    engine, ids = SpeculativeGenerator(Target(model)), prompt[None]
    for some in ((2,), (9, 11)):
        with pytest.raises(ValueError, match=r"ends a text with any of \[2, 9\], the speculative engine"):
            engine.generate([prompt], SamplingParams(3, eos_ids=some))
        with pytest.raises(ValueError, match=r"ends a text with any of \[2, 9\], the lean sampler"):
            sample(model, ids, torch.ones_like(ids), 3, 1.0, some, 0)
    assert all_ends(model, 9) == (2, 9)
    assert all_ends(model, 11) == (11,)
    for ends in ((), (2, 9), (9, 2, 11), (11,)):
        engine.generate([prompt], SamplingParams(3, eos_ids=ends))


def test_the_sampler_stops_at_each_of_several_ends(model: PreTrainedModel) -> None:
    ids = torch.tensor([[5, 6, 7], [9, 8, 7], [11, 30, 31]])
    mask = torch.ones_like(ids)
    free = sample(model, ids, mask, 12, 0.0, -1, 0).ids
    ends = [int(free[0, 4]), int(free[1, 6])]
    expected = model.generate(
        ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=ends, pad_token_id=0
    )[:, 3:]
    drawn = sample(model, ids, mask, 12, 0.0, ends, 0)
    assert torch.equal(drawn.ids, expected)
    lengths = [next((i + 1 for i, t in enumerate(row) if t in ends), 12) for row in free.tolist()]
    assert drawn.mask.sum(dim=1).tolist() == lengths
    assert len(set(lengths)) > 1
