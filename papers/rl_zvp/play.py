"""What `method.ipynb` shows: the lines behind an equation, one response in numbers and pictures, a slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from matplotlib.axes import Axes

from common.plotting.style import GREY, HUES, label, legend, panels, png
from common.tabular.tree import PrefixTree
from papers.rl_zvp.method import rl_zvp_advantages
from papers.rl_zvp.runs.theory import at_rate, draw, moved

TOKENS = ("so", "3", "*", "4", "=", "1", ";", "let", "1", "+", "5", "=", "6", "<eos>")
ENTROPIES = torch.tensor([0.69, 0.05, 0.1, 0.08, 0.02, 1.05, 0.03, 0.66, 0.06, 0.09, 0.04, 0.02, 0.22, 0.01])
COLOURS = {"correct": HUES["green"], "wrong": HUES["vermilion"]}


def response(correct: int, size: int, alpha: float, **options: Any) -> dict[str, torch.Tensor]:
    """Advantages of the example response as a correct and as a wrong member of a group, where it has one."""
    rewards = (torch.arange(size) < correct).float()
    entropies, mask = ENTROPIES.repeat(size, 1), torch.ones(size, len(ENTROPIES))
    advantages = rl_zvp_advantages(rewards, entropies, mask, size, alpha, std="population", **options)
    kinds = {"correct": correct > 0, "wrong": correct < size}
    return {name: advantages[row] for row, (name, there) in zip((0, -1), kinds.items(), strict=True) if there}


def table(alpha: float = 0.1) -> pd.DataFrame:
    """Entropy and advantage at each token of the example, in groups of eight with 8, 0 and 4 correct."""
    columns = {
        "H": ENTROPIES,
        "all correct": response(8, 8, alpha)["correct"],
        "all wrong": response(0, 8, alpha)["wrong"],
        "mixed, correct": response(4, 8, alpha)["correct"],
        "mixed, wrong": response(4, 8, alpha)["wrong"],
    }
    return pd.DataFrame({name: values.numpy() for name, values in columns.items()}, index=TOKENS).round(3)


def draw_response(axes: Axes, correct: int, size: int, alpha: float, shape: str = "entropy") -> None:
    """Bars of the advantage at each token, for a correct and a wrong response of one group."""
    generator = torch.Generator().manual_seed(0)
    for name, values in response(correct, size, alpha, shape=shape, generator=generator).items():
        shift = {"correct": -0.2, "wrong": 0.2}[name] if 0 < correct < size else 0.0
        axes.bar(np.arange(len(TOKENS)) + shift, values, 0.4, color=COLOURS[name], label=f"{name} response")
    axes.axhline(0.0, color="0.35", lw=0.8)
    axes.set_xticks(range(len(TOKENS)), TOKENS, rotation=45, fontsize=7)
    kind = "mixed: GRPO" if 0 < correct < size else "zero variance"
    label(axes, f"{correct} of {size} correct ({kind})", y="advantage")


def grid(alphas: Sequence[float], counts: Sequence[int], size: int = 8) -> Image:
    """`draw_response` for every α (rows) and number of correct responses (columns)."""
    figure, axes = panels(len(counts), len(alphas), width=3.6, height=2.3)
    for axis, (alpha, correct) in zip(axes, ((a, n) for a in alphas for n in counts), strict=True):
        draw_response(axis, correct, size, alpha)
        axis.set_title(f"alpha = {alpha:g}, {axis.get_title()}", fontsize=8)
    legend(figure)
    return Image(data=png(figure), alt="Advantages of one response for several alpha and success counts")


def shapes(names: Sequence[str], alpha: float = 0.1) -> Image:
    """The example response in an all-wrong group, under ablations and controls."""
    figure, axes = panels(len(names), width=2.9, height=2.3)
    for axis, name in zip(axes, names, strict=True):
        draw_response(axis, 0, 8, alpha, name)
        axis.set_title(name)
    return Image(data=png(figure), alt="Advantages of a wrong response under ablations and controls")


def contributions(p: float, alpha: float, policies: int = 20) -> dict[str, float]:
    """Mean size of the expected updates of GRPO and both halves, G = 8, and the cosines with ∇p."""
    start, correct = draw(PrefixTree(3, 3), policies, np.random.default_rng(0))
    values = at_rate(moved(start, correct, p), correct, p)
    means = {"GRPO": values["grpo_group_8"].mean()}
    for half in ("positive", "negative"):
        means[half] = alpha * values[f"{half}_group_8"].mean()
        means[f"{half} cosine"] = values[f"{half}_cosine"].mean()
    return means


def by_success(rates: Sequence[float], alpha: float = 0.1) -> pd.DataFrame:
    """`contributions` at several success rates."""
    rows = pd.DataFrame([contributions(p, alpha) for p in rates], index=pd.Index(rates, name="p"))
    return rows.round(5)


def picture(alpha: float, p: float) -> Image:
    """One response's advantages in a group of that success rate, and what such a prompt contributes."""
    figure, axes = panels(2, width=4.2)
    draw_response(axes[0], round(8 * p), 8, alpha)
    values = contributions(float(np.clip(p, 0.01, 0.99)), alpha)
    names = ("GRPO", "positive", "negative")
    axes[1].bar(names, [values[name] for name in names], color=(GREY, HUES["green"], HUES["vermilion"]))
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-7, 2)
    label(axes[1], f"expected update at p = {np.clip(p, 0.01, 0.99):.2f}", y="norm")
    return Image(data=png(figure), alt=axes[0].get_title())


def slider() -> ipywidgets.Widget:
    """Sliders over α and the success rate of a group that redraw `picture`."""
    alpha = ipywidgets.FloatSlider(value=0.1, min=0.0, max=1.0, step=0.05, description="alpha")
    p = ipywidgets.FloatSlider(value=1.0, min=0.0, max=1.0, step=0.125, description="p")
    image = ipywidgets.interactive_output(
        lambda alpha, p: display(picture(alpha, p)), {"alpha": alpha, "p": p}
    )
    return ipywidgets.VBox([ipywidgets.HBox([alpha, p]), image])
