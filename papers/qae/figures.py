"""Data twins of the figures: long frames with panel, arm, step, mean, low, high, n (95 % t intervals).

`step` is the horizontal axis: iterations, or a success rate in closed forms, which have n = 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from common.metrics.records import average, curve, final, rows
from common.metrics.summary import ESTIMATE, summarise
from common.tasks.opchain import CONNECTORS, WAIT
from papers.qae.arms import EPSILON_HIGH, MIXES, NAMES, K, tabular, training
from papers.qae.experiment import EPSILON_HIGH_SWEEP, K_SWEEP

MEAN, QAE = "mean baseline", "QAE"
PAIR = {MEAN: "mean", QAE: "quantile"}
SIGNS = {"positive advantage": "positive", "zero advantage": "zero", "negative advantage": "negative"}
KINDS = {WAIT: "exploratory", **dict.fromkeys(CONNECTORS, "rigid")}
PHASES = {"early": 20 / 300, "middle": 80 / 300, "late": 200 / 300}
TOP = 20
ENTROPY, ACCURACY, ACCURACY_16 = "Entropy (nats)", "pass@1", "pass@16"
CLOSED_FORM = "Zero share of a group"
LENGTH = "Response length (tokens)"
SERIES = {
    ENTROPY: "entropy",
    ACCURACY: "curve/pass_at_1",
    ACCURACY_16: "curve/pass_at_16",
    LENGTH: "length",
}


def fig1(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy and pass@1 over training, mean baseline and QAE."""
    return _main_curves(frame, ENTROPY, ACCURACY)


def fig2(frame: pd.DataFrame) -> pd.DataFrame:
    """Markers and pass@1 of the mean baseline at both upper clip ranges."""
    arms = {
        f"upper clip range {EPSILON_HIGH_SWEEP[0]:.2f}": ("clipping", "mean"),
        f"upper clip range {EPSILON_HIGH:.2f} (Clip-Higher)": ("main", "mean"),
    }
    return _markers(frame, arms)


