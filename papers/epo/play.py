"""What ``method.ipynb`` shows: the force on a token's entropy, by corridor."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from common.plotting.style import HUES, label, legend, panels, png
from papers.epo.method import Corridor, beta_schedule, net_entropy_coefficient

CORRIDORS = {
    "EPO-Base": Corridor(alpha=0.0),
    "published": Corridor(),
    "working corridor": Corridor(0.5, 1.5, alpha=3.0),
}
COLOURS = dict(zip(CORRIDORS, (HUES["blue"], HUES["orange"], HUES["green"]), strict=True))


def force(entropies: Sequence[float], corridor: Corridor, beta: float, reference: float) -> np.ndarray:
    """The push on each entropy, upwards if positive, in units of λ."""
    values = torch.tensor(list(entropies), dtype=torch.float64)
    coefficient = net_entropy_coefficient(values, torch.tensor(reference), 1.0, corridor, beta)
    pushed: np.ndarray = -coefficient.numpy()
    return pushed


def forces(step: int = 0, total: int = 100, reference: float = 1.0) -> pd.DataFrame:
    """The push below, inside and above each corridor, in units of λ."""
    beta = beta_schedule(step, total)
    places = {"H = 0.1": 0.1, "H = 1": 1.0, "H = 2.5": 2.5}
    table = {name: force(list(places.values()), each, beta, reference) for name, each in CORRIDORS.items()}
    return pd.DataFrame(table, index=list(places)).round(3)


def picture(step: int = 0, total: int = 100, reference: float = 1.0) -> Image:
    """The push on a token over its entropy."""
    figure, axes = panels(1, width=5.0)
    grid, beta = np.linspace(0.0, 3.0, 301).tolist(), beta_schedule(step, total)
    for name, corridor in CORRIDORS.items():
        axes[0].plot(grid, force(grid, corridor, beta, reference), color=COLOURS[name], label=name)
    axes[0].axhline(0.0, color="0.35", lw=0.8)
    label(axes[0], x="entropy of a token (nats)", y="push on it, in lambda")
    legend(figure)
    return Image(data=png(figure), alt="Push on a token's entropy under three corridors")


def slider() -> None:
    """The picture at any step and reference."""
    step = ipywidgets.IntSlider(0, 0, 100, description="RL step")
    reference = ipywidgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, description="reference")
    shown = {"step": step, "reference": reference}
    output = ipywidgets.interactive_output(lambda **chosen: display(picture(**chosen)), shown)
    display(ipywidgets.VBox([step, reference, output]))
