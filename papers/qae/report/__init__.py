"""What QAE's records show, by the ids of the card: CLAIMS, TABLES, FIGURES.

Scores of tables are in percent, like the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines, ranking
from common.plotting.style import GREY, HUES, REFERENCE, shades
from common.statistics import Interval
from common.study.frame import (
    ESTIMATE,
    after,
    average,
    curve,
    estimate,
    exact,
    final,
    long_table,
    point,
    rows,
    stacked,
    summarise,
)
from common.study.report import Figure, Twin
from common.tasks.opchain import CONNECTORS, LEVELS, WAIT
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP
from papers.qae.report.measures import (
    BASES,
    CLAIMS,
    GATED,
    MIXES,
    NAMES,
    NARROW,
    WIDE,
    K,
    score,
    success,
    tabular,
    trained,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "TABLES"]

PAIR = {"mean baseline": "mean", "QAE": "quantile"}
COLOURS = {
    "mean baseline": GREY,
    "QAE": HUES["blue"],
    f"QAE, K = {K:g}": HUES["blue"],
    "POS-MASK": HUES["green"],
    "NEG-MASK": HUES["vermilion"],
    "positive advantage": HUES["green"],
    "zero advantage": GREY,
    "negative advantage": HUES["vermilion"],
    "exploratory": HUES["orange"],
    "rigid": HUES["blue"],
    "other": GREY,
    f"upper clip range {NARROW:.2f}": HUES["sky"],
    f"upper clip range {WIDE:.2f} (Clip-Higher)": GREY,
    **shades(f"K = {k:.1f}" for k in K_SWEEP),
}

# Tables

ARM_LABELS = ["sweep", "mix", "baseline", "k", "epsilon_high", "optimizer", "matched_grad_norm"]
COEFFICIENTS = {"mean": "mean", "quantile": "QAE", "b0": "b=0", "b1": "b=1"}
COMPOSITIONS = {"wrong": "wrong responses", "linear": "linear quantile", "inverted_cdf": "Eq. 4"}
SUFFIXES = {"mean": "", "quantile": " + QAE", "random_gate": " + permuted gate"}


def clip_ranges(frame: pd.DataFrame) -> pd.DataFrame:
    """Success at the end (percent) of the mean baseline at five upper clip ranges, and of QAE."""
    arms = {f"mean, eps_high={e:.2f}": ("mean", e) for e in EPSILON_HIGH_SWEEP}
    arms[f"QAE, eps_high={WIDE:.2f}"] = ("quantile", WIDE)
    return long_table(
        (row, f"{mix} mix", estimate(100 * success(frame, arm, e, mix)))
        for row, (arm, e) in arms.items()
        for mix in MIXES
    )


def drop_in(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out pass@1 and pass@16 (percent) by level and base algorithm, with the permuted-gate control."""
    arms = [(base, arm) for base in BASES for arm in ("mean", "quantile")]
    arms.insert(2, ("clip_higher", "random_gate"))
    return long_table(
        (BASES[base] + SUFFIXES[arm], f"{level} p@{k}", estimate(100 * score(frame, arm, base, k, level)))
        for base, arm in arms
        for level in (*LEVELS, "all")
        for k in (1, 16)
    )


def coefficients(frame: pd.DataFrame) -> pd.DataFrame:
    """Coefficient of the positive-sample gradient at a few success rates, by group size and baseline."""

    tables = {
        size: {
            name: rows(frame, "theory", name, analysis="expected_coefficients", group_size=size)["value"]
            for name in ("p", *COEFFICIENTS)
        }
        for size in (8, 16, 32)
    }
    return long_table(
        (f"G={size}, p={rate:.2f}", column, exact(table[name][np.isclose(table["p"], rate)].item()))
        for size, table in tables.items()
        for rate in (0.05, 0.25, 0.5, 0.75, 0.95)
        for name, column in COEFFICIENTS.items()
    )


