"""What `method.ipynb` shows: the lines behind an equation, one group in numbers and in pictures, a slider."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from jaxtyping import Float
from matplotlib.axes import Axes
from torch import Tensor

from common.plotting.style import GREY, HUES, label, legend, panels, png
from papers.qae.method import objective_weights, quantile_advantages, quantile_baseline

COLOURS = {"mean": GREY, "QAE": HUES["blue"]}


def group(correct: int, size: int) -> Float[Tensor, " G"]:
    """Rewards of one group, the correct responses first."""
    return (torch.arange(size) < correct).double()


def describe(correct: int, size: int, k: float) -> dict[str, float]:
    """Baseline b and advantages (population std) of a correct (A+) and a wrong (A-) response of one group."""
    rewards, numbers = group(correct, size), {"correct": float(correct), "p": correct / size}
    for name, level in (("mean", None), ("QAE", k)):
        advantages = quantile_advantages(rewards, size, level, std="population")
        numbers[f"{name} b"] = float(quantile_baseline(rewards, size, level))
        numbers[f"{name} A+"] = float(advantages[0]) if correct else np.nan
        numbers[f"{name} A-"] = float(advantages[-1]) if correct < size else np.nan
    return numbers


def table(size: int, k: float, counts: Sequence[int]) -> pd.DataFrame:
    """`describe` for several numbers of correct responses."""
    rows = pd.DataFrame([describe(correct, size, k) for correct in counts])
    return rows.astype({"correct": int}).set_index(["correct", "p"]).round(3)


def draw(axes: Axes, correct: int, size: int, k: float) -> None:
    """Advantage of each response of a group under both baselines; correct responses stand on the left."""
    rewards = group(correct, size)
    for shift, (name, level) in ((-0.2, ("mean", None)), (0.2, ("QAE", k))):
        advantages = quantile_advantages(rewards, size, level, std="population").numpy()
        axes.bar(np.arange(1, size + 1) + shift, advantages, 0.4, color=COLOURS[name], label=name)
    axes.axvline(correct + 0.5, color="0.35", ls=":", lw=1)
    axes.axhline(0.0, color="0.35", lw=0.8)
    regime = "mixed" if 0 < correct < size else "no signal"
    if regime == "mixed":
        regime = "easy, b = 1" if quantile_baseline(rewards, size, k).item() else "hard, b = 0"
    label(axes, f"K = {k:g}, p = {correct}/{size}: {regime}", x="response", y="advantage", integer=True)


def grid(
    levels: Sequence[float], counts: Sequence[int], size: int, *, width: float = 2.9, limit: float = 3.7
) -> Image:
    """`draw` for every K (rows) and number of correct responses (columns)."""
    figure, axes = panels(len(counts), len(levels), width=width, height=1.9)
    for axis, (k, correct) in zip(axes, ((k, n) for k in levels for n in counts), strict=True):
        draw(axis, correct, size, k)
        axis.set_ylim(-limit, limit)
    legend(figure)
    return Image(data=png(figure), alt="Advantages of both baselines for several K and success rates")


def weights(k: float, points: int = 200) -> Image:
    """Weights on positive and negative samples over the success rate, both baselines."""
    p = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    figure, axes = panels(2)
    for name, level in (("mean", None), ("QAE", k)):
        for axis, values in zip(axes, objective_weights(p, level), strict=True):
            axis.plot(p.numpy(), values.numpy(), color=COLOURS[name], label=name)
    for axis, sign in zip(axes, ("positive", "negative"), strict=True):
        label(axis, f"Weight on {sign} samples", x="success rate p")
    legend(figure)
    return Image(data=png(figure), alt="Weights over the success rate")


def slider() -> ipywidgets.Widget:
    """Sliders over K, G and the number of correct responses that redraw one panel of `grid`."""
    k = ipywidgets.FloatSlider(value=0.4, min=0.05, max=0.95, step=0.05, description="K")
    size = ipywidgets.IntSlider(value=16, min=2, max=32, description="G")
    correct = ipywidgets.IntSlider(value=5, min=0, max=16, description="correct")
    size.observe(lambda change: setattr(correct, "max", change["new"]), "value")
    image = ipywidgets.interactive_output(
        # 1 of 32 correct reaches 5.7
        lambda k, size, correct: display(grid((k,), (min(correct, size),), size, width=5.0, limit=6.0)),
        {"k": k, "size": size, "correct": correct},
    )
    return ipywidgets.VBox([ipywidgets.HBox([k, size, correct]), image])
