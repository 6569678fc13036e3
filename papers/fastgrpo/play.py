"""Pictures and sliders of ``method.ipynb``."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display

from common.plotting.style import PALETTE, label, panels, png
from common.speculative.costs import early_termination_speedup, running_rows
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.tasks import ladder
from common.tasks.ladder import Item

TERMS = (2, 2, 3, 3, 4, 5, 7, 12)


def schedule(c_peak: int = 160, l_min: int = 1, alpha: float = 0.75) -> pd.DataFrame:
    """N, K and L of the rule by running rows; zeros are plain steps."""
    rule = ConcurrencyAwareScheduler(c_peak, l_min=l_min, alpha=alpha)
    trees = {rows: rule(rows) for rows in (1, 2, 4, 8, 16, 32, 53, 80, 160)}
    shapes = [(tree.nodes + 1, tree.top_k, tree.depth) if tree else (1, 0, 0) for tree in trees.values()]
    return pd.DataFrame(shapes, columns=["N", "K", "L"], index=pd.Index(trees, name="rows"))


def lengths(terms: tuple[int, ...] = TERMS) -> np.ndarray:
    """Tokens of right responses to sums with so many terms."""
    draws = np.random.default_rng(0)
    items = [Item(tuple(draws.integers(10, size=count).tolist())) for count in terms]
    return np.array([len(ladder.trace(item, draws)) - len(ladder.EOS) + 1 for item in items])


def shrinking(c_peak: int = 160, group: int = 8) -> Image:
    """Running rows of a batch over time, and the tokens a row that the rule spends on them."""
    rows = running_rows(np.repeat(lengths(), group))
    rule = ConcurrencyAwareScheduler(c_peak)
    trees = [rule(int(count)) for count in rows]
    tokens = [tree.nodes + 1 if tree else 1 for tree in trees]
    figure, (left, right) = panels(2, width=3.8)
    left.step(range(1, len(rows) + 1), rows, color=PALETTE[0])
    right.step(range(1, len(rows) + 1), tokens, color=PALETTE[1])
    label(left, "Running rows", x="token")
    label(right, "Tokens a row in a pass", x="token")
    return Image(png(figure))


def early_termination(group: int = 8, knee: int = 16) -> float:
    """Gain from dropping finished rows, if a pass costs the same up to the knee and grows linearly beyond."""
    return early_termination_speedup(np.repeat(lengths(), group), lambda rows: max(1.0, rows / knee))


def slider() -> ipywidgets.Widget:
    """The schedule under the reader's own C_peak, floor and alpha."""
    c_peak = ipywidgets.IntSlider(value=160, min=16, max=512, step=16, description="C_peak")
    l_min = ipywidgets.IntSlider(value=1, min=1, max=5, description="L min")
    alpha = ipywidgets.FloatSlider(value=0.75, min=0.25, max=2.0, step=0.25, description="alpha")
    table = ipywidgets.interactive_output(
        lambda **values: display(schedule(**values)), {"c_peak": c_peak, "l_min": l_min, "alpha": alpha}
    )
    return ipywidgets.VBox([ipywidgets.HBox([c_peak, l_min, alpha]), table])
