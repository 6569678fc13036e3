"""What `method.ipynb` shows: the lines behind an equation, the two hard instances in numbers, a slider."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display

from common.plotting.style import label, legend, panels, png
from common.preference.optimism import Lattice
from papers.rlhf_exploration.method import PROTOCOLS
from papers.rlhf_exploration.report import COLOURS, NAMES
from papers.rlhf_exploration.runs import theory
from papers.rlhf_exploration.runs.tabular import History, noise, run_online, saturated, two_arms

SEEDS = (0, 1, 2, 3)
ROUNDS = 600
CURVES = ("proposed", "xpo", "vpo")


def protocols() -> pd.DataFrame:
    """The algorithms as pairs of calibration and partner."""
    rows = {NAMES[name]: (item.bonus, item.partner) for name, item in PROTOCOLS.items()}
    columns = ["calibration of the bonus", "partner of π_t"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def waiting(betas: Sequence[float]) -> pd.DataFrame:
    """Derivation 1 at several β: share of mixed pairs, rounds until one, its closed form and leading term."""
    exact = theory.waiting(np.array(betas))
    columns = {"rounds until one": "waiting", "1 + cosh(1/β)": "closed", "e^(1/β) / 2": "leading"}
    table = {"mixed pairs": 1 / exact["waiting"], **{name: exact[key] for name, key in columns.items()}}
    return pd.DataFrame(table, index=pd.Index(betas, name="β")).round(4)


def worth(gaps: Sequence[float]) -> pd.DataFrame:
    """Derivation 2 at several G: information per comparison about r(1) - r(2), through arm 0 and directly."""
    exact = theory.worth(np.array(gaps))
    columns = {"through the bad arm": "indirect", "direct": "direct", "ratio": "ratio", "0.54 e^G": "leading"}
    table = {name: exact[key] for name, key in columns.items()}
    return pd.DataFrame(table, index=pd.Index(gaps, name="G")).round(5)


@cache
def run(instance: str, protocol: str, beta: float, gap: float) -> History:
    """A few hundred rounds of a handful of seeds on CE1 or CE2, with α = 0.3 √T."""
    n = len(SEEDS)
    bandit = two_arms(np.full(n, gap), beta) if instance == "CE1" else saturated(n, beta, gap, mass=0.001)
    solver = Lattice(bandit, np.full(n, 0.3 * ROUNDS**0.5))
    return run_online(bandit, PROTOCOLS[protocol], solver, noise(SEEDS, ROUNDS))


def numbers(instance: str, beta: float, gap: float, names: Sequence[str] = CURVES) -> pd.DataFrame:
    """Median regret, share of mixed pairs, and the bonus gradient ‖π_t - π_cal‖_1 early and late."""
    rows = {}
    for name in names:
        history = run(instance, name, beta, gap)
        rows[NAMES[name]] = {
            "regret": np.median(history.regret.sum(axis=1)).round(1),
            "mixed pairs": history.mixed.mean().round(3),
            "bonus gradient, first 10": history.movement[:, :10].mean().round(3),
            "bonus gradient, last 60": history.movement[:, -60:].mean().round(3),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def picture(*settings: tuple[str, float, float]) -> Image:
    """Cumulative regret of every seed, a panel for each (instance, β, gap)."""
    columns = min(3, len(settings))
    figure, axes = panels(
        columns, -(-len(settings) // columns), width=3.1 if columns > 1 else 5.0, height=2.3
    )
    for axis, (instance, beta, gap) in zip(axes, settings, strict=False):
        for name in CURVES:
            curves = run(instance, name, beta, gap).regret.cumsum(axis=1)
            lines = axis.plot(curves.T, color=COLOURS[NAMES[name]], lw=1, alpha=0.7)
            lines[0].set_label(NAMES[name])
        label(axis, f"{instance}: β = {beta:g}, gap {gap:g}", x="round", y="cumulative regret")
    legend(figure)
    return Image(data=png(figure), alt="Cumulative regret of every seed")


def slider() -> ipywidgets.Widget:
    """Instance, β and gap (in steps that lie on the lattice) that redraw `picture`."""
    instance = ipywidgets.Dropdown(options=("CE1", "CE2"), value="CE1", description="instance")
    beta = ipywidgets.FloatSlider(value=0.2, min=0.1, max=1.0, step=0.05, description="β")
    gap = ipywidgets.FloatSlider(value=1.0, min=1.0, max=10.0, step=1.0, description="gap")
    output = ipywidgets.interactive_output(
        lambda instance, beta, gap: display(picture((instance, round(beta, 2), gap))),
        {"instance": instance, "beta": beta, "gap": gap},
    )
    return ipywidgets.VBox([ipywidgets.HBox([instance, beta, gap]), output])
