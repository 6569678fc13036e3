"""What ``method.ipynb`` shows: an exact tube in the tabular language, and the lead that γ allows."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from common.plotting.style import GREY, HUES, label, legend, panels, png
from common.tasks.delayed_hazard import Prompt, World, classes
from papers.brt_align.method import lead_time_bound, reachability_targets

PROMPT = Prompt(topic=0, stride=3, start=4, danger=7, mood=1)


def followed(prompt: Prompt = PROMPT) -> pd.DataFrame:
    """A greedy response, token by token, with the risk of the text before each token."""
    world = World()
    (text,), states = world.write([prompt])
    table = pd.DataFrame({"token": text})
    left, kind = world.horizon - np.arange(len(text)), classes([prompt])[0]
    for policy in ("greedy", "chance", "best"):
        risk = world.risk(policy)
        table[policy] = risk[left, kind, states[0, : len(text)]].round(3)
    return table


def picture(gamma: float = 0.93, safe: float = 1.0, unsafe: float = 1.0, length: int = 25) -> Image:
    """V over the tokens before unsafe text, and where it first falls to zero."""
    figure, axes = panels(1, width=5.0)
    margin = torch.full((1, length), safe)
    margin[:, -1] = -unsafe
    value = reachability_targets(margin, torch.ones_like(margin), gamma)[0].numpy()
    ahead = np.arange(length)[::-1]
    axes[0].plot(ahead, margin[0].numpy(), color=GREY, label="margin of the text")
    axes[0].plot(ahead, value, color=HUES["blue"], label=f"V, gamma = {gamma:g}")
    bound = lead_time_bound(gamma, safe, unsafe)
    axes[0].axvline(min(bound, length - 1), color=HUES["orange"], ls="--", label="k*, the first alarm")
    axes[0].axhline(0.0, color="0.35", lw=0.8)
    axes[0].invert_xaxis()
    label(axes[0], x="tokens before unsafe text", y="value")
    legend(figure)
    return Image(data=png(figure), alt="Margin and value before unsafe text")


def slider() -> None:
    """The picture at any γ and margins."""
    gamma = ipywidgets.FloatSlider(0.93, min=0.5, max=0.99, step=0.01, description="gamma")
    safe = ipywidgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, description="safe")
    unsafe = ipywidgets.FloatSlider(1.0, min=0.1, max=2.0, step=0.1, description="unsafe")
    shown = {"gamma": gamma, "safe": safe, "unsafe": unsafe}
    output = ipywidgets.interactive_output(lambda **chosen: display(picture(**chosen)), shown)
    display(ipywidgets.VBox([gamma, safe, unsafe, output]))
