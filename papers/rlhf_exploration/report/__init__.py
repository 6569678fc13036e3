"""What the records of the exploration study show, by the ids of its card: CLAIMS, TABLES, FIGURES.

Where runs are bistable, a figure holds every seed and the median over seeds instead of a mean. The paper has
no figure of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from common.plotting.draw import lines
from common.plotting.style import GREY, HUES, caption, label, panels
from common.statistics import Interval
from common.study.frame import ESTIMATE, curve, estimate, exact, levels, long_table, rows, stacked
from common.study.report import Figure, Twin
from papers.rlhf_exploration.experiment import LM_INSTANCES, LM_PROTOCOLS, PAIR
from papers.rlhf_exploration.report.measures import (
    CLAIMS,
    NAMES,
    bound,
    envelope,
    growth,
    jackknife,
    regret,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "TABLES"]

Cell = tuple[str, str, Interval]
BOUND = "(β+1)/(β+2)"
COLOURS = {
    "proposed": HUES["blue"],
    "XPO-type": HUES["orange"],
    "VPO-type": HUES["green"],
    "SELM-type": HUES["vermilion"],
    "ablation A": HUES["purple"],
    "ablation B": HUES["brown"],
    "uniform partner": HUES["sky"],
    "passive online DPO": GREY,
    BOUND: (0.35, 0.35, 0.35),
}
MAIN = ("proposed", "xpo", "vpo", "ablation_a", "ablation_b")

# Tables


def hardest(frame: pd.DataFrame) -> pd.DataFrame:
    """Every protocol at the hardest setting of each instance: R_T, R_T / R_(T/2), the partner's R_T."""
    beta, gap = levels(frame, "ce1", "beta")[0], levels(frame, "ce2", "gap")[-1]
    settings: dict[str, tuple[str, dict[str, Any]]] = {
        "ce1": (f"CE1, β={beta:g}", {"beta": beta}),
        "ce2": (f"CE2, gap {gap:g}", {"gap": gap}),
    }

    def cells() -> Iterator[Cell]:
        for protocol, row in NAMES.items():
            for sweep, (column, labels) in settings.items():
                partner = regret(frame, sweep, protocol, "partner", **labels)
                yield row, f"{column}: R_T", estimate(regret(frame, sweep, protocol, **labels))
                yield row, f"{column}: R_T/R_(T/2)", estimate(growth(frame, sweep, protocol, **labels))
                yield row, f"{column}: R_T of the partner", estimate(partner)

    return long_table(cells())


def by_level(knob: str, column: str, sweeps: Mapping[str, str]) -> Twin:
    """R_T by level of a knob; a sweep's suffix marks the rows of a variant."""

    def cells(frame: pd.DataFrame) -> Iterator[Cell]:
        for sweep, suffix in sweeps.items():
            here = frame[frame["sweep"] == sweep]
            for protocol in (name for name in NAMES if (here["protocol"] == name).any()):
                for level in levels(frame, sweep, knob):
                    labels: dict[str, Any] = {knob: level}
                    value = estimate(regret(here, sweep, protocol, **labels))
                    yield NAMES[protocol] + suffix, column.format(level), value

    return lambda frame: long_table(cells(frame))


def exponents(frame: pd.DataFrame) -> pd.DataFrame:
    """Slope by β and protocol, with the bound's exponent."""

    def cells() -> Iterator[Cell]:
        for beta in levels(frame, "envelope", "beta"):
            yield f"β={beta:g}", "bound", exact(bound(beta))
            for protocol in PAIR:
                yield f"β={beta:g}", NAMES[protocol], estimate(jackknife(frame, protocol, beta))

    return long_table(cells())


