"""What GTO's records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Plot

from common.plotting.draw import dots, lines
from common.plotting.point import listed, span
from common.plotting.style import GREY, HUES, STYLE, caption, label, panels
from common.statistics import Interval
from common.study.frame import (
    ESTIMATE,
    curve,
    estimate,
    exact,
    levels,
    long_table,
    points,
    rows,
    scalar,
    stacked,
)
from common.study.report import Figure, Twin
from common.tasks.tridomain import DOMAINS
from papers.gto.report.measures import (
    AGGREGATORS,
    CLAIMS,
    DECODERS,
    KINDS,
    NAMES,
    PREMISES,
    SHAPES,
    discordance,
    gain,
    late,
    main,
    present,
    tabular,
    tabular_gain,
    theory,
)

__all__ = ["CLAIMS", "COLOURS", "FIGURES", "PREMISES", "TABLES"]

Cell = tuple[str, str, Interval]
Select = Callable[[str], pd.Series]
"""Name of a scalar, e.g. ``tau1/all``, to its values of one arm."""
UNIFORM = "GTO, advantage 1"
COLOURS = {
    "EAGLE-2": HUES["brown"],
    "EAGLE-3": GREY,
    "continual": HUES["sky"],
    "GTO": HUES["vermilion"],
    NAMES["shuffled"]: HUES["purple"],
    NAMES["flipped"]: HUES["blue"],
    UNIFORM: HUES["green"],
    "token loss": HUES["sky"],
    NAMES["continual"]: HUES["sky"],
    NAMES["continual_time"]: HUES["pink"],
    "node sum": HUES["brown"],
    "group of a prefix": HUES["pink"],
    "best found": HUES["orange"],
    "target as its own draft": HUES["orange"],
    "greedy path": HUES["yellow"],
}

# Tables

TREES_SCORED = ("gto", "shuffled", "flipped")
LOGGED = {
    "loss": "GTO's loss",
    "reward": "reward over the reference's",
    "lowered": "accepted paths made less likely (share)",
    "outside_clip": "ratios outside the clip range (share)",
    "grad_norm": "gradient norm",
}
TAU = {"τ T=0": "tau0", "τ T=1": "tau1"}
PLACES = (*DOMAINS, "all")
COMPARED = ("untuned", "continual", "gto")
REAL_STYLES = ("code", "arithmetic", "chat")
REAL_DECODERS = {
    "generate": "transformers' generate",
    "plain": "plain decoding, our loop",
    "lookup": "prompt lookup",
    "eagle3": "EAGLE-3, 4,096 tokens",
    "both": "lookup where the text repeats, else EAGLE-3",
}
REAL_MEASURES = {
    "speed_up": "speed-up",
    "cpu": "speed-up (CPU)",
    "bound": "bound",
    "tau": "τ",
    "same": "share of tokens as plain",
}
TABULAR = {
    "cross_entropy": "cross-entropy",
    **{arm: arm for arm in ("continual", "gto", "shuffled", "flipped", "uniform")},
    "prefix": "several trees of a prefix as the group",
    **{arm: arm for arm in ("max", "average", "node_sum")},
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


def debiasing(frame: pd.DataFrame) -> dict[str, Select]:
    """Rows of Table 5."""
    without = partial(main, frame, "no debiasing", sweep="debias")
    return {"with": partial(main, frame, "gto"), "without": without}


def orders(frame: pd.DataFrame) -> Iterator[Cell]:
    """Shares of pairs in which reward and expected length disagree, and the counterexample."""
    for mode, name in AGGREGATORS.items():
        yield name, "random trees: wrong way", estimate(discordance(frame, mode))
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


def real_decoders(frame: pd.DataFrame) -> Iterator[Cell]:
    """SmolLM2 by the clock: every decoder's measures, which are one number each."""
    for decoder, name in REAL_DECODERS.items():
        for measure, column in REAL_MEASURES.items():
            yield name, column, estimate(scalar(frame, "real_speed", measure, decoder=decoder))


