"""What a loop computes against the model's own forward: seen where it differs; nothing else is touched."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from common.models import decoding
from common.models.decoding import sample
from common.models.fidelity import Replayed, context_of, require_own_logits
from common.speculative.target import Target
from tests.common.models.architectures import build

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


def mistral(window: int, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """As it is initialised: attention counts for little in it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=window)).to(dtype).eval()


def forwards(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every forward of the model."""
    seen: list[int] = []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **inputs: seen.append(1) or forward(**inputs))
    return seen


def prefix(model: PreTrainedModel, ids: Tensor) -> Replayed:
    """A loop without fault: every place from its own prefix."""
    logits = [model(input_ids=ids[:, :end]).logits[:, -1] for end in range(1, ids.shape[1] + 1)]
    return Replayed(torch.stack(logits, dim=1), torch.arange(ids.shape[1]).expand(len(ids), -1))


def test_a_faithful_loop_passes_and_is_not_tried_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mistral(8)
    seen = forwards(model, monkeypatch)
    require_own_logits(model, prefix, "a loop")
    first = len(seen)
    require_own_logits(model, prefix, "a loop")
    assert first == len(seen) == 19
    require_own_logits(model, prefix, "another loop")
    assert len(seen) == 2 * first


FAULTS: dict[str, Callable[[PreTrainedModel, Tensor], Tensor]] = {
    "positions from 1": lambda model, ids: (
        model(input_ids=ids, position_ids=torch.arange(1, 1 + ids.shape[1])[None] * 2).logits
    ),
    "the last token unseen": lambda model, ids: model(input_ids=ids).logits.roll(1, dims=1),
    "no mask": lambda model, ids: (
        model(input_ids=ids, attention_mask=torch.zeros(len(ids), 1, ids.shape[1], ids.shape[1])).logits
    ),
    "one place of one row": lambda model, ids: model(input_ids=ids).logits.index_put(
        (torch.tensor(1), torch.tensor(9)), model(input_ids=ids).logits[0, 9]
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_loop_with_a_fault_is_seen_in_a_model_as_it_is_initialised(fault: str) -> None:
    def replay(model: PreTrainedModel, ids: Tensor) -> Replayed:
        return Replayed(FAULTS[fault](model, ids), torch.arange(ids.shape[1]).expand(len(ids), -1))

    with pytest.raises(ValueError, match=r"MistralForCausalLM .*a loop cannot decode it, logits differ"):
        require_own_logits(mistral(8), replay, "a loop")


@pytest.mark.parametrize("window", [8, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_window_that_the_engine_ignores_is_named(
    window: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a window that is longer than the compared text, by a twin; the model itself stays as it is."""
    monkeypatch.setattr(Target, "_windowed", lambda self, mask, *_: mask)
    model = mistral(window, dtype)
    before, state, chance = copy.deepcopy(model.config), dict(model.state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError, match=rf"MistralForCausalLM \(sliding_window={window}\): the speculative"):
        Target(model)
    assert model.config.to_dict() == before.to_dict()
    assert all(after is state[name] or after.equal(state[name]) for name, after in model.state_dict().items())
    assert torch.equal(chance, torch.get_rng_state())


@pytest.mark.parametrize("window", [64, 4096])
def test_a_window_as_long_as_the_context_never_bites(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "_windowed", lambda self, mask, *_: mask)
    Target(mistral(window))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [6, 40])
def test_rounding_is_no_difference(dtype: torch.dtype, window: int) -> None:
    Target(mistral(window, dtype))


def test_mixed_precision_is_no_difference() -> None:
    """Float32 weights whose forward computes in bfloat16, as accelerate wraps it."""
    model = build("llama").float()
    forward = model.forward

    def autocast(**inputs: object) -> object:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return forward(**inputs)

    model.forward = autocast  # type: ignore[method-assign]
    Target(model)


def test_every_module_goes_back_to_its_own_mode() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, attention_dropout=0.5)).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    chance = torch.get_rng_state()
    Target(model)
    ids = torch.tensor([[5, 6, 7]])
    require_own_logits(model, decoding._replay, "the sampler")
    assert [module.training for module in model.modules()] == modes
    assert set(modes) == {True, False}
    assert torch.equal(chance, torch.get_rng_state())
    assert sample(model, ids, torch.ones_like(ids), 2, 0.0, 2, 0).ids.shape == (1, 2)


def test_a_broken_model_is_refused_as_such() -> None:
    model = mistral(8)
    with torch.no_grad():
        model.get_output_embeddings().weight[3, 3] = float("nan")
    with pytest.raises(ValueError, match="its own logits are NaN"):
        Target(model)


def test_what_a_model_raises_is_the_reason() -> None:
    def replay(model: PreTrainedModel, ids: Tensor) -> Replayed:
        raise KeyError("no such layer\nand more")

    with pytest.raises(ValueError, match=r"a loop cannot decode it, KeyError: 'no such layer") as failure:
        require_own_logits(mistral(8), replay, "a loop")
    assert "\n" not in str(failure.value)
    assert isinstance(failure.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bloom", "ALiBi"),
        ("mpt", "ALiBi"),
        ("roberta", "positions counted from the padding id"),
        ("llama4_text", "attention_chunk_size=6; chunked_attention layers"),
        ("mamba", "linear_attention layers"),
        ("recurrent_gemma", "linear_attention"),
        ("bert, no decoder", "is_decoder=False"),
        ("cpmant", "relative positions"),
    ],
)
def test_the_sampler_says_why_it_refuses(name: str, reason: str) -> None:
    model = build(name)
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(ValueError, match="the lean sampler cannot decode it") as failure:
        sample(model, ids, torch.ones_like(ids), 2, 0.0, 2, 0)
    assert str(failure.value).startswith(type(model).__name__)
    assert reason in str(failure.value)


@pytest.mark.parametrize(
    ("name", "context"), [("llama", 64), ("gpt2", 64), ("mpt", 64), ("whisper", 64), ("bloom", None)]
)
def test_contexts_by_their_names(name: str, context: int | None) -> None:
    longest = context_of(build(name))
    assert longest == context if context else longest > 10**9
