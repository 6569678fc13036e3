"""What ``method.ipynb`` shows: the weight of every token of a response, by form and step."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from common.agents.call_regions import REGIONS, Region, call_regions
from common.plotting.style import HUES, label, legend, panels, png
from common.tasks import toolcall
from papers.rest.method import FORMS, Form, Weighting, correctness_range, format_range, levels, token_weights

SHOWN: dict[Region, float] = {"tags": 0.05, "think": 0.4, "name": 0.3, "arguments": 0.5}
"""Entropies in nats that the pictures assume."""
NO_REGION = "no region"
HUE_NAMES = {"tags": "purple", "think": "blue", "name": "orange", "arguments": "green", NO_REGION: "grey"}


def response(index: int = 2) -> list[str]:
    """The right response to a training step."""
    return list(toolcall.trace(toolcall.items(0, index + 1)[index], np.random.default_rng(0)))


def weighed(form: Form = "code", step: float = 0.0, index: int = 2) -> pd.DataFrame:
    """Tokens of a response with region and weight; entropies are those of `SHOWN`."""
    text = response(index)
    masks = call_regions([text], " ")
    entropies = torch.full((1, len(text)), SHOWN["tags"])
    for name, value in SHOWN.items():
        entropies[masks[name]] = value
    weights = token_weights(masks, torch.ones(1, len(text)), Weighting(form), step, entropies)[0]
    where = [
        next((name for name in REGIONS if masks[name][0, place]), NO_REGION) for place in range(len(text))
    ]
    return pd.DataFrame(
        {"token": text, "region": where, "weight": [round(float(each), 2) for each in weights]}
    )


def picture(form: Form = "code", step: float = 0.0, index: int = 2) -> Image:
    """The weights along a response."""
    table = weighed(form, step, index)
    figure, axes = panels(1, width=7.0)
    for name, hue in HUE_NAMES.items():
        own = table[table["region"] == name]
        axes[0].bar(own.index, own["weight"], color=HUES[hue], label=name)
    axes[0].set_xticks(range(len(table)), table["token"], rotation=90, fontsize=7)
    label(axes[0], x="", y="weight")
    legend(figure)
    return Image(data=png(figure), alt="Weight of each token of a response")


def curriculum() -> pd.DataFrame:
    """Weight of each region before normalisation, at four RL steps, in both forms."""
    forms = {"code": Weighting("code"), "paper": Weighting("paper")}
    rows = {
        f"{name}, step {step}": levels(weighting, step, SHOWN)
        for name, weighting in forms.items()
        for step in (0, 40, 80, 115)
    }
    return pd.DataFrame(rows).T.round(2)


def rewards() -> pd.DataFrame:
    """Ends of the two rewards, as the released code schedules them."""
    ends = {"form": format_range, "calls": correctness_range}
    return pd.DataFrame({name: {step: end(step) for step in (0, 75, 150, 300)} for name, end in ends.items()})


def slider() -> None:
    """The picture for any form, step and response."""
    shown = {
        "form": ipywidgets.Dropdown(options=FORMS, description="form"),
        "step": ipywidgets.IntSlider(0, 0, 300, description="RL step"),
        "index": ipywidgets.IntSlider(2, 0, 20, description="response"),
    }
    output = ipywidgets.interactive_output(lambda **chosen: display(picture(**chosen)), shown)
    display(ipywidgets.VBox([*shown.values(), output]))
