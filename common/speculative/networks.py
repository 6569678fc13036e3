"""Draft networks of the EAGLE family: one decoder layer on the target's features.

Entry j of a draft pairs the feature of token j with the embedding of token j + 1 and predicts token j + 2;
the output of an entry stands in for the feature that the target has not computed yet. A network's forward is
cut at its attention, so that decoding (with a cache), training (in parallel over the text) and unrolling
along a path share every line: `project`, attention, `finish`, then `feedback` and `logits`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

DEEPEST = 128  # most levels of a tree below a text that fills the context


class Projection(NamedTuple):
    """What attention needs of Q entries.

    Attributes:
        query: Rotated queries.
        key: Rotated keys.
        value: Values.
        residual: What `DraftNetwork.finish` adds the attention's output to.
    """

    query: Float[Tensor, "B H Q D"]
    key: Float[Tensor, "B K Q D"]
    value: Float[Tensor, "B K Q D"]
    residual: Float[Tensor, "B Q d"]


class Rotary(nn.Module):
    """Rotary position embedding, halves convention; angles come from a table."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, base: float, context: int) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.arange(context)[:, None] * torch.cat([frequencies, frequencies])
        sign = torch.ones(head_dim).index_fill_(0, torch.arange(head_dim // 2), -1.0)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", (angles.sin() * sign).float(), persistent=False)

    def forward(
        self, states: Float[Tensor, "B H Q D"], positions: Int[Tensor, "B Q"]
    ) -> Float[Tensor, "B H Q D"]:
        """Rotate by position."""
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        swapped = states.roll(states.shape[-1] // 2, dims=-1)
        return torch.addcmul(states * cos, swapped, sin)


class Attention(nn.Module):
    """Projections of grouped-query attention; what attends to what is the caller's."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        base: float,
        context: int,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.qkv = nn.Linear(inputs, (heads + 2 * kv_heads) * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, hidden, bias=False)
        self.rotary = Rotary(head_dim, base, context)

    def project(
        self, states: Float[Tensor, "B Q i"], positions: Int[Tensor, "B Q"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, heads in front of tokens."""
        rows, count, _ = states.shape
        heads = self.qkv(states).view(rows, count, -1, self.head_dim).transpose(1, 2)
        turned = self.rotary(heads[:, : self.heads + self.kv_heads], positions)
        return turned[:, : self.heads], turned[:, self.heads :], heads[:, self.heads + self.kv_heads :]

    def finish(self, attended: Float[Tensor, "B H Q D"]) -> Float[Tensor, "B Q d"]:
        """Join the heads."""
        return self.out(attended.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    """Gated feed-forward layer."""

    def __init__(self, hidden: int, ffn: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(hidden, 2 * ffn, bias=False), nn.Linear(ffn, hidden, bias=False)

    def forward(self, states: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q d"]:
        """down(silu(gate) ⊙ up)."""
        gate, up = self.up(states).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


def attend(
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B K S D"],
    value: Float[Tensor, "B K S D"],
    mask: Float[Tensor, "B 1 Q S"],
) -> Float[Tensor, "B H Q D"]:
    """Scaled dot-product attention; H / K query heads share a key-value head."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)


class DraftNetwork(nn.Module):
    """Base of the networks; a subclass says how token and feature are fused and what comes after attention.

    Shape and token embeddings are the target's; the embeddings are shared with it, neither trained nor saved
    here.

    Args:
        target: The model to draft for.
    """

    attention: Attention
    mlp_norm: nn.RMSNorm
    mlp: SwiGLU

    @classmethod
    def taps(cls, layers: int) -> tuple[int, ...]:
        """Hidden states of a target of so many layers that the network reads: the final normed one."""
        return (layers,)

    def __init__(self, target: PreTrainedModel) -> None:
        super().__init__()
        config = target.config.get_text_config()
        self.hidden: int = config.hidden_size
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = getattr(config, "num_key_value_heads", None) or self.heads
        self.head_dim: int = getattr(config, "head_dim", None) or self.hidden // self.heads
        self.ffn: int = getattr(config, "intermediate_size", None) or 4 * self.hidden
        rope = getattr(config, "rope_parameters", None) or {}
        self.base: float = rope.get("rope_theta", 10_000.0)
        self.context: int = config.max_position_embeddings
        self.epsilon: float = getattr(config, "rms_norm_eps", 1e-6)
        self._shared = cast(
            tuple[nn.Embedding, nn.Linear], (target.get_input_embeddings(), target.get_output_embeddings())
        )  # in a tuple, so that they are no submodules

    @property
    def feature_size(self) -> int:
        """Width F of the target features that `fuse` reads."""
        return self.hidden

    @property
    def vocabulary(self) -> int:
        """Number V of logits."""
        return self._shared[1].weight.shape[0]

    def norm(self) -> nn.RMSNorm:
        """A norm of the residual stream."""
        return nn.RMSNorm(self.hidden, eps=self.epsilon)

    def new_attention(self, inputs: int) -> Attention:
        """Attention of the target's shape on states of width `inputs`."""
        return Attention(
            inputs, self.hidden, self.heads, self.kv_heads, self.head_dim, self.base, self.context + DEEPEST
        )

    def embed(self, tokens: Int[Tensor, "B Q"]) -> Float[Tensor, "B Q d"]:
        """The target's embeddings, without gradient."""
        return F.embedding(tokens, self._shared[0].weight.detach())

    def head(self, states: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """The target's language-model head, without gradient to its weights."""
        weight = self._shared[1].weight.detach()
        return F.linear(states.to(weight.dtype), weight)

    def fuse(self, features: Float[Tensor, "B Q F"]) -> Float[Tensor, "B Q d"]:
        """Target features in the width of the residual stream."""
        return features

    def project(
        self, hidden: Float[Tensor, "B Q d"], tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"]
    ) -> Projection:
        """Queries, keys and values of entries (hidden state of a token, the token after it)."""
        raise NotImplementedError

    def finish(
        self, residual: Float[Tensor, "B Q d"], attended: Float[Tensor, "B H Q D"]
    ) -> Float[Tensor, "B Q d"]:
        """State after the layer: residual around attention, then around the feed-forward layer."""
        state = residual + self.attention.finish(attended)
        return state + self.mlp(self.mlp_norm(state))

    def feedback(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q d"]:
        """What the next entry of a path takes in place of a fused target feature."""
        return state

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """Logits of the token after the entry's own."""
        raise NotImplementedError


class Eagle3Network(DraftNetwork):
    """EAGLE-3: features of three depths, an input twice as wide, its own norm and head.

    The head starts as the target's. (arXiv:2503.01840)
    """

    @classmethod
    def taps(cls, layers: int) -> tuple[int, ...]:
        """Inputs of layers 2, L/2 and L - 3."""
        return (min(2, layers - 1), layers // 2, max(layers - 3, 0))

    def __init__(self, target: PreTrainedModel) -> None:
        super().__init__(target)
        self.fc = nn.Linear(3 * self.hidden, self.hidden, bias=False)
        self.token_norm, self.hidden_norm = self.norm(), self.norm()
        self.attention = self.new_attention(2 * self.hidden)
        self.mlp_norm, self.mlp = self.norm(), SwiGLU(self.hidden, self.ffn)
        self.out_norm = self.norm()
        self.lm_head = nn.Linear(self.hidden, self.vocabulary, bias=False)
        self.lm_head.weight.data.copy_(self._shared[1].weight.data)

    @property
    def feature_size(self) -> int:
        """Three hidden states side by side."""
        return 3 * self.hidden

    def fuse(self, features: Float[Tensor, "B Q F"]) -> Float[Tensor, "B Q d"]:
        """One linear layer on the concatenated features."""
        return self.fc(features)

    def project(
        self, hidden: Float[Tensor, "B Q d"], tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"]
    ) -> Projection:
        """Attention on the normed token embedding beside the normed hidden state."""
        both = torch.cat([self.token_norm(self.embed(tokens)), self.hidden_norm(hidden)], dim=-1)
        return Projection(*self.attention.project(both, positions), hidden)

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """Own norm and head."""
        return self.lm_head(self.out_norm(state))


class EagleNetwork(DraftNetwork):
    """EAGLE and EAGLE-2: predicts the target's final hidden state, read by the target's own head.

    (arXiv:2401.15077; the first norm of the layer is left out there too)
    """

    def __init__(self, target: PreTrainedModel) -> None:
        super().__init__(target)
        self.fc = nn.Linear(2 * self.hidden, self.hidden, bias=True)
        self.attention = self.new_attention(self.hidden)
        self.mlp_norm, self.mlp = self.norm(), SwiGLU(self.hidden, self.ffn)

    def project(
        self, hidden: Float[Tensor, "B Q d"], tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"]
    ) -> Projection:
        """Attention on one linear layer of token embedding and feature side by side."""
        fused = self.fc(torch.cat([self.embed(tokens), hidden], dim=-1))
        return Projection(*self.attention.project(fused, positions), fused)

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """The target's head on the predicted feature."""
        return self.head(state)
