"""What POLO's records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES.

A success rate is the share of the test leads that were solved within the budget by any proposal; the gain of
a lead is the QED of the best proposal minus the lead's own, 0 if none is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.figure import Figure as Plot

from common.plotting.draw import lines
from common.plotting.style import GREY, HUES, caption, label, panels
from common.statistics import Interval
from common.study.frame import (
    Errors,
    curve,
    estimate,
    exact,
    long_table,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin
from common.tasks.molecules.chemistry import qed, similarity
from common.tasks.molecules.drawing import picture

NAMES = {
    "ppo": "PPO",
    "pgpo": "PGPO",
    "shuffle": "PGPO, shuffled",
    "stepwise": "PGPO, stepwise",
    "unweighted": "PGPO, equal weights",
    "turns_only": "turn level alone",
    "dense": "PPO, rewards by turn",
    "single": "PPO, single turns",
}
METHODS = {
    "evolutionary": "warm start, restarts",
    "any": "warm start, restarts from any",
    "independent": "warm start",
    "local": "local search",
    "evolution": "genetic algorithm",
    "random": "random edits",
}
SEARCHES = ("local", "evolution", "random")
MAIN = ("ppo", "pgpo", "shuffle")
COLOURS = {
    NAMES["ppo"]: GREY,
    NAMES["pgpo"]: HUES["orange"],
    NAMES["shuffle"]: HUES["pink"],
    METHODS["evolutionary"]: HUES["blue"],
    METHODS["independent"]: HUES["sky"],
    METHODS["local"]: HUES["green"],
    METHODS["evolution"]: HUES["vermilion"],
    METHODS["random"]: HUES["brown"],
}
COLUMNS = {"success": ("success", 100.0), "gain": ("gain", 1.0), "similarity": ("similarity", 1.0)}
COLUMNS |= {"admissible": ("admissible", 100.0), "calls": ("calls", 1.0)}

# Measures: one number per seed


def trained(frame: pd.DataFrame, arm: str, name: str) -> pd.Series:
    """A scalar of an arm at the end."""
    return scalar(frame, "training", f"final/{name}", arm=arm)


def searched(frame: pd.DataFrame, method: str, name: str) -> pd.Series:
    """A scalar of a method that was not trained."""
    return scalar(frame, "inference", name, method=method)


def start(frame: pd.DataFrame, name: str) -> pd.Series:
    """A quantity of the warm start, whose inference restarts from elites as that of the arms does."""
    return searched(frame, "evolutionary", name)


def mean(frame: pd.DataFrame, arm: str, name: str) -> pd.Series:
    """Mean of a logged series over training, where it was defined."""
    return rows(frame, "training", name, arm=arm).groupby("seed")["value"].mean()


def calls(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Oracle calls of a training."""
    return rows(frame, "training", "oracle_calls", arm=arm).groupby("seed")["value"].max()


def against(frame: pd.DataFrame, arm: str, base: str, name: str = "gain") -> pd.Series:
    """Mean best gain (or success) of an arm minus that of another."""
    return trained(frame, arm, name) - trained(frame, base, name)


