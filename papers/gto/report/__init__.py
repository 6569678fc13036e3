"""What GTO's records show, by the ids of the card: CLAIMS, TABLES, FIGURES."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Plot

from common.plotting.draw import dots, lines
from common.plotting.style import GREY, HUES, REFERENCE, STYLE, caption, label, panels
from common.statistics import Interval
from common.study.frame import curve, estimate, exact, levels, long_table, points, rows, scalar, stacked
from common.study.report import Figure, Twin
from common.tasks.tridomain import DOMAINS
from papers.gto.report.measures import (
    AGGREGATORS,
    CLAIMS,
    DECODERS,
    KINDS,
    NAMES,
    SHAPES,
    discordance,
    gain,
    gradient_spread,
    main,
    tabular,
    tabular_gain,
    theory,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "TABLES"]

Cell = tuple[str, str, Interval]
Select = Callable[[str], pd.Series]
"""Name of a scalar, e.g. ``tau1/all``, to its values of one arm."""
COLOURS = {
    "EAGLE-2": HUES["brown"],
    "EAGLE-3": GREY,
    "continual": HUES["sky"],
    "GTO": HUES["vermilion"],
    NAMES["shuffled"]: HUES["purple"],
    NAMES["flipped"]: HUES["blue"],
    "cross-entropy": GREY,
    "node sum": HUES["green"],
    "best found": HUES["orange"],
    **{name: GREY for domain in DOMAINS for name in (f"{domain} path", f"{domain}, target drafts")},
    **{name: HUES["blue"] for domain in DOMAINS for name in (f"{domain} tree", domain)},
}

# Tables

TAU = {"τ T=0": "tau0", "τ T=1": "tau1"}
PLACES = (*DOMAINS, "all")
COMPARED = ("untuned", "continual", "gto")
PAIRS = (
    ("gto", "untuned"),
    ("continual", "untuned"),
    ("gto", "continual"),
    ("gto", "continual_time"),
    ("shuffled", "continual"),
    ("flipped", "continual"),
)
MILLISECONDS = {
    "target, 1 token": "one",
    "target, root and tree": "tree",
    "draft, tree": "draft",
    "training step, token loss": "token_step",
    "training step, GTO": "gto_step",
}
TABULAR = {
    "cross_entropy": "cross-entropy",
    **{arm: arm for arm in ("continual", "gto", "shuffled", "flipped", "max", "average", "node_sum")},
    "best": "best found",
    "target": "target as its own draft",
}


def taus(row: str, select: Select, *places: str) -> Iterator[Cell]:
    """Exact τ at both temperatures: of all domains, or of each place in columns of its own."""
    for name, key in TAU.items():
        for place in places or ("all",):
            yield row, f"{place} {name}" if places else name, estimate(select(f"{key}/{place}"))


def table(cells: Callable[[pd.DataFrame], Iterable[Cell]]) -> Twin:
    """A table from its cells."""
    return lambda f: long_table(cells(f))


def tau_table(arms: Callable[[pd.DataFrame], Mapping[str, Select]], *places: str) -> Twin:
    """Exact τ of several arms."""
    return table(lambda f: (cell for row, select in arms(f).items() for cell in taus(row, select, *places)))


def from_others(frame: pd.DataFrame) -> dict[str, Select]:
    """Rows of Table 2: HASS-like and GRIFFIN-like drafts."""
    suffixes = {"untuned": "", "continual": " + continual", "gto": " + GTO"}
    return {
        name + suffix: partial(main, frame, arm, sweep="inits", kind=kind)
        for kind, name in KINDS.items()
        for arm, suffix in suffixes.items()
    }


def aggregators(frame: pd.DataFrame) -> dict[str, Select]:
    """Rows of Table 3; LSE is GTO itself."""
    arms = {name: partial(main, frame, arm, sweep="aggregators") for arm, name in AGGREGATORS.items()}
    return arms | {
        "LSE": partial(main, frame, "gto"),
        "continual": partial(main, frame, "continual"),
    }


def group_sizes(frame: pd.DataFrame) -> dict[str, Select]:
    """Rows of Table 4; taken literally a group of one has advantage 0."""
    swept = frame.loc[frame["sweep"] == "sizes", "arm"].drop_duplicates()
    arms: dict[str, Select] = {arm: partial(main, frame, arm, sweep="sizes") for arm in swept}
    arms["m=1, that is continual training"] = partial(main, frame, "continual")
    arms["m=8"] = partial(main, frame, "gto")
    ordered = sorted(arms, key=lambda row: (int(row.removeprefix("m=").split(",")[0]), "," not in row))
    return {row: arms[row] for row in ordered}


def every_draft(frame: pd.DataFrame) -> dict[str, Select]:
    """Every arm, and the target as its own draft."""
    return {
        **{name: partial(main, frame, arm) for arm, name in NAMES.items()},
        "EAGLE-2": partial(main, frame, "untuned", sweep="eagle"),
        "EAGLE, static tree, fewer prefixes": lambda key: main(frame, "untuned", f"{key}@static", "eagle"),
        "target as its own draft, fewer prefixes": partial(scalar, frame, "oracle"),
    }


def decoded(frame: pd.DataFrame) -> Iterator[Cell]:
    """Speed-up over plain decoding and τ, decoded, by domain and temperature."""
    columns = {
        f"{'mean' if domain == 'all' else domain} {column} T={t}": f"{kind}{t}/{domain}"
        for t in (0, 1)
        for domain in PLACES
        for column, kind in {"SR": "sr", "τ": "tau"}.items()
    }
    for arm, row in DECODERS.items():
        for column, name in columns.items():
            yield row, column, estimate(main(frame, arm, name, "speed"))


def debiasing(frame: pd.DataFrame) -> Iterator[Cell]:
    """Exact τ, and the variance of the gradient norm, with and without debiasing."""
    for row, where in {"with": ("main", "gto"), "without": ("debias", "no debiasing")}.items():
        sweep, arm = where
        yield from taus(row, partial(main, frame, arm, sweep=sweep))
        yield row, "variance of the gradient norm", estimate(gradient_spread(frame, *where))


def orders(frame: pd.DataFrame) -> Iterator[Cell]:
    """Shares of pairs in which reward and expected length disagree, and the counterexample."""
    for mode, name in AGGREGATORS.items():
        yield name, "random trees: wrong way", estimate(discordance(frame, mode))
        for column, order in {"wrong way": "discordant", "Kendall τ": "kendall"}.items():
            yield name, f"before and after GTO: {column}", estimate(main(frame, "gto", order, mode=mode))
    for tree in ("A", "A+", "B"):
        for column, kind in {"reward": "reward", "expected length": "expected"}.items():
            value = theory("counterexample", kind, tree=tree)(frame)[0]
            yield f"counterexample, tree {tree}", column, exact(value)


def target(frame: pd.DataFrame) -> Iterator[Cell]:
    """What the target has learnt."""
    columns = {"next-token accuracy": "accuracy", "entropy (nats)": "entropy"}
    names: list[tuple[str, str, str]] = [
        (domain, column, f"{name}/{domain}") for domain in DOMAINS for column, name in columns.items()
    ]
    names += [("math", "right answers, greedy", "verified/math"), ("parameters", "number", "parameters")]
    for row, column, name in names:
        yield row, column, exact(scalar(frame, "target", name).iloc[0])


def latency(frame: pd.DataFrame) -> Iterator[Cell]:
    """Milliseconds of the parts, and SR = τ t(1) / (t(tree) + t(draft)) at the exact τ."""
    parts = {name: scalar(frame, "speed", f"latency/{key}") for name, key in MILLISECONDS.items()}
    for name, seconds in parts.items():
        yield name, "milliseconds", estimate(1000 * seconds)
    one, tree, draft = (parts[name] for name in list(MILLISECONDS)[:3])
    for arm in COMPARED:
        for column, key in TAU.items():
            predicted = (main(frame, arm, f"{key}/all") * one / (tree + draft)).dropna()
            yield f"{NAMES[arm]}, {column}", "predicted SR", estimate(predicted)


TABLES: dict[str, Twin] = {
    "table1": table(decoded),
    "table2": tau_table(from_others),
    "table3": tau_table(aggregators),
    "table4": tau_table(group_sizes),
    "table5": table(debiasing),
    "table6": tau_table(
        lambda f: {
            NAMES[arm]: partial(main, f, arm) for arm in ("untuned", "continual", "continual_time", "gto")
        }
    ),
    "table7": lambda f: long_table(
        (row, f"{NAMES[arm]} {column}", estimate(main(f, arm, f"{key}/all@{shape}")))
        for shape, row in SHAPES.items()
        for arm in COMPARED
        for column, key in TAU.items()
    ),
    "offline": tau_table(every_draft, *PLACES),
    "differences": lambda f: long_table(
        (f"{NAMES[arm]} - {NAMES[over]}", f"{place} {name}", estimate(gain(f, arm, over, f"{key}/{place}")))
        for arm, over in PAIRS
        for name, key in TAU.items()
        for place in PLACES
    ),
    "orders": table(orders),
    "tabular": lambda f: long_table(
        (name, f"rank {rank:g}", estimate(tabular(f, arm, rank)))
        for arm, name in TABULAR.items()
        for rank in levels(f, "tabular", "rank")
    ),
    "target": table(target),
    "latency": table(latency),
}

# Figures

DRAFT = {
    "": {"is": 0.6, "has": 0.4},
    "is": {"a": 0.6, "the": 0.4},
    "has": {"to": 0.95, "been": 0.05},
}
GREEDY, ACCEPTED, BUDGET = (("is",), ("is", "a")), ("is", "the"), 3
LOGGED = {
    "reward": "Reward over the reference's",
    "equal_groups": "Share of groups of equal rewards",
    "outside_clip": "Share of ratios outside the clip range",
    "grad_norm": "Gradient norm",
}
GAPS = {
    "cross_entropy": "cross-entropy",
    "continual": "continual",
    "gto": "GTO",
    "node_sum": "node sum",
    "best": "best found",
}


def small_tree(_frame: pd.DataFrame) -> pd.DataFrame:
    """The nodes of a small tree: cumulative probability, kept or pruned.

    The draft continues "It" by the probabilities `DRAFT`; of four candidates of two levels three are kept.
    The greedy path "is a" is not among them, and the target would have accepted "is the".
    """
    first = {(word,): chance for word, chance in DRAFT[""].items()}
    second = {(*path, w): p * q for path, p in first.items() for w, q in DRAFT[path[0]].items()}
    candidates = first | second
    best = sorted(candidates, key=lambda path: -candidates[path])[:BUDGET]
    rows = [
        (
            " ".join(("It", *path)),
            len(path),
            chance,
            path in best,
            path in GREEDY,
            path == ACCEPTED[: len(path)],
        )
        for path, chance in candidates.items()
    ]
    return pd.DataFrame(rows, columns=["path", "level", "probability", "kept", "greedy", "accepted"])


def greedy_paths(frame: pd.DataFrame) -> Iterator[Cell]:
    """Shares of greedy paths, in percent, with the target as its own draft."""
    for panel, name in {"accepted on the greedy path": "agrees", "greedy path pruned": "pruned"}.items():
        for domain in DOMAINS:
            yield panel, domain, estimate(100 * main(frame, "untuned", f"{name}/{domain}"))
        for domain in DOMAINS:
            share = 100 * scalar(frame, "oracle", f"{name}/{domain}")
            yield panel, f"{domain}, target drafts", estimate(share)


def paths_and_trees(frame: pd.DataFrame) -> pd.DataFrame:
    """τ of the greedy path and of the tree, EAGLE-3, both temperatures."""
    return points(
        (f"T={t}", f"{domain} {kind}", estimate(main(frame, "untuned", f"{name}{t}/{domain}")))
        for t in (0, 1)
        for kind, name in {"path": "chain", "tree": "tau"}.items()
        for domain in DOMAINS
    )


def speed_ups(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up over plain decoding, mean of the domains."""
    return points(
        (f"T={t}", DECODERS[arm], estimate(main(frame, arm, f"sr{t}/all", "speed")))
        for t in (0, 1)
        for arm in ("eagle2", "eagle3", "continual", "gto")
    )


