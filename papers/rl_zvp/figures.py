"""Data twins of the figures: long frames with panel, arm, step, mean, low, high, n (95 % t intervals).

`step` is the horizontal axis: batches, or a success rate for enumerated policies.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from common.metrics.records import curve, scalar
from common.metrics.summary import summarise
from papers.rl_zvp.arms import ALPHA, MIXES, NAMES, half, tabular, training
from papers.rl_zvp.enumeration import GROUP_SIZES
from papers.rl_zvp.tables import methods

PAIR = ("grpo", "zvp")
TABULAR_PANEL, LANGUAGE_PANEL = "Tabular policy", "OpChain"
CURVES = {"Acc@8": "curve/pass_at_1", "entropy (nats)": "entropy", "length (tokens)": "length"}
HALVES = {"positive half": "positive", "negative half": "negative", "negative half, constant": "constant"}
HALF_PANELS = {
    "Norm of the expected update": "norm",
    "Root mean square of one response": "rms",
    "Cosine with the gradient of p": "cosine",
}
WEIGHTED = {"GRPO": "grpo", "RL-ZVP, positive half": "positive", "RL-ZVP, negative half": "negative"}
BATCHES = 4  # of a language model, averaged in a figure
SHOWN = ("zvp", "no_negative", "unit", "const", "shuffle", "flip")


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """Acc@8 of GRPO and RL-ZVP at the end, both settings, in percent."""
    return _stack(
        _point(100 * scalar(frame, mix, "final/pass_at_1/all", arm=arm), f"{mix} mix", NAMES[arm])
        for mix in MIXES
        for arm in PAIR
    )


def fig3(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of zero-variance prompts over batches, tabular policy and OpChain."""
    parts = []
    for mix in reversed(MIXES):
        for arm in PAIR:
            name = f"{mix} mix, {NAMES[arm]}"
            runs = {
                TABULAR_PANEL: tabular(frame, "zero_variance", mix, arm),
                LANGUAGE_PANEL: binned(training(frame, mix, "zero_variance", arm)),
            }
            parts += [curve(part, panel=panel, arm=name) for panel, part in runs.items()]
    return _stack(parts)


def fig4(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, entropy and length over batches, both settings."""
    return _stack(
        curve(binned(training(frame, mix, name, arm), name), panel=f"{mix} mix: {title}", arm=NAMES[arm])
        for mix in MIXES
        for title, name in CURVES.items()
        for arm in PAIR
    )


def fig6(frame: pd.DataFrame) -> pd.DataFrame:
    """Success and pass@8 of the six methods at the end, both mixes, in percent."""
    found = list(methods(frame))
    return _stack(
        _point(100 * scores[column], f"{wanted} mix: {title}", name)
        for wanted in MIXES
        for title, column in {"success (%)": "Acc", "pass@8 (%)": "Pass@8"}.items()
        for mix, name, scores, *_ in found
        if mix == wanted
    )


def halves(frame: pd.DataFrame) -> pd.DataFrame:
    """Norm, sampled size and direction of both halves against p."""
    return _stack(
        curve(_policies(half(frame, f"{name}_{suffix}")), panel=panel, arm=arm)
        for panel, suffix in HALF_PANELS.items()
        for arm, name in HALVES.items()
    )


def groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Norm of the expected contribution of a prompt against p, at the paper's α."""
    return _stack(
        curve(
            _policies((1.0 if name == "grpo" else ALPHA) * half(frame, f"{name}_group_{size}")),
            panel=f"Groups of {size}",
            arm=arm,
        )
        for size in GROUP_SIZES
        for arm, name in WEIGHTED.items()
    )


def ablations(frame: pd.DataFrame) -> pd.DataFrame:
    """Exact success over batches of ablations and controls, minus GRPO's with the same seed, both mixes."""
    parts = []
    for mix in reversed(MIXES):
        base = tabular(frame, "success", mix, "grpo").set_index(["seed", "step"])["value"]
        for arm in SHOWN:
            own = tabular(frame, "success", mix, arm).set_index(["seed", "step"])["value"]
            parts.append(curve((own - base).reset_index(), panel=f"{mix} mix", arm=NAMES[arm]))
    return _stack(parts)


def binned(part: pd.DataFrame, name: str = "") -> pd.DataFrame:
    """Means over `BATCHES` neighbouring batches, which are small; points of a ``curve/`` stay as they are."""
    if name.startswith("curve/"):
        return part
    steps = part["step"].astype(int) // BATCHES * BATCHES
    return part.assign(step=steps).groupby(["seed", "step"], as_index=False)["value"].mean()


def _policies(table: pd.DataFrame) -> pd.DataFrame:
    """A table of policies by success rate as rows of a curve."""
    return table.melt(ignore_index=False, var_name="step", value_name="value").reset_index(names="seed")


def _point(values: pd.Series, panel: str, arm: str) -> pd.DataFrame:
    return summarise(values.reset_index(name="value").assign(panel=panel, arm=arm), ["panel", "arm"])


def _stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(parts), ignore_index=True)
