"""What FastGRPO's records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes

from common.plotting.draw import dots, lines, ranking
from common.plotting.point import listed
from common.plotting.style import GREY, HUES, REFERENCE, shades
from common.statistics import Interval
from common.study.frame import curve, estimate, levels, long_table, over, point, stacked
from common.study.report import Figure, Twin
from papers.fastgrpo.experiment import PROFILES, VARIANTS
from papers.fastgrpo.report import measures as m
from papers.fastgrpo.report.measures import CLAIMS, DRAFTS, LOOPS, NAMES, PARTS, PREMISES, STATIC, TREES

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "PREMISES", "TABLES"]

Cell = tuple[str, str, Interval]
PREDICTED, STILL = "rule, as the cost model predicts", "frozen, still policy"
COLOURS = {
    "FastGRPO": HUES["purple"],
    "vanilla": GREY,
    "early termination": HUES["sky"],
    "rule": HUES["purple"],
    PREDICTED: HUES["orange"],
    **shades(f"N = {size}" for size in TREES),
    **shades(["1 row", "8 rows", "64 rows"]),
    "one token a row": HUES["blue"],
    STILL: HUES["yellow"],
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
            yield name, "iteration (s)", estimate(m.common(frame, "iteration", arm))
            yield name, "generation (%)", estimate(100 * m.generation_share(frame, arm))
            yield name, "E2E over vanilla", estimate(m.loop_speedup(frame, arm, "vanilla"))
            yield name, "E2E over early termination", estimate(m.loop_speedup(frame, arm, "et"))

    return long_table(cells())


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
}

# Figures

KNEE, EVERY = (PROFILES["laptop"][name] for name in ("schedule.c_peak", "loop.every"))
SLOWER = 1.2  # a pass at the knee, over that of one row
ACCEPTED, LONGER = "Acceptance length", "Longer than the frozen draft's, paired"
THROUGHPUT, PASS = "Thousand tokens per second", "Time, one row = 1"
COST = "Time, one token a row = 1"
REWARD, FASTER = "Reward, means of ten iterations", "Early termination's time over FastGRPO's, paired"


def speed_ups(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-ups of training (real loops) and of generation (replay), over both baselines."""
    measures = {"training, end to end": m.loop_speedup, "generation": m.gen_speedup}
    return stacked(
        point(measure(frame, arm, base), panel=panel, group=f"over {LOOPS[base]}", arm=LOOPS[arm])
        for panel, measure in measures.items()
        for arm, base in (("et", "vanilla"), ("fast", "vanilla"), ("fast", "et"))
    )


def long_loops(frame: pd.DataFrame) -> pd.DataFrame:
    """The speed-up of the long loops up to an iteration, paired, and their rewards."""
    rewards = {
        name: m.tenths(m.long_loop(frame, "reward", arm)) for arm, name in LOOPS.items() if arm != "vanilla"
    }
    parts = [curve(part, panel=REWARD, arm=name) for name, part in rewards.items()]
    return stacked([curve(m.long_course(frame), panel=FASTER, arm=LOOPS["fast"]), *parts])


def shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of each part in an iteration, by loop, in percent."""
    return stacked(
        point(
            100 * m.total(frame, part, arm) / m.total(frame, "iteration", arm),
            panel="Share of an iteration (%)",
            group=part,
            arm=name,
        )
        for part in PARTS
        for arm, name in LOOPS.items()
        if part != "learn" or arm == "fast"
    )


def static_speeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens per second over plain decoding by rows: static trees, the rule, and what is predicted for it."""
    names = {size: f"N = {size}" for size in TREES} | {"rule": "rule"}
    batches = levels(frame, "static", "rows")
    speeds = {(name, n): m.static_speed(frame, n, key) for key, name in names.items() for n in batches}
    speeds |= {(PREDICTED, n): m.profiled(frame, "modelled", decoder="rule", rows=n) for n in batches}
    return stacked(
        point(speed, panel="Tokens per second, plain = 1", arm=name, step=n)
        for (name, n), speed in speeds.items()
    )


