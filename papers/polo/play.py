"""Pictures and sliders of ``method.ipynb``: a path of real molecules, its pairs, and where a pair pushes."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display

from common.plotting.style import HUES, label, panels, png
from common.tasks.molecules import templates
from common.tasks.molecules.assay import Bench
from common.tasks.molecules.designs import Lead
from common.tasks.molecules.drawing import picture
from common.tasks.molecules.environment import LeadOptimization
from common.tasks.molecules.goals import oracles, task
from papers.polo.method import implicit_scores, lambda_weights, preference_loss, preference_pairs

DESIGN = ("s0", "NC(C)=O", "C", "CCCCCC")
PROPOSALS = (
    ("s0", "NC(C)=O", "C", "CCO"),
    ("s0", "NC(C)=O", "C", "CCO"),
    ("s0", "NC(C)=O", "F", "CCO"),
    ("s2", "N1CCOCC1", "F", "CCO"),
    ("s0", "NC(C)=O", "F", "C1CC1"),
)
TOKENS = 4  # of a turn of the pictures


def episode() -> pd.DataFrame:
    """Five proposals on one lead: what became of each, and the oracle calls so far."""
    lead = Lead("", DESIGN, templates.SPACE.scaffolds[DESIGN[0]])
    lead = Lead(templates.SPACE.smiles(lead, DESIGN), DESIGN, lead.template)
    goal = task("logp")
    env = LeadOptimization(templates.SPACE, Bench(goal, oracles(goal)), [lead])
    _, info = env.reset(options={"lead": 0})
    found = [{**info, "reward": np.nan, "logp": info["values"]["logp"]}]
    for design in PROPOSALS:
        _, reward, _, _, info = env.step(" ".join(design))
        found.append({**info, "reward": reward, "logp": info["values"].get("logp", np.nan)})
    columns = ["outcome", "smiles", "logp", "similarity", "reward", "charged", "calls"]
    return pd.DataFrame(found)[columns].rename_axis("turn").round(3)


def path() -> Image:
    """The molecules of `episode`, side chains marked, with outcome and reward."""
    turns = episode()
    figure, axes = panels(3, 2, width=3.2, height=2.5)
    for axis, (number, turn) in zip(axes, turns.iterrows(), strict=True):
        axis.imshow(picture(turn["smiles"]))
        axis.axis("off")
        worth = "" if number == 0 else f", reward {turn['reward']:.2f}"
        axis.set_title(f"{'lead' if number == 0 else turn['outcome']}{worth}", fontsize=9)
    return Image(data=png(figure), alt="A lead and five proposals")


def pairs(rewards: Sequence[float], scores: Sequence[float], most: int = 6) -> pd.DataFrame:
    """Every pair of turns that is compared, with its weight and its share of the loss."""
    given = torch.tensor([rewards], dtype=torch.float64)
    own = torch.tensor([scores], dtype=torch.float64)
    chosen, weights = preference_pairs(given, most)[0], lambda_weights(own, given)[0]
    rows = [
        {"better": a + 1, "worse": b + 1, "gap": rewards[a] - rewards[b], "weight": float(weights[a, b])}
        for a, b in chosen.nonzero().tolist()
    ]
    return pd.DataFrame(rows).round(3)


def pushes(rewards: Sequence[float], mode: str = "cumulative") -> list[float]:
    """Minus the gradient of the loss on each token's log-probability, before any update."""
    count = len(rewards)
    turns = torch.arange(count).repeat_interleave(TOKENS)[None]
    ratio = torch.zeros(1, count * TOKENS, dtype=torch.float64, requires_grad=True)
    scores = implicit_scores(ratio, torch.ones_like(turns), turns, count, 0.05, mode)  # type: ignore[arg-type]
    loss = preference_loss(scores, torch.tensor([rewards], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(loss, ratio)
    return (-gradient[0]).tolist()


def picture_of(rewards: Sequence[float]) -> Image:
    """Where a trajectory's pairs push, with cumulative and with stepwise scores."""
    figure, axes = panels(2, width=4.4)
    for axis, (mode, hue) in zip(axes, {"cumulative": "orange", "stepwise": "blue"}.items(), strict=True):
        axis.bar(range(len(rewards) * TOKENS), pushes(rewards, mode), color=HUES[hue])
        axis.axhline(0.0, color="0.35", lw=0.8)
        middles = [TOKENS * turn + (TOKENS - 1) / 2 for turn in range(len(rewards))]
        axis.set_xticks(middles, [f"turn {turn + 1}\n{worth:g}" for turn, worth in enumerate(rewards)])
        label(axis, mode, y="push on log-probability")
    return Image(data=png(figure), alt="Push on the tokens of each turn")


def slider() -> ipywidgets.Widget:
    """Sliders over the rewards of three turns that redraw `picture_of`."""
    bars = {
        f"r{turn}": ipywidgets.FloatSlider(value=start, min=-1, max=2, step=0.1, description=f"r{turn}")
        for turn, start in enumerate((0.2, -0.5, 1.0), start=1)
    }
    image = ipywidgets.interactive_output(lambda **given: display(picture_of(list(given.values()))), bars)
    return ipywidgets.VBox([*bars.values(), image])
