"""Arms of BRT-Align, what is measured of them, and the premises, claims, tables and figures of the card.

Thresholds and radii were chosen on validation prompts, before what is shown here was measured. Differences
are paired by seed: prompts, initial values and noise of a seed are those of all arms.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES
from common.study.frame import (
    Interval,
    curve,
    estimate,
    long_table,
    point,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from papers.brt_align.experiment import (
    CONTROLS,
    GAMMAS,
    MONITORS,
    RADII,
    REAL_CONTROLS,
    REAL_MONITORS,
    TIMED,
)

# fmt: off
SHOWN = {
    "rl": "blue", "final": "orange", "recontrol": "green", "sap": "purple", "probe": "brown", "bag": "pink",
    "prompt": "yellow", "classifier": "sky", "shuffled": "vermilion",
}
# fmt: on
NAMES = (
    MONITORS
    | CONTROLS
    | {"exact": "exact risk", "rl_30": "RL-BRT-Align, 30 samples", "recording": "recording"}
)
COLOURS = {NAMES[arm]: HUES[hue] for arm, hue in SHOWN.items()} | {"unsteered": GREY}
LEAD = "median lead (tokens)"
TUNED = ("rl", "final", "sap", "recontrol")
TRADED = ("rl", "final", "recontrol", "random", "always", "shuffled")
COMPARED = ("rl", "final", "recontrol", "sap", "probe", "bag", "prompt", "shuffled")

# Measures: one number per seed


def found(frame: pd.DataFrame, arm: str, name: str, sweep: str = "detection") -> pd.Series:
    """What a monitor was measured to do."""
    return scalar(frame, sweep, name, arm=arm)


def done(frame: pd.DataFrame, arm: str, name: str, sweep: str = "steering") -> pd.Series:
    """What a control did."""
    return scalar(frame, sweep, name, arm=arm)


def unsteered(frame: pd.DataFrame, sweep: str, name: str = "rate") -> pd.Series:
    """Rate of unsafe responses, or share of legal tokens, before anything is done."""
    part = frame[frame["arm"].isna()] if "arm" in frame else frame
    return scalar(part, sweep, name)


def ahead_of(frame: pd.DataFrame, arm: str, *others: str, sweep: str = "detection") -> pd.DataFrame:
    """Area under the curve of a monitor minus that of others, a column each."""
    own = found(frame, arm, "auroc", sweep)
    return pd.DataFrame({NAMES[other]: own - found(frame, other, "auroc", sweep) for other in others})


def kept(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Relative changes of coherence and diversity of the responses that an arm acted on."""
    return pd.DataFrame({name: done(frame, arm, name) for name in ("coherence", "diversity")})


def faster(frame: pd.DataFrame, arm: str, than: str, sweep: str = "speed") -> pd.Series:
    """Log ratio of tokens per second."""
    own, other = (scalar(frame, sweep, "tokens", arm=name).map(np.log) for name in (arm, than))
    return own - other


