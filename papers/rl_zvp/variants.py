"""The arms of the study as arguments of `rl_zvp_advantages`: GRPO, RL-ZVP, ablations, controls."""

from __future__ import annotations

from dataclasses import dataclass

from papers.rl_zvp.zero_variance import Shape


@dataclass(frozen=True)
class Variant:
    """What an arm does with zero-variance groups; see `papers.rl_zvp.zero_variance`."""

    shape: Shape = "entropy"
    use_positive: bool = True
    use_negative: bool = True
    sign_flip: bool = False


VARIANTS: dict[str, Variant] = {
    "grpo": Variant(use_positive=False, use_negative=False),
    "zvp": Variant(),
    "no_negative": Variant(use_negative=False),
    "no_positive": Variant(use_positive=False),
    "unit": Variant(shape="unit"),
    "alpha": Variant(shape="alpha"),
    "const": Variant(shape="const"),
    "shuffle": Variant(shape="shuffle"),
    "sym": Variant(shape="sym"),
    "constant_max": Variant(shape="constant_max"),
    "flip": Variant(sign_flip=True),
}