TABLES: dict[str, Twin] = {
    "table1": table(decoded),
    "table2": tau_table(from_others),
    "table3": tau_table(aggregators),
    "table4": tau_table(group_sizes),
    "table5": tau_table(debiasing),
    "table6": tau_table(
        lambda f: {
            NAMES[arm]: partial(main, f, arm) for arm in ("untuned", "continual", "continual_time", "gto")
        }
    ),
    "real": tau_table(
        lambda f: {NAMES[arm]: partial(main, f, arm, sweep="real") for arm in COMPARED}, *REAL_STYLES, "all"
    ),
    "real_speed": table(real_decoders),
    "table7": lambda f: long_table(
        (row, f"{NAMES[arm]} {column}", estimate(main(f, arm, f"{key}/all@{shape}")))
        for shape, row in SHAPES.items()
        for arm in COMPARED
        for column, key in TAU.items()
    ),
    "offline": tau_table(every_draft, *PLACES),
    "orders": table(orders),
    "tabular": lambda f: long_table(
        (name, f"rank {rank:g}", estimate(tabular(f, arm, rank)))
        for arm, name in TABULAR.items()
        if arm in present(f, "tabular")
        for rank in levels(f, "tabular", "rank")
    ),
    "target": table(target),
    "phase_two": lambda f: long_table(
        (NAMES[arm], column, estimate(late(f, name, arm)))
        for arm in TREES_SCORED
        for name, column in LOGGED.items()
    ),
}

# Figures

