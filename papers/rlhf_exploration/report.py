"""What the records of the exploration study show, by the ids of its card: CLAIMS, TABLES, FIGURES.

Methods share their random numbers, so differences and ratios are paired by seed. Where runs are bistable, a
figure holds every seed and the median instead of a mean. The paper has no figure of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from common.plotting.draw import lines
from common.plotting.style import GREY, HUES, caption, label, panels
from common.statistics import Interval
from common.study.frame import (
    ESTIMATE,
    Errors,
    curve,
    estimate,
    exact,
    final,
    levels,
    long_table,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.rlhf_exploration.experiment import (
    COIN_BETA,
    HARD_BETA,
    HARD_GAP,
    LM_INSTANCES,
    LM_PROTOCOLS,
    PAIR,
)
from papers.rlhf_exploration.method import rate

# Arms: protocol to name and colour

ARMS = {
    "proposed": ("proposed", HUES["blue"]),
    "xpo": ("XPO-type", HUES["orange"]),
    "vpo": ("VPO-type", HUES["green"]),
    "selm": ("SELM-type", HUES["vermilion"]),
    "ablation_a": ("ablation A", HUES["purple"]),
    "ablation_b": ("ablation B", HUES["brown"]),
    "uniform": ("uniform partner", HUES["sky"]),
    "passive": ("passive online DPO", GREY),
}
BOUND = "(β+1)/(β+2)"
NAMES = {protocol: name for protocol, (name, _) in ARMS.items()}
COLOURS = {**dict(ARMS.values()), BOUND: (0.35, 0.35, 0.35)}
MAIN = ("proposed", "xpo", "vpo", "ablation_a", "ablation_b")
KNOBS = {"ce1": "beta", "ce2": "gap"}
GROWTH_BETAS = (0.5, 0.33, 0.25, 0.2)
FAR, NEAR, UNSATURATED = 10.0, 4.0, 2.0  # gaps of CE2

# Measures: one number per seed


def regret(frame: pd.DataFrame, sweep: str, protocol: str, name: str = "total", **labels: Any) -> pd.Series:
    """A scalar of a bandit run by seed, by default R_T."""
    return scalar(frame, sweep, name, protocol=protocol, **labels)


def growth(frame: pd.DataFrame, sweep: str, protocol: str, **labels: Any) -> pd.Series:
    """R_T / R_(T/2): 2 if linear, 1 if the regret has stopped."""
    return regret(frame, sweep, protocol, **labels) / regret(frame, sweep, protocol, "half", **labels)


def linear_share(frame: pd.DataFrame, protocol: str) -> pd.Series:
    """Regret on CE1 over what it would be at the first round's rate."""
    total = regret(frame, "ce1", protocol, beta=HARD_BETA)
    horizon = levels(frame, "ce1", "horizon")[0]
    return total / (horizon * regret(frame, "ce1", protocol, "first", beta=HARD_BETA))


def at(sweep: str, level: float) -> dict[str, Any]:
    """Label of a level of CE1 or CE2."""
    return {KNOBS[sweep]: level}


def by_hardness(frame: pd.DataFrame, sweep: str, protocol: str, some: Sequence[float] = ()) -> pd.DataFrame:
    """R_T by seed, a column per 1/β of CE1 or per gap of CE2, by default at every level that was run."""
    columns = {
        1 / level if sweep == "ce1" else level: regret(frame, sweep, protocol, **at(sweep, level))
        for level in some or levels(frame, sweep, KNOBS[sweep])
    }
    return pd.DataFrame(columns)


def slope(x: Float[np.ndarray, " N"], y: Float[np.ndarray, "S N"]) -> Float[np.ndarray, " S"]:
    """Least-squares slope of each row of y on x."""
    centred = x - x.mean()
    return (y * centred).sum(axis=-1) / (centred**2).sum()


def log_slope(regrets: pd.DataFrame, power: bool = False) -> pd.Series:
    """Slope of each seed's log-regret on the columns; with `power` on their logarithm."""
    x = regrets.columns.to_numpy(float)
    return pd.Series(slope(np.log(x) if power else x, np.log(regrets.to_numpy())), index=regrets.index)


