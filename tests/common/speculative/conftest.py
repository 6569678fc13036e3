"""Small decoders in float64, sharp enough that greedy texts vary; one in SmolLM2's place; tabular targets."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from common.speculative import enumeration, real, real_evaluation
from common.speculative.real import Texts
from common.speculative.reduced import ReducedEagle3Network
from common.speculative.tabular import World, random_world
from common.speculative.target import Target

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


def written(_recipe: object = None) -> Texts:
    """Texts that SmolLM2 might have written."""
    draws = torch.Generator().manual_seed(5)
    sizes = torch.tensor([14, 11, 13, 12])
    ids = torch.randint(0, VOCABULARY, (int(sizes.sum()),), generator=draws)
    return Texts(ids, sizes, torch.tensor([5, 4, 6, 5]))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Target:
    """A float32 decoder as SmolLM2, with texts of its own."""
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    target = Target(make_model("llama").float().requires_grad_(False), ReducedEagle3Network.taps(6))
    for module in (real, real_evaluation):
        monkeypatch.setattr(module, "smollm2", lambda dtype=None: target)
        monkeypatch.setattr(module, "texts", written)
    monkeypatch.setattr(real_evaluation, "tokenizer", lambda: SimpleNamespace(eos_token_id=2, pad_token_id=0))
    monkeypatch.setattr(real_evaluation, "encoded", lambda *_: [written().ids[:6]])
    return target


@pytest.fixture
def world() -> World:
    return random_world(np.random.default_rng(0), contexts=3, tokens=3, depth=3)


def random_log_q(world: World, seed: int) -> np.ndarray:
    """A random draft of the world's target."""
    logits = np.random.default_rng(seed).normal(size=world.conditional.shape)
    return np.log(np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True))


def as_target(world: World, row: int) -> enumeration.Target:
    """A context of the world as a target to enumerate."""
    below = np.ones((3**world.depth, world.tokens))
    return enumeration.Target(np.concatenate([world.conditional[row], below]), world.depth)
