"""One function per tested claim of the card: the frame to one number per seed, or to errors.

Arms of a seed share the draft that Phase II starts from, so differences are paired by seed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from common.metrics.records import scalar, values
from papers.gto.selection import (
    AS_MANY,
    KINDS,
    SHAPES,
    by_domain,
    gain,
    gradient_spread,
    main,
    oracle,
    other,
    paired,
    speed,
)

Errors = Float[np.ndarray, " N"]


def c1(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ at T=1, GTO minus EAGLE-3, by domain."""
    return by_domain(frame, "gto", "tau1") - by_domain(frame, "untuned", "tau1")


def c1_continual(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact τ at T=1, continual training minus EAGLE-3, by domain."""
    return by_domain(frame, "continual", "tau1") - by_domain(frame, "untuned", "tau1")


def c1_greedy(frame: pd.DataFrame) -> pd.Series:
    """Exact τ at T=0, GTO minus EAGLE-3."""
    return gain(frame, "gto", "untuned", "tau0/all")


def c1_greedy_continual(frame: pd.DataFrame) -> pd.Series:
    """Exact τ at T=0, continual training minus EAGLE-3."""
    return gain(frame, "continual", "untuned", "tau0/all")


def c1_speed(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens per second of GTO over EAGLE-3 at both temperatures."""
    return pd.DataFrame(
        {f"T={t}": speed(frame, "gto", "speed", t) / speed(frame, "eagle3", "speed", t) for t in (0, 1)}
    )


def c2_steps(frame: pd.DataFrame) -> pd.Series:
    """GTO minus continual training, equal steps."""
    return gain(frame, "gto", "continual")


def c2_steps_shuffled(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus continual training, equal steps."""
    return gain(frame, "shuffled", "continual")


def c2_time(frame: pd.DataFrame) -> pd.Series:
    """GTO minus continual training, equal time."""
    return gain(frame, "gto", "continual_time")


def c2_time_shuffled(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus continual training, equal time."""
    return gain(frame, "shuffled", "continual_time")


def flip(frame: pd.DataFrame) -> pd.Series:
    """Continual training minus flipped."""
    return gain(frame, "continual", "flipped")


def flip_gto(frame: pd.DataFrame) -> pd.Series:
    """Continual training minus GTO."""
    return gain(frame, "continual", "gto")


def chain(frame: pd.DataFrame) -> pd.Series:
    """Gain of GTO with trees minus its gain with chains."""
    return gain(frame, "gto", "continual") - gain(frame, "gto", "continual", "chain1/all")


def chain_shuffled(frame: pd.DataFrame) -> pd.Series:
    """The same for shuffled advantages."""
    return gain(frame, "shuffled", "continual") - gain(frame, "shuffled", "continual", "chain1/all")


def c3_pruned(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of pruned greedy paths, by domain."""
    return by_domain(frame, "untuned", "pruned")


def c3_pruned_oracle(frame: pd.DataFrame) -> pd.DataFrame:
    """The same of the target's own trees."""
    return oracle(frame, "pruned")


def c3_agrees(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of prefixes whose accepted nodes lie on the greedy path, by domain."""
    return by_domain(frame, "untuned", "agrees")


def c3_agrees_oracle(frame: pd.DataFrame) -> pd.DataFrame:
    """The same of the target's own trees."""
    return oracle(frame, "agrees")


def c3_tree(frame: pd.DataFrame) -> pd.DataFrame:
    """τ of the tree over τ of the greedy path, by domain."""
    return by_domain(frame, "untuned", "tau1") / by_domain(frame, "untuned", "chain1")


def c3_tree_small(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for a tree of as many nodes; on a quarter of the prefixes."""
    suffixed = {
        domain: main(frame, "untuned", f"tau1/{domain}@{AS_MANY}")
        / main(frame, "untuned", f"chain1/{domain}")
        for domain in by_domain(frame, "untuned", "tau1")
    }
    return pd.DataFrame(suffixed)


def c4(frame: pd.DataFrame) -> pd.DataFrame:
    """GTO minus continual training from two other drafts."""
    return _from_others(frame, "gto")


def c4_untuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Untouched draft minus continual training from two other drafts."""
    return _from_others(frame, "untuned")


def c5(frame: pd.DataFrame) -> pd.DataFrame:
    """LSE minus Max, Max minus Average."""
    lse = main(frame, "gto", "tau1/all")
    largest, average = (other(frame, "aggregators", arm) for arm in ("max", "average"))
    return pd.DataFrame({"LSE - Max": lse - largest, "Max - Average": largest - average}).dropna()


def c5_null(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus continual training."""
    return gain(frame, "shuffled", "continual")


def c6(frame: pd.DataFrame) -> pd.DataFrame:
    """m=8 minus continual training (m=1), and minus m=32."""
    eight = main(frame, "gto", "tau1/all")
    columns = {"1": eight - main(frame, "continual", "tau1/all"), "32": eight - other(frame, "sizes", "m=32")}
    return pd.DataFrame(columns).dropna()


def c7(frame: pd.DataFrame) -> pd.Series:
    """GTO minus GTO without debiasing."""
    return paired(main(frame, "gto", "tau1/all"), other(frame, "debias", "no debiasing"))


def c7_null(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus continual training."""
    return gain(frame, "shuffled", "continual")


def c7_spread(frame: pd.DataFrame) -> pd.Series:
    """Variance of the gradient norm, with over without debiasing."""
    ratio = gradient_spread(frame, "main", "gto") / gradient_spread(frame, "debias", "no debiasing")
    return ratio.dropna()


def c7_spread_max(frame: pd.DataFrame) -> pd.Series:
    """Variance of the gradient norm, Max over LSE."""
    return (gradient_spread(frame, "aggregators", "max") / gradient_spread(frame, "main", "gto")).dropna()


def c8(frame: pd.DataFrame) -> pd.DataFrame:
    """GTO minus EAGLE-3 and minus continual training on nine tree shapes."""
    return pd.DataFrame(
        {
            f"{shape} {over}": gain(frame, "gto", over, f"tau1/all@{shape}")
            for over in ("untuned", "continual")
            for shape in SHAPES
        }
    )


def c8_continual(frame: pd.DataFrame) -> pd.DataFrame:
    """Continual training minus EAGLE-3 on nine tree shapes."""
    return pd.DataFrame({shape: gain(frame, "continual", "untuned", f"tau1/all@{shape}") for shape in SHAPES})


def c9_bounds(frame: pd.DataFrame) -> Errors:
    """Violation of the bounds of the reward."""
    return values(frame, "theory", "violation", analysis="bounds")


def c9_monotone(frame: pd.DataFrame) -> Errors:
    """1 where reward or expectation does not rise on a fixed topology."""
    return values(frame, "theory", "coordinate", "expectation", analysis="monotonicity")


def c9_slack(frame: pd.DataFrame) -> Errors:
    """1 where the longest branch does not rise."""
    return values(frame, "theory", "failed", analysis="slack")


def c9_literal(frame: pd.DataFrame) -> Errors:
    """Fall of the expected length where the reward rises, from A and from A+ to B."""
    falls = []
    for first in ("A", "A+"):
        rewards, lengths = (
            [values(frame, "theory", f"{kind}/{tree}", analysis="counterexample")[0] for tree in (first, "B")]
            for kind in ("reward", "expected")
        )
        falls.append(max(0.0, lengths[0] - lengths[1]) if rewards[1] > rewards[0] else 0.0)
    return np.array(falls)


def c9_orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of random pairs that LSE, Max and Average order the wrong way."""
    return pd.DataFrame({mode: _discordance(frame, mode) for mode in ("lse", "max", "average")})


def c9_node_sum(frame: pd.DataFrame) -> pd.Series:
    """The same for the node sum."""
    return _discordance(frame, "node_sum")


def c10_greedy(frame: pd.DataFrame) -> Errors:
    """1 for each token that differs."""
    return values(frame, "lossless", "differs")


def c10_sampled(frame: pd.DataFrame) -> Errors:
    """Largest difference of probabilities, both verifiers."""
    return values(frame, "theory", "law/matching", "law/rejection", analysis="verifiers")


def c11(frame: pd.DataFrame) -> Errors:
    """Node sum minus enumerated expectation, both verifiers."""
    return values(frame, "theory", "length/matching", "length/rejection", analysis="verifiers")


def tab_gap(frame: pd.DataFrame) -> pd.Series:
    """Best found minus cross-entropy, rank 1."""
    return _tabular(frame, 1, "best", "cross_entropy")


def tab_gap_full(frame: pd.DataFrame) -> pd.Series:
    """The same at full rank."""
    return _tabular(frame, 4, "best", "cross_entropy")


def tab_gto(frame: pd.DataFrame) -> pd.Series:
    """GTO minus continual training, rank 1."""
    return _tabular(frame, 1, "gto", "continual")


def tab_gto_shuffled(frame: pd.DataFrame) -> pd.Series:
    """Shuffled minus continual training, rank 1."""
    return _tabular(frame, 1, "shuffled", "continual")


def tab_full(frame: pd.DataFrame) -> pd.Series:
    """GTO minus continual training, full rank."""
    return _tabular(frame, 4, "gto", "continual")


def _tabular(frame: pd.DataFrame, rank: int, arm: str, over: str) -> pd.Series:
    first, second = (scalar(frame, "tabular", name, rank=rank) for name in (arm, over))
    return first - second


def _discordance(frame: pd.DataFrame, mode: str) -> pd.Series:
    return scalar(frame, "theory", f"discordance/{mode}", analysis="discordance")


def _from_others(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            kind: other(frame, "inits", arm, kind=kind) - other(frame, "inits", "continual", kind=kind)
            for kind in KINDS
        }
    )
