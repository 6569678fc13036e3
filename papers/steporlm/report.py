"""What StepORLM's records show, by the ids of the card: PREMISES, CLAIMS, TABLES, FIGURES.

Scores of tables are in percent, like the paper's; claims are in shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from common.plotting.draw import dots, lines, ranking
from common.plotting.style import GREY, HUES
from common.statistics import Interval
from common.study.audits import averages, possible
from common.study.frame import (
    Errors,
    after,
    curve,
    estimate,
    exact,
    final,
    long_table,
    paired,
    point,
    rows,
    scalar,
    stacked,
    values,
)
from common.study.report import Figure, Measure, Twin

SLUG = "steporlm"
Cell = tuple[str, str, Interval]
NAMES = {
    "full": "StepORLM",
    "outcome": "outcome only",
    "shuffled": "critiques shuffled",
    "no_sft": "w/o SFT",
    "frozen": "w/o GenPRM evolution",
    "unweighted": "w/o W-DPO",
    "reference": "with a reference",
    "oracle": "oracle's critiques",
    "inverted": "weights inverted",
    "unfiltered": "critiques unfiltered",
}
PICKS = {
    "none": "none",
    "majority": "majority",
    "solver": "solver",
    "discriminative": "discriminative",
    "initial": "GenPRM (initial)",
    "final": "GenPRM (final)",
    "oracle": "oracle",
}
POLICIES = {"best": "StepORLM", "best_b": "policy B"}
CORPORA = {"verified": "verified", "unverified": "unverified", "again": "unverified, another draw"}
READERS = {"whole": "reads the whole solution", "prefix": "reads up to the step"}
PLACES = {"later": "the declared unit, which depends on later steps", "local": "copied numbers"}
PAINTS = ("orange", "blue", "pink", "vermilion", "green", "sky", "purple", "yellow")
COLOURS = {
    **{name: HUES[hue] for name, hue in zip(NAMES.values(), PAINTS, strict=False)},  # the last two are grey
    READERS["whole"]: HUES["orange"],
    READERS["prefix"]: GREY,
}
SETS = ("NL4OPT", "EasyLP", "ComplexLP", "NLP4LP", "ComplexOR", "IndustryOR", "ReSocratic")
BENCHMARKS = dict(zip(SETS, (213, 545, 111, 178, 18, 42, 403), strict=True))
"""Columns of the paper's tables with their numbers of problems (App. B)."""
PAPERS = ("table1", "table2", "table3", "table4", "table5")

# Measures: one number per seed


def over_rounds(frame: pd.DataFrame, name: str, arm: str = "full", dial: str = "usual") -> pd.DataFrame:
    """`rows` of an arm; step 0 is the warm start."""
    return rows(frame, "loops", name, arm=arm, dial=dial)


def start(frame: pd.DataFrame, name: str, arm: str = "full", dial: str = "usual") -> pd.Series:
    """Before the rounds."""
    return after(over_rounds(frame, name, arm, dial), 0)


def end(frame: pd.DataFrame, name: str, arm: str = "full", dial: str = "usual") -> pd.Series:
    """After an arm's last round."""
    return final(over_rounds(frame, name, arm, dial))


def one_round(frame: pd.DataFrame, name: str) -> pd.Series:
    """Of the full method after its first round: the paper's "w/o self-evolution"."""
    return after(over_rounds(frame, name), 1)


def ahead(frame: pd.DataFrame, other: str, arm: str = "full") -> pd.Series:
    """Pass@1 of an arm minus that of another, at the end."""
    return paired(end(frame, "pass_at_1", arm), end(frame, "pass_at_1", other))


def luck_left(frame: pd.DataFrame, arm: str = "full") -> pd.Series:
    """Lucky share of outcome-only preference minus that of an arm; "none" has both at dial 0."""
    dial = "none" if arm == "none" else "usual"
    other = "full" if arm == "none" else arm
    return paired(end(frame, "lucky", "outcome", dial), end(frame, "lucky", other, dial))


