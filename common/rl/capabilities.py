"""Which capabilities a configuration switches on, and which pairs of them are tested together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.rl.config import GroupConfig

TESTED_PAIRS: frozenset[frozenset[str]] = frozenset(
    frozenset(pair.split(" + "))
    for pair in (
        "dynamic_sampling + row_skipping",
        "dynamic_sampling + exact_resume",
        "dynamic_sampling + clip_cov",
        "dynamic_sampling + kl_cov",
        "dynamic_sampling + dual_clip",
        "dynamic_sampling + sequence_level",
        "dynamic_sampling + lean_decoder",
        "row_skipping + exact_resume",
        "row_skipping + dual_clip",
        "row_skipping + sequence_level",
        "row_skipping + lean_decoder",
        "exact_resume + clip_cov",
        "exact_resume + kl_cov",
        "exact_resume + dual_clip",
        "exact_resume + sequence_level",
        "exact_resume + lean_decoder",
        "clip_cov + dual_clip",
        "clip_cov + lean_decoder",
        "kl_cov + lean_decoder",
        "dual_clip + sequence_level",
        "dual_clip + lean_decoder",
        "sequence_level + lean_decoder",
        "skip_equal_groups + length_batches",
        "skip_equal_groups + dynamic_sampling",
        "skip_equal_groups + exact_resume",
        "skip_equal_groups + dual_clip",
        "skip_equal_groups + sequence_level",
        "skip_equal_groups + lean_decoder",
        "length_batches + dynamic_sampling",
        "length_batches + exact_resume",
        "length_batches + dual_clip",
        "length_batches + sequence_level",
        "length_batches + lean_decoder",
        "length_batches + clip_cov",
        "length_batches + kl_cov",
        "no_policy_loss + exact_resume",
        "no_policy_loss + lean_decoder",
    )
)
"""Pairs that `tests/common/rl/test_pairs.py` runs; every other pair is refused."""

REASONS: dict[frozenset[str], str] = {
    frozenset({"row_skipping", name}): "the covariance of a token needs the log-probabilities of every row"
    for name in ("clip_cov", "kl_cov")
}
"""Why a pair cannot work, where more can be said than that it is untested."""


def active(config: GroupConfig) -> tuple[str, ...]:
    """Names of the capabilities that `config` switches on, in a fixed order."""
    switches = {
        "dynamic_sampling": config.dynamic_sampling_rounds > 0,
        "row_skipping": config.row_skipping,
        "skip_equal_groups": config.skip_equal_groups,
        "length_batches": config.micro_batch_tokens > 0,
        "exact_resume": config.exact_resume,
        "clip_cov": config.loss_variant == "clip_cov",
        "kl_cov": config.loss_variant == "kl_cov",
        "no_policy_loss": config.loss_variant == "none",
        "dual_clip": config.dual_clip is not None,
        "sequence_level": config.importance_sampling_level == "sequence",
        "lean_decoder": config.decoder == "lean",
    }
    return tuple(name for name, on in switches.items() if on)


def check_pairs(names: tuple[str, ...]) -> None:
    """Refuse capabilities that are not tested together.

    Raises:
        ValueError: naming the first such pair, and the reason if there is more to it than a missing test.
    """
    for pair in combinations(names, 2):
        if frozenset(pair) not in TESTED_PAIRS:
            reason = REASONS.get(frozenset(pair), "no test covers the two together")
            raise ValueError(
                f"'{pair[0]}' and '{pair[1]}' cannot be combined: {reason}; switch one of them off"
            )
