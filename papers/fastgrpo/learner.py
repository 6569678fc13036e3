"""The paper's draft, its loss, and the online step on what the target has computed (arXiv:2509.21792)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.rl.length_batches import length_groups
from common.speculative.generate import Generation
from common.speculative.networks import DraftNetwork, Projection, SwiGLU
from common.speculative.unroll import soft_cross_entropy, unroll_text


class TwoHeadEagleNetwork(DraftNetwork):
    """The paper's draft: a gated fusion, one attention block without feed-forward, a state and a logit head.

    Reads and predicts the target's state after the final norm; embeddings, head and norm are the target's.
    """

    def __init__(self, target: PreTrainedModel) -> None:
        super().__init__(target)
        self.gate = nn.Linear(self.hidden, self.ffn, bias=False)
        self.up = nn.Linear(self.hidden, self.ffn, bias=False)
        self.down = nn.Linear(self.ffn, self.hidden, bias=False)
        self.input_norm, self.attention = self.norm(), self.new_attention(self.hidden)
        self.trunk_norm = self.norm()
        self.state_head, self.state_norm = SwiGLU(self.hidden, self.ffn), self.norm()
        self.logit_head, self.logit_norm = SwiGLU(self.hidden, self.ffn), self.norm()

    def project(
        self, hidden: Float[Tensor, "B Q d"], tokens: Int[Tensor, "B Q"], positions: Int[Tensor, "B Q"]
    ) -> Projection:
        """down(silu(gate(e)) ⊙ up(f)) + f, then attention on its norm."""
        fused = self.down(F.silu(self.gate(self.embed(tokens))) * self.up(hidden)) + hidden
        return Projection(*self.attention.project(self.input_norm(fused), positions), fused)

    def finish(
        self, residual: Float[Tensor, "B Q d"], attended: Float[Tensor, "B H Q D"]
    ) -> Float[Tensor, "B Q d"]:
        """The trunk that both heads read."""
        return self.trunk_norm(residual + self.attention.finish(attended))

    def feedback(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q d"]:
        """The state head: the next feature."""
        return self.state_norm(state + self.state_head(state))

    def logits(self, state: Float[Tensor, "B Q d"]) -> Float[Tensor, "B Q V"]:
        """The logit head, read by the target's language-model head."""
        return self.head(self.logit_norm(state + self.logit_head(state)))


def draft_loss(
    network: DraftNetwork,
    tokens: Int[Tensor, "B T"],
    features: Float[Tensor, "B T d"],
    supervised: Bool[Tensor, "B T"],
    feature_weight: float = 2.0,
    token_weight: float = 0.1,
) -> Float[Tensor, " B"]:
    """2.0 · SmoothL1 of the next feature + 0.1 · H(p_target, p_draft), teacher-forced; mean over each
    response.

    The target's distribution is its head on the true feature, so that features are all that has to be stored.

    Args:
        network: A draft that reads the state after the final norm.
        tokens: Texts, padded on the right.
        features: The target's states of every token.
        supervised: Places whose state and next-token distribution are to be predicted; a row without any
            gives 0.
        feature_weight: Of the first term.
        token_weight: Of the second.
    """
    text = unroll_text(network, tokens, features, network.head(features), supervised, steps=1)
    distance = F.smooth_l1_loss(text.unrolled.states, text.features, reduction="none").mean(dim=-1)
    entropy = soft_cross_entropy(text.unrolled.logits, text.logits)
    values = feature_weight * distance + token_weight * entropy
    return (values * text.mask).sum(dim=(1, 2)) / text.mask.sum(dim=(1, 2)).clamp(min=1)


