"""Arms of GTO, what is measured of them, and the premises and claims of the card.

Arms of a seed share the draft that Phase II starts from, so differences are paired by seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from common.study.audits import averages, reported
from common.study.frame import Errors, paired, rows, scalar, values
from common.study.report import Measure
from common.tasks.tridomain import DOMAINS

# Arms

NAMES = {
    "untuned": "EAGLE-3",
    "continual": "continual, equal steps",
    "continual_time": "continual, equal time",
    "gto": "GTO",
    "shuffled": "GTO, shuffled",
    "flipped": "GTO, flipped",
}
DECODERS = {
    "vanilla": "plain decoding",
    "pld": "PLD",
    "sps": "SPS",
    "eagle": "EAGLE",
    "eagle2": "EAGLE-2",
    "eagle3": "EAGLE-3",
    "continual": "continual",
    "gto": "GTO",
}
AGGREGATORS = {"lse": "LSE", "max": "Max", "average": "Average", "node_sum": "node sum"}
KINDS = {"hass": "HASS-like", "griffin": "GRIFFIN-like"}
SHAPES = {
    f"{depth}:4:{budget}": f"depth {depth}, {budget} nodes" for depth in (4, 5, 6) for budget in (16, 24, 32)
}
AS_MANY = "5:4:5"  # a tree of as many nodes as the greedy path


def main(
    frame: pd.DataFrame, arm: str, name: str = "tau1/all", sweep: str = "main", **labels: str
) -> pd.Series:
    """A scalar of an arm, by default the exact τ at T=1 of one from EAGLE-3."""
    return scalar(frame, sweep, name, arm=arm, **labels)


def present(frame: pd.DataFrame, sweep: str) -> set[str]:
    """Arms that a run has of a sweep."""
    return set(frame.loc[frame["sweep"] == sweep, "arm"].dropna())


# Measures: one number per seed


def gain(frame: pd.DataFrame, arm: str, over: str, name: str = "tau1/all") -> pd.Series:
    """Difference of two arms of `main`, on the seeds of both."""
    return paired(main(frame, arm, name), main(frame, over, name))


def late(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """What Phase II logs before each step, on texts new to it; mean of the last quarter of the steps."""
    part = rows(frame, "main", name, arm=arm)
    last = part[part["step"] >= 0.75 * (int(part["step"].max()) + 1)]
    return last.groupby("seed")["value"].mean()


def late_loss(frame: pd.DataFrame, arm: str) -> pd.Series:
    """GTO's loss, with its own advantages, over that where advantages are shuffled."""
    return paired(late(frame, "loss", arm), late(frame, "loss", "shuffled"))