def pick(frame: pd.DataFrame, selector: str, policy: str = "best") -> pd.Series:
    """Accuracy of one of four solutions."""
    return scalar(frame, "loops", f"{policy}/{selector}", arm="full", dial="usual")


def picked(frame: pd.DataFrame, selector: str, over: str, policy: str = "best") -> pd.Series:
    """Accuracy by one selector minus that by another."""
    return paired(pick(frame, selector, policy), pick(frame, over, policy))


def seen(frame: pd.DataFrame, place: str) -> pd.Series:
    """Accuracy of verdicts on a kind of step, whole minus prefix verifier."""
    whole, prefix = (
        scalar(frame, "loops", f"{place}_{reader}", arm="full", dial="usual") for reader in READERS
    )
    return paired(whole, prefix)


def process_share(frame: pd.DataFrame) -> pd.Series:
    """Rule-2 pairs among all pairs of the full method, over its rounds."""
    first, second = (over_rounds(frame, name).groupby("seed")["value"].sum() for name in ("rule_1", "rule_2"))
    return second / (first + second)


def climb(frame: pd.DataFrame) -> pd.Series:
    """Rise of the method's own objective, right answers plus steps found correct, over its rollouts."""
    right, share = (over_rounds(frame, f"rollouts_{name}") for name in ("right", "share"))
    return paired(final(right), after(right, 0)) + paired(final(share), after(share, 0))


def told_apart(frame: pd.DataFrame) -> pd.Series:
    """Share of clean solutions that the initial verifier accepts minus share of flawed ones."""
    clean, lucky, wrong = (start(frame, f"accept_{kind}") for kind in ("clean", "lucky", "wrong"))
    return clean - (lucky + wrong) / 2


def solver_errors(frame: pd.DataFrame) -> Errors:
    """Differences of two solvers' optima, and of the proved makespan to the known one."""
    part = frame[(frame["sweep"] == "real_models") & (frame["name"] == "difference")]
    return np.sort([*part["value"], *values(frame, "real_models", "makespan")])


def all_averages(frame: pd.DataFrame) -> Errors:
    """Reported minus recomputed averages of the five tables."""
    return np.concatenate([averages(SLUG, name, "Avg", tuple(BENCHMARKS))(frame) for name in PAPERS])


def possible_scores(frame: pd.DataFrame) -> Errors:
    """Distance of every score to the nearest share of its column's problems."""
    errors = np.concatenate([possible(SLUG, name, BENCHMARKS)(frame) for name in PAPERS])
    return errors[~np.isnan(errors)]


PREMISES: dict[str, Measure] = {
    "lucky_start": lambda f: start(f, "lucky"),
    "lucky_off": lambda f: start(f, "lucky", dial="none"),
    "headroom": lambda f: start(f, "pass_at_1"),
    "process_pairs": process_share,
    "climbs": climb,
    "informed": told_apart,
}
CLAIMS: dict[str, Measure] = {
    "c5": luck_left,
    "c1": lambda f, arm="full": paired(end(f, "pass_at_1", arm), start(f, "pass_at_1")),
    "c2_sft": lambda f, arm="full": ahead(f, "no_sft", arm),
    "c2_evolution": lambda f, arm="full": paired(end(f, "pass_at_1", arm), one_round(f, "pass_at_1")),
    "c2_critic": lambda f, arm="full": ahead(f, "frozen", arm),
    "c2_weight": lambda f, arm="full": ahead(f, "unweighted", arm),
    "c3_final": lambda f, arm="final": picked(f, arm, "initial"),
    "c3_others": lambda f, arm="final": pd.DataFrame(
        {other: picked(f, arm, other) for other in ("majority", "solver", "discriminative")}
    ),
    "c4": lambda f, arm="final": picked(f, arm, "initial", "best_b"),
    "c6": lambda f, arm="later": seen(f, arm),
    "c7": lambda f, arm="verified": paired(
        *(scalar(f, "quality", "pass_at_1", arm=corpus) for corpus in (arm, "unverified"))
    ),
    "c9": lambda f: values(f, "tours", "error"),
    "real_models": solver_errors,
    "c10": lambda f: values(f, "best_of", "error"),
    "c11": lambda f: values(f, "gradients", "closed_form", "scale", "free", "constant"),
    "c12_averages": all_averages,
    "c12_possible": possible_scores,
    "taught": lambda f, arm="lucky": paired(end(f, f"accept_{arm}"), start(f, f"accept_{arm}")),
}