def fig3(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens at high-entropy positions, mean baseline."""
    return _high_entropy_tokens(frame, "mean")


def fig4a(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy of the mean baseline by the sign of the advantage."""
    return _entropy_by_sign(frame, "mean")


def fig4b(frame: pd.DataFrame) -> pd.DataFrame:
    """Weight on positive samples."""
    return _weights(frame, "positive")


def fig4c(frame: pd.DataFrame) -> pd.DataFrame:
    """Weight on negative samples."""
    return _weights(frame, "negative")


def fig5a(frame: pd.DataFrame) -> pd.DataFrame:
    """pass@1 and pass@16 over training, mean baseline and QAE."""
    return _main_curves(frame, ACCURACY, ACCURACY_16)


def fig5b(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy of QAE by the sign of the advantage."""
    return _entropy_by_sign(frame, "quantile")


def fig5c(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares of advantage values under QAE in three runs, and the zero share over the success rate."""
    parts = []
    for arm, sign in SIGNS.items():
        name = f"share_{sign}"
        runs = {f"Tabular, {mix} mix": tabular(frame, name, mix, "quantile") for mix in MIXES}
        runs["OpChain"] = training(frame, "main", name, "quantile")
        parts += [curve(part, panel=panel, arm=arm) for panel, part in runs.items()]
    for k in K_SWEEP:
        labels = {"analysis": "zero_advantage_share", "k": k}
        parts.append(_exact(frame, "zero_share", CLOSED_FORM, f"K = {k:.1f}", **labels))
    return _stack(parts)


def fig6b(frame: pd.DataFrame) -> pd.DataFrame:
    """Masks at the default clip range: success at the end, entropy over training."""
    return _masks(frame, EPSILON_HIGH)


def fig6c(frame: pd.DataFrame) -> pd.DataFrame:
    """Masks at the narrow clip range."""
    return _masks(frame, EPSILON_HIGH_SWEEP[0])


def fig7(frame: pd.DataFrame) -> pd.DataFrame:
    """Markers and pass@1 under QAE, beside the mean baseline."""
    return _markers(frame, {label: ("main", baseline) for label, baseline in PAIR.items()})


def fig8(frame: pd.DataFrame) -> pd.DataFrame:
    """Tokens at high-entropy positions, QAE."""
    return _high_entropy_tokens(frame, "quantile")


def fig9(frame: pd.DataFrame) -> pd.DataFrame:
    """Every K: entropy and success of the tabular policy, entropy, pass@1 and length on OpChain."""
    parts = []
    for k in K_SWEEP:
        arm = f"K = {k:.1f}"
        for panel, name in {"Tabular: entropy (nats)": "entropy", "Tabular: success": "success"}.items():
            parts.append(curve(tabular(frame, name, "broad", "quantile", k=k), panel=panel, arm=arm))
        for panel in (ENTROPY, ACCURACY, LENGTH):
            part = training(frame, "k", SERIES[panel], "quantile", k=k)
            parts.append(curve(part, panel=f"OpChain: {panel[0].lower()}{panel[1:]}", arm=arm))
    return _stack(parts)


def fig10(frame: pd.DataFrame) -> pd.DataFrame:
    """Entropy, pass@1 and length, mean baseline and QAE."""
    return _main_curves(frame, ENTROPY, ACCURACY, LENGTH)


def _main_curves(frame: pd.DataFrame, *panels: str) -> pd.DataFrame:
    return _stack(
        curve(training(frame, "main", SERIES[panel], baseline), panel=panel, arm=arm)
        for panel in panels
        for arm, baseline in PAIR.items()
    )


def _markers(frame: pd.DataFrame, arms: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Occurrences per response of exploratory and rigid tokens, and pass@1."""
    markers = {f"Exploratory tokens ({WAIT})": (WAIT,), f"Rigid tokens ({', '.join(CONNECTORS)})": CONNECTORS}
    parts = []
    for arm, (sweep, baseline) in arms.items():
        for panel, tokens in markers.items():
            counts = [training(frame, sweep, f"curve/count/{token}", baseline) for token in tokens]
            total = counts[0].assign(value=sum(part["value"] for part in counts))
            parts.append(curve(total, panel=panel, arm=arm))
        parts.append(curve(training(frame, sweep, "curve/pass_at_1", baseline), panel=ACCURACY, arm=arm))
    return _stack(parts)


def _high_entropy_tokens(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Share of the high-entropy positions by token: the top 20 at each of three points of training."""
    prefix = "curve/high_entropy/"
    names = sorted(name for name in frame["name"].unique() if name.startswith(prefix))
    shares = pd.concat(
        [
            training(frame, "main", name, baseline).assign(token=name.removeprefix(prefix), panel="")
            for name in names
        ]
    )
    points = np.sort(shares["step"].unique())
    parts = []
    for phase, share in PHASES.items():
        point = points[np.abs(points - share * points[-1]).argmin()]
        chosen = shares[shares["step"] == point]
        top = summarise(chosen, ["token"]).sort_values(["mean", "token"], ascending=[False, True]).head(TOP)
        parts.append(top.assign(panel=f"{phase.capitalize()} (iteration {point:.0f})"))
    table = _stack(parts)
    return table.assign(kind=table["token"].map(KINDS).fillna("other"))[["panel", "token", "kind", *ESTIMATE]]


def _entropy_by_sign(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    return _stack(
        curve(tabular(frame, f"entropy_{sign}", "hard", baseline), panel=ENTROPY, arm=arm)
        for arm, sign in SIGNS.items()
    )


def _weights(frame: pd.DataFrame, sign: str) -> pd.DataFrame:
    arms = {MEAN: "mean", f"QAE, K = {K:g}": "quantile"}
    panel = f"Weight on {sign} samples"
    return _stack(
        _exact(frame, f"{name}_{sign}", panel, arm, analysis="weight_curves") for arm, name in arms.items()
    )


def _exact(frame: pd.DataFrame, name: str, panel: str, arm: str, **labels: str | float) -> pd.DataFrame:
    """A closed form over the success rate."""
    values = rows(frame, "theory", name, **labels)["value"]
    p = rows(frame, "theory", "p", **labels)["value"]
    return pd.DataFrame(
        {"panel": panel, "arm": arm, "step": p, "mean": values, "low": np.nan, "high": np.nan, "n": 0}
    )


def _masks(frame: pd.DataFrame, epsilon_high: float) -> pd.DataFrame:
    def parts() -> Iterator[pd.DataFrame]:
        for mix in MIXES:
            for baseline in ("pos", "neg", "quantile"):
                arm = NAMES[baseline]
                success = final(tabular(frame, "success", mix, baseline, epsilon_high=epsilon_high))
                entropy = average(tabular(frame, "entropy", mix, baseline, epsilon_high=epsilon_high))
                yield _point(success, f"Success at the end, {mix} mix", arm)
                yield _point(entropy, f"Mean entropy (nats), {mix} mix", arm)

    return _stack(parts())


def _point(values: pd.Series, panel: str, arm: str) -> pd.DataFrame:
    return summarise(values.reset_index().assign(panel=panel, arm=arm), ["panel", "arm"])


def _stack(parts: Iterator[pd.DataFrame] | list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)