def squared_norm(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Squared norm of the gradient, mean of all steps."""
    part = rows(frame, "main", "grad_norm", arm=arm)
    return (part["value"] ** 2).groupby(part["seed"]).mean()


def head_room(frame: pd.DataFrame) -> pd.Series:
    """Exact τ of the target's own trees minus that of EAGLE-3's, T=1."""
    return float(scalar(frame, "oracle", "tau1/all").iloc[0]) - main(frame, "untuned")


def speed_ratio(frame: pd.DataFrame, temperature: int) -> pd.Series:
    """Tokens per second of GTO over those of EAGLE-3."""
    gto, eagle3 = (main(frame, arm, f"speed{temperature}/all", "speed") for arm in ("gto", "eagle3"))
    return gto / eagle3


def by_domain(frame: pd.DataFrame, arm: str, name: str, shape: str = "") -> pd.DataFrame:
    """A scalar of an arm of `main`, one column per domain."""
    return pd.DataFrame({domain: main(frame, arm, f"{name}/{domain}{shape}") for domain in DOMAINS})


def domain_gain(frame: pd.DataFrame, arm: str, over: str) -> pd.DataFrame:
    """Difference of exact τ at T=1, one column per domain."""
    return by_domain(frame, arm, "tau1") - by_domain(frame, over, "tau1")


def share(frame: pd.DataFrame, arm: str, name: str) -> pd.DataFrame:
    """A share of EAGLE-3's trees, one column per domain, or of the target's own: the same for every seed."""
    if arm != "oracle":
        return by_domain(frame, arm, name)
    seeds = main(frame, "untuned").index
    shares = {domain: scalar(frame, "oracle", f"{name}/{domain}").iloc[0] for domain in DOMAINS}
    return pd.DataFrame({domain: pd.Series(float(value), index=seeds) for domain, value in shares.items()})


def tree_over_path(frame: pd.DataFrame, shape: str = "") -> pd.DataFrame:
    """τ of a tree over τ of the greedy path, by domain; other shapes on a quarter of the prefixes."""
    return by_domain(frame, "untuned", "tau1", shape) / by_domain(frame, "untuned", "chain1")


def gains_from_others(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """An arm minus continual training, from two other drafts."""
    first, second = (
        pd.DataFrame({kind: main(frame, each, sweep="inits", kind=kind) for kind in KINDS})
        for each in (arm, "continual")
    )
    return first - second


def aggregator_order(frame: pd.DataFrame) -> pd.DataFrame:
    """LSE minus Max, Max minus Average."""
    lse = main(frame, "gto")
    largest, average = (main(frame, arm, sweep="aggregators") for arm in ("max", "average"))
    return pd.DataFrame({"LSE - Max": lse - largest, "Max - Average": largest - average}).dropna()


def around_eight(frame: pd.DataFrame) -> pd.DataFrame:
    """m=8 minus continual training (m=1), and minus m=32."""
    eight = main(frame, "gto")
    ends = {"1": main(frame, "continual"), "32": main(frame, "m=32", sweep="sizes")}
    return pd.DataFrame({size: eight - end for size, end in ends.items()}).dropna()


def on_shapes(frame: pd.DataFrame, arm: str, *over: str) -> pd.DataFrame:
    """Difference to other arms on nine tree shapes."""
    return pd.DataFrame(
        {
            f"{shape} {base}" if len(over) > 1 else shape: gain(frame, arm, base, f"tau1/all@{shape}")
            for base in over
            for shape in SHAPES
        }
    )


def literal_falls(frame: pd.DataFrame) -> Errors:
    """Fall of the expected length where the reward rises, from A and from A+ to B."""

    def rise(name: str, tree: str) -> float:
        before, after = (theory("counterexample", name, tree=each)(frame)[0] for each in (tree, "B"))
        return float(after - before)

    falls = {tree: max(0.0, -rise("expected", tree)) for tree in ("A", "A+")}
    return np.array([fall if rise("reward", tree) > 0 else 0.0 for tree, fall in falls.items()])


def discordance(frame: pd.DataFrame, mode: str) -> pd.Series:
    """Share of random pairs of trees that a reward orders the wrong way."""
    return scalar(frame, "theory", "discordant", analysis="discordance", mode=mode)


def tabular(frame: pd.DataFrame, arm: str, rank: float) -> pd.Series:
    """Expected accepted tokens of the low-rank draft."""
    return scalar(frame, "tabular", "accepted", arm=arm, rank=rank)


def tabular_gain(frame: pd.DataFrame, rank: float, arm: str, over: str) -> pd.Series:
    """`tabular`, difference of two arms."""
    return tabular(frame, arm, rank) - tabular(frame, over, rank)


def slope(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Rise of the smoothed expected length of the rank-1 draft down the gradient of a loss."""
    return scalar(frame, "tabular", "slope", arm=arm, rank=1)


def theory(analysis: str, *names: str, **labels: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis, **labels)


def of_verifiers(name: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of the enumeration of both verifiers."""
    each = [theory("verifiers", name, verifier=rule) for rule in ("matching", "rejection")]
    return lambda frame: np.concatenate([measure(frame) for measure in each])


# Audits of the paper's own numbers

BENCHMARKS = ("MT-Bench", "HumanEval", "GSM8K")


def stated_gains(_frame: pd.DataFrame) -> Errors:
    """Reported gains minus those of the averages, in percentage points."""
    eagle, gto = (reported("gto", "table1").loc[f"LLaMA-3.1-8B {arm}"] for arm in ("EAGLE-3", "GTO"))
    stated = {"τ T=0": 7.4, "SR T=0": 7.7}
    return np.array([gain - 100 * (gto[column] / eagle[column] - 1) for column, gain in stated.items()])


def proportional_rows(_frame: pd.DataFrame) -> Errors:
    """1 for each row of Table 4 that one constant makes from the row m=8, to rounding."""
    block = reported("gto", "table4")
    eight, rounding = block.loc["m=8"], 0.005
    others = block.loc[[f"m={size}" for size in (1, 4, 16, 32)]]
    low = ((others - rounding) / (eight + rounding)).max(axis=1)
    high = ((others + rounding) / (eight - rounding)).min(axis=1)
    return (low <= high).astype(float).to_numpy()


PREMISES: dict[str, Measure] = {
    "plateau": lambda f: (gain(f, "continual_time", "untuned") / main(f, "untuned")).dropna(),
    "head_room": head_room,
    "unequal": lambda f: late(f, "equal_groups", "gto"),
    "within_clip": lambda f: late(f, "outside_clip", "gto"),
    "felt": lambda f: squared_norm(f, "gto") / squared_norm(f, "continual") - 1,
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="gto": domain_gain(f, arm, "untuned"),
    "c1_greedy": lambda f, arm="gto": gain(f, arm, "untuned", "tau0/all"),
    "c1_speed": lambda f: pd.DataFrame({f"T={t}": speed_ratio(f, t) for t in (0, 1)}),
    "c2_steps": lambda f, arm="gto": gain(f, arm, "continual"),
    "c2_time": lambda f, arm="gto": gain(f, arm, "continual_time"),
    "loss": lambda f, arm="gto": late_loss(f, arm),
    "reward": lambda f, arm="gto": late(f, "reward", arm),
    "flip": lambda f, arm="flipped": gain(f, "continual", arm),
    "c3_pruned": lambda f, arm="untuned": share(f, arm, "pruned"),
    "c3_agrees": lambda f, arm="untuned": share(f, arm, "agrees"),
    "c3_tree": lambda f, arm="": tree_over_path(f, f"@{AS_MANY}" if arm == "small" else ""),
    "c4": lambda f, arm="gto": gains_from_others(f, arm),
    "c5": aggregator_order,
    "c6": around_eight,
    "c7": lambda f: paired(main(f, "gto"), main(f, "no debiasing", sweep="debias")),
    "c7_null": lambda f: gain(f, "shuffled", "continual"),
    "c8": lambda f: on_shapes(f, "gto", "untuned", "continual"),
    "c8_continual": lambda f: on_shapes(f, "continual", "untuned"),
    "c9_bounds": theory("bounds", "violation"),
    "c9_monotone": theory("monotonicity", "coordinate", "expectation"),
    "c9_slack": theory("slack", "failed"),
    "c9_literal": literal_falls,
    "c9_orders": lambda f: pd.DataFrame({mode: discordance(f, mode) for mode in ("lse", "max", "average")}),
    "c9_node_sum": lambda f: discordance(f, "node_sum"),
    "c10_greedy": lambda f: values(f, "lossless", "differs"),
    "c10_sampled": of_verifiers("law"),
    "c11": of_verifiers("length"),
    "tab_gap": lambda f: tabular_gain(f, 1, "best", "cross_entropy"),
    "tab_gap_full": lambda f: tabular_gain(f, 4, "best", "cross_entropy"),
    "tab_gto": lambda f, arm="gto": tabular_gain(f, 1, arm, "continual"),
    "tab_slope": lambda f, arm="gto": slope(f, arm),
    "tab_uniform": lambda f, arm="uniform": tabular_gain(f, 1, arm, "continual"),
    "tab_full": lambda f: tabular_gain(f, 4, "gto", "continual"),
    "audit_averages": lambda f: np.concatenate(
        [
            averages("gto", "table1", column, [f"{benchmark} {column}" for benchmark in BENCHMARKS])(f)
            for column in ("SR T=0", "τ T=0", "SR T=1")
        ]
    ),
    "audit_gains": stated_gains,
    "audit_sizes": proportional_rows,
}