def acceptances(frame: pd.DataFrame) -> pd.DataFrame:
    """Acceptance of frozen and online drafts by iteration, and what learning adds to a frozen one, paired.

    Drafts pre-trained on other traces are compared with their own frozen one; the frozen one of the policy's
    traces also stands on a policy that does not move.
    """
    found = {draft: m.acceptance(frame, draft) for draft in DRAFTS}
    parts = []
    for draft, base in {"online": "frozen", "generic": "generic_frozen", "shuffled": "frozen"}.items():
        gap = found[draft].assign(value=found[draft]["value"] - found[base]["value"])
        parts.append(curve(gap, panel=LONGER, arm=DRAFTS[draft]))
    for draft in ("online", "frozen", "generic", "generic_frozen"):
        parts.append(curve(found[draft], panel=ACCEPTED, arm=DRAFTS[draft]))
    return stacked([*parts, curve(m.still(frame), panel=ACCEPTED, arm=STILL)])


def passes(frame: pd.DataFrame) -> pd.DataFrame:
    """Throughput and time of one-token passes by rows; time of a pass by its tokens over a one-token pass."""
    speed = over(frame, "rows", "profile", "throughput")
    slower = speed["seed"].map(m.profiled(frame, "throughput", rows=1)) * speed["step"] / speed["value"]
    parts = [
        curve(speed.assign(value=speed["value"] / 1000), panel=THROUGHPUT, arm="one token a row"),
        curve(speed.assign(value=slower), panel=PASS, arm="one token a row"),
    ]
    for count in (1, 8, 64):
        seconds = over(frame, "tokens", "profile", "seconds", rows=count)
        single = seconds["seed"].map(m.profiled(frame, "seconds", rows=count, tokens=1))
        cost = seconds.assign(value=seconds["value"] / single)
        parts.append(curve(cost, panel=COST, arm=f"{count} row{'s' * (count > 1)}"))
    return stacked(parts)