class OnlineDraftLearner:
    """One AdamW step of the draft on each batch of rollouts, from the features of their verification passes.

    A network of half precision is stepped through float32 copies of its weights, since a step of 1e-4 would
    be rounded away.

    Args:
        network: The draft; trained in place.
        learning_rate: AdamW's.
        feature_weight: See `draft_loss`.
        token_weight: See `draft_loss`.
        tokens: Most tokens of a forward-backward pass, padding included; texts of similar length share one,
            and the gradients are accumulated. (official code: twice those of the policy's update, 3072)
        gap: Largest difference of lengths in a pass.
        total: Sums a tensor over processes, all of which take the same step; the default is one process.
    """

    def __init__(
        self,
        network: DraftNetwork,
        learning_rate: float = 1e-4,
        feature_weight: float = 2.0,
        token_weight: float = 0.1,
        tokens: int = 6144,
        gap: int = 256,
        total: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> None:
        self.network, self.limits, self.total = network, (tokens, gap), total
        self.weights = (feature_weight, token_weight)
        self.parameters = [weight for weight in network.parameters() if weight.requires_grad]
        self.masters = [_precise(weight) for weight in self.parameters]
        self.optimizer = torch.optim.AdamW(self.masters, lr=learning_rate)

    def step(
        self,
        generations: Sequence[Generation],
        prompts: Sequence[list[int]],
        used: Bool[Tensor, " N"] | None = None,
    ) -> float:
        """Learn from rollouts; mean over them (of all processes) of the mean over each response.

        Args:
            generations: With features, the rows of all in order.
            prompts: Prompt of each row.
            used: Rows to learn from; None is all, those without advantage too.

        Returns:
            The loss before the step; 0 without rows or with responses too short to teach anything.

        Raises:
            ValueError: generations without features.
        """
        texts = [row for generation in generations for row in generation.tokens]
        states = [row for generation in generations for row in generation.features or ()]
        if len(states) != len(texts):
            raise ValueError("the draft learns from features: generate with return_features=True")
        chosen = [*range(len(texts))] if used is None else used.nonzero()[:, 0].tolist()
        device = self.parameters[0].device
        count = int(self.total(torch.tensor(len(chosen), device=device)))
        self.network.zero_grad()
        loss = torch.zeros((), device=device, dtype=torch.float64)
        for group in length_groups([len(states[row]) for row in chosen], *self.limits):
            batch = [(prompts[row], texts[row], states[row]) for row in (chosen[place] for place in group)]
            part = draft_loss(self.network, *_padded(batch), *self.weights).sum() / count
            part.backward()
            loss += part.detach()
        if count:
            self._apply()
        return float(self.total(loss))

    @torch.no_grad()
    def _apply(self) -> None:
        """AdamW on the gradients of all processes."""
        for weight, master in zip(self.parameters, self.masters, strict=True):
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            master.grad = self.total(gradient.to(master.dtype))
        self.optimizer.step()
        self._publish()

    @torch.no_grad()
    def _publish(self) -> None:
        for weight, master in zip(self.parameters, self.masters, strict=True):
            if master is not weight:
                weight.copy_(master)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs beside the network's weights: AdamW's state, and the weights it steps."""
        return {"optimizer": self.optimizer.state_dict(), "masters": [each.detach() for each in self.masters]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; the network takes its weights."""
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for master, saved in zip(self.masters, state["masters"], strict=True):
                master.copy_(saved)
        self._publish()


def _precise(weight: nn.Parameter) -> Tensor:
    """The weight itself, or a float32 copy of one of half precision."""
    return weight if weight.dtype.itemsize >= 4 else weight.detach().float().requires_grad_()


def _padded(rows: Sequence[tuple[list[int], Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Texts without their last token, which has no feature; their features; the places of the response."""
    tokens, supervised = [], []
    for prompt, response, states in rows:
        text = torch.cat([torch.tensor(prompt, device=response.device), response])[:-1]
        tokens.append(text)
        supervised.append(torch.arange(len(states), device=text.device) >= len(prompt) - 1)
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(tokens, batch_first=True),
        pad([states for _, _, states in rows], batch_first=True),
        pad(supervised, batch_first=True),
    )