def controls(frame: pd.DataFrame) -> pd.DataFrame:
    """Coin labels and no bonus: regret, growth, gain over π_ref, and how far the bonus still pulls."""

    def cells() -> Iterator[Cell]:
        arms: list[tuple[str, str, str, dict[str, str]]]
        arms = [(f"coin labels: {NAMES[p]}", "coin", p, {}) for p in NAMES]
        arms += [
            (f"no bonus, {instance.upper()}: {NAMES[p]}", "alpha0", p, {"instance": instance})
            for instance in ("ce1", "ce2")
            for p in ("proposed", "ablation_a", "ablation_b", "xpo")
        ]
        for row, sweep, protocol, labels in arms:
            yield row, "R_T", estimate(regret(frame, sweep, protocol, **labels))
            yield row, "R_T/R_(T/2)", estimate(growth(frame, sweep, protocol, **labels))
            yield row, "J - J(π_ref), second half", estimate(regret(frame, sweep, protocol, "gain", **labels))
            residual = regret(frame, sweep, protocol, "residual", **labels)
            yield row, "|π_t - π_cal|, last tenth", estimate(residual)

    return long_table(cells())


def closed_forms(frame: pd.DataFrame) -> pd.DataFrame:
    """Enumeration, closed form and leading term of derivations 1 and 2."""
    analyses = {
        "horizons": ("beta", "rounds until a mixed pair, β={:g}", "waiting"),
        "comparisons": ("gap", "direct over indirect information, gap {:g}", "ratio"),
    }

    def cells() -> Iterator[Cell]:
        for analysis, (knob, row, measured) in analyses.items():
            names = (knob, measured, "closed", "leading")
            columns = [rows(frame, "theory", name, analysis=analysis)["value"] for name in names]
            for level, *numbers in zip(*columns, strict=True):
                for column, value in zip(("enumerated", "closed form", "leading term"), numbers, strict=True):
                    yield row.format(level), column, exact(value)

    return long_table(cells())


TABLES: dict[str, Twin] = {
    "table_a": hardest,
    "ce1_regret": by_level("beta", "β={:g}", {"ce1": "", "ce1_constant": ", constant alpha"}),
    "ce2_regret": by_level("gap", "gap {:g}", {"ce2": "", "ce2_wide": ", mass 0.01"}),
    "exponents": exponents,
    "controls": controls,
    "closed_forms": closed_forms,
}

# Figures

SLOPES = "Slope against β"
POLICIES = {"model": "transformer", "table": "table of logits"}
PRIORS = {"random": "Broad π_ref", "hard_prior": "π_ref on the worst arm"}


def over_rounds(
    frame: pd.DataFrame, sweep: str, name: str, protocol: str, panel: str, **labels: Any
) -> pd.DataFrame:
    """A series of a bandit run at its rounds."""
    part = curve(rows(frame, sweep, name, protocol=protocol, **labels), panel=panel, arm=NAMES[protocol])
    return part.assign(
        step=part["step"].astype(float) * levels(frame, sweep, "horizon")[0] / part["step"].max()
    )


