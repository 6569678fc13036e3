"""Arms of ResT, what is measured of them, and the premises, claims, tables and figures of the card.

A step is right if its calls are the right ones, or if it has words where no call is right; the policy after
the last update answers greedily. Differences are paired by seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines
from common.plotting.point import listed
from common.plotting.style import GREY, HUES
from common.study.frame import (
    Interval,
    average,
    curve,
    estimate,
    exact,
    long_table,
    point,
    points,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.rest.experiment import COMPARED

NAMES = {
    "grpo": "GRPO",
    "code": "ResT, code's weights",
    "paper": "ResT, paper's weights",
    "permuted": "code's weights on random tokens",
    "no_thought": "no weight on the thought",
    "no_curriculum": "no curriculum",
    "no_schedule": "no reward schedule",
    "kl": "KL 0.003",
    "strong_kl": "KL 0.03",
    "plain": "GRPO, KL, no schedule",
    "dr_grpo": "Dr.GRPO",
}
WEIGHTS = {
    "uniform": "uniform",
    "inverse": "fall with entropy",
    "permuted": "the same on random tokens",
    "proportional": "rise with entropy",
    "code": "released code's",
}
REGIONS = ("tags", "think", "name", "arguments")
COLOURS = {
    "GRPO": GREY,
    NAMES["code"]: HUES["orange"],
    NAMES["paper"]: HUES["blue"],
    NAMES["permuted"]: HUES["sky"],
    NAMES["no_thought"]: HUES["vermilion"],
}
LEVELS = {"1": "level 1", "2": "level 2", "3": "level 3", "all": "overall"}
TURNS = {"base": "base", "no_tool": "missing tool", "no_value": "missing value", "long": "long context"}
DEPTHS = {f"depth_{depth}": f"{depth} operations" for depth in (1, 2, 3)}
BOUNDS = {"excess": "exact beta", "excess_entropy": "beta from entropy"}
KINDS = ("uniform", "inverse", "random")


def final(frame: pd.DataFrame, arm: str, what: str = "all") -> pd.Series:
    """Share of right steps of a level or depth, or of solved dialogues of a kind, after training."""
    sweep = "training" if arm in COMPARED else "further"
    return scalar(frame, sweep, f"final/pass_at_1/{what}", arm=arm)


def dialogues(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Share of solved dialogues, mean over their kinds."""
    return pd.concat([final(frame, arm, kind) for kind in TURNS], axis=1).mean(axis=1)


def mean_of(frame: pd.DataFrame, name: str, arm: str) -> pd.Series:
    """Mean of a series over training."""
    return average(rows(frame, "training", name, arm=arm))


