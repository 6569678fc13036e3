"""What `method.ipynb` shows: the lines behind an equation, one world in pictures, a slider over rounds."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display
from jaxtyping import Float

from common.plotting.style import PALETTE, label, legend, panels, png
from papers.fcp.method import bootstrap_closed_form, joint, posterior

RESPONSES = ("right, short", "right, long", "wrong, short", "wrong, long")
CRITIQUES = ("right", "right and brief", "wrong", "long-winded")
PI_REF = np.array([0.15, 0.25, 0.35, 0.25])
P_ENV = np.array(
    [[0.45, 0.50, 0.02, 0.02], [0.50, 0.05, 0.03, 0.01], [0.04, 0.05, 0.90, 0.42], [0.01, 0.40, 0.05, 0.55]]
)
"""p_env(c|o), rows critiques and columns responses; each column sums to 1."""


def table(policy: Float[np.ndarray, "C O"]) -> pd.DataFrame:
    """A conditional policy with its names."""
    return pd.DataFrame(policy, index=list(CRITIQUES), columns=list(RESPONSES)).round(3)


def offline() -> Float[np.ndarray, "C O"]:
    """P_off(o|c) of the example."""
    return posterior(joint(PI_REF, P_ENV))


def after(rounds: int, critique: str) -> Float[np.ndarray, " O"]:
    """The policy under a praise after so many exact rounds of bootstrapping."""
    index = CRITIQUES.index(critique)
    return bootstrap_closed_form(offline()[index], P_ENV[index], rounds)


def draw(rounds: Sequence[int], praises: Sequence[str]) -> Image:
    """Bars of π_t(o|c+) for several numbers of rounds (panels), one colour per praise, π_ref in grey."""
    figure, axes = panels(len(rounds), width=3.2, height=2.6)
    places = np.arange(len(RESPONSES))
    for axis, count in zip(axes, rounds, strict=True):
        axis.bar(places - 0.27, PI_REF, 0.27, color="0.7", label="π_ref")
        for shift, praise in enumerate(praises):
            heights = after(count, praise)
            axis.bar(places + 0.27 * shift, heights, 0.27, color=PALETTE[shift], label=f"c+ = {praise}")
        axis.set_ylim(0, 1)
        axis.set_xticks(places, RESPONSES, rotation=20, ha="right")
        label(axis, f"after {count} rounds")
    legend(figure)
    return Image(data=png(figure), alt="Policy under praise after rounds of bootstrapping")


def slider() -> ipywidgets.Widget:
    """A slider over rounds and a choice of praise that redraw `draw`."""
    rounds = ipywidgets.IntSlider(value=1, min=0, max=12, description="rounds")
    praise = ipywidgets.Dropdown(options=CRITIQUES, value="right", description="c+")
    shown = ipywidgets.interactive_output(
        lambda rounds, praise: display(draw([rounds], [praise])), {"rounds": rounds, "praise": praise}
    )
    return ipywidgets.VBox([ipywidgets.HBox([rounds, praise]), shown])
