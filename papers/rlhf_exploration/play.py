"""What `method.ipynb` shows: the lines behind an equation, the two hard instances in numbers, a slider."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display
from matplotlib.axes import Axes

from common.plotting.style import label, legend, panels, png
from common.preference.bradley_terry import contrast_information, information
from common.preference.tabular import gibbs_policy
from papers.rlhf_exploration.method import PROTOCOLS
from papers.rlhf_exploration.report import COLOURS
from papers.rlhf_exploration.report.measures import NAMES
from papers.rlhf_exploration.runs.solvers import Bandit, Lattice
from papers.rlhf_exploration.runs.tabular import History, noise, run_online, saturated, two_arms

SHOWN = ("proposed", "xpo", "vpo")
SEEDS = (0, 1, 2, 3)
ROUNDS = 600
INSTANCES = ("CE1", "CE2")


def protocols() -> pd.DataFrame:
    """The algorithms as pairs of calibration and partner."""
    rows = {NAMES[name]: (item.bonus, item.partner) for name, item in PROTOCOLS.items()}
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["calibration of the bonus", "partner of π_t"]
    )


def waiting(betas: Sequence[float]) -> pd.DataFrame:
    """Derivation 1: mass on the bad arm, share of mixed pairs, rounds until one, and e^(1/β) / 2."""
    policies = np.array([gibbs_policy(np.array([0.5, 0.5]), np.array([0.0, 1.0]), beta) for beta in betas])
    mixed = 2 * policies[:, 0] * policies[:, 1]
    table = {"π_t(bad)": policies[:, 1], "mixed pairs": mixed, "rounds until one": 1 / mixed}
    leading = {"e^(1/β) / 2": np.exp(1 / np.array(betas)) / 2}
    return pd.DataFrame(table | leading, index=pd.Index(betas, name="β")).round(4)


def worth(gaps: Sequence[float]) -> pd.DataFrame:
    """Derivation 2: information per comparison about r(1) - r(2), through arm 0 and directly."""
    through = np.array([[0, 0, 0.5], [0, 0, 0.5], [0.5, 0.5, 0]])
    rewards = [np.array([gap, gap - 1, 0.0]) for gap in gaps]
    indirect = np.array([contrast_information(r, through, 0, 1) for r in rewards])
    direct = float(information(np.array(1.0)))
    table = {"through the bad arm": indirect, "direct": direct, "ratio": direct / indirect}
    leading = {"0.54 e^G": 2 * direct * (1 + np.exp(-1)) * np.exp(np.array(gaps))}
    return pd.DataFrame(table | leading, index=pd.Index(gaps, name="G")).round(5)


def bandit(instance: str, beta: float, gap: float) -> Bandit:
    """CE1 or CE2 for a handful of seeds."""
    if instance == "CE1":
        return two_arms(np.full(len(SEEDS), gap), beta)
    return saturated(len(SEEDS), beta, gap, mass=0.001)


@cache
def run(instance: str, protocol: str, beta: float, gap: float) -> History:
    """A few hundred rounds with α = 0.3 √T."""
    here = bandit(instance, beta, gap)
    solver = Lattice(here, np.full(len(SEEDS), 0.3 * ROUNDS**0.5))
    return run_online(here, PROTOCOLS[protocol], solver, noise(SEEDS, ROUNDS))


def numbers(instance: str, beta: float, gap: float, names: Sequence[str] = SHOWN) -> pd.DataFrame:
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


def draw(axes: Axes, instance: str, beta: float, gap: float) -> None:
    """Cumulative regret of every seed."""
    for name in SHOWN:
        for row, regret in enumerate(run(instance, name, beta, gap).regret.cumsum(axis=1)):
            shown = NAMES[name] if row == 0 else None
            axes.plot(regret, color=COLOURS[NAMES[name]], lw=1, alpha=0.7, label=shown)
    label(axes, f"{instance}: β = {beta:g}, gap {gap:g}", x="round", y="cumulative regret")


def picture(instance: str = "CE1", beta: float = 0.2, gap: float = 1.0) -> Image:
    """`draw` as an image."""
    figure, axes = panels(1, width=5.0)
    draw(axes[0], instance, beta, gap)
    legend(figure)
    return Image(data=png(figure), alt=axes[0].get_title())


def grid(settings: Sequence[tuple[str, float, float]]) -> Image:
    """`draw` for several (instance, β, gap)."""
    columns = min(3, len(settings))
    figure, axes = panels(columns, -(-len(settings) // columns), width=3.1, height=2.3)
    for axis, setting in zip(axes, settings, strict=False):
        draw(axis, *setting)
    legend(figure)
    return Image(data=png(figure), alt="Cumulative regret for several β and gaps")


def slider() -> ipywidgets.Widget:
    """Instance, β and gap (in steps that lie on the lattice) that redraw `picture`."""
    instance = ipywidgets.Dropdown(options=INSTANCES, value="CE1", description="instance")
    beta = ipywidgets.FloatSlider(value=0.2, min=0.1, max=1.0, step=0.05, description="β")
    gap = ipywidgets.FloatSlider(value=1.0, min=1.0, max=10.0, step=1.0, description="gap")
    shown = ipywidgets.interactive_output(
        lambda instance, beta, gap: display(picture(instance, round(beta, 2), gap)),
        {"instance": instance, "beta": beta, "gap": gap},
    )
    return ipywidgets.VBox([ipywidgets.HBox([instance, beta, gap]), shown])
