"""What DeepTravel's records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES.

The final pass rate is the share of held-out queries whose itinerary passes both verifiers, one sample at
temperature 1; hallucination is the share of the itineraries with a part that no tool has told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import lines
from common.plotting.style import GREY, HUES
from common.statistics import Interval
from common.study.frame import (
    after,
    curve,
    estimate,
    exact,
    late,
    learning_curve,
    long_table,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from common.tasks.travel import PARTS, VOCABULARY
from common.tasks.travel.drawing import made_up, written
from common.tasks.travel.transcript import transcript
from papers.deeptravel.experiment import JUDGED_STEP
from papers.deeptravel.method import density, informative, replayed_density, supplied
from papers.deeptravel.runs.tabular import REGIMES
from papers.deeptravel.runs.theory import GRID, STREAMS

NAMES = {
    "product": "product",
    "trajectory": "trajectory only",
    "permuted": "permuted turns",
    "turn": "turns only",
    "mean": "mean of turns",
    "shuffled": "shuffled rewards",
    "rarl": "GRPO + replay",
    "random": "GRPO + random replay",
    "ppo": "PPO, critic",
    "ppo_rarl": "PPO, critic + replay",
    "flaky": "tools without cache",
}
MAIN = ("product", "trajectory", "permuted")
BACKENDS = ("product", "rarl", "ppo", "ppo_rarl")
TABLED = {
    "grpo": "GRPO, table",
    "rarl": "replay of failures",
    "random": "replay of anything",
    "solved": "replay of the solved",
}
COLOURS = {
    NAMES["product"]: GREY,
    NAMES["trajectory"]: HUES["vermilion"],
    NAMES["permuted"]: HUES["pink"],
    NAMES["rarl"]: HUES["orange"],
    NAMES["ppo"]: HUES["green"],
    NAMES["ppo_rarl"]: HUES["brown"],
    TABLED["grpo"]: GREY,
    TABLED["rarl"]: HUES["orange"],
    TABLED["random"]: HUES["purple"],
    TABLED["solved"]: HUES["sky"],
}
COLUMNS = {
    "pass": "FPR",
    "pass/unconstrained": "unconstrained",
    "pass/constrained": "constrained",
    "trajectory": "R_traj",
    "turn": "R_turn",
    "hallucination": "hallucination",
}

# Measures: one number per seed


def held_out(
    frame: pd.DataFrame, arm: str, name: str = "pass", step: int = JUDGED_STEP, sweep: str = "training"
) -> pd.Series:
    """A quantity of `measured` after so many batches, or at the end of a shorter run."""
    part = learning_curve(frame, sweep, f"curve/{name}", arm=arm)
    return after(part, min(step, int(part["step"].max())))


def start(frame: pd.DataFrame, name: str = "pass", sweep: str = "training") -> pd.Series:
    """The same of the cold start."""
    return held_out(frame, MAIN[0], name, 0, sweep)


def final(frame: pd.DataFrame, arm: str, name: str = "pass") -> pd.Series:
    """The same at the end."""
    return scalar(frame, "training", f"final/{name}", arm=arm)


def gain(frame: pd.DataFrame, arm: str, name: str = "pass", sweep: str = "training") -> pd.Series:
    """Change since the cold start, at the judged step."""
    return held_out(frame, arm, name, sweep=sweep) - start(frame, name, sweep)


def kept_facts(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Share of the cold start's hallucination that is gone at the end."""
    return 1 - final(frame, arm, "hallucination") / start(frame, "hallucination")