def mismatches(frame: pd.DataFrame) -> pd.DataFrame:
    """Compositions at which the linear quantile leaves Eq. 4, by K and G; empty where there is none."""
    columns = {
        name: rows(frame, "theory", name, analysis="linear_mismatches")["value"]
        for name in ("k", "group_size", *COMPOSITIONS)
    }

    def value(name: str, k: float, size: int) -> Interval:
        here = columns[name][np.isclose(columns["k"], k) & (columns["group_size"] == size)]
        return exact(here.iloc[0] if len(here) else np.nan)

    return long_table(
        (f"K={k:.1f}, G={size}", column, value(name, k, size))
        for k in K_SWEEP
        for size in (4, 8, 16, 32)
        for name, column in COMPOSITIONS.items()
    )


def every_arm(frame: pd.DataFrame) -> pd.DataFrame:
    """Every tabular arm: exact entropies (nats) and scores at the end, zero share averaged over batches."""
    sweeps = [f"tabular_{mix}" for mix in MIXES] + ["tabular_small_steps"]
    part = frame[frame["sweep"].isin(sweeps) & (frame["name"] == "success")]
    order = {name: index for index, name in enumerate([*sweeps, *NAMES])}
    arms = part[ARM_LABELS].drop_duplicates().to_dict("records")
    arms.sort(
        key=lambda a: (
            *(order[a["sweep"]], a["optimizer"], order[a["baseline"]]),
            *(-a["epsilon_high"], a["matched_grad_norm"], a["k"]),
        )
    )
    return long_table(
        (arm_name(arm), name, estimate(value)) for arm in arms for name, value in arm_measures(frame, arm)
    )


def arm_measures(frame: pd.DataFrame, arm: Mapping[Any, Any]) -> Iterator[tuple[str, pd.Series]]:
    """The columns of `every_arm`."""
    entropy, reward, pass_at_16, zero = (
        rows(frame, name=name, **arm) for name in ("entropy", "success", "pass_at_16", "share_zero")
    )
    yield "entropy at 5", after(entropy, 5)
    yield "entropy at 15", after(entropy, 15)
    yield "mean entropy", average(entropy)
    yield "success", final(reward)
    yield "pass@16", pass_at_16.set_index("seed")["value"]
    yield "zero share", zero.groupby("seed")["value"].mean()


def arm_name(arm: Mapping[Any, Any]) -> str:
    """The arm in words: only what differs from the default setting is said."""
    small = f"one {'SGD' if arm['optimizer'] == 'sgd' else 'Adam'} step a batch"
    parts = {
        f"{arm['mix']} mix: {NAMES[arm['baseline']]}": True,
        f"K={arm['k']:.1f}": arm["baseline"] in GATED,
        f"eps_high={arm['epsilon_high']:.2f}": arm["epsilon_high"] != WIDE,
        "matched gradient norm": arm["matched_grad_norm"],
        small: arm["sweep"] == "tabular_small_steps",
    }
    return ", ".join(text for text, differs in parts.items() if differs)


TABLES: dict[str, Twin] = {
    "table1": clip_ranges,
    "table2": drop_in,
    "coefficients": coefficients,
    "mismatches": mismatches,
    "controls": every_arm,
}

# Figures

ENTROPY, ACCURACY, ACCURACY_16, LENGTH = "Entropy (nats)", "pass@1", "pass@16", "Response length (tokens)"
SERIES = {ENTROPY: "entropy", ACCURACY: "curve/pass_at_1", ACCURACY_16: "curve/pass_at_16", LENGTH: "length"}
SIGNS = {"positive advantage": "positive", "zero advantage": "zero", "negative advantage": "negative"}
KINDS = {WAIT: "exploratory", **dict.fromkeys(CONNECTORS, "rigid")}
PHASES = {"early": 20 / 300, "middle": 80 / 300, "late": 200 / 300}
CLOSED_FORM = "Zero share of a group"
CLIP = {
    f"upper clip range {NARROW:.2f}": ("clipping", "mean"),
    f"upper clip range {WIDE:.2f} (Clip-Higher)": ("main", "mean"),
}


def over_training(*panels: str) -> Twin:
    """Series of the main pair."""
    return lambda f: stacked(
        curve(trained(f, SERIES[panel], arm), panel=panel, arm=name)
        for panel in panels
        for name, arm in PAIR.items()
    )


