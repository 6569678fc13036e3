"""What FastGRPO's records show, by the ids of the card: CLAIMS, TABLES, FIGURES."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import Finish, dots, lines, ranking
from common.plotting.style import GREY, HUES, REFERENCE
from common.statistics import Interval
from common.study.frame import curve, estimate, exact, levels, long_table, over, point, stacked
from common.study.report import Figure, Twin
from papers.fastgrpo.experiment import PROFILES, VARIANTS, Config
from papers.fastgrpo.report import measures as m
from papers.fastgrpo.report.measures import CLAIMS, DRAFTS, LOOPS, NAMES, PARTS, STATIC, TREES

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "TABLES"]

Cell = tuple[str, str, Interval]
COLOURS = {
    "FastGRPO": HUES["purple"],
    "vanilla": GREY,
    "early termination": HUES["sky"],
    "rule": HUES["purple"],
    **dict(zip(PARTS, (HUES["blue"], HUES["orange"], HUES["green"], HUES["brown"]), strict=True)),
    DRAFTS["online"]: HUES["purple"],
    DRAFTS["frozen"]: GREY,
    DRAFTS["scratch"]: HUES["orange"],
    DRAFTS["used"]: HUES["green"],
    DRAFTS["shuffled"]: HUES["vermilion"],
    DRAFTS["generic"]: HUES["blue"],
    DRAFTS["generic_frozen"]: HUES["brown"],
}

# Tables

ROWS = (1, 2, 4, 8, 16, 32, 64)
SCHEDULES = {
    "alpha_0.5": "rule, alpha = 0.5",
    "alpha_0.75": "rule, alpha = 0.75 (paper)",
    "alpha_1": "rule, alpha = 1",
    "alpha_1.5": "rule, alpha = 1.5",
    "floor": "rule, at least 3 levels (code)",
    "static": "best static tree",
    "plain": "plain decoding",
}
COMPARED = ("et", "eagle2", "hass", "eagle3", "fast")
ABLATIONS = ("fast", "frozen", *STATIC, "et")


def speedups(arms: Sequence[str]) -> Twin:
    """Speed-ups over vanilla decoding and over early termination, and acceptance length."""

    def cells(frame: pd.DataFrame) -> Iterator[Cell]:
        for arm in arms:
            yield NAMES[arm], "Gen SR", estimate(m.gen_speedup(frame, arm))
            yield NAMES[arm], "E2E SR", estimate(m.e2e_speedup(frame, arm))
            yield NAMES[arm], "Gen SR over ET", estimate(m.gen_speedup(frame, arm, base="et"))
            yield NAMES[arm], "E2E SR over ET", estimate(m.e2e_speedup(frame, arm, base="et"))
            yield NAMES[arm], "acceptance length", estimate(m.replayed(frame, "tau", arm))

    return lambda frame: long_table(cells(frame))


def by_objective(frame: pd.DataFrame) -> pd.DataFrame:
    """Gain in generation by objective, over both baselines."""

    def cells() -> Iterator[Cell]:
        for variant in ("grpo", *VARIANTS):
            for base, column in {"vanilla": "over vanilla", "et": "over early termination"}.items():
                yield variant.upper(), column, estimate(m.gen_speedup(frame, "fast", base, variant))
            yield variant.upper(), "acceptance length", estimate(m.replayed(frame, "tau", "fast", variant))

    return long_table(cells())


def parts(frame: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each part of an iteration in the real loops, and end-to-end ratios."""

    def cells() -> Iterator[Cell]:
        for arm, name in LOOPS.items():
            for part in PARTS:
                if part != "learn" or arm == "fast":
                    yield name, f"{part} (s)", estimate(m.common(frame, part, arm))
            yield name, "iteration (s)", estimate(m.common(frame, "wall", arm))
            yield name, "generation (%)", estimate(100 * m.generation_share(frame, arm))
            yield name, "E2E over vanilla", estimate(m.loop_speedup(frame, arm, "vanilla"))
            yield name, "E2E over early termination", estimate(m.loop_speedup(frame, arm, "et"))

    return long_table(cells())


def hyperparameters(_frame: pd.DataFrame) -> pd.DataFrame:
    """The values of the laptop profile."""
    config = Config().changed(PROFILES["laptop"])
    fields = {
        "prompts per step": "loop.prompts",
        "samples per prompt": "loop.group_size",
        "max response length": "loop.max_response",
        "learning rate": "loop.learning_rate",
        "beta": "loop.kl_coefficient",
        "clip range": "loop.epsilon",
        "top-p": "loop.top_p",
        "draft learning rate": "loop.draft_learning_rate",
        "capacity": "schedule.c_peak",
        "K max": "schedule.k_max",
        "L max": "schedule.l_max",
        "alpha": "schedule.alpha",
    }
    return long_table((name, "value", exact(config.value(field))) for name, field in fields.items())