def roughness(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Log of the standard deviation of the change of entropy from batch to batch."""
    changes = rows(frame, "training", "entropy", arm=arm).groupby("seed")["value"]
    return changes.agg(lambda values: float(np.log(values.diff().std())))


def frozen(frame: pd.DataFrame, name: str, **labels: str) -> pd.Series:
    """A measurement of the warm starts."""
    return scalar(frame, "frozen", name, **labels)


def log_snr(frame: pd.DataFrame, weights: str) -> pd.Series:
    """Log of a gradient's signal-to-noise ratio; NaN where the estimate of its signal is negative."""
    own = frozen(frame, "snr", weights=weights)
    return np.log(own.where(own > 0))


def decided(frame: pd.DataFrame, region: str) -> pd.Series:
    """Change of the reward per token of a region that comes out otherwise, minus that of the thought."""
    return frozen(frame, "change", region=region) - frozen(frame, "change", region="think")


def unevenness(frame: pd.DataFrame) -> pd.Series:
    """Entropy of the thought minus the mean of the other regions', warm starts."""
    own = {name: frozen(frame, "entropy", region=name) for name in REGIONS}
    return own.pop("think") - pd.DataFrame(own).mean(axis=1)


def surer(frame: pd.DataFrame, region: str) -> pd.Series:
    """Entropy of SmolLM2's thought minus that of a region."""
    thought, own = (scalar(frame, "published", "entropy", region=name) for name in ("think", region))
    return thought - own


def errors(analysis: str, *names: str) -> Measure:
    """Errors of exact checks."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


PREMISES: dict[str, Measure] = {
    "learns": lambda f: final(f, "grpo") - frozen(f, "accuracy"),
    "headroom": lambda f: final(f, "grpo"),
    "misread": lambda f: frozen(f, "misread"),
    "noisy": lambda f: frozen(f, "snr", weights="uniform"),
    "measurable": lambda f: frozen(f, "signal", weights="uniform"),
    "weighted": lambda f: mean_of(f, "spread", "code"),
    "weighted_paper": lambda f: mean_of(f, "spread", "paper"),
    "uneven": unevenness,
    "unsure": lambda f: frozen(f, "entropy", region="think"),
    "follows": lambda f: scalar(f, "published", "surprise"),
}
CLAIMS: dict[str, Measure] = {
    "c1": errors("lemma", "size", "excess"),
    "c2": errors("variance", "optimum"),
    "c3_independent": errors("variance", "independent"),
    "c3_dependent": errors("variance", *(f"excess_{kind}" for kind in KINDS)),
    "c3_unbiased": errors("variance", "bias"),
    "c4": lambda f, arm="structure": surer(f, arm),
    "c5": lambda f, arm="structure": decided(f, arm),
    "c6": lambda f, arm="inverse": log_snr(f, arm) - log_snr(f, "uniform"),
    "c7": lambda f, arm="code": final(f, arm) - final(f, "grpo"),
    "c7_paper": lambda f, arm="paper": final(f, arm) - final(f, "grpo"),
    "c7_dialogues": lambda f, arm="code": dialogues(f, arm) - dialogues(f, "grpo"),
    "c8_thought": lambda f, arm="depth_3": final(f, "code", arm) - final(f, "no_thought", arm),
    "c8_schedule": lambda f, arm="code": final(f, arm) - final(f, "no_schedule"),
    "c8_curriculum": lambda f, arm="code": final(f, arm) - final(f, "no_curriculum"),
    "c10": lambda f, arm="code": final(f, arm) - final(f, "kl"),
    "c11_entropy": lambda f, arm="code": mean_of(f, "entropy", arm) - mean_of(f, "entropy", "grpo"),
    "c11_smooth": lambda f, arm="code": roughness(f, arm) - roughness(f, "grpo"),
    "c12": errors("audit", "code"),
}


def trained(frame: pd.DataFrame) -> list[str]:
    """Arms that this run has trained."""
    seen = set(frame.loc[frame["sweep"].isin(["training", "further"]), "arm"].dropna())
    return [arm for arm in NAMES if arm in seen]


def shares(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Shares of each arm in percent."""
    return long_table(
        (NAMES[arm], heading, estimate(100 * final(frame, arm, name)))
        for arm in trained(frame)
        for name, heading in columns.items()
    )


def gradients(frame: pd.DataFrame) -> Iterator[tuple[str, str, Interval]]:
    """What each weighting does to the gradient of a warm start."""
    for name, label in WEIGHTS.items():
        yield label, "log SNR minus uniform's", estimate(log_snr(frame, name) - log_snr(frame, "uniform"))
        yield label, "cosine to the uniform mean", estimate(frozen(frame, "cosine", weights=name))


TABLES: dict[str, Twin] = {
    "table1": lambda f: shares(f, TURNS),
    "table2": lambda f: shares(f, LEVELS),
    "table3": lambda f: shares(f, {"all": "overall", **DEPTHS}),
    "table_a1": lambda f: shares(f, {"all": "overall"}),
    "weights": lambda f: long_table(gradients(f)),
}


def learning(frame: pd.DataFrame) -> pd.DataFrame:
    """Curves of the training batches."""
    panels = {"right": "right calls", "reward": "reward", "entropy": "entropy", "length": "length"}
    return stacked(
        curve(rows(frame, "training", name, arm=arm), panel=panel, arm=NAMES[arm])
        for name, panel in panels.items()
        for arm in ("grpo", "code", "paper", "permuted")
    )


def by_region(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy of each region, what its tokens decide, and what a thought decides if the rest is rewritten."""
    parts = [
        point(frozen(frame, name, region=region), panel=panel, arm=region)
        for name, panel in {"entropy": "entropy (nats)", "change": "reward change per changed token"}.items()
        for region in (*REGIONS, *(["random"] if name == "change" else []))
    ]
    rewritten = "turned responses per changed token of a thought, the rest rewritten"
    parts += [
        point(frozen(frame, f"thought_{depth}"), panel=rewritten, arm=f"{depth} operations")
        for depth in (1, 2, 3)
    ]
    return stacked(parts)


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of random policies whose variance exceeds the bound."""
    return points(
        (label, kind, exact(float((excesses > 1e-10).mean())))
        for prefix, label in BOUNDS.items()
        for kind in KINDS
        for excesses in [values(frame, "theory", f"{prefix}_{kind}", analysis="variance")]
    )


NOTE = "0.1 M parameters, ToolCall-Mini"
FIGURES: dict[str, Figure] = {
    "figf1": Figure(learning, lines(NOTE, x="batch", columns=2, fixed=COLOURS, rates=("right calls",))),
    "tokens": Figure(by_region, dots(f"{NOTE}, warm starts", width=4.0)),
    "snr": Figure(
        lambda f: stacked(
            point(log_snr(f, name) - log_snr(f, "uniform"), panel="log SNR minus uniform's", arm=label)
            for name, label in WEIGHTS.items()
            if name != "uniform"
        ),
        dots(f"{NOTE}, warm starts", level=0.0, width=4.0),
        lambda d: listed("Log signal-to-noise ratio minus that of uniform weights", d, ".2f"),
    ),
    "violations": Figure(
        rates,
        dots(
            "random policies of three tokens, enumerated",
            y="share above the bound",
            rates=tuple(BOUNDS.values()),
        ),
    ),
    "published": Figure(
        lambda f: stacked(
            point(scalar(f, "published", "entropy", region=name), panel="entropy (nats)", arm=name)
            for name in REGIONS
        ),
        dots("SmolLM2-135M on BFCL's calls, forced"),
    ),
}
