"""How much of a policy gradient is signal: mean and variance over independent batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class GradientNoise:
    """What n independent gradients of one loss, at one point, say about it.

    Attributes:
        mean: Their mean, all parameters in one vector.
        noise: Unbiased estimate of the trace of the covariance of one gradient.
        count: n.
    """

    mean: Float[Tensor, " P"]
    noise: float
    count: int

    @property
    def signal(self) -> float:
        """Unbiased estimate of ‖E g‖²: ‖mean‖² holds noise / n too. May be negative where there is none."""
        return float(self.mean.square().sum()) - self.noise / self.count

    @property
    def snr(self) -> float:
        """signal / noise, the same whatever the scale of the loss; infinite for gradients all alike."""
        return self.signal / self.noise if self.noise else float("inf")

    def cosine(self, other: GradientNoise) -> float:
        """Cosine of the two means."""
        return float(nn.functional.cosine_similarity(self.mean, other.mean, dim=0))


def gradient_noise(
    parameters: Sequence[nn.Parameter], losses: Iterable[Callable[[], Float[Tensor, ""]]]
) -> GradientNoise:
    """Gradients of at least two losses on independent batches; ``.grad`` of the parameters stays as it is.

    Mean and variance are accumulated (Welford) in float64, so that the memory is that of two gradients. A
    parameter that a loss does not reach has gradient 0.

    Raises:
        ValueError: fewer than two losses.
    """
    size = sum(each.numel() for each in parameters)
    mean = torch.zeros(size, dtype=torch.float64, device=parameters[0].device)
    spread, count = 0.0, 0
    for loss in losses:
        parts = torch.autograd.grad(loss(), parameters, allow_unused=True, materialize_grads=True)
        gradient = torch.cat([part.reshape(-1) for part in parts]).double()
        count += 1
        before = gradient - mean
        mean += before / count
        spread += float(before @ (gradient - mean))
    if count < 2:
        raise ValueError(f"a variance needs at least two gradients, not {count}")
    return GradientNoise(mean, spread / (count - 1), count)
