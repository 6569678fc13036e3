"""What ``method.ipynb`` shows: what a mixture covers, what it costs, and where its surrogate points."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display

from common.plotting.style import GREY, HUES, label, legend, panels, png
from common.tabular.draws import chain_variance, coverage, reward_gradient, softmax
from common.tabular.surrogates import SURROGATES, cosine, surrogate_gradient

TOKENS, INSTANCES = 5, 200
COLOURS = dict(zip(SURROGATES, (HUES["vermilion"], HUES["orange"], HUES["green"]), strict=True))


def instances(spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Random logits of that standard deviation, and rewards of every set of tokens."""
    rng = np.random.default_rng(0)
    return spread * rng.standard_normal((INSTANCES, TOKENS)), rng.standard_normal((INSTANCES, 1 << TOKENS))


def angles(spread: float = 1.0) -> pd.DataFrame:
    """Mean cosine of each surrogate's expected gradient with the true one."""
    logits, rewards = instances(spread)
    table = {
        f"k = {k}": {
            surrogate: cosine(
                surrogate_gradient(logits, rewards, k, surrogate), reward_gradient(logits, rewards, k)
            ).mean()
            for surrogate in SURROGATES
        }
        for k in range(1, TOKENS)
    }
    return pd.DataFrame(table).round(3) + 0.0


def picture(spread: float = 1.0) -> Image:
    """Coverage, variance between chains, and the angle of the surrogates, over k."""
    figure, axes = panels(3, width=3.2)
    logits, _ = instances(spread)
    p, embeddings = softmax(logits), np.random.default_rng(1).standard_normal((INSTANCES, TOKENS, 8))
    ks = range(1, TOKENS + 1)
    variance = np.array([chain_variance(p, embeddings, k).mean() for k in ks])
    axes[0].plot(ks, [coverage(p, k).mean() for k in ks], color=HUES["blue"])
    axes[1].plot(ks, variance / variance[0], color=HUES["blue"])
    table = angles(spread)
    for surrogate in SURROGATES:
        axes[2].plot(range(1, TOKENS), table.loc[surrogate], color=COLOURS[surrogate], label=surrogate)
    axes[2].axhline(0.0, color=GREY, lw=0.8)
    names = ("probability covered", "variance between chains", "cosine with the true gradient")
    for axis, name in zip(axes, names, strict=True):
        label(axis, x="k", y=name)
    legend(figure)
    return Image(data=png(figure), alt="Coverage, variance between chains and gradient angle over k")


def slider() -> None:
    """The picture from flat to peaked distributions."""
    spread = ipywidgets.FloatSlider(1.0, min=0.1, max=3.0, step=0.1, description="spread")
    output = ipywidgets.interactive_output(lambda **chosen: display(picture(**chosen)), {"spread": spread})
    display(ipywidgets.VBox([spread, output]))