def by_sign(arm: str) -> Twin:
    """Entropy by the sign of the advantage."""
    return lambda f: stacked(
        curve(tabular(f, f"entropy_{sign}", arm), panel=ENTROPY, arm=name) for name, sign in SIGNS.items()
    )


def closed_form(frame: pd.DataFrame, name: str, panel: str, arm: str, **labels: str | float) -> pd.DataFrame:
    """A closed form over the success rate."""
    value, p = (rows(frame, "theory", column, **labels)["value"] for column in (name, "p"))
    blank = {"low": np.nan, "high": np.nan, "n": 0}
    return pd.DataFrame({"panel": panel, "arm": arm, "step": p, "mean": value, **blank})


def weights(sign: str) -> Twin:
    """Weight on samples of a sign over the success rate."""
    arms = {"mean baseline": "mean", f"QAE, K = {K:g}": "quantile"}
    panel = f"Weight on {sign} samples"
    return lambda f: stacked(
        closed_form(f, f"{name}_{sign}", panel, arm, analysis="weight_curves") for arm, name in arms.items()
    )


def markers(arms: Mapping[str, tuple[str, str]]) -> Twin:
    """Occurrences per response of exploratory and rigid tokens, and pass@1."""
    tokens = {f"Exploratory tokens ({WAIT})": (WAIT,), f"Rigid tokens ({', '.join(CONNECTORS)})": CONNECTORS}

    def parts(f: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for name, (sweep, arm) in arms.items():
            for panel, names in tokens.items():
                counts = [trained(f, f"curve/count/{token}", arm, sweep=sweep) for token in names]
                total = counts[0].assign(value=sum(part["value"] for part in counts))
                yield curve(total, panel=panel, arm=name)
            yield curve(trained(f, "curve/pass_at_1", arm, sweep=sweep), panel=ACCURACY, arm=name)

    return lambda f: stacked(parts(f))


def high_entropy_tokens(arm: str) -> Twin:
    """Share of the high-entropy positions by token: the top 20 at each of three points of training."""
    prefix = "curve/high_entropy/"

    def data(f: pd.DataFrame) -> pd.DataFrame:
        names = sorted(name for name in f["name"].unique() if name.startswith(prefix))
        shares = pd.concat([trained(f, name, arm).assign(token=name.removeprefix(prefix)) for name in names])
        steps = np.sort(shares["step"].unique())
        parts = []
        for phase, share in PHASES.items():
            step = steps[np.abs(steps - share * steps[-1]).argmin()]
            ranked = summarise(shares[shares["step"] == step], ["token"])
            top = ranked.sort_values(["mean", "token"], ascending=[False, True]).head(20)
            parts.append(top.assign(panel=f"{phase.capitalize()} (iteration {step:.0f})"))
        table = stacked(parts)
        kinds = table["token"].map(KINDS).fillna("other")
        return table.assign(kind=kinds)[["panel", "token", "kind", *ESTIMATE]]

    return data


def masks(epsilon_high: float) -> Twin:
    """Success at the end and mean entropy by mask at a clip range."""
    quantities = {"Success at the end": ("success", final), "Mean entropy (nats)": ("entropy", average)}
    return lambda f: stacked(
        point(
            of(tabular(f, name, arm, mix, epsilon_high=epsilon_high)),
            panel=f"{panel}, {mix} mix",
            arm=NAMES[arm],
        )
        for mix in MIXES
        for arm in ("pos", "neg", "quantile")
        for panel, (name, of) in quantities.items()
    )


def advantage_shares(f: pd.DataFrame) -> pd.DataFrame:
    """Shares of advantage values under QAE in three runs, and the zero share over the success rate."""
    parts = []
    for arm, sign in SIGNS.items():
        runs = {f"Tabular, {mix} mix": tabular(f, f"share_{sign}", "quantile", mix) for mix in MIXES}
        runs["OpChain"] = trained(f, f"share_{sign}", "quantile")
        parts += [curve(part, panel=panel, arm=arm) for panel, part in runs.items()]
    parts += [
        closed_form(f, "zero_share", CLOSED_FORM, f"K = {k:.1f}", analysis="zero_advantage_share", k=k)
        for k in K_SWEEP
    ]
    return stacked(parts)


def every_k(f: pd.DataFrame) -> pd.DataFrame:
    """Entropy and success of the tabular policy, entropy, pass@1 and length on OpChain, by K."""
    parts = []
    for k in K_SWEEP:
        arm = f"K = {k:.1f}"
        for panel, name in {"Tabular: entropy (nats)": "entropy", "Tabular: success": "success"}.items():
            parts.append(curve(tabular(f, name, "quantile", "broad", k), panel=panel, arm=arm))
        for panel in (ENTROPY, ACCURACY, LENGTH):
            part = trained(f, SERIES[panel], "quantile", sweep="k", k=k)
            parts.append(curve(part, panel=f"OpChain: {panel[0].lower()}{panel[1:]}", arm=arm))
    return stacked(parts)


def paper_shares(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's shares in the panels over training; the closed form has the success rate below it."""
    for name, axis in axes.items():
        axis.set_ylim(0, 1)
        for what, value in reported.items() if name != CLOSED_FORM else ():
            axis.axhline(value, ls="--", label=f"paper: {value:.0%} {what}", **REFERENCE)
    axes[CLOSED_FORM].set_xlabel("success rate p of the prompt")


def top_tokens(data: pd.DataFrame) -> str:
    """The token with the largest share at each moment of training."""
    first = data.sort_values("mean", ascending=False).drop_duplicates("panel").set_index("panel")
    tops = [
        f"{panel}: {first['token'][panel]} {first['mean'][panel]:.2g}" for panel in data["panel"].unique()
    ]
    return f"Largest share of the high-entropy positions, {', '.join(tops)}."


TABULAR, OPCHAIN = "tabular policy in a language model's place", "OpChain, 0.1 M parameters"
RATES = (ACCURACY, ACCURACY_16, "success")
TRAINING = lines(OPCHAIN, fixed=COLOURS, rates=RATES)
MARKERS = lines(f"{OPCHAIN}; tokens per response", fixed=COLOURS, rates=RATES)
SIGN = lines(f"{TABULAR}, hard mix", fixed=COLOURS)
WEIGHT = lines("closed form", x="success rate p of the prompt", fixed=COLOURS)
POINTS = dots(TABULAR, columns=4, fixed=COLOURS)
TOKENS = ranking(
    f"{OPCHAIN}; the 20 % positions of highest entropy",
    rows="token",
    kind="kind",
    x="share of positions",
    fixed={kind: COLOURS[kind] for kind in ("exploratory", "rigid", "other")},
)
SHARES = lines("share of responses; last panel: closed form", columns=4, fixed=COLOURS, finish=paper_shares)
SWEEP = lines(f"tabular policy, broad mix, and {OPCHAIN}", fixed=COLOURS, rates=RATES)

FIGURES: dict[str, Figure] = {
    "fig1": Figure(over_training(ENTROPY, ACCURACY), TRAINING),
    "fig2": Figure(markers(CLIP), MARKERS),
    "fig3": Figure(high_entropy_tokens("mean"), TOKENS, top_tokens),
    "fig4a": Figure(by_sign("mean"), SIGN),
    "fig4b": Figure(weights("positive"), WEIGHT),
    "fig4c": Figure(weights("negative"), WEIGHT),
    "fig5a": Figure(over_training(ACCURACY, ACCURACY_16), TRAINING),
    "fig5b": Figure(by_sign("quantile"), SIGN),
    "fig5c": Figure(advantage_shares, SHARES),
    "fig6b": Figure(masks(WIDE), POINTS),
    "fig6c": Figure(masks(NARROW), POINTS),
    "fig7": Figure(markers({name: ("main", arm) for name, arm in PAIR.items()}), MARKERS),
    "fig8": Figure(high_entropy_tokens("quantile"), TOKENS, top_tokens),
    "fig9": Figure(every_k, SWEEP),
    "fig10": Figure(over_training(ENTROPY, ACCURACY, LENGTH), TRAINING),
}