def degrees(frame: pd.DataFrame, on_ce1: str, on_ce2: str) -> pd.DataFrame:
    """Log-log slopes of the regret of one protocol in 1/β and of another in the gap."""
    tables = {"1/beta": by_hardness(frame, "ce1", on_ce1), "gap": by_hardness(frame, "ce2", on_ce2)}
    return pd.DataFrame({name: log_slope(part, power=True) for name, part in tables.items()}).dropna()


def every_growth(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T / R_(T/2) of the proposal in every configuration, on the seeds that all of them have."""
    columns = {
        f"{knob}={level:g}": growth(frame, sweep, "proposed", **at(sweep, level))
        for sweep, knob in KNOBS.items()
        for level in levels(frame, sweep, knob)
    }
    return pd.DataFrame(columns).dropna()


def log_ratio(frame: pd.DataFrame, sweep: str, protocol: str, **labels: Any) -> pd.Series:
    """Logarithm of a protocol's regret over the proposal's."""
    ratio = regret(frame, sweep, protocol, **labels) / regret(frame, sweep, "proposed", **labels)
    return ratio.transform(np.log)


def learned(frame: pd.DataFrame, instance: str, *others: str) -> pd.DataFrame:
    """`log_ratio` with a learned policy."""
    labels = {"instance": instance, "policy": "model"}
    return pd.DataFrame({other: log_ratio(frame, "lm", other, **labels) for other in others})


def envelope(
    frame: pd.DataFrame, protocol: str, beta: float
) -> tuple[Float[np.ndarray, " H"], Float[np.ndarray, "S G H"], pd.Index]:
    """Horizons, regret by seed, gap and horizon, and the seeds, of the exponent study."""
    horizons = np.array(levels(frame, "envelope", "horizon"))
    tables = [
        rows(frame, "envelope", "regret", protocol=protocol, beta=beta, horizon=horizon).pivot_table(
            index="seed", columns="step", values="value"
        )
        for horizon in horizons
    ]
    return horizons, np.stack([table.to_numpy() for table in tables], axis=2), tables[0].index


def exponent(horizons: Float[np.ndarray, " H"], regrets: Float[np.ndarray, "S G H"]) -> float:
    """Slope of log max over gaps of the mean regret against log T."""
    worst = regrets.mean(axis=0).max(axis=0)
    return float(slope(np.log(horizons), np.log(worst)))


def jackknife(frame: pd.DataFrame, protocol: str, beta: float) -> pd.Series:
    """`exponent` as one jackknife pseudo-value per seed: n θ - (n - 1) θ without that seed."""
    horizons, regrets, seeds = envelope(frame, protocol, beta)
    n, whole = len(seeds), exponent(horizons, regrets)
    if n == 1:
        return pd.Series([whole], index=seeds)
    without = [exponent(horizons, np.delete(regrets, index, axis=0)) for index in range(n)]
    return pd.Series(n * whole - (n - 1) * np.array(without), index=seeds)


def excess(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Exponent minus the bound's at each β."""
    betas = levels(frame, "envelope", "beta")
    return pd.DataFrame({f"beta={beta:g}": jackknife(frame, protocol, beta) - rate(beta) for beta in betas})


def last(frame: pd.DataFrame, sweep: str, name: str, protocol: str, **labels: Any) -> pd.Series:
    """Last value of a series by seed."""
    return final(rows(frame, sweep, name, protocol=protocol, **labels))


def mixed(frame: pd.DataFrame, protocol: str) -> pd.Series:
    """Share of mixed pairs on CE1, a protocol's minus that of VPO-type."""
    share, other = (last(frame, "ce1", "mixed", name, beta=HARD_BETA) for name in (protocol, "vpo"))
    return share - other


def information(frame: pd.DataFrame, gap: float) -> pd.Series:
    """log10 of the proposal's Fisher information over that of XPO-type on CE2."""
    ours, theirs = (last(frame, "ce2", "information", protocol, gap=gap) for protocol in ("proposed", "xpo"))
    return (ours / theirs).transform(np.log10)


def benign(frame: pd.DataFrame) -> pd.DataFrame:
    """log2 ratios over the proposal on benign bandits, averaged over β."""
    betas = levels(frame, "benign", "beta")
    sums = {
        other: sum(log_ratio(frame, "benign", other, beta=beta) for beta in betas)
        for other in ("vpo", "xpo", "passive")
    }
    return pd.DataFrame(sums) / (len(betas) * np.log(2))


def theory(analysis: str, *names: str) -> Callable[[pd.DataFrame], Errors]:
    """Values of an exact check."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


def waiting_errors(frame: pd.DataFrame) -> Errors:
    """Relative errors of both closed forms."""
    pairs = {"horizons": "waiting", "comparisons": "ratio"}
    return np.concatenate(
        [theory(name, part)(frame) / theory(name, "closed")(frame) - 1 for name, part in pairs.items()]
    )


def without_bonus(frame: pd.DataFrame) -> Errors:
    """Regret of the proposal minus that of ablation B, both without a bonus."""
    arms = ("proposed", "ablation_b")
    regrets = [[regret(frame, "alpha0", arm, instance=name) for arm in arms] for name in KNOBS]
    return np.concatenate([ours - other for ours, other in regrets])


CLAIMS: dict[str, Measure] = {
    "c1": theory("identities", "regret", "optimum"),
    "c1_dpo": theory("identities", "dpo"),
    "c1_flipped": theory("identities", "flipped"),
    "c1_shift": theory("identities", "shift"),
    "c1_gradient": theory("identities", "gradient"),
    "c1_waiting": waiting_errors,
    "alpha0": without_bonus,
    "c2": lambda f, arm="vpo": linear_share(f, arm),
    "c2_growth": lambda f, arm="vpo": log_slope(by_hardness(f, "ce1", arm, GROWTH_BETAS)),
    "c3": lambda f, arm="xpo": regret(f, "ce2", arm, gap=FAR) / regret(f, "ce2", arm, gap=NEAR).mean(),
    "c3_linear": lambda f, arm="xpo": growth(f, "ce2", arm, gap=FAR),
    "c4": every_growth,
    "c4_coin": lambda f: growth(f, "coin", "proposed", beta=COIN_BETA),
    "c4_polynomial": lambda f: degrees(f, "proposed", "proposed"),
    "c4_polynomial_others": lambda f: degrees(f, "vpo", "xpo"),
    "c5_a": lambda f: log_ratio(f, "ce2", "ablation_a", gap=HARD_GAP),
    "c5_a_alpha0": lambda f: log_ratio(f, "alpha0", "ablation_a", instance="ce2"),
    "c5_b": lambda f: log_ratio(f, "ce1", "ablation_b", beta=HARD_BETA),
    "c5_b_alpha0": lambda f: log_ratio(f, "alpha0", "ablation_b", instance="ce1"),
    "c6": lambda f, arm="proposed": excess(f, arm),
    "c7": lambda f, arm="proposed": mixed(f, arm),
    "c7_information": lambda f: information(f, FAR),
    "c7_unsaturated": lambda f: information(f, UNSATURATED),
    "c8": benign,
    "c9": lambda f: learned(f, "rare", "xpo", "vpo"),
    "c9_pattern": lambda f: learned(f, "pattern", "xpo", "vpo"),
    "c9_passive": lambda f: learned(f, "rare", "passive")["passive"],
    "c9_passive_pattern": lambda f: learned(f, "pattern", "passive")["passive"],
}

# Tables

Cell = tuple[str, str, Interval]


def table(cells: Callable[[pd.DataFrame], Iterator[Cell]]) -> Twin:
    """Cells as a table."""
    return lambda frame: long_table(cells(frame))


def hardest(frame: pd.DataFrame) -> tuple[float, float]:
    """The smallest β of CE1 and the largest gap of CE2."""
    return levels(frame, "ce1", "beta")[0], levels(frame, "ce2", "gap")[-1]


def algorithms(frame: pd.DataFrame) -> Iterator[Cell]:
    """Every protocol at the hardest setting of each instance: R_T, R_T / R_(T/2), the partner's R_T."""
    beta, gap = hardest(frame)
    for protocol, row in NAMES.items():
        for sweep, level, column in (("ce1", beta, f"CE1, β={beta:g}"), ("ce2", gap, f"CE2, gap {gap:g}")):
            run = sweep, protocol
            yield row, f"{column}: R_T", estimate(regret(frame, *run, **at(sweep, level)))
            yield row, f"{column}: R_T/R_(T/2)", estimate(growth(frame, *run, **at(sweep, level)))
            partner = regret(frame, *run, "partner", **at(sweep, level))
            yield row, f"{column}: R_T of the partner", estimate(partner)


def by_level(instance: str, column: str, variants: Mapping[str, str]) -> Twin:
    """R_T by level of an instance's knob; the name of a variant's sweep, and what marks its rows."""

    def cells(frame: pd.DataFrame) -> Iterator[Cell]:
        for sweep, suffix in {instance: "", **variants}.items():
            here = frame[frame["sweep"] == sweep]
            for protocol in (name for name in NAMES if (here["protocol"] == name).any()):
                for level in levels(here, sweep, KNOBS[instance]):
                    value = estimate(regret(here, sweep, protocol, **at(instance, level)))
                    yield NAMES[protocol] + suffix, column.format(level), value

    return table(cells)


def exponents(frame: pd.DataFrame) -> Iterator[Cell]:
    """Slope by β and protocol, with the bound's exponent."""
    for beta in levels(frame, "envelope", "beta"):
        yield f"β={beta:g}", "bound", exact(rate(beta))
        for protocol in PAIR:
            yield f"β={beta:g}", NAMES[protocol], estimate(jackknife(frame, protocol, beta))


def controls(frame: pd.DataFrame) -> Iterator[Cell]:
    """Coin labels and no bonus: regret, growth, gain over π_ref, and how far the bonus still pulls."""
    arms: list[tuple[str, str, str, dict[str, Any]]]
    arms = [("coin labels", "coin", protocol, {}) for protocol in NAMES]
    arms += [
        (f"no bonus, {instance.upper()}", "alpha0", protocol, {"instance": instance})
        for instance in KNOBS
        for protocol in ("proposed", "ablation_a", "ablation_b", "xpo")
    ]
    columns = {"J - J(π_ref), second half": "gain", "|π_t - π_cal|, last tenth": "residual"}
    for control, sweep, protocol, labels in arms:
        row = f"{control}: {NAMES[protocol]}"
        yield row, "R_T", estimate(regret(frame, sweep, protocol, **labels))
        yield row, "R_T/R_(T/2)", estimate(growth(frame, sweep, protocol, **labels))
        for column, name in columns.items():
            yield row, column, estimate(regret(frame, sweep, protocol, name, **labels))


def closed_forms(frame: pd.DataFrame) -> Iterator[Cell]:
    """Enumeration, closed form and leading term of derivations 1 and 2."""
    analyses = {
        "horizons": ("beta", "rounds until a mixed pair, β={:g}", "waiting"),
        "comparisons": ("gap", "direct over indirect information, gap {:g}", "ratio"),
    }
    for analysis, (knob, row, enumerated) in analyses.items():
        names = (knob, enumerated, "closed", "leading")
        for level, *numbers in zip(*(theory(analysis, name)(frame) for name in names), strict=True):
            for column, value in zip(("enumerated", "closed form", "leading term"), numbers, strict=True):
                yield row.format(level), column, exact(value)


TABLES: dict[str, Twin] = {
    "table_a": table(algorithms),
    "ce1_regret": by_level("ce1", "β={:g}", {"ce1_constant": ", constant alpha"}),
    "ce2_regret": by_level("ce2", "gap {:g}", {"ce2_wide": ", mass 0.01"}),
    "exponents": table(exponents),
    "controls": table(controls),
    "closed_forms": table(closed_forms),
}

# Figures

SLOPES = "Slope against β"
POLICIES = {"model": "transformer", "table": "table of logits"}
PRIORS = {"random": "Broad π_ref", "hard_prior": "π_ref on the worst arm"}
Point = tuple[object, ...]


def twin(points: Callable[[pd.DataFrame], Iterator[Point]]) -> Twin:
    """Points (panel, arm, step, estimate) as a twin."""
    return lambda frame: pd.DataFrame(points(frame), columns=["panel", "arm", "step", *ESTIMATE])


def over_rounds(
    frame: pd.DataFrame, sweep: str, name: str, panel: str, **labels: Any
) -> Iterator[pd.DataFrame]:
    """A series of the main protocols at its rounds."""
    horizon = levels(frame, sweep, "horizon")[0]
    for protocol in MAIN:
        part = curve(rows(frame, sweep, name, protocol=protocol, **labels), panel=panel, arm=NAMES[protocol])
        yield part.assign(step=part["step"].astype(float) * horizon / part["step"].max())


def on_ce1(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret on CE1 at every β."""
    return stacked(
        part
        for beta in reversed(levels(frame, "ce1", "beta"))
        for part in over_rounds(frame, "ce1", "regret", f"β = {beta:g}", beta=beta)
    )


def what_pairs_tell(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of mixed pairs at the smallest β of CE1; information at the largest gap of CE2."""
    beta, gap = hardest(frame)
    parts = [
        *over_rounds(frame, "ce1", "mixed", f"Mixed pairs, CE1, β = {beta:g}", beta=beta),
        *over_rounds(frame, "ce2", "information", f"Information, CE2, gap {gap:g}", gap=gap),
    ]
    return stacked(parts).query("step > 0").reset_index(drop=True)


def every_seed(sweep: str) -> Twin:
    """R_T by 1/β or gap, every seed, with the median."""

    def parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for protocol, arm in NAMES.items():
            regrets = by_hardness(frame, sweep, protocol)
            for step in regrets.columns.astype(float):
                part = regrets[step].dropna().reset_index(name="value")
                yield part.assign(panel=arm, step=step, median=part["value"].median())

    return lambda frame: stacked(parts(frame))[["panel", "step", "seed", "value", "median"]]


def growth_and_slopes(frame: pd.DataFrame) -> Iterator[Point]:
    """Regret at the worst gap by horizon, then the slopes with the bound's exponent."""
    betas = levels(frame, "envelope", "beta")
    for beta in betas:
        for protocol in PAIR:
            horizons, regrets, _ = envelope(frame, protocol, beta)
            worst = regrets.mean(axis=0).argmax(axis=0)
            for index, horizon in enumerate(horizons):
                value = estimate(pd.Series(regrets[:, worst[index], index]))
                yield f"β = {beta:g}", NAMES[protocol], horizon, *value
    for beta in betas:
        for protocol in PAIR:
            yield SLOPES, NAMES[protocol], beta, *estimate(jackknife(frame, protocol, beta))
        yield SLOPES, BOUND, beta, *exact(rate(beta))


def on_random_bandits(frame: pd.DataFrame) -> Iterator[Point]:
    """R_T on random bandits, over K at the middle β and over 1/β at five arms."""
    for kind, name in PRIORS.items():
        many = frame[(frame["sweep"] == kind) & (frame["arms"] != 5)]
        middle = float(many["beta"].iloc[0])  # the β at which the number of arms varies
        for protocol in PAIR:
            for arms in levels(frame, kind, "arms"):
                value = estimate(regret(frame, kind, protocol, beta=middle, arms=arms))
                yield f"{name}, β = {middle:g}", NAMES[protocol], arms, *value
            for beta in levels(frame, kind, "beta"):
                value = estimate(regret(frame, kind, protocol, beta=beta, arms=5))
                yield f"{name}, K = 5", NAMES[protocol], 1 / beta, *value


def learned_policies(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret of the learned policies over rounds."""
    return stacked(
        curve(
            rows(frame, "lm", "regret", protocol=protocol, instance=instance, policy=policy),
            panel=f"{instance.capitalize()}, {POLICIES[policy]}",
            arm=NAMES[protocol],
        )
        for policy in POLICIES
        for instance in LM_INSTANCES
        for protocol in LM_PROTOCOLS
    )


def level_ticks(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Ticks at the levels that were run."""
    for name, axis in axes.items():
        ticks = sorted(data.loc[data["panel"] == name, "step"].unique())
        axis.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel("arms K" if "β" in name else "1/β")


def pair_axes(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """What each panel counts."""
    for axis, name in zip(axes.values(), ("share of rounds so far", "Fisher information"), strict=True):
        axis.set_ylabel(name)


def every_dot(x: str, text: str) -> Callable[[pd.DataFrame, Mapping[str, float]], Plot]:
    """Every seed as a dot and the median as a line, one panel per protocol, logarithmic."""

    def draw(data: pd.DataFrame, _reported: Mapping[str, float]) -> Plot:
        names = list(dict.fromkeys(data["panel"]))
        figure, axes = panels(4, -(-len(names) // 4), width=2.6, height=2.4)
        ticks = sorted(data["step"].unique())
        spread = 0.24 * (max(ticks) - min(ticks)) / max(len(ticks) - 1, 1)
        for axis, name in zip(axes, names, strict=False):
            part = data[data["panel"] == name]
            shift = part.groupby("step").cumcount() / part.groupby("step")["seed"].transform("size") - 0.5
            dots = part["step"] + spread * shift  # side by side, so that seeds of one level can be counted
            axis.scatter(dots, part["value"], s=8, alpha=0.5, color=COLOURS[name], lw=0)
            middle = part.drop_duplicates("step").sort_values("step")
            axis.plot(middle["step"], middle["median"], color=COLOURS[name], lw=1.6)
            axis.set(yscale="log", ylim=(0.7 * data["value"].min(), 1.4 * data["value"].max()))
            axis.minorticks_off()  # a hundred ticks that nobody reads are most of the drawing time
            label(axis, name, x=x, y="R_T")
        caption(figure, f"{text}; n = {data['seed'].nunique()} seeds, one dot each; line: median")
        return figure

    return draw


LOOK: dict[str, Any] = {"width": 3.3, "height": 2.6, "fixed": COLOURS}
OVER_ROUNDS = LOOK | {"x": "round", "y": "cumulative regret"}
WORST_GAP = LOOK | {
    "x": "horizon T",
    "y": "regret at the worst gap",
    "finish": lambda axes, *_: axes[SLOPES].set(yscale="linear", xlabel="β", ylabel="slope"),
}
OVER_LEVELS = LOOK | {"y": "R_T", "columns": 2, "finish": level_ticks}
FIGURES: dict[str, Figure] = {
    "fig_a": Figure(on_ce1, lines("CE1, two arms; alpha = 0.3 √T", log="y", **OVER_ROUNDS)),
    "fig_b": Figure(every_seed("ce1"), every_dot("1/β", "CE1, two arms; alpha = 0.3 √T")),
    "fig_c": Figure(every_seed("ce2"), every_dot("gap G", "CE2, three arms; β = 0.2; alpha = 0.3 √T")),
    "fig_d": Figure(
        twin(growth_and_slopes), lines("CE1 with gaps 0.05 to 0.8, R equal to the gap", log="xy", **WORST_GAP)
    ),
    "fig_e": Figure(twin(on_random_bandits), lines("r* ~ U[0, 1]; alpha = 0.3 √T", log="xy", **OVER_LEVELS)),
    "fig_f": Figure(
        learned_policies, lines("responses enumerated exactly; β = 0.2", columns=2, **OVER_ROUNDS)
    ),
    "fig_g": Figure(
        what_pairs_tell,
        lines("alpha = 0.3 √T", log="y", columns=2, finish=pair_axes, **OVER_ROUNDS | {"y": "so far"}),
    ),
}