DRAFT = {
    "": {"is": 0.6, "has": 0.4},
    "is": {"a": 0.6, "the": 0.4},
    "has": {"to": 0.95, "been": 0.05},
}
GREEDY, ACCEPTED, BUDGET = (("is",), ("is", "a")), ("is", "the"), 3
LOSS, REWARD = "GTO's loss", "reward over the reference's"
AGREES, PRUNED = "accepted", "pruned"
TREE, PATH, OWN = "EAGLE-3", "greedy path", "target as its own draft"
PLAIN, PAIRED = "over plain", "over EAGLE-3, paired"
BLOCK = 100  # steps that one point is the mean of: a step has 32 prefixes of its own
RANK = "draft of rank"
SLOPES = {"token": "token loss", "gto": NAMES["gto"], "shuffled": NAMES["shuffled"], "uniform": UNIFORM}
ROOM = ("too small to equal its target", "large enough")
OVER_CONTINUAL = {
    **{arm: NAMES[arm] for arm in TREES_SCORED},
    "uniform": UNIFORM,
    "prefix": "group of a prefix",
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
    facts = {path: (path in best, path in GREEDY, path == ACCEPTED[: len(path)]) for path in candidates}
    rows = [(" ".join(("It", *path)), len(path), candidates[path], *facts[path]) for path in candidates]
    return pd.DataFrame(rows, columns=["path", "level", "probability", "kept", "greedy", "accepted"])


def grouped(cells: Iterable[tuple[str, str, str, Interval]]) -> pd.DataFrame:
    """A twin with arms side by side in each group, a domain mostly: panel, group, arm, and the estimate."""
    columns = ["panel", "group", "arm", *ESTIMATE]
    return pd.DataFrame([(*labels, *value) for *labels, value in cells], columns=columns)


def gains(frame: pd.DataFrame) -> pd.DataFrame:
    """Difference of exact τ to EAGLE-3, paired by seed."""
    return grouped(
        (f"T={t}", "mean" if place == "all" else place, name, estimate(gain(frame, arm, "untuned", key)))
        for t in (1, 0)
        for place in PLACES
        for key in (f"tau{t}/{place}",)
        for arm, name in NAMES.items()
        if arm != "untuned"
    )


def greedy_paths(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of greedy paths, in percent, with the target as its own draft."""
    drafts = {TREE: partial(main, frame, "untuned"), OWN: partial(scalar, frame, "oracle")}
    return grouped(
        (panel, domain, arm, estimate(100 * select(f"{name}/{domain}")))
        for panel, name in {AGREES: "agrees", PRUNED: "pruned"}.items()
        for domain in DOMAINS
        for arm, select in drafts.items()
    )


def paths_and_trees(frame: pd.DataFrame) -> pd.DataFrame:
    """τ of the greedy path and of the tree, EAGLE-3, both temperatures."""
    return grouped(
        (f"T={t}", domain, arm, estimate(main(frame, "untuned", f"{name}{t}/{domain}")))
        for t in (0, 1)
        for domain in DOMAINS
        for arm, name in {PATH: "chain", TREE: "tau"}.items()
    )


def speed_ups(frame: pd.DataFrame) -> pd.DataFrame:
    """Speed-up over plain decoding, mean of the domains; the same over EAGLE-3, paired by seed."""
    speeds = {
        (t, arm): main(frame, arm, f"sr{t}/all", "speed")
        for t in (0, 1)
        for arm in ("eagle2", "eagle3", "continual", "gto")
    }
    bases: dict[str, Any] = {PLAIN: (1.0, 1.0), PAIRED: [speeds[t, "eagle3"] for t in (0, 1)]}
    return grouped(
        (panel, f"T={t}", DECODERS[arm], estimate(sr / base[t]))
        for panel, base in bases.items()
        for (t, arm), sr in speeds.items()
        if (panel, arm) != (PAIRED, "eagle3")
    )


def phase_two(frame: pd.DataFrame) -> pd.DataFrame:
    """What the optimizer lowers, and the reward that this is for, in blocks of steps."""
    parts = []
    for panel, name in {LOSS: "loss", REWARD: "reward"}.items():
        for arm in TREES_SCORED:
            part = rows(frame, "main", name, arm=arm)
            blocks = (BLOCK * (part["step"] // BLOCK + 1)).astype(float)
            means = part.assign(step=blocks).groupby(["seed", "step"])["value"].mean()
            parts.append(curve(means.reset_index(), panel=panel, arm=NAMES[arm]))
    return stacked(parts)


def gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Expected accepted tokens over those after continual training, by rank, paired by seed."""
    ranks = levels(frame, "tabular", "rank")
    return grouped(
        (
            ROOM[rank == ranks[-1]],
            f"rank {rank:g}",
            name,
            estimate(tabular_gain(frame, rank, arm, "continual")),
        )
        for rank in ranks
        for arm, name in OVER_CONTINUAL.items()
        if arm in present(frame, "tabular")
    )


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Rise of the expected accepted length down the gradients of four losses, by rank."""
    return points(
        (f"{RANK} {rank:g}", name, estimate(scalar(frame, "tabular", "slope", arm=arm, rank=rank)))
        for rank in levels(frame, "tabular", "rank")
        for arm, name in SLOPES.items()
    )


def tree_picture(data: pd.DataFrame, reported: Mapping[str, float]) -> Plot:
    """The tree by level, each node at its cumulative probability."""
    figure, axes = panels(1, width=6.0, height=3.2)
    axis = axes[0]
    nodes: list[Any] = list(data.itertuples())
    place = {row.path: (row.level, row.probability) for row in nodes} | {"It": (0, 1.0)}
    for row in nodes:
        level, height = place[row.path]
        above = place[row.path.rsplit(" ", 1)[0]]
        colour, style = (HUES["blue"], "-") if row.kept else (GREY, ":")
        axis.plot([above[0], level], [above[1], height], color=colour, ls=style, lw=1.4, zorder=1)
        axis.scatter(level, height, color=colour, zorder=2)
        facts = {"greedy": row.greedy, "target accepts": row.accepted, "pruned": not row.kept}
        text = (
            f"{row.path} ({', '.join([f'{height:.3g}', *(fact for fact, holds in facts.items() if holds)])})"
        )
        with mpl.rc_context(STYLE):
            axis.text(level + 0.06, height, text, va="bottom" if row.kept else "top", size=8)
    axis.scatter(0, 1.0, color=HUES["blue"])
    axis.text(0.06, 1.0, "It", va="center", size=8)
    axis.set_xlim(-0.1, 3.4)
    axis.set_xticks([0, 1, 2])
    label(axis, "", x="level", y="cumulative probability of the draft")
    stated = ", ".join(f"{path} {value:g}" for path, value in reported.items())
    caption(figure, f"three of six candidates are kept; the paper's example: {stated}")
    return figure


POCKET = "target and draft of at most 0.8 M and 0.1 M parameters"
beside = partial(dots, x="group", fixed=COLOURS)
FIGURES: dict[str, Figure] = {
    "gains": Figure(
        gains,
        beside(
            f"paired by seed, exact at held-out prefixes; {POCKET}; paper: LLaMA-3.1-8B",
            y="acceptance length, over EAGLE-3's",
            width=4.6,
            level=0.0,
        ),
        lambda twin: listed(
            "Acceptance length over EAGLE-3's at temperature 1, mean of the domains",
            twin[(twin["panel"] == "T=1") & (twin["group"] == "mean")],
        ),
    ),
    "fig1": Figure(
        small_tree,
        tree_picture,
        lambda twin: (
            f"Kept: {', '.join(twin['path'][twin['kept']])}. Cut: {twin['path'][twin['accepted']].iloc[-1]}, "
            f"which the target would accept, and the greedy path {twin['path'][twin['greedy']].iloc[-1]}."
        ),
    ),
    "fig2a": Figure(
        greedy_paths,
        beside(f"T=0; {POCKET}; the target drafts once for all seeds", y="share of greedy paths (%)"),
        lambda twin: (
            f"What is accepted lies on EAGLE-3's greedy path at {span(twin, AGREES, TREE)}% of the prefixes; "
            f"re-ranking prunes that path at {span(twin, PRUNED, TREE)}%, at "
            f"{span(twin, PRUNED, OWN)}% where the target drafts for itself."
        ),
    ),
    "fig2b": Figure(
        paths_and_trees,
        beside(f"EAGLE-3, exact at held-out prefixes; {POCKET}", y="acceptance length τ"),
        lambda twin: (
            f"At temperature 1 the tree is accepted for {span(twin, 'T=1', TREE)} tokens, "
            f"the greedy path for {span(twin, 'T=1', PATH)}."
        ),
    ),
    "fig2c": Figure(
        speed_ups,
        beside(f"one thread, arms in turn; {POCKET}; paper: LLaMA-3.1-8B", y="speed-up"),
        lambda twin: listed(
            "Speed over EAGLE-3's at temperature 0",
            twin[(twin["panel"] == PAIRED) & (twin["group"] == "T=0")],
        ),
    ),
    "training": Figure(
        phase_two,
        lines(
            f"Phase II from EAGLE-3, before the step, means of {BLOCK} steps; paired in the table",
            x="step",
            y="on texts new to the draft",
            width=4.2,
            fixed=COLOURS,
            level=0.0,
        ),
        lambda twin: listed(
            f"Reward over the reference's, last {BLOCK} steps",
            twin[(twin["panel"] == REWARD) & (twin["step"] == twin["step"].max())],
        ),
    ),
    "slopes": Figure(
        slopes,
        dots(
            "central differences of the smoothed expected length, where GTO has led the draft",
            y="accepted tokens per unit step",
            fixed=COLOURS,
            level=0.0,
        ),
        lambda twin: listed("Rank 1, down the gradient", twin[twin["panel"] == f"{RANK} 1"]),
    ),
    "gap": Figure(
        gaps,
        beside(
            "paired by seed; eight contexts, four tokens, three levels",
            y="accepted tokens, over continual training",
            level=0.0,
        ),
        lambda twin: listed("Rank 1, over continual training", twin[twin["group"] == "rank 1"]),
    ),
}
