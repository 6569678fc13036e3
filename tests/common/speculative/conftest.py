"""Small decoders in float64, sharp enough that greedy texts vary."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

VOCABULARY, LAYERS = 24, 6
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}


def make_model(kind: str = "qwen3", seed: int = 0, **changes: int) -> PreTrainedModel:
    """A random decoder whose weights are scaled up, so that its next-token distributions are not flat."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = {**SHAPE, **changes}
        model = (
            Qwen3ForCausalLM(Qwen3Config(**shape, tie_word_embeddings=True))
            if kind == "qwen3"
            else LlamaForCausalLM(LlamaConfig(**shape))
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(3.0)
    return model.double().eval()


@pytest.fixture(scope="session")
def qwen() -> PreTrainedModel:
    return make_model()


@pytest.fixture(scope="session")
def prompts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, VOCABULARY, (size,), generator=generator) for size in (5, 2, 9, 7)]
