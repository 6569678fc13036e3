"""What the records of the exploration study show, by the ids of its card: PREMISES, CLAIMS, TABLES, FIGURES.

Where runs are bistable, a figure holds every seed and the median instead of a mean. The paper has no
figure of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from common.plotting.draw import lines
from common.plotting.style import caption, label, panels
from common.statistics import Interval
from common.study.frame import ESTIMATE, curve, estimate, exact, levels, long_table, rows, stacked
from common.study.report import Figure, Twin
from papers.rlhf_exploration.experiment import LM_PROTOCOLS, MANY_PROTOCOLS, PAIR
from papers.rlhf_exploration.method import rate
from papers.rlhf_exploration.report.measures import (
    ARMS,
    CLAIMS,
    KNOBS,
    NAMES,
    PAIRS,
    PREMISES,
    at,
    by_hardness,
    envelope,
    growth,
    jackknife,
    log_ratio,
    regret,
    theory,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "NAMES", "PREMISES", "TABLES"]

BOUND = "(β+1)/(β+2)"
COLOURS = {**dict(ARMS.values()), **dict(PAIRS.values()), BOUND: (0.35, 0.35, 0.35)}
MAIN = ("proposed", "xpo", "vpo", "ablation_a", "ablation_b")

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
LOG2 = math.log(2)
POLICIES = {"model": "transformer", "table": "table of logits"}
LEARNERS = (("rare", "model"), ("pattern", "model"), ("pattern", "table"))
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
    """Cumulative regret on CE1 at the smallest, a middle and the largest β."""
    betas = levels(frame, "ce1", "beta")
    return stacked(
        part
        for beta in sorted({betas[-1], betas[len(betas) // 2], betas[0]})
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
    """R_T by 1/β or gap, every seed, with the median; on CE1 a uniform partner is π_ref, XPO-type's."""

    def parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for protocol, arm in NAMES.items():
            if (sweep, protocol) == ("ce1", "uniform"):
                continue
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
    """log2 of R_T over the proposal's on random bandits, over K at the middle β and over 1/β at five arms."""
    for kind, name in PRIORS.items():
        many = frame[(frame["sweep"] == kind) & (frame["arms"] != 5)]
        middle = float(many["beta"].iloc[0])  # the β at which the number of arms varies
        for protocol in ("vpo", "xpo"):
            for arms in levels(frame, kind, "arms"):
                value = log_ratio(frame, kind, protocol, beta=middle, arms=arms) / LOG2
                yield f"{name}, β = {middle:g}", NAMES[protocol], arms, *estimate(value)
            for beta in levels(frame, kind, "beta") if kind == "random" else ():
                value = log_ratio(frame, kind, protocol, beta=beta, arms=5) / LOG2
                yield f"{name}, K = 5", NAMES[protocol], 1 / beta, *estimate(value)


def among_many(frame: pd.DataFrame) -> Iterator[Point]:
    """R_T by the number of arms, two of which are good."""
    names = NAMES | {name: arm for name, (arm, _) in PAIRS.items()}
    for protocol in MANY_PROTOCOLS:
        for arms in levels(frame, "many", "arms"):
            value = estimate(regret(frame, "many", protocol, arms=arms))
            yield "Two good arms", names[protocol], arms, *value