TABLES: dict[str, Twin] = {
    "table1": speedups(COMPARED),
    "table2": lambda f: long_table(
        (name, column, estimate(value))
        for draft, name in DRAFTS.items()
        for column, value in zip(("start", "end"), m.ends(m.acceptance(f, draft)), strict=True)
    ),
    "table3": speedups(ABLATIONS),
    "table4": by_objective,
    "parts": parts,
    "accuracy": lambda f: long_table(
        (LOOPS[arm], column, estimate(m.heldout(f, name, arm)))
        for arm in ("et", "fast")
        for name, column in {"accuracy": "accuracy", "verbose": "verbose", "length": "tokens"}.items()
    ),
    "schedule": lambda f: long_table(
        (f"{count} row{'s' * (count > 1)}", column, estimate(m.profiled(f, f"oracle/{name}", rows=count)))
        for count in ROWS
        for column, name in {"N": "tokens", "K": "top_k", "L": "depth"}.items()
    ),
    "regret": lambda f: long_table(
        (name, "regret (%)", estimate(100 * m.profiled(f, "regret", schedule=key)))
        for key, name in SCHEDULES.items()
    ),
    "hyperparameters": hyperparameters,
}

# Figures

PASS_ROWS = (1, 8, 64)
REPLAYED = (
    *("et", "eagle2", "hass", "eagle3", *STATIC, "frozen", "fast", "floor"),
    *("random", "peak_high", "peak_low"),
)
KNEE = PROFILES["laptop"]["schedule.c_peak"]
PANELS = {
    "Pre-trained on the policy's traces": ("online", "frozen", "shuffled"),
    "Pre-trained on other traces": ("generic", "generic_frozen"),
}


def shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of each part in an iteration, by loop, in percent."""
    return stacked(
        point(100 * m.total(frame, part, arm) / m.total(frame, "wall", arm), panel=name, arm=part)
        for arm, name in LOOPS.items()
        for part in PARTS
        if part != "learn" or arm == "fast"
    )


def lengths(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean and longest response over iterations: what makes the batch shrink."""
    return stacked(
        curve(m.loop(frame, name, arm, warm=False), panel=LOOPS[arm], arm=title)
        for arm in ("et", "fast")
        for name, title in {"length": "mean response", "longest": "longest response"}.items()
    )


def rewards(frame: pd.DataFrame) -> pd.DataFrame:
    """Reward and response length over iterations."""
    return stacked(
        curve(m.loop(frame, name, arm, warm=False), panel=title, arm=LOOPS[arm])
        for name, title in {"reward": "Reward", "length": "Mean response (tokens)"}.items()
        for arm in ("et", "fast")
    )


def static_speeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens per second over plain decoding by rows, static trees and the rule."""
    names = {**{size: f"N = {size}" for size in TREES}, "rule": "rule"}
    return stacked(
        point(m.static_speed(frame, batch, name), panel="Speed over plain decoding", arm=title, step=batch)
        for name, title in names.items()
        for batch in levels(frame, "static", "rows")
    )


def acceptances(frame: pd.DataFrame) -> pd.DataFrame:
    """Acceptance of the online, the frozen and the shuffled draft, and of a frozen one on a still policy.

    Beside it, drafts pre-trained on other traces.
    """
    arms = [
        curve(m.acceptance(frame, draft), panel=panel, arm=DRAFTS[draft])
        for panel, drafts in PANELS.items()
        for draft in drafts
    ]
    return stacked([*arms, curve(m.still(frame), panel=next(iter(PANELS)), arm="frozen, still policy")])


def pre_training(frame: pd.DataFrame) -> pd.DataFrame:
    """Acceptance with and without pre-training, and from used rollouts only."""
    return stacked(
        curve(m.acceptance(frame, draft), panel="Acceptance length", arm=DRAFTS[draft])
        for draft in ("online", "scratch", "used")
    )


def passes(frame: pd.DataFrame) -> pd.DataFrame:
    """Throughput of one-token passes by rows; time of a pass by its tokens over a one-token pass."""
    throughput = over(frame, "rows", "profile", "throughput")
    thousands = throughput.assign(value=throughput["value"] / 1000)
    parts = [curve(thousands, panel="Throughput", arm="one token a row")]
    for count in PASS_ROWS:
        seconds = over(frame, "tokens", "profile", "seconds", rows=count)
        single = seconds["seed"].map(m.profiled(frame, "seconds", rows=count, tokens=1))
        cost = seconds.assign(value=seconds["value"] / single)
        parts.append(curve(cost, panel="Cost of a pass", arm=f"{count} row{'s' * (count > 1)}"))
    return stacked(parts)


def depths(frame: pd.DataFrame) -> pd.DataFrame:
    """Predicted gain over plain decoding by rows and depth of the target, the rule's and the best tree's."""
    return stacked(
        curve(over(frame, "rows", "profile", name, layers=layers), panel=panel, arm=f"{layers:g} layers")
        for name, panel in {"gain": "Rule", "best": "Best tree"}.items()
        for layers in levels(frame, "profile", "layers")
    )


def every_arm(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up of generation of every arm over both baselines."""
    return stacked(
        point(m.gen_speedup(frame, arm, base), panel=f"over {NAMES[base]}", arm=NAMES[arm])
        for base in ("vanilla", "et")
        for arm in REPLAYED
        if arm != base
    )