# Tables

SCORES = {"Pass@1": "pass_at_1", "Pass@1, all steps right": "process_pass", "lucky of right": "lucky"}


def arms_of(frame: pd.DataFrame, dial: str = "usual") -> list[str]:
    """Arms of the rounds in this run, in the order of `NAMES`."""
    there = set(frame.loc[(frame["sweep"] == "loops") & (frame["dial"] == dial), "arm"])
    return [arm for arm in NAMES if arm in there]


def scores(frame: pd.DataFrame, row: str, arm: str, when: Callable[..., pd.Series] = end) -> Iterator[Cell]:
    """Held-out scores of an arm before or after its rounds."""
    for column, name in SCORES.items():
        yield row, column, estimate(100 * when(frame, name, arm))


def selectors(frame: pd.DataFrame, policy: str) -> list[str]:
    """Those of `PICKS` that chose among a policy's solutions in this run."""
    names = set(frame["name"])
    return [selector for selector in PICKS if f"{policy}/{selector}" in names]


def stages(frame: pd.DataFrame, rounds: str, chosen: str) -> Iterator[Cell]:
    """From the base model on to the verifier's choice among four, as far as this run measured them."""
    if "no_sft" in arms_of(frame):
        yield from scores(frame, "base", "no_sft", start)
    yield from scores(frame, "SFT", "full", start)
    yield from scores(frame, rounds, "full")
    if "final" in selectors(frame, "best"):
        yield chosen, "one of four", estimate(100 * pick(frame, "final"))


def ablation(frame: pd.DataFrame) -> Iterator[Cell]:
    """Every arm of this run, and the full method after one round."""
    for arm in arms_of(frame):
        yield from scores(frame, NAMES[arm], arm)
    for column, name in SCORES.items():
        yield "w/o self-evolution", column, estimate(100 * one_round(frame, name))


