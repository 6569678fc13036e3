"""Draft networks unrolled along given tokens, with gradient: training-time test, and the likelihood of a
path.

Step 0 of an unroll from entry s is the ordinary output of entry s. Step j feeds the state of step j - 1 back
in place of a target feature and attends, as decoding does, to the true entries up to s and to its own steps 1
… j.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.speculative.networks import DraftNetwork
from common.speculative.verify import widen


class Unrolled(NamedTuple):
    """J steps from each of P entries.

    Attributes:
        states: What each step would feed back: the predicted features.
        logits: Logits of the token after each step's own; step j predicts path token j.
    """

    states: Float[Tensor, "B P J d"]
    logits: Float[Tensor, "B P J V"]


def unroll(
    network: DraftNetwork,
    features: Float[Tensor, "B S F"],
    following: Int[Tensor, "B S"],
    starts: Int[Tensor, "B P"],
    paths: Int[Tensor, "B P J"],
) -> Unrolled:
    """Run the draft from chosen entries along chosen tokens.

    Args:
        network: The draft.
        features: True target features of S tokens.
        following: The token after each.
        starts: Entries to start from.
        paths: Tokens to follow after `following[starts]`; the last one is predicted but not read.
    """
    rows, _, steps = paths.shape
    places = torch.arange(features.shape[1], device=features.device)
    context = network.project(network.fuse(features), following, places.expand(rows, -1))
    hidden = context.residual.gather(1, _wide(starts, context.residual.shape[-1]))
    heads, width = context.query.shape[1], context.query.shape[-1]
    query = context.query.gather(2, starts[:, None, :, None].expand(-1, heads, -1, width))
    group = heads // context.key.shape[1]
    keys, values = (part.repeat_interleave(group, dim=1) for part in (context.key, context.value))
    allowed = places <= starts[..., None]  # (B, P, S)
    own: list[tuple[Tensor, Tensor]] = []
    states, logits = [], []
    residual = hidden
    for step in range(steps):
        state = network.finish(residual, _attend(query, keys, values, allowed, own))
        feedback = network.feedback(state)
        states.append(feedback)
        logits.append(network.logits(state))
        if step + 1 < steps:
            query, key, value, residual = network.project(feedback, paths[..., step], starts + step + 1)
            own.append((key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)))
    return Unrolled(torch.stack(states, dim=2), torch.stack(logits, dim=2))


def _attend(
    query: Float[Tensor, "B H P D"],
    keys: Float[Tensor, "B H S D"],
    values: Float[Tensor, "B H S D"],
    allowed: Bool[Tensor, "B P S"],
    own: list[tuple[Tensor, Tensor]],
) -> Float[Tensor, "B H P D"]:
    """One softmax over the context's entries and the path's own."""
    if not own:
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=allowed[:, None])
    scores = (query @ keys.transpose(-1, -2)).masked_fill(~allowed[:, None], -torch.inf)
    mine = [(query * key).sum(dim=-1, keepdim=True) for key, _ in own]
    weights = torch.softmax(torch.cat([scores, *mine], dim=-1) / query.shape[-1] ** 0.5, dim=-1)
    size = keys.shape[2]
    result = weights[..., :size] @ values
    for index, (_, value) in enumerate(own):
        result = result + weights[..., size + index, None] * value
    return result


def _wide(index: Int[Tensor, "B P"], width: int) -> Int[Tensor, "B P d"]:
    return index[..., None].expand(-1, -1, width)


def path_log_likelihood(
    network: DraftNetwork,
    features: Float[Tensor, "B T F"],
    tokens: Int[Tensor, "B T"],
    roots: Int[Tensor, "B P"],
    paths: Int[Tensor, "B P J"],
) -> Float[Tensor, "B P J"]:
    """The draft's log-probability of each token of a path below each root, its own states fed back.

    Args:
        network: The draft.
        features: The target's features of texts.
        tokens: The texts.
        roots: Places whose next token is a path's first; at least 1.
        paths: Tokens.
    """
    logits = unroll(network, features[:, :-1], tokens[:, 1:], roots - 1, paths).logits
    return torch.log_softmax(logits, dim=-1).gather(-1, paths[..., None])[..., 0]


class TextUnroll(NamedTuple):
    """Every entry of a text unrolled along the text itself.

    Attributes:
        unrolled: P = S = T - 1 entries.
        logits: The target's logits that each step should match.
        features: The target's features that each step's state should match.
        mask: Steps that are inside the text and supervised.
    """

    unrolled: Unrolled
    logits: Float[Tensor, "B S J V"]
    features: Float[Tensor, "B S J F"]
    mask: Bool[Tensor, "B S J"]


def unroll_text(
    network: DraftNetwork,
    tokens: Int[Tensor, "B T"],
    features: Float[Tensor, "B T F"],
    logits: Float[Tensor, "B T V"],
    supervised: Bool[Tensor, "B T"],
    steps: int,
) -> TextUnroll:
    """Training-time test (EAGLE-3): step j from entry s reads token s + 1 + j and predicts token s + 2 + j.

    Args:
        network: The draft.
        tokens: Texts.
        features: The target's features of the texts.
        logits: The target's logits of the token after each.
        supervised: Places t whose prediction (of token t + 1) counts in the loss.
        steps: J; 1 is teacher forcing.
    """
    rows, length = tokens.shape
    entries = torch.arange(length - 1, device=tokens.device)
    ahead = (
        entries[:, None] + 1 + torch.arange(steps, device=tokens.device)
    )  # place whose prediction step j makes
    inside = ahead < length
    ahead = ahead.clamp(max=length - 1)
    read = (ahead + 1).clamp(max=length - 1)  # path token j is token s + 2 + j
    unrolled = unroll(network, features[:, :-1], tokens[:, 1:], entries.expand(rows, -1), tokens[:, read])
    return TextUnroll(unrolled, logits[:, ahead], features[:, ahead], supervised[:, ahead] & inside)


def soft_cross_entropy(logits: Float[Tensor, "*B V"], target: Float[Tensor, "*B V"]) -> Float[Tensor, "*B"]:
    """H(softmax(target), softmax(logits)), nats, at least in float32."""
    return -(torch.softmax(widen(target), dim=-1) * torch.log_softmax(widen(logits), dim=-1)).sum(dim=-1)


def masked_mean(values: Float[Tensor, "B S J"], mask: Bool[Tensor, "B S J"]) -> Float[Tensor, " J"]:
    """Mean over rows and entries of each step."""
    return (values * mask).sum(dim=(0, 1)) / mask.sum(dim=(0, 1)).clamp(min=1)


def eagle3_loss(text: TextUnroll, decay: float = 0.8) -> Float[Tensor, ""]:
    """Soft cross-entropy of every step, step j weighted by ``decay ** j`` (0.8 in EAGLE-3's code)."""
    losses = masked_mean(soft_cross_entropy(text.unrolled.logits, text.logits), text.mask)
    weights = decay ** torch.arange(len(losses), device=losses.device, dtype=losses.dtype)
    return (weights * losses).sum()


def eagle_loss(text: TextUnroll, feature_weight: float = 1.0, token_weight: float = 0.1) -> Float[Tensor, ""]:
    """Smooth L1 of the predicted features and soft cross-entropy, mean over steps (EAGLE's weights)."""
    distance = F.smooth_l1_loss(text.unrolled.states, text.features, reduction="none")
    features = masked_mean(distance.mean(dim=-1), text.mask)
    tokens = masked_mean(soft_cross_entropy(text.unrolled.logits, text.logits), text.mask)
    return (feature_weight * features + token_weight * tokens).mean()
