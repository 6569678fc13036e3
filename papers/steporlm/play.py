"""What ``method.ipynb`` shows: a lucky solution, pairs, a tour, and one of k solutions with a slider."""

from __future__ import annotations

from itertools import pairwise

import ipywidgets
import numpy as np
import pandas as pd
from IPython.display import Image, display

from common.plotting.style import GREY, HUES, label, legend, panels, png
from common.preference.critique import render
from common.preference.selection import expected_first_accepted
from common.tasks.or_models import OrModelsConfig, items
from common.tasks.or_models.corruption import KINDS, corrupt
from common.tasks.or_models.formulation import formulations
from common.tasks.or_models.tours import CITIES, COSTS, shortest_tour
from common.tasks.or_models.verification import is_lucky, optimum, step_reasons, verify
from papers.steporlm.method import Rules, policy_rows


def lucky_solution(seed: int = 0) -> pd.DataFrame:
    """The first problem of a seed with a lucky error: its steps, the error's beside the right ones."""
    rng = np.random.default_rng(seed)
    asked = items(OrModelsConfig(seed=seed, size=50, families=("mix",)))
    made = ((item, corrupt(item, rng, KINDS["high"][item.family])) for item in asked)
    item, drawn = next(
        (item, one) for item, one in made if one and is_lucky(one.formulation.text.split(), item)
    )
    tokens = drawn.formulation.text.split()
    print(item.prompt)
    print(f"optimum {optimum(item):g}; solution: {verify(tokens, item).outcome}; error: {drawn.kind}")
    steps = {"right": formulations(item)[0].steps, "written": drawn.formulation.steps}
    verdicts = [reason or "correct" for reason in step_reasons(tokens, item)]
    return pd.DataFrame({**steps, "verdict": verdicts}, index=pd.RangeIndex(1, 7, name="step"))


def pairs(by_process: bool = True) -> pd.DataFrame:
    """Algorithm 1 on four solutions of one problem: two right, one of them by luck, and two wrong."""
    known = {"clean": (True, 6), "lucky": (True, 5), "near": (False, 5), "far": (False, 2)}
    same = {"problem": 0, "steps": 6, "status": "optimal"}
    rows = [
        same | {"response": name, "outcome": right, "critique": render([step < correct for step in range(6)])}
        for name, (right, correct) in known.items()
    ]
    found = pd.DataFrame(policy_rows(rows, Rules(by_process=by_process, most=6)))
    return found[["rule", "chosen", "rejected", "weight"]].round(3)


def tour() -> Image:
    """ComplexLP 74: its shortest tour, cities on a circle."""
    found = shortest_tour(COSTS)
    angles = 2 * np.pi * np.arange(len(CITIES)) / len(CITIES)
    x, y = np.cos(angles), np.sin(angles)
    figure, axes = panels(1, width=3.2)
    closed = [*found.cities, found.cities[0]]
    axes[0].plot(x[closed], y[closed], color=HUES["blue"], marker="o")
    for place, city in enumerate(CITIES):
        axes[0].annotate(city, (1.12 * x[place], 1.12 * y[place]), ha="center", va="center")
    for one, other in pairwise(closed):
        middle = (x[one] + x[other]) / 2, (y[one] + y[other]) / 2
        axes[0].annotate(str(COSTS[one][other]), middle, fontsize=8, backgroundcolor="white")
    axes[0].set(xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), xticks=[], yticks=[])
    label(axes[0], f"cost {found.cost}")
    return Image(data=png(figure), alt=f"Shortest tour of five cities, cost {found.cost}")


def picture(right: float, passes: float, slips: float, most: int = 16) -> Image:
    """Accuracy of the first accepted of k solutions, between that of any and that of an oracle."""
    counts = np.arange(1, most + 1)
    figure, axes = panels(1, width=4.6)
    curves = {
        "verifier": [expected_first_accepted(right, passes, slips, int(k)) for k in counts],
        "oracle": 1 - (1 - right) ** counts,
        "any": np.full(most, right),
    }
    for (name, values), colour in zip(curves.items(), (HUES["orange"], HUES["green"], GREY), strict=True):
        axes[0].plot(counts, values, color=colour, label=name)
    axes[0].set_ylim(0, 1.02)
    label(axes[0], f"p = {right:g}, t = {passes:g}, f = {slips:g}", x="solutions k", y="accuracy")
    legend(figure)
    return Image(data=png(figure), alt="Accuracy of the first accepted of k solutions")


def slider() -> ipywidgets.Widget:
    """Sliders over p, t and f that redraw `picture`."""
    names = {"right": ("p", 0.6), "passes": ("t", 0.9), "slips": ("f", 0.3)}
    sliders = {
        name: ipywidgets.FloatSlider(value=value, min=0.0, max=1.0, step=0.05, description=text)
        for name, (text, value) in names.items()
    }
    image = ipywidgets.interactive_output(lambda **rates: display(picture(**rates)), sliders)
    return ipywidgets.VBox([ipywidgets.HBox(list(sliders.values())), image])