def limits(bottom: float, top: float | None = None) -> Finish:
    """Ends of the vertical axes."""

    def finish(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
        for axis in axes.values():
            axis.set_ylim(bottom, top)

    return finish


def powers_of_two(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Rows that were measured, doubling."""
    for name, axis in axes.items():
        steps = sorted(set(data.loc[data["panel"] == name, "step"]))
        axis.set_xscale("log", base=2)
        axis.set_xticks(steps, [f"{step:g}" for step in steps])


def roofline(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Throughput with the knee that is used, and cost with the line of proportional cost."""
    speed, cost = axes.values()
    for axis in (speed, cost):
        axis.set_xscale("log", base=2)
    speed.set(title="Throughput", xlabel="rows", ylabel="thousand tokens per second")
    speed.axvline(KNEE, ls="--", label="C_peak used", **REFERENCE)
    sizes = sorted(set(data.loc[data["panel"] == "Cost of a pass", "step"]))
    cost.set_yscale("log", base=2)
    cost.set(title="Cost of a pass", xlabel="tokens a row", ylabel="time, one token a row = 1")
    cost.plot(sizes, sizes, ls=":", label="proportional", **REFERENCE)


def no_gain(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Where an arm is as fast as its baseline."""
    for axis in axes.values():
        axis.axvline(1.0, **REFERENCE)
        axis.set_ylabel("")


LADDER = "sixteen narrow layers on the ladder task, one CPU thread"
LENGTH_OF_TREES = f"{LADDER}; trees of 16 tokens on the run's own rollouts"
EXPECTED: dict[str, Any] = {
    "x": "measurement",
    "y": "expected tokens per cycle",
    "width": 4.0,
    "fixed": COLOURS,
}
SPEED: dict[str, Any] = {
    "x": "running rows",
    "y": "tokens per second, plain = 1",
    "level": 1.0,
    "finish": powers_of_two,
}

FIGURES: dict[str, Figure] = {
    "fig1": Figure(
        shares,
        dots(
            f"{LADDER}; paper: 91 to 98% generation",
            y="share of an iteration (%)",
            width=2.7,
            fixed=COLOURS,
            finish=limits(0, 100),
        ),
    ),
    "fig2": Figure(lengths, lines(LADDER, y="tokens", width=4.0, finish=limits(0))),
    "fig3": Figure(
        static_speeds,
        lines(f"{LADDER}; all rows of equal length, frozen draft", fixed=COLOURS, **SPEED),
    ),
    "fig4": Figure(acceptances, lines(LENGTH_OF_TREES, **EXPECTED)),
    "fig5": Figure(pre_training, lines(LENGTH_OF_TREES, **EXPECTED)),
    "fig6": Figure(passes, lines(LADDER, width=4.0, finish=roofline)),
    "depth": Figure(
        depths,
        lines("measured passes, drafts and acceptance, combined; one CPU thread", width=4.0, **SPEED),
    ),
    "arms": Figure(
        every_arm,
        ranking(
            f"{LADDER}; replay after training",
            rows="arm",
            kind="arm",
            x="speed-up of generation",
            width=4.4,
            height=4.2,
            fixed={"FastGRPO": COLOURS["FastGRPO"]},
            finish=no_gain,
        ),
    ),
    "rewards": Figure(rewards, lines(LADDER, width=4.0, fixed=COLOURS)),
}