def learned_policies(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret of the learned policies minus the proposal's, over rounds."""

    def so_far(protocol: str, instance: str, policy: str) -> pd.DataFrame:
        part = rows(frame, "lm", "regret", protocol=protocol, instance=instance, policy=policy)
        return part.set_index(["seed", "step"])

    return stacked(
        curve(
            (so_far(protocol, *panel) - so_far("proposed", *panel)).reset_index(),
            panel=f"{panel[0].capitalize()}, {POLICIES[panel[1]]}",
            arm=NAMES[protocol],
        )
        for panel in LEARNERS
        for protocol in LM_PROTOCOLS
        if protocol != "proposed"
    )


def level_ticks(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Ticks at the levels that were run."""
    for name, axis in axes.items():
        ticks = sorted(data.loc[data["panel"] == name, "step"].unique())
        axis.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axis.minorticks_off()
        axis.set_xlabel("1/β" if "K = " in name else "arms K")


def whole_bands(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Differences may lie on both sides of 0, also where no mean does."""
    for name, axis in axes.items():
        axis.set_ylim(min(axis.get_ylim()[0], data.loc[data["panel"] == name, "low"].min()))


def ratio_axes(axes: Mapping[str, Axes], data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """Both of the above."""
    level_ticks(axes, data, reported)
    whole_bands(axes, data, reported)


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
        for axis in axes[len(names) :]:
            axis.remove()
        for axis, name in zip(axes, names, strict=False):
            part = data[data["panel"] == name]
            shift = part.groupby("step").cumcount() / part.groupby("step")["seed"].transform("size") - 0.5
            dots = part["step"] + spread * shift  # side by side, so that seeds of one level can be counted
            axis.scatter(dots, part["value"], s=8, alpha=0.5, color=COLOURS[name], lw=0)
            middle = part.drop_duplicates("step").sort_values("step")
            axis.plot(middle["step"], middle["median"], color=COLOURS[name], lw=1.6)
            axis.set(yscale="log", ylim=(0.7 * data["value"].min(), 1.4 * data["value"].max()))
            axis.minorticks_off()  # a hundred ticks that nobody reads are most of the drawing time
            label(axis, name, x=x, y="regret after T rounds")
        caption(figure, f"{text}; n = {data['seed'].nunique()} seeds, one dot each; line: median")
        return figure

    return draw


def with_hardness(data: pd.DataFrame) -> str:
    """Median regret from the easiest to the hardest level."""
    medians = data.sort_values("step").groupby("panel")["median"]
    told = ", ".join(
        f"{arm} {medians.first()[arm]:,.0f} → {medians.last()[arm]:,.0f}"
        for arm in ("proposed", "XPO-type", "VPO-type")
    )
    return f"Median regret from the easiest to the hardest level: {told}."


def informed(data: pd.DataFrame) -> str:
    """Both panels at their end: the proposal beside the protocol that the instance was built against."""
    ends = data.sort_values("step").groupby(["panel", "arm"])["mean"].last()
    mixed, information = dict.fromkeys(data["panel"])
    return (
        f"Rounds with two different arms on CE1: proposed {ends[mixed, 'proposed']:.1%}, VPO-type "
        f"{ends[mixed, 'VPO-type']:.1%}. Information on CE2: proposed {ends[information, 'proposed']:.1f}, "
        f"XPO-type {ends[information, 'XPO-type']:.1f}."
    )


def beside(data: pd.DataFrame) -> str:
    """How often a rival's regret lies above, and below, the proposal's by its interval, at the last step."""
    ends = data.sort_values("step").groupby(["panel", "arm"], sort=False).last()
    told = ", ".join(
        f"{arm} above it in {(part['low'] > 0).sum()} and below it in {(part['high'] < 0).sum()}"
        for arm, part in ends.groupby("arm", sort=False)
    )
    panels = data["panel"].nunique()
    return f"Against the proposal's regret, by intervals at the right end of {panels} panels: {told}."


LOOK: dict[str, Any] = {"width": 3.3, "height": 2.6, "fixed": COLOURS}
OVER_ROUNDS = LOOK | {"x": "round", "y": "cumulative regret"}
WORST_GAP = LOOK | {
    "x": "horizon T",
    "y": "regret at the worst gap",
    "finish": lambda axes, *_: axes[SLOPES].set(yscale="linear", xlabel="β", ylabel="slope"),
}
OVER_LEVELS = LOOK | {"y": "log2 (regret / proposal's)", "level": 0, "finish": ratio_axes}
BEYOND = LOOK | {"x": "round", "y": "extra regret", "level": 0, "finish": whole_bands}
OVER_ARMS = LOOK | {
    "width": 5.0,
    "height": 3.0,
    "y": "regret after T rounds",
    "log": "xy",
    "finish": level_ticks,
}
FIGURES: dict[str, Figure] = {
    "fig_a": Figure(on_ce1, lines("CE1, two arms; alpha = 0.3 √T", log="y", **OVER_ROUNDS)),
    "fig_b": Figure(every_seed("ce1"), every_dot("1/β", "CE1, two arms; alpha = 0.3 √T"), with_hardness),
    "fig_c": Figure(
        every_seed("ce2"), every_dot("gap G", "CE2, three arms; β = 0.2; alpha = 0.3 √T"), with_hardness
    ),
    "fig_d": Figure(
        twin(growth_and_slopes),
        lines("CE1 with gaps 0.05 to 0.8, R equal to the gap", log="xy", **WORST_GAP),
    ),
    "fig_e": Figure(
        twin(on_random_bandits),
        lines("r* ~ U[0, 1]; alpha = 0.3 √T; paired by seed", log="x", **OVER_LEVELS),
        beside,
    ),
    "fig_f": Figure(
        learned_policies,
        lines("regret beyond the proposal's, paired by seed; responses enumerated; β = 0.2", **BEYOND),
        beside,
    ),
    "fig_g": Figure(
        what_pairs_tell,
        lines("alpha = 0.3 √T", log="y", columns=2, finish=pair_axes, **OVER_ROUNDS | {"y": "so far"}),
        informed,
    ),
    "fig_h": Figure(
        twin(among_many),
        lines("rewards 8 and 7, all others 0; β = 0.2; alpha = 0.3 √T", **OVER_ARMS),
    ),
}