def by_error(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns family, error and value: the lucky share of each kind of error."""
    part = frame[(frame["sweep"] == "lucky") & (frame["name"] == "lucky")]
    part = part.astype({"family": str, "error": str})  # categories sort by their order in the frame
    return part[["family", "error", "value"]].sort_values(["family", "error"], ignore_index=True)


def luck(frame: pd.DataFrame) -> Iterator[Cell]:
    """Errors, then verified corpora."""
    for family, error, share in by_error(frame).itertuples(index=False):
        row = f"{family}: {error}"
        yield row, "lucky, percent", exact(100 * share)
        count = scalar(frame, "lucky", "instances", family=family, error=error).iloc[0]
        yield row, "problems", exact(count)
    corpora = frame[(frame["sweep"] == "lucky") & (frame["name"] == "share")].astype({"kinds": str})
    for kinds, rate, share in corpora[["kinds", "rate", "value"]].sort_values(["kinds", "rate"]).to_numpy():
        yield f"corpus, errors '{kinds}' at {rate:.0%}", "lucky, percent", exact(100 * share)


TABLES: dict[str, Twin] = {
    "table1": lambda f: long_table(stages(f, NAMES["full"], "StepORLM+GenPRM")),
    "table2": lambda f: long_table(
        (f"{policy}, {PICKS[selector]}", "accuracy", estimate(100 * pick(f, selector, place)))
        for place, policy in POLICIES.items()
        for selector in selectors(f, place)
    ),
    "table3": lambda f: long_table(ablation(f)),
    "table4": lambda f: long_table(
        (name, column, estimate(100 * scalar(f, "quality", score, arm=corpus)))
        for corpus, name in CORPORA.items()
        for column, score in SCORES.items()
    ),
    "table5": lambda f: long_table(stages(f, "evolution", "GenPRM best-of-4")),
    "lucky": lambda f: long_table(luck(f)),
}

# Figures

POCKET = "five families of problems, 0.3 M parameters"
LUCKY = "share of right answers that are lucky"
ACCEPTED = {f"verifier accepts {kind} solutions": f"accept_{kind}" for kind in ("lucky", "wrong")}


def errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Lucky share by family and kind of error."""
    part = by_error(frame)
    names = part["family"] + ": " + part["error"]
    share = {"mean": part["value"], "low": np.nan, "high": np.nan, "n": 0}
    return pd.DataFrame({"panel": "Lucky share by error", "arm": names, "family": part["family"], **share})


def readers(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of both verifiers by kind of step."""
    return stacked(
        point(scalar(frame, "loops", f"{place}_{reader}", arm="full", dial="usual"), panel=panel, arm=name)
        for place, panel in PLACES.items()
        for reader, name in READERS.items()
    )


def learning(frame: pd.DataFrame) -> pd.DataFrame:
    """Held-out scores over rounds, every arm of this run."""
    return stacked(
        curve(over_rounds(frame, name, arm), panel=panel, arm=NAMES[arm])
        for panel, name in SCORES.items()
        for arm in arms_of(frame)
    )


def mechanism(frame: pd.DataFrame) -> pd.DataFrame:
    """Lucky share at both dials, and what the verifiers accept, over rounds."""

    def parts() -> Iterator[pd.DataFrame]:
        for dial, title in (("usual", LUCKY), ("none", f"{LUCKY}, dial 0")):
            for arm in (arm for arm in ("full", "outcome", "shuffled") if arm in arms_of(frame, dial)):
                yield curve(over_rounds(frame, "lucky", arm, dial), panel=title, arm=NAMES[arm])
        for panel, name in ACCEPTED.items():
            for verifier in (arm for arm in ("full", "frozen") if arm in arms_of(frame)):
                yield curve(over_rounds(frame, name, verifier), panel=panel, arm=NAMES[verifier])

    return stacked(parts())


def over_budget(frame: pd.DataFrame) -> pd.DataFrame:
    """The closed form over k, a verifier an arm."""
    part = frame[(frame["sweep"] == "best_of") & (frame["name"] == "accuracy")]
    return stacked(
        curve(own.assign(step=own["step"].astype(int) + 1), panel="accuracy, first accepted", arm=str(name))
        for name, own in part.astype({"verifier": str}).groupby("verifier")
    )


def of_four(twin: pd.DataFrame) -> str:
    """What a verifier is worth when four solutions are drawn."""
    found = (f"{row.arm} {row.mean:.2f}" for row in twin[twin["step"] == 4].itertuples())
    return f"First accepted of four: {'; '.join(found)}."


FAMILIES = {
    "mix": HUES["blue"],
    "knap": HUES["green"],
    "trans": HUES["orange"],
    "fix": HUES["vermilion"],
    "batch": GREY,
}
FIGURES: dict[str, Figure] = {
    "fig1a": Figure(
        errors,
        ranking(
            "single errors in right solutions",
            rows="arm",
            kind="family",
            fixed=FAMILIES,
            x="lucky share",
            width=5.0,
            height=6.4,
        ),
    ),
    "fig1b": Figure(readers, dots(POCKET, y="accuracy of verdicts", width=4.2, fixed=COLOURS)),
    "fig4": Figure(learning, lines(POCKET, x="rounds", fixed=COLOURS, rates=tuple(SCORES), band=False)),
    "mechanism": Figure(
        mechanism, lines(POCKET, x="rounds", fixed=COLOURS, rates=("share", "dial 0", "solutions"), width=4.0)
    ),
    "best_of": Figure(
        over_budget,
        lines("closed form, policy with p = 0.6", x="solutions k", rates=("accepted",), width=5.0),
        of_four,
    ),
}
