"""Pictures and sliders of ``method.ipynb``."""

from __future__ import annotations

import numpy as np
from IPython.display import Image

from common.plotting.style import HUES, label, panels, png
from papers._template.method import reward_variance


def picture(points: int = 101) -> Image:
    """The idea before any equation."""
    p = np.linspace(0.0, 1.0, points)
    figure, axes = panels(1, width=4.6)
    axes[0].plot(p, reward_variance(p), color=HUES["blue"])
    label(axes[0], x="success rate p", y="variance of the reward")
    return Image(data=png(figure), alt="Variance of a 0/1 reward over its success rate")
