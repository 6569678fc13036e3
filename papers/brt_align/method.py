"""BRT-Align: a reachability value on hidden states warns of unsafe text and steers away (arXiv:2509.21528).

Greedy decoding is a dynamical system z_{t+1} = f(z_t) in a layer's hidden states. A classifier of the text
gives the margin ℓ(z_t), positive where it is safe. The states from which the text *will* become unsafe are
the backward reachable tube {z : V(z) <= 0}, whose value V is learned from rollouts of the model. V is then a
monitor that raises an alarm ahead of the text, and a filter that moves a hidden state only where V is low.

The authors have released no code. Of the two baselines, RE-Control has: what its code does and its paper does
not say is an option here. Positive is safe, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn

from common.models.hidden_states import State
from common.models.monitoring import first_alarms

Variant = Literal["rl", "final", "future_min"]
Terminal = Literal["last", "as_coded"]
VARIANTS: tuple[str, ...] = get_args(Variant)
RADII = (1.0, 0.5, 0.25)  # a draw from a ball of many dimensions lies on its sphere: try smaller ones too


@dataclass(frozen=True)
class BRTConfig:
    """The knobs of the method.

    Attributes:
        variant: RL-BRT-Align (``"rl"``), or Sample-BRT-Align by the safety of the completed text
            (``"final"``) or of what is still to come (``"future_min"``).
        gamma: γ of the recursion; γ = 0 is the classifier alone, γ → 1 the undiscounted tube.
        delta: δ, the value at which the monitor alarms and the filter acts.
        epsilon: ε, radius of the ball in which the filter searches, in units of the layer.
        samples: Candidates of a search.
        always: The filter acts whatever the value; the paper's is least restrictive.
    """

    variant: Variant = "rl"
    gamma: float = 0.93
    delta: float = 0.0
    epsilon: float = 1.0
    samples: int = 64
    always: bool = False

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown variant '{self.variant}'; choose one of {', '.join(VARIANTS)}")
        if not (0 <= self.gamma <= 1 and self.epsilon >= 0 and self.samples >= 1):
            raise ValueError(
                f"need gamma in [0, 1], epsilon >= 0 and samples >= 1; got {self.gamma}, {self.epsilon}, "
                f"{self.samples}"
            )


# The value


def reachability_targets(
    margin: Float[Tensor, "B T"], mask: Num[Tensor, "B T"], gamma: float
) -> Float[Tensor, "B T"]:
    """V(z_t) = (1 - γ) ℓ(z_t) + γ min(ℓ(z_t), V(z_{t+1})) along each row, V(z_T) = ℓ(z_T) at its end.

    Decoding is greedy, so that one backward pass over a rollout solves the recursion without bootstrapping.

    Args:
        margin: ℓ, read where the mask is 1.
        mask: 1 on states, padding on the right.
        gamma: γ.
    """
    value = margin.clone()
    for t in reversed(range(margin.shape[1] - 1)):
        back = discounted(margin[:, t], value[:, t + 1], gamma)
        value[:, t] = back.where(mask[:, t + 1].bool(), margin[:, t])
    return value


def discounted(margin: Float[Tensor, "*s"], ahead: Float[Tensor, "*s"], gamma: float) -> Float[Tensor, "*s"]:
    """The backup (1 - γ) ℓ + γ min(ℓ, V'), a γ-contraction."""
    return (1 - gamma) * margin + gamma * torch.minimum(margin, ahead)


def targets(
    margin: Float[Tensor, "B T"], mask: Num[Tensor, "B T"], config: BRTConfig
) -> Float[Tensor, "B T"]:
    """What V is fitted to: the recursion, the margin at the end of the text, or the least one to come."""
    if config.variant == "rl":
        return reachability_targets(margin, mask, config.gamma)
    if config.variant == "future_min":
        return reachability_targets(margin, mask, 1.0)
    ends = margin.gather(1, mask.long().sum(dim=1, keepdim=True) - 1)
    return ends.expand_as(margin).contiguous()


def lead_time_bound(gamma: float, safe: float, unsafe: float, delta: float = 0.0) -> float:
    """k*: how many tokens before the onset V_γ <= δ holds, where ℓ = `safe` before and -`unsafe` at it.

    V_γ is a - γ^k (a + b) then, so that k* = ⌊ln((a + b) / (a - δ)) / ln(1 / γ)⌋; no limit at γ = 1.
    """
    if gamma in (0.0, 1.0):
        return 0.0 if gamma == 0 else math.inf
    exact = math.log((safe + unsafe) / (safe - delta)) / -math.log(gamma)
    return float(math.floor(exact + 1e-9))


class SafetyValueModel(nn.Module):
    """V: standardised states through a small network; its output lies in (-1, 1), as the margin does.

    Args:
        states: Of the training rollouts, whose mean and spread standardise what is read.
        widths: Of the hidden layers; none makes it a linear probe.

    Raises:
        ValueError: a state that is not finite.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, states: Float[Tensor, "M D"], widths: tuple[int, ...] = (128, 128)) -> None:
        super().__init__()
        require_finite(states)
        self.register_buffer("mean", states.mean(dim=0))
        self.register_buffer("spread", states.std(dim=0).clamp(min=1e-4))
        sizes = (states.shape[1], *widths)
        layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], 1), nn.Tanh())

    def forward(self, states: Float[Tensor, "*s D"]) -> Float[Tensor, "*s"]:
        """V of each state."""
        value: Tensor = self.network((states - self.mean) / self.spread)[..., 0]
        return value


class SafetyPolytope(SafetyValueModel):
    """The baseline SaP: a learned polytope in a feature space; V is the least distance to a facet.

    Args:
        states: As of `SafetyValueModel`.
        features: Of the encoder.
        facets: Half-spaces that all have to hold.
    """

    def __init__(self, states: Float[Tensor, "M D"], features: int = 64, facets: int = 8) -> None:
        super().__init__(states, ())
        encoder = nn.Linear(states.shape[1], features)
        self.network = nn.Sequential(encoder, nn.ReLU(), nn.Linear(features, facets))

    def forward(self, states: Float[Tensor, "*s D"]) -> Float[Tensor, "*s"]:
        facets: Tensor = self.network((states - self.mean) / self.spread)
        return facets.min(dim=-1).values


def require_finite(states: Float[Tensor, "*s D"]) -> None:
    """Hidden states that a value is fitted to.

    Raises:
        ValueError: not finite; names how many and where the first is.
    """
    wrong = ~states.isfinite().all(dim=-1)
    if bool(wrong.any()):
        raise ValueError(
            f"{int(wrong.sum())} of {wrong.numel()} hidden states are not finite, the first at "
            f"{wrong.nonzero()[0].tolist()}; look at the model's weights, and record with a wider tap_dtype"
        )


Loss = Callable[[SafetyValueModel, Int[Tensor, " b"]], Float[Tensor, ""]]
"""(value model, rows of the batch) to a loss."""


def squared(states: Float[Tensor, "M D"], wanted: Float[Tensor, " M"]) -> Loss:
    """(V(z) - target)², BRT-Align's."""
    return lambda value, rows: (value(states[rows]) - wanted[rows]).square().mean()


def hinge(states: Float[Tensor, "M D"], safe: Bool[Tensor, " M"]) -> Loss:
    """Safe states inside all facets and unsafe ones outside of one, by a margin of 1; SaP's."""
    sign = safe.to(states.dtype) * 2 - 1
    return lambda value, rows: (1 - sign[rows] * value(states[rows])).clamp(min=0).mean()


def differences(
    hidden: Float[Tensor, "B T D"],
    mask: Num[Tensor, "B T"],
    reward: Float[Tensor, " B"],
    terminal: Terminal = "last",
) -> Loss:
    """Σ_t (V_t - V_{t+1})² + (V_T - r)², both sides with gradient: the baseline RE-Control's, over texts.

    As coded, the reward stands at the *first* generated token: the code looks for the end by the argmax of a
    0/1 mask, which is its first 1.

    Raises:
        ValueError: unknown `terminal`.
    """
    if terminal not in get_args(Terminal):
        raise ValueError(f"unknown terminal '{terminal}'; choose one of {', '.join(get_args(Terminal))}")
    pairs = (mask[:, 1:] * mask[:, :-1]).to(hidden.dtype)
    ends = mask.argmax(dim=1) if terminal == "as_coded" else mask.long().sum(dim=1) - 1

    def loss(value: SafetyValueModel, rows: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        values = value(hidden[rows])
        steps = (values[:, 1:] - values[:, :-1]).square() * pairs[rows]
        last = values.gather(1, ends[rows, None])[:, 0] - reward[rows]
        return (steps.sum(dim=1) + last.square()).mean()

    return loss


def fit_value(
    value: SafetyValueModel,
    loss: Loss,
    rows: int,
    seed: int,
    epochs: int = 8,
    batch: int = 512,
    learning_rate: float = 1e-3,
) -> SafetyValueModel:
    """Fit a value model by AdamW over shuffled batches of `rows` examples; returns it in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(value.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for some in torch.randperm(rows, generator=generator).split(batch):
            optimizer.zero_grad()
            loss(value, some).backward()
            optimizer.step()
    return value.eval().requires_grad_(False)


# The monitor


class RuntimeMonitor:
    """Raises an alarm at the first state whose value is δ or less."""

    def __init__(self, value: SafetyValueModel, delta: float = 0.0) -> None:
        self.value, self.delta = value, delta

    @torch.no_grad()
    def alarms(self, states: Float[Tensor, "B T D"], mask: Num[Tensor, "B T"]) -> Int[Tensor, " B"]:
        """Place of each row's first alarm; -1 without."""
        return first_alarms(self.value(states), mask.long(), self.delta)


# The filter


def sample_ball(
    rows: int, samples: int, size: int, epsilon: float, generator: torch.Generator
) -> Float[Tensor, "R S D"]:
    """Candidates from the ball of radius ε and from smaller ones; the first of each row is no change."""
    shape = (rows, samples, size)
    direction = nn.functional.normalize(torch.randn(shape, generator=generator), dim=-1)
    radius = epsilon * torch.rand((rows, samples, 1), generator=generator) ** (1 / size)
    shares = torch.tensor(RADII).repeat(-(-samples // len(RADII)))[:samples, None]
    drawn = direction * radius * shares
    drawn[:, 0] = 0
    return drawn


class LeastRestrictiveFilter:
    """u* = 0 where V(z) > δ, otherwise the u of the ε-ball with the largest V(z + u) (the paper's Eq. 1).

    An override of a layer in `common.models.stepwise.decode`. It logs ``acted`` and the ``moved`` distance.

    Args:
        value: V.
        config: δ, ε, samples, search, and whether it always acts.
        generator: Of the candidates.
        direction: ``"value"``, or a control: ``"random"`` moves as often and as far, but anywhere.
    """

    def __init__(
        self,
        value: SafetyValueModel,
        config: BRTConfig,
        generator: torch.Generator,
        direction: Literal["value", "random"] = "value",
    ) -> None:
        self.value, self.config, self.generator, self.direction = value, config, generator, direction

    @torch.no_grad()
    def __call__(self, hidden: Float[Tensor, "n D"], state: State) -> Float[Tensor, "n D"]:
        acts = state.running.clone()
        if not self.config.always:
            acts &= self.value(hidden) <= self.config.delta
        change = torch.zeros_like(hidden)
        if bool(acts.any()):
            change[acts] = self._best(hidden[acts])
        state.log["acted"], state.log["moved"] = acts.long(), change.norm(dim=-1)
        return hidden + change

    def _best(self, hidden: Float[Tensor, "h D"]) -> Float[Tensor, "h D"]:
        config = self.config
        candidates = sample_ball(len(hidden), config.samples, hidden.shape[1], config.epsilon, self.generator)
        values = self.value(hidden[:, None] + candidates)
        least = candidates.norm(dim=-1).where(values == values.max(dim=1, keepdim=True).values, math.inf)
        change = candidates[torch.arange(len(hidden)), least.argmin(dim=1)]
        if self.direction == "value":
            return change
        anywhere = torch.randn(change.shape, generator=self.generator)
        return nn.functional.normalize(anywhere, dim=-1) * change.norm(dim=-1, keepdim=True)


class REControl:
    """The baseline's control: gradient ascent on its value at every token, without trigger or ball.

    Its code changes the states behind the final norm only, so that nothing of the cache changes: an override
    of the last layer.
    """

    def __init__(self, value: SafetyValueModel, rate: float, steps: int = 30) -> None:
        self.value, self.rate, self.steps = value, rate, steps

    def __call__(self, hidden: Float[Tensor, "n D"], state: State) -> Float[Tensor, "n D"]:
        moved = hidden
        for _ in range(self.steps):
            moved = moved + self.rate * gradient(self.value, moved)
        state.log["acted"], state.log["moved"] = state.running.long(), (moved - hidden).norm(dim=-1)
        return moved


def gradient(value: SafetyValueModel, hidden: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """∂V/∂z of each state; the weights take none."""
    with torch.enable_grad():
        free = hidden.detach().requires_grad_()
        (slope,) = torch.autograd.grad(value(free).sum(), free)
    return slope