def powers_of_two(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Rows that were measured, doubling."""
    for name, axis in axes.items():
        steps = sorted(set(data.loc[data["panel"] == name, "step"]))
        axis.set_xscale("log", base=2)
        axis.set_xticks(steps, [f"{step:g}" for step in steps])


def roofline(axes: Mapping[str, Axes], data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """Throughput with the knee that is used, where a pass is slower by a fifth, and proportional cost."""
    for axis in axes.values():
        axis.set_xscale("log", base=2)
    axes[COST].set_xlabel("tokens a row")
    axes[THROUGHPUT].axvline(KNEE, ls="--", label="C_peak used", **REFERENCE)
    axes[PASS].axhline(SLOWER, ls="-.", label=f"{SLOWER} times one row", **REFERENCE)
    sizes = sorted(set(data.loc[data["panel"] == COST, "step"]))
    axes[COST].plot(sizes, sizes, ls=":", label="proportional", **REFERENCE)
    for name in (PASS, COST):
        axes[name].set_yscale("log", base=2)
        axes[name].yaxis.set_major_formatter("{x:g}")


def no_gain(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """Where an arm is as fast as its baseline, and the paper's values."""
    for axis in axes.values():
        heights = {text.get_text(): text.get_position()[1] for text in axis.get_yticklabels()}
        stated = {heights[arm]: value for arm, value in reported.items()}
        axis.scatter(list(stated.values()), list(stated), marker="x", color="0.35", s=24, label="paper")
        axis.set_xlim(right=1.05 * max(axis.get_xlim()[1], *stated.values()))
        axis.axvline(1.0, **REFERENCE)


def paper_range(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's range of the share of generation."""
    for axis in axes.values():
        axis.axhspan(*reported.values(), color="0.85", label="paper, generation", zorder=0)
        axis.set_ylim(0, 100)


def soft_knee(twin: pd.DataFrame) -> str:
    """Where throughput ends, and up to where a pass costs almost the same."""
    speed, time = (twin[twin["panel"] == name].set_index("step")["mean"] for name in (THROUGHPUT, PASS))
    rise, flat = speed.iloc[-1] / speed.iloc[-2] - 1, time[time <= SLOWER].index[-1]
    return (
        f"Throughput still rises at the last point of the sweep, {speed.index[-1]:g} rows, by {rise:.0%}; "
        f"beyond {flat:g} rows a pass takes more than {SLOWER} times that of one row."
    )


LADDER = "sixteen narrow layers on the ladder task, one CPU thread"
beside = partial(dots, x="group", fixed=COLOURS)
expected = partial(
    lines,
    f"{LADDER}; trees of 16 tokens on the run's own rollouts",
    x=f"measurement, every {EVERY} iterations",
    y="expected tokens per cycle",
    width=4.0,
    fixed=COLOURS,
)
FIGURES: dict[str, Figure] = {
    "speedups": Figure(
        speed_ups,
        beside(f"{LADDER}; paper: Qwen2.5-7B, Table 3", y="speed-up", width=3.6, level=1.0),
        lambda twin: listed(
            "Training end to end, over early termination",
            twin[twin["panel"].str.startswith("training") & (twin["group"] == "over early termination")],
        ),
    ),
    "long": Figure(
        long_loops,
        lines(f"{LADDER}; loops of two hundred iterations, four rows", width=4.4, fixed=COLOURS),
        lambda twin: listed("Speed-up at the end", twin[twin["panel"] == FASTER].tail(1)),
    ),
    "fig1": Figure(
        shares,
        beside(f"{LADDER}; paper: 91 to 98% generation", width=4.4, finish=paper_range),
        lambda twin: listed("Generation, % of an iteration", twin[twin["group"] == "generation"], ".0f"),
    ),
    "fig2": Figure(
        lambda f: stacked(
            curve(m.loop(f, name, "et", warm=False), panel="Length of responses", arm=title)
            for name, title in {"length": "mean response", "longest": "longest response"}.items()
        ),
        lines(f"{LADDER}; paper: lengths spread by 3 to 5", y="tokens"),
    ),
    "fig3": Figure(
        static_speeds,
        lines(
            f"{LADDER}; all rows of equal length, frozen draft",
            x="running rows",
            width=4.0,
            height=3.6,
            fixed=COLOURS,
            band=False,
            level=1.0,
            finish=powers_of_two,
        ),
        lambda twin: listed("With one row", twin[(twin["step"] == 1) & twin["arm"].str.startswith("rule")]),
    ),
    "fig4": Figure(acceptances, expected(level=0.0)),
    "fig5": Figure(
        lambda f: stacked(
            curve(m.acceptance(f, draft), panel=ACCEPTED, arm=DRAFTS[draft])
            for draft in ("online", "scratch", "used")
        ),
        expected(),
    ),
    "fig6": Figure(passes, lines(LADDER, x="rows", fixed=COLOURS, finish=roofline), soft_knee),
    "arms": Figure(
        lambda f: stacked(
            point(m.gen_speedup(f, arm, "et"), panel="over early termination", arm=NAMES[arm])
            for arm in NAMES
            if arm not in ("vanilla", "et")
        ),
        ranking(
            f"{LADDER}; replay after training; paper: Qwen2.5-7B, Table 3",
            rows="arm",
            kind="arm",
            x="speed-up of generation over early termination",
            width=4.4,
            height=4.2,
            fixed={"FastGRPO": COLOURS["FastGRPO"]},
            finish=no_gain,
        ),
        lambda twin: listed(
            "Generation over early termination",
            twin[twin["arm"].isin(NAMES[arm] for arm in ("fast", "static_4", "static_16"))],
        ),
    ),
}