def phase_two(frame: pd.DataFrame) -> pd.DataFrame:
    """What Phase II logs, over steps."""
    return stacked(
        curve(rows(frame, "main", name, arm=arm), panel=panel, arm=NAMES[arm])
        for name, panel in LOGGED.items()
        for arm in ("gto", "shuffled", "flipped")
    )


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected accepted tokens below those of the target's own trees, by rank."""
    return points(
        (
            f"rank {rank:g}",
            name,
            estimate(tabular_gain(frame, rank, arm, "target")),
        )
        for rank in levels(frame, "tabular", "rank")
        for arm, name in GAPS.items()
    )


def tree_picture(data: pd.DataFrame, reported: Mapping[str, float]) -> Plot:
    """The tree by level, each node at its cumulative probability."""
    figure, axes = panels(1, width=6.0, height=3.2)
    axis, heights = axes[0], apart(data)
    nodes: list[Any] = list(data.itertuples())
    place = {row.path: (row.level, row.probability) for row in nodes} | {"It": (0, 1.0)}
    for row in nodes:
        level, height = place[row.path]
        above = place[row.path.rsplit(" ", 1)[0]]
        colour, style = (HUES["blue"], "-") if row.kept else (GREY, ":")
        axis.plot([above[0], level], [above[1], height], color=colour, ls=style, lw=1.4, zorder=1)
        axis.scatter(level, height, color=colour, zorder=2)
        with mpl.rc_context(STYLE):
            text = f"{row.path} ({', '.join([f'{height:.3g}', *notes(row)])})"
            axis.text(level + 0.06, heights[row.path], text, va="center", size=8)
    axis.scatter(0, 1.0, color=HUES["blue"])
    axis.text(0.06, 1.0, "It", va="center", size=8)
    axis.set_xlim(-0.1, 3.4)
    axis.set_xticks([0, 1, 2])
    label(axis, "", x="level", y="cumulative probability of the draft")
    stated = ", ".join(f"{path} {value:g}" for path, value in reported.items())
    caption(figure, f"three of six candidates are kept; the paper's example: {stated}")
    return figure