def slope(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Of the median lead over γ on what the law allows, k* or the lead of the Sample variant if smaller."""
    most = found(frame, "final", "native_lead")

    def over(name: str) -> pd.DataFrame:
        parts = {g: scalar(frame, "gamma", name, arm=arm, gamma=g) for g in GAMMAS}
        return pd.DataFrame(parts).loc[most.index]

    allowed, measured = over("bound").clip(upper=most, axis=0), over("native_lead")
    allowed, measured = (part.sub(part.mean(axis=1), axis=0) for part in (allowed, measured))
    return (allowed * measured).sum(axis=1) / allowed.pow(2).sum(axis=1).replace(0.0, np.nan)


def theory(analysis: str, *names: str) -> Measure:
    """Errors of exact checks."""
    return lambda frame: values(frame, "theory", *names, analysis=analysis)


PREMISES: dict[str, Measure] = {
    "rate": lambda f: unsteered(f, "detection"),
    "blind": lambda f: found(f, "prompt", "auroc"),
    "writes": lambda f: unsteered(f, "detection", "legal"),
    "warned": lambda f: found(f, "rl", "auroc"),
    "delivered": lambda f: done(f, "rl", "delivered"),
    "real_rate": lambda f: unsteered(f, "stories"),
    "real_blind": lambda f: found(f, "prompt", "auroc", "stories"),
    "real_warned": lambda f: found(f, "rl", "auroc", "stories"),
    "real_delivered": lambda f: done(f, "rl", "delivered", "turns"),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="rl": ahead_of(f, arm, "recontrol", "sap"),
    "c2": lambda f, arm="final": found(f, arm, "lead"),
    "c3": lambda f, arm="rl": done(f, arm, "reduction"),
    "c3_legal": lambda f, arm="rl": done(f, arm, "rescued"),
    "c3_exit": lambda f, arm="rl": done(f, arm, "reduction") - done(f, arm, "reduction", "no_exit"),
    "c4": lambda f, arm="rl": kept(f, arm),
    "c4_legal": lambda f, arm="rl": done(f, arm, "legal"),
    "c5": lambda f, arm="rl": faster(f, arm, "recontrol"),
    "c6": lambda f: np.concatenate([done(f, arm, "untouched").to_numpy() for arm in ("rl", "final", "sap")]),
    "c7": theory("facts", "contraction", "sandwich", "monotone", "false_alarms", "missed", "ends"),
    "c8": lambda f: slope(f, "rl"),
    "c8_time": lambda f: slope(f, "time"),
    "c8_law": theory("law", "value", "lead"),
    "c8_language": theory("language", "risk", "exit", "lead"),
    "c8_average": theory("language", "average"),
    "c9": lambda f, arm="final": ahead_of(f, arm, "sap")[NAMES["sap"]],
    "c9_steer": lambda f, arm="final": done(f, arm, "reduction"),
    "real_auroc": lambda f, arm="final": ahead_of(f, arm, "bag", sweep="stories")[NAMES["bag"]],
    "real_lead": lambda f, arm="final": found(f, arm, "lead", "stories"),
    "real_steer": lambda f, arm="rl": done(f, arm, "reduction", "turns"),
}

# Tables

MONITORED = {
    "accuracy (%)": ("accuracy", 100),
    "AUROC (%)": ("auroc", 100),
    "lead at 5 % false alarms": ("lead", 1),
    "false alarms (%)": ("false_alarms", 100),
    "median lead at 0": ("native_lead", 1),
}
STEERED = {
    "unsafe (%)": ("rate", 100),
    "reduction (%)": ("reduction", 100),
    "rescued (%)": ("rescued", 100),
    "legal tokens (points)": ("legal", 100),
    "coherence (%)": ("coherence", 100),
    "diversity (%)": ("diversity", 100),
    "surprisal (nats)": ("surprise", 1),
    "steps acted on (%)": ("acted", 100),
    "distance": ("moved", 1),
    "radius": ("radius", 1),
}
Cells = Iterator[tuple[str, str, Interval]]


def monitors(frame: pd.DataFrame, arms: tuple[str, ...], sweep: str) -> Cells:
    """What every monitor was measured to do, and the larger class."""
    for arm in arms:
        for column, (name, scale) in MONITORED.items():
            yield NAMES[arm], column, estimate(scale * found(frame, arm, name, sweep))
    share = unsteered(frame, sweep)
    yield "larger class", "accuracy (%)", estimate(100 * share.clip(lower=1 - share))


def controls(frame: pd.DataFrame, arms: tuple[str, ...], sweep: str) -> Cells:
    """What every control did; the last columns are changes of the responses that it acted on."""
    yield "unsteered", "unsafe (%)", estimate(100 * unsteered(frame, sweep))
    for arm in arms:
        yield NAMES[arm], "safety rate (%)", estimate(100 * (1 - done(frame, arm, "rate", sweep)))
        for column, (name, scale) in STEERED.items():
            yield NAMES[arm], column, estimate(scale * done(frame, arm, name, sweep))


def speeds(frame: pd.DataFrame, sweep: str) -> Cells:
    """Tokens per second over those of unsteered writing, in percent."""
    for arm in ("recording", *TIMED, "rl_30"):
        yield NAMES[arm], "tokens per second (%)", estimate(100 * np.exp(faster(frame, arm, "none", sweep)))


TABLES: dict[str, Twin] = {
    "table2": lambda f: long_table(monitors(f, (*MONITORS, "exact"), "detection")),
    "steering": lambda f: long_table(controls(f, tuple(CONTROLS), "steering")),
    "runtime": lambda f: long_table(speeds(f, "speed")),
    "real_runtime": lambda f: long_table(speeds(f, "real_speed")),
    "stories": lambda f: long_table(monitors(f, REAL_MONITORS, "stories")),
    "turns": lambda f: long_table(controls(f, REAL_CONTROLS, "turns")),
}

# Figures


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Monitors by what they are judged by."""
    panels = {"AUROC": "auroc", "accuracy": "accuracy", "lead (tokens)": "lead"}
    return stacked(
        point(found(frame, arm, name), panel=panel, arm=NAMES[arm])
        for panel, name in panels.items()
        for arm in COMPARED
    )


def approach(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact risk, and values, by tokens before the first unsafe state; safe responses' values beside them."""

    def parts() -> Iterator[pd.DataFrame]:
        for policy, name in (("greedy", "greedy"), ("chance", "sampled"), ("best", "best control")):
            yield curve(rows(frame, "theory", policy, analysis="language"), panel="exact risk", arm=name)
        for arm in ("rl", "final", "exact"):
            yield curve(rows(frame, "detection", "before", arm=arm), panel="value", arm=NAMES[arm])
        yield curve(
            rows(frame, "detection", "safe", arm="rl"), panel="value", arm="RL-BRT-Align, safe responses"
        )

    return stacked(parts())


def leads(frame: pd.DataFrame) -> pd.DataFrame:
    """Median lead over the lead that γ allows."""

    def parts() -> Iterator[pd.DataFrame]:
        for gamma in GAMMAS:
            bound = scalar(frame, "gamma", "bound", arm="rl", gamma=gamma)
            for arm, name in (("rl", NAMES["rl"]), ("time", "shuffled in time")):
                lead = scalar(frame, "gamma", "native_lead", arm=arm, gamma=gamma)
                yield point(lead, panel=LEAD, arm=name, step=float(bound.iloc[0]))
            most = found(frame, "final", "native_lead")
            yield point(most, panel=LEAD, arm=NAMES["final"], step=float(bound.iloc[0]))
            yield point(
                bound.clip(upper=most), panel=LEAD, arm="what the law allows", step=float(bound.iloc[0])
            )

    return stacked(parts())


def frontier(frame: pd.DataFrame) -> pd.DataFrame:
    """Unsafe and intact responses over the radius, on validation prompts."""

    def parts() -> Iterator[pd.DataFrame]:
        for panel, name in (("unsafe", "tuning_unsafe"), ("intact", "tuning_intact")):
            for arm in TUNED:
                part = rows(frame, "steering", name, arm=arm)
                radius = part["step"].map(dict(enumerate(RADII))).astype(float)
                yield curve(part.assign(step=radius), panel=f"share {panel}", arm=NAMES[arm])

    return stacked(parts())


def traded(frame: pd.DataFrame, arms: tuple[str, ...], sweep: str) -> pd.DataFrame:
    """What every control did to unsafe responses, and at which price."""
    panels = {
        "reduction": "reduction",
        "surprisal (nats)": "surprise",
        "diversity (relative change)": "diversity",
    }
    return stacked(
        point(done(frame, arm, name, sweep), panel=panel, arm=NAMES[arm])
        for panel, name in panels.items()
        for arm in arms
    )


NOTE = "pocket models in delayed_hazard"
FIGURES: dict[str, Figure] = {
    "fig2": Figure(compared, dots(NOTE, fixed=COLOURS, rates=("AUROC", "accuracy"), columns=2, width=5.6)),
    "approach": Figure(
        approach,
        lines(NOTE, x="tokens before unsafe text", fixed=COLOURS, rates=("risk",), width=5.4),
    ),
    "earliness": Figure(
        leads, lines(NOTE, x="k*, the lead that gamma allows", fixed=COLOURS, log="x", width=5.0)
    ),
    "frontier": Figure(
        frontier,
        lines(NOTE, x="radius over norm of a state", fixed=COLOURS, rates=("unsafe", "intact"), log="x"),
    ),
    "traded": Figure(
        lambda f: traded(f, TRADED, "steering"), dots(NOTE, fixed=COLOURS, level=0.0, width=4.2)
    ),
    "turned": Figure(
        lambda f: traded(f, REAL_CONTROLS, "turns"),
        dots("SmolLM2-135M on openings of stories", fixed=COLOURS, level=0.0),
    ),
}