def on_ce1(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret on CE1 at every β."""
    return stacked(
        over_rounds(frame, "ce1", "regret", protocol, f"β = {beta:g}", beta=beta)
        for beta in reversed(levels(frame, "ce1", "beta"))
        for protocol in MAIN
    )


def every_seed(sweep: str, knob: str) -> Twin:
    """R_T by 1/β or gap, every seed, with the median."""

    def parts(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
        for protocol, arm in NAMES.items():
            for level in levels(frame, sweep, knob):
                labels: dict[str, Any] = {knob: level}
                part = regret(frame, sweep, protocol, **labels).reset_index()
                step = 1 / level if knob == "beta" else level
                yield part.assign(panel=arm, step=step, median=part["value"].median())

    return lambda frame: stacked(parts(frame))[["panel", "step", "seed", "value", "median"]]


def growth_and_slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Regret at the worst gap by horizon, then the slopes with the bound's exponent."""

    def cells() -> Iterator[tuple[object, ...]]:
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
            yield SLOPES, BOUND, beta, *exact(bound(beta))

    return pd.DataFrame(cells(), columns=["panel", "arm", "step", *ESTIMATE])


def on_random_bandits(frame: pd.DataFrame) -> pd.DataFrame:
    """R_T on random bandits, over K at the middle β and over 1/β at five arms."""

    def cells() -> Iterator[tuple[object, ...]]:
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

    return pd.DataFrame(cells(), columns=["panel", "arm", "step", *ESTIMATE])


def learned_policies(frame: pd.DataFrame) -> pd.DataFrame:
    """Cumulative regret of the learned policies over rounds."""
    runs = frame.loc[frame["sweep"] == "lm", ["instance", "policy"]].drop_duplicates()
    present = set(runs.itertuples(index=False, name=None))
    return stacked(
        curve(
            rows(frame, "lm", "regret", protocol=protocol, instance=instance, policy=policy),
            panel=f"{instance.capitalize()}, {POLICIES[policy]}",
            arm=NAMES[protocol],
        )
        for policy in POLICIES
        for instance in LM_INSTANCES
        for protocol in LM_PROTOCOLS
        if (instance, policy) in present
    )


def what_pairs_tell(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of mixed pairs at the smallest β of CE1; information at the largest gap of CE2."""
    beta, gap = levels(frame, "ce1", "beta")[0], levels(frame, "ce2", "gap")[-1]
    shown = [("ce1", "mixed", f"Mixed pairs, CE1, β = {beta:g}", {"beta": beta})]
    shown += [("ce2", "information", f"Information, CE2, gap {gap:g}", {"gap": gap})]
    parts = [
        over_rounds(frame, sweep, name, protocol, panel, **labels)
        for sweep, name, panel, labels in shown
        for protocol in MAIN
    ]
    return stacked(parts).query("step > 0").reset_index(drop=True)


def slope_axis(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """The last panel is linear in the slope."""
    axes[SLOPES].set(yscale="linear", xlabel="β", ylabel="slope")


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
        limits = 0.7 * data["value"].min(), 1.4 * data["value"].max()
        ticks = sorted(data["step"].unique())
        spread = 0.24 * (max(ticks) - min(ticks)) / max(len(ticks) - 1, 1)
        for axis, name in zip(axes, names, strict=False):
            part = data[data["panel"] == name]
            shift = part.groupby("step").cumcount() / part.groupby("step")["seed"].transform("size") - 0.5
            dots = part["step"] + spread * shift  # side by side, so that seeds of one level can be counted
            axis.scatter(dots, part["value"], s=8, alpha=0.5, color=COLOURS[name], lw=0)
            middle = part.drop_duplicates("step").sort_values("step")
            axis.plot(middle["step"], middle["median"], color=COLOURS[name], lw=1.6)
            axis.set(yscale="log", ylim=limits)
            axis.minorticks_off()  # a hundred ticks that nobody reads are most of the drawing time
            label(axis, name, x=x, y="R_T")
        caption(figure, f"{text}; n = {data['seed'].nunique()} seeds, one dot each; line: median")
        return figure

    return draw


LOGGED: dict[str, Any] = {
    "x": "round",
    "y": "cumulative regret",
    "width": 3.3,
    "height": 2.6,
    "fixed": COLOURS,
}
FIGURES: dict[str, Figure] = {
    "fig_a": Figure(on_ce1, lines("CE1, two arms; alpha = 0.3 √T", log="y", **LOGGED)),
    "fig_b": Figure(every_seed("ce1", "beta"), every_dot("1/β", "CE1, two arms; alpha = 0.3 √T")),
    "fig_c": Figure(every_seed("ce2", "gap"), every_dot("gap G", "CE2, three arms; β = 0.2; alpha = 0.3 √T")),
    "fig_d": Figure(
        growth_and_slopes,
        lines(
            "CE1 with gaps 0.05 to 0.8, R equal to the gap",
            log="xy",
            finish=slope_axis,
            **LOGGED | {"x": "horizon T", "y": "regret at the worst gap"},
        ),
    ),
    "fig_e": Figure(
        on_random_bandits,
        lines(
            "r* ~ U[0, 1]; alpha = 0.3 √T", log="xy", columns=2, finish=level_ticks, **LOGGED | {"y": "R_T"}
        ),
    ),
    "fig_f": Figure(learned_policies, lines("responses enumerated exactly; β = 0.2", columns=2, **LOGGED)),
    "fig_g": Figure(
        what_pairs_tell,
        lines("alpha = 0.3 √T", log="y", columns=2, finish=pair_axes, **LOGGED | {"y": "so far"}),
    ),
}