def rise(frame: pd.DataFrame, arm: str) -> pd.Series:
    """Mean return of the last quarter of the rollout batches minus that of the first."""
    table = rows(frame, "training", "reward", arm=arm).pivot_table(
        index="step", columns="seed", values="value"
    )
    size = max(1, len(table) // 4)
    return table.iloc[-size:].mean() - table.iloc[:size].mean()


def over_searches(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Success of an arm minus that of each search."""
    own = trained(frame, arm, "success")
    return pd.DataFrame({name: own - searched(frame, name, "success") for name in SEARCHES})


def theory(analysis: str, *names: str) -> Measure:
    """Errors of an exact check."""

    def errors(frame: pd.DataFrame) -> Errors:
        return values(frame, "theory", *names, analysis=analysis)

    return errors


PREMISES: dict[str, Measure] = {
    "headroom": lambda f: start(f, "success"),
    "witness": lambda f: scalar(f, "inference", "witness"),
    "baseline_learns": lambda f: trained(f, "ppo", "gain") - start(f, "gain"),
    "return_rises": lambda f: pd.concat([rise(f, arm) for arm in MAIN[:2]], axis=1).min(axis=1),
    "pairs": lambda f: mean(f, "pgpo", "pairs"),
    "gradient": lambda f: mean(f, "pgpo", "gradient_share"),
    "calls": lambda f: calls(f, "pgpo") / calls(f, "ppo"),
}
CLAIMS: dict[str, Measure] = {
    "c1": lambda f, arm="pgpo": against(f, arm, "ppo"),
    "c1_success": lambda f, arm="pgpo": against(f, arm, "ppo", "success"),
    "c2": lambda f, arm="ppo": against(f, arm, "single", "success"),
    "c3": lambda f, arm="pgpo": over_searches(f, arm),
    "c4": lambda f, arm="evolutionary": searched(f, arm, "success") - searched(f, "independent", "success"),
    "c6": theory("pairs", "distinct", "ties", "capped"),
    "c7": theory("invariance", "uncapped"),
    "c8": theory("locality", "outside", "sign"),
    "c8_form": theory("locality", "closed_form"),
    "c9": lambda f, arm="pgpo": mean(f, arm, "cosine"),
    "mode": lambda f, arm="pgpo": against(f, arm, "stepwise"),
    "weighted": lambda f, arm="pgpo": against(f, arm, "unweighted"),
    "trajectory": lambda f, arm="pgpo": against(f, arm, "turns_only"),
    "dense": lambda f, arm="pgpo": against(f, arm, "dense"),
}

# Tables

Cell = tuple[str, str, Interval]


def main_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Every method on the test leads, shares in percent."""

    def cells() -> Iterator[Cell]:
        for column, (name, scale) in COLUMNS.items():
            for method, row in METHODS.items():
                yield row, column, estimate(scale * searched(frame, method, name))
            for arm in MAIN:
                yield NAMES[arm], column, estimate(scale * trained(frame, arm, name))

    return long_table(cells())


def ablation(frame: pd.DataFrame) -> pd.DataFrame:
    """Every arm on the test leads, shares in percent, and its oracle calls in training."""

    def cells() -> Iterator[Cell]:
        for arm, row in NAMES.items():
            for column, (name, scale) in COLUMNS.items():
                yield row, column, estimate(scale * trained(frame, arm, name))
            yield row, "training calls", estimate(calls(frame, arm))

    return long_table(cells())


COUNTS = {
    "pairs of a trajectory, at most 6": ("pairs", "mean"),
    "loss changed by r -> exp(2 r), capped": ("invariance", "capped"),
    "loss changed by r -> exp(2 r), weighted": ("invariance", "weighted"),
}
TABLES: dict[str, Twin] = {
    "table1": main_table,
    "ablation": ablation,
    "exact": lambda f: long_table(
        (row, "mean", exact(values(f, "theory", name, analysis=analysis).mean()))
        for row, (analysis, name) in COUNTS.items()
    ),
}

# Figures


def budgets(frame: pd.DataFrame) -> list[int]:
    """Oracle calls at which success was read."""
    names = frame.loc[frame["sweep"] == "inference", "name"].astype(str)
    return sorted({int(name.partition("/")[2]) for name in names if name.startswith("success_at/")})


def over_budget(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and gain against the oracle calls of a lead."""

    def parts() -> Iterator[pd.DataFrame]:
        for panel in ("success", "gain"):
            for method in (name for name in METHODS if name != "any"):
                read = {most: searched(frame, method, f"{panel}_at/{most}") for most in budgets(frame)}
                yield curve(_stepped(read), panel=panel, arm=METHODS[method])
            for arm in MAIN:
                read = {most: trained(frame, arm, f"{panel}_at/{most}") for most in budgets(frame)}
                yield curve(_stepped(read), panel=panel, arm=NAMES[arm])

    return stacked(parts())


def _stepped(read: dict[int, pd.Series]) -> pd.DataFrame:
    table = pd.DataFrame(read)
    return (
        table.reset_index(names="seed")
        .melt("seed", var_name="step", value_name="value")
        .astype({"step": int})
    )


LOGGED = {
    "return": "reward",
    "cosine of both gradients": "cosine",
    "share of the turn level": "gradient_share",
}


def training(frame: pd.DataFrame) -> pd.DataFrame:
    """Return over rollout batches, and the gradients of both levels where they were looked at."""

    def parts() -> Iterator[pd.DataFrame]:
        for panel, name in LOGGED.items():
            for arm in MAIN if name == "reward" else MAIN[1:]:
                yield curve(rows(frame, "training", name, arm=arm).dropna(), panel=panel, arm=NAMES[arm])

    return stacked(parts())


def path(frame: pd.DataFrame) -> pd.DataFrame:
    """A lead and its improvements by PGPO, on the first seed: SMILES, oracle calls, QED, similarity."""
    codes = frame[(frame["arm"] == "pgpo").to_numpy(dtype=bool, na_value=False)]
    codes = codes[(codes["seed"] == codes["seed"].min()).to_numpy()]
    spent = rows(codes, "training", "path/calls")["value"].astype(int)
    texts = [
        "".join(map(chr, rows(codes, "training", f"path/{n}")["value"].astype(int)))
        for n in range(len(spent))
    ]
    lead = texts[0]
    return pd.DataFrame({"smiles": texts, "calls": spent}).assign(
        qed=[qed(text) for text in texts], similarity=[similarity(text, lead) for text in texts]
    )


def drawn(data: pd.DataFrame, _reported: Mapping[str, float]) -> Plot:
    """The molecules of a path, side chains marked."""
    figure, axes = panels(min(3, len(data)), -(-len(data) // 3), width=2.9, height=2.6)
    for axis in axes[len(data) :]:
        axis.remove()
    for axis, turn in zip(axes, data.to_dict("records"), strict=False):
        axis.imshow(picture(turn["smiles"]))
        axis.set(xticks=[], yticks=[])
        title = f"after {turn['calls']} calls" if turn["calls"] else "lead"
        label(axis, title, x=f"similarity {turn['similarity']:.2f}", y=f"QED {turn['qed']:.3f}")
    caption(figure, f"{NOTE}; n = 1 seed; the test lead that PGPO improved most often")
    return figure


def steps(data: pd.DataFrame) -> str:
    """What a path came to."""
    first, last = data.iloc[0], data.iloc[-1]
    return f"QED {first.qed:.3f} → {last.qed:.3f} in {last.calls} calls, similarity {last.similarity:.2f}."


NOTE = "pocket policies on side chains"
FIGURES: dict[str, Figure] = {
    "fig3": Figure(
        over_budget, lines(NOTE, x="oracle calls of a lead", fixed=COLOURS, rates=("success",), width=4.4)
    ),
    "fig4": Figure(training, lines(NOTE, x="rollout batch", fixed=COLOURS)),
    "path": Figure(path, drawn, steps),
}