def notes(row: Any) -> list[str]:
    """What holds of a node."""
    facts = {"greedy": row.greedy, "target accepts": row.accepted, "pruned": not row.kept}
    return [note for note, holds in facts.items() if holds]


def apart(data: pd.DataFrame, room: float = 0.07) -> dict[str, float]:
    """Heights of the labels: above inner nodes, and apart where two leaves would overlap."""
    heights: dict[str, float] = {}
    levels_of_tree: Any = data.sort_values("probability").groupby("level")
    for level, nodes in levels_of_tree:
        lift, last = 0.5 * room * (level < data["level"].max()), -1.0
        for row in nodes.itertuples():
            last = heights[row.path] = max(row.probability + lift, last + room)
    return heights


def paper_shares(axes: Mapping[str, Axes], _data: pd.DataFrame, reported: Mapping[str, float]) -> None:
    """The paper's share of each domain, in the panel that it belongs to."""
    for axis, suffix in zip(axes.values(), ("accepted", "pruned"), strict=True):
        stated = [reported[f"{domain} {suffix}"] for domain in DOMAINS]
        axis.scatter(range(len(DOMAINS)), stated, marker="x", color="0.35", label="paper", zorder=3)
        axis.set_ylim(0, 105)


def from_one(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """A cycle accepts at least one token."""
    for axis in axes.values():
        axis.set_ylim(bottom=1.0)


def reward_axis(axes: Mapping[str, Axes], _data: pd.DataFrame, _reported: Mapping[str, float]) -> None:
    """The reward is a difference, which may lie on both sides of 0."""
    axes[LOGGED["reward"]].axhline(0.0, **REFERENCE)


def off_the_greedy_path(data: pd.DataFrame) -> str:
    """Nodes of the worked example that the target accepts, and those of them on the greedy path."""
    accepted, both = data["accepted"].sum(), (data["accepted"] & data["greedy"]).sum()
    return f"The target accepts {accepted} of {len(data)} nodes, {both} of them on the greedy path."


LAPTOP = "target of 0.8 M parameters, draft of 0.1 M"
FIGURES: dict[str, Figure] = {
    "fig1": Figure(small_tree, tree_picture, off_the_greedy_path),
    "fig2a": Figure(
        lambda f: points(greedy_paths(f)),
        dots(
            f"EAGLE-3, T=0; {LAPTOP}; the target drafts once for all seeds",
            y="share of prefixes (%)",
            width=3.8,
            fixed=COLOURS,
            finish=paper_shares,
        ),
    ),
    "fig2b": Figure(
        paths_and_trees,
        dots(
            f"EAGLE-3, exact at held-out prefixes; {LAPTOP}",
            y="acceptance length τ",
            width=3.8,
            fixed=COLOURS,
            paper="T=0",
            finish=from_one,
        ),
    ),
    "fig2c": Figure(
        speed_ups,
        dots(
            f"one thread, arms in turn; {LAPTOP}; paper: LLaMA-3.1-8B",
            y="speed-up over plain decoding",
            fixed=COLOURS,
            paper="T=0",
        ),
    ),
    "training": Figure(
        phase_two,
        lines(
            f"Phase II from EAGLE-3; {LAPTOP}",
            x="step",
            columns=2,
            fixed=COLOURS,
            rates=("rewards", "range"),
            finish=reward_axis,
        ),
    ),
    "gap": Figure(
        gaps,
        dots(
            "difference to the target's own trees; eight contexts, four tokens, three levels",
            y="accepted tokens, difference",
            width=3.0,
            fixed=COLOURS,
            level=0.0,
        ),
    ),
}