def undisturbed(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Pass rate of the product arm minus that of training without a cache, or of its own without one."""
    other = final(frame, "product", "noisy/pass") if arm == "noisy" else final(frame, arm)
    return final(frame, "product") - other


def larger(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Pass rate of an arm minus that of a planner ten times larger that is not trained further."""
    own = scalar(frame, "planners", "pass", arm=arm) if arm == "base" else final(frame, arm)
    return own - scalar(frame, "planners", "pass", arm="larger")


def table(frame: pd.DataFrame, arm: str, name: str = "hard", regime: str = "typical") -> pd.Series:
    """A quantity of a tabular arm, mean over the last fifth."""
    return late(rows(frame, "replay", name, regime=regime, arm=arm).dropna())


def against(frame: pd.DataFrame, arm: str, name: str = "hard", regime: str = "typical") -> pd.Series:
    """The same minus that of GRPO."""
    return table(frame, arm, name, regime) - table(frame, "grpo", name, regime)


def process(frame: pd.DataFrame, name: str, stream: str, arm: str = "failures") -> pd.Series:
    """A scalar of a process in which nothing is learned."""
    return scalar(frame, "process", name, stream=stream, arm=arm)


def mean_of(frame: pd.DataFrame, sweep: str, name: str, **labels: str) -> pd.Series:
    """Mean of a series over its batches."""
    return rows(frame, sweep, name, **labels).groupby("seed")["value"].mean()


PREMISES: dict[str, Measure] = {
    "headroom": start,
    "copies": lambda f: start(f, "turn"),
    "infeasible": lambda f: start(f, "trajectory"),
    "informative": lambda f: mean_of(f, "training", "informative", arm="product"),
    "obeyed": lambda f: gain(f, "trajectory", "trajectory"),
    "silent": lambda f: table(f, "grpo", "silent"),
    "hard": lambda f: table(f, "grpo"),
    "silent_tail": lambda f: table(f, "grpo", "silent", "tail"),
    "hard_tail": lambda f: table(f, "grpo", regime="tail"),
    "supply_tail": lambda f: mean_of(f, "replay", "replayed", regime="tail", arm="rarl"),
    "replayed": lambda f: mean_of(f, "replay", "replayed", regime="typical", arm="rarl"),
    "hard_text": lambda f: start(f, "pass/L3"),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="product": final(f, arm) - start(f),
    "c2": lambda f, arm="product": kept_facts(f, arm),
    "c3a": lambda f, arm="product": held_out(f, arm) - held_out(f, "trajectory"),
    "c3a_drawn": lambda f, arm="product": (
        held_out(f, arm, sweep="drawn") - held_out(f, "trajectory", sweep="drawn")
    ),
    "c3b": lambda f, arm="trajectory": gain(f, arm, "hallucination"),
    "c3c": lambda f, arm="product": final(f, arm) - final(f, "turn"),
    "c4": lambda f: values(f, "theory", "reward", "count", analysis="reward"),
    "c5a": lambda f, arm="rarl": against(f, arm),
    "c5b": lambda f, arm="rarl": against(f, arm, "overall"),
    "c5_tail": lambda f, arm="rarl": against(f, arm, regime="tail"),
    "c5_hopeless": lambda f, arm="rarl": against(f, arm, "overall", "hopeless"),
    "c5_evict": lambda f, arm="kept": process(f, "wasted", "clogged", arm) - process(f, "wasted", "clogged"),
    "c5_text": lambda f, arm="rarl": final(f, arm, "pass/L3") - final(f, "product", "pass/L3"),
    "c6": lambda f, arm="flaky": undisturbed(f, arm),
    "c7": lambda f: values(f, "theory", "informative", "admitted", "evicted", "replays", analysis="groups"),
    "c7_tail": lambda f, arm="failures": process(f, "change", "tail", arm),
    "c7_middling": lambda f, arm="failures": process(f, "change", "middling", arm),
    "c8": lambda f, arm="product": larger(f, arm),
}

# Tables

Cell = tuple[str, str, Interval]


def scores(frame: pd.DataFrame, arms: tuple[str, ...] = MAIN, sweep: str = "training") -> Iterator[Cell]:
    """Cold start and arms at the judged step, in percent."""
    for name, column in COLUMNS.items():
        yield "cold start", column, estimate(100 * start(frame, name, sweep))
        for arm in arms:
            yield NAMES[arm], column, estimate(100 * held_out(frame, arm, name, sweep=sweep))


def copying(frame: pd.DataFrame) -> Iterator[Cell]:
    """What the cold start can do, and what becomes of it, in percent."""
    names = {"well_formed": "itineraries", "called": "all four calls", "trajectory": "R_traj"}
    names |= {f"turn/{part}": part for part in PARTS}
    names |= {"pass": "FPR", "cool/pass": "FPR at T = 0.3"}
    for name, column in names.items():
        yield "cold start", column, estimate(100 * start(frame, name))
        for arm in MAIN:
            yield NAMES[arm], column, estimate(100 * held_out(frame, arm, name))


def calls(frame: pd.DataFrame) -> Iterator[Cell]:
    """Calls of the turn verifier by trajectory, of four: those made, and what saved the others."""
    for arm in MAIN:
        made, gated = (mean_of(frame, "training", name, arm=arm) for name in ("turn_calls", "gated"))
        yield NAMES[arm], "made", estimate(made)
        yield NAMES[arm], "saved by R_traj = 0", estimate(gated)
        yield NAMES[arm], "R_traj", estimate(mean_of(frame, "training", "trajectory", arm=arm))


def replays(frame: pd.DataFrame) -> Iterator[Cell]:
    """Tabular arms: pass rates of the last fifth, in percent."""
    for regime in REGIMES:
        for arm, name in TABLED.items():
            yield f"{name}, {regime}", "hard", estimate(100 * table(frame, arm, "hard", regime))
            yield f"{name}, {regime}", "overall", estimate(100 * table(frame, arm, "overall", regime))
            yield f"{name}, {regime}", "silent groups", estimate(100 * table(frame, arm, "silent", regime))


def everything(frame: pd.DataFrame) -> Iterator[Cell]:
    """All arms at the end, in percent."""
    for arm, row in NAMES.items():
        for name in ("pass", "pass/L3", "trajectory", "hallucination"):
            yield row, COLUMNS.get(name, name), estimate(100 * final(frame, arm, name))


def streams(frame: pd.DataFrame) -> Iterator[Cell]:
    """Closed form and process by stream, in percent."""
    for name, law in STREAMS.items():
        stream = density(law, GRID)
        again = replayed_density(GRID, stream)
        yield name, "informative, stream", exact(100 * float(stream @ informative(GRID)))
        yield name, "informative, replays", exact(100 * float(again @ informative(GRID)))
        yield name, "replays that failures supply", exact(100 * supplied(GRID, stream))
        yield name, "replayed", estimate(100 * process(frame, "replayed", name))
        yield name, "change of informative", estimate(100 * process(frame, "change", name))
        yield name, "process minus closed form", estimate(100 * process(frame, "error", name))


def one_column(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A column of the main table."""
    return long_table(cell for cell in scores(frame) if cell[1] == name)


TABLES: dict[str, Twin] = {
    "offline": lambda f: long_table(scores(f)),
    "online": lambda f: one_column(f, "FPR"),
    "hallucination": lambda f: one_column(f, "hallucination"),
    "ablation": lambda f: long_table(everything(f)),
    "copying": lambda f: long_table(copying(f)),
    "calls": lambda f: long_table(calls(f)),
    "replay": lambda f: long_table(replays(f)),
    "drawn": lambda f: long_table(scores(f, MAIN, "drawn")),
    "streams": lambda f: long_table(streams(f)),
    "saved": lambda f: long_table(
        ("corrupted itineraries", name, exact(rows(f, "theory", name, analysis="reward")["value"].mean()))
        for name in ("made", "gated", "stopped", "passed")
    ),
}

# Figures


def over_batches(frame: pd.DataFrame, arms: tuple[str, ...], window: int = 1, **named: str) -> pd.DataFrame:
    """Series of arms, a panel each; means over the last `window` batches."""

    def smooth(part: pd.DataFrame) -> pd.DataFrame:
        means = part.groupby("seed")["value"].rolling(window, min_periods=1).mean()
        return part.assign(value=means.droplevel(0))

    return stacked(
        curve(smooth(rows(frame, "training", name, arm=arm)), panel=panel.replace("_", " "), arm=NAMES[arm])
        for panel, name in named.items()
        for arm in arms
    )


def tabled(frame: pd.DataFrame) -> pd.DataFrame:
    """Pass rate of hard queries (of all where no hard one is ever solved), and groups that teach nothing."""
    passed = dict.fromkeys(REGIMES, ("hard", "hard queries")) | {"hopeless": ("overall", "all queries")}
    silent = dict.fromkeys(REGIMES, ("silent", "silent groups"))
    return stacked(
        curve(rows(frame, "replay", name, regime=regime, arm=arm), panel=f"{panel}, {regime}", arm=label)
        for shown in (passed, silent)
        for regime, (name, panel) in shown.items()
        for arm, label in TABLED.items()
    )


def closed_form(_frame: pd.DataFrame) -> pd.DataFrame:
    """Share of informative groups against the share of replays, in the steady state."""
    shares = np.linspace(0.0, 1.0, 21)
    parts = []
    for name, law in STREAMS.items():
        stream = density(law, GRID)
        fresh, again = (float(law @ informative(GRID)) for law in (stream, replayed_density(GRID, stream)))
        mean = (1 - shares) * fresh + shares * again
        part = pd.DataFrame(
            {"panel": "informative groups", "arm": f"{name} stream", "step": shares, "mean": mean}
        )
        parts.append(part.assign(low=np.nan, high=np.nan, n=0))
    return stacked(parts)


def episodes(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out queries before and after training on the product and on R_traj alone, on the first seed."""
    own = frame[((frame["sweep"] == "training") & (frame["seed"] == frame["seed"].min())).to_numpy()]
    found = []
    for arm, when in (("product", "before"), ("product", "after"), ("trajectory", "after")):
        ids = rows(own, "training", f"sample/{when}", arm=arm)["value"].astype(int)
        title = "cold start" if when == "before" else f"after training, {NAMES[arm]}"
        found += [(title, line) for line in transcript([VOCABULARY[token] for token in ids])]
    return pd.DataFrame(found, columns=["episode", "line"])


NOTE = "0.28 M, travel sandbox"
FIGURES: dict[str, Figure] = {
    "fig4": Figure(
        lambda f: over_batches(f, BACKENDS, 10, reward="stream", entropy="entropy", turns="turns"),
        lines(f"{NOTE}; moving means of 10 batches", x="rollout batch", fixed=COLOURS, band=False),
    ),
    "hacking": Figure(
        lambda f: over_batches(
            f, MAIN, hallucination="hallucination", R_traj="trajectory", both_verifiers="reward"
        ),
        lines(NOTE, x="rollout batch", fixed=COLOURS, rates=("R traj", "hallucination", "both verifiers")),
    ),
    "tabular": Figure(
        tabled, lines("policies in a table", x="rollout batch", fixed=COLOURS, rates=("typical", "tail"))
    ),
    "closed_form": Figure(closed_form, lines("G = 8", x="share of replays", width=6.0)),
    "episodes": Figure(episodes, lambda data, _: written(data, f"{NOTE}; n = 1 seed"), made_up),
}
