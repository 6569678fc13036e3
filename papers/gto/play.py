"""What the method notebook plays with: small trees, their rewards, the counterexample, a slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import ipywidgets
import numpy as np
import pandas as pd
import torch
from IPython.display import Image, display
from matplotlib.axes import Axes
from torch import Tensor

from common.plotting.style import PALETTE, label, panels, png
from papers.gto.runs.enumeration import leaves, matching_outcomes, node_sum, random_target, random_tree
from papers.gto.runs.tabular import (
    ARMS,
    EPSILON,
    Draft,
    World,
    cross_entropy,
    expected_length,
    phase_two,
    random_world,
    train,
)
from papers.gto.runs.theory import COUNTEREXAMPLE, counterexample_target, rewards
from papers.gto.tree_reward import Mode, gto_loss

MODES: tuple[Mode, ...] = ("lse", "max", "average")


def counterexample() -> pd.DataFrame:
    """Three trees of one prefix: leaves, rewards, and the expected length by enumeration."""
    target, rows = counterexample_target(), {}
    for name, nodes in COUNTEREXAMPLE.items():
        chosen = np.zeros(target.nodes + 1, dtype=bool)
        chosen[[0, *nodes]] = True
        ends = leaves(target, chosen)
        expected = sum(chance * (len(block) - 1) for block, chance in matching_outcomes(target, chosen))
        found: dict[str, float] = {mode: rewards(target.length[None], ends[None], mode)[0] for mode in MODES}
        rows[name] = {"nodes": len(nodes), "leaves": int(ends.sum()), **found, "expected length": expected}
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def wrong_way(pairs: int, seed: int = 0) -> pd.Series:
    """Share of random pairs of trees whose reward and expected length move in opposite directions."""
    rng = np.random.default_rng(seed)
    changes: dict[str, list[float]] = {mode: [] for mode in (*MODES, "expected")}
    for _ in range(pairs):
        target = random_target(rng, 3, 3, 0.5)
        both = [random_tree(rng, target, 8) for _ in range(2)]
        ends = np.stack([leaves(target, chosen) for chosen in both])
        for mode in MODES:
            changes[mode].append(float(np.diff(rewards(np.stack([target.length] * 2), ends, mode))[0]))
        changes["expected"].append(node_sum(target, both[1]) - node_sum(target, both[0]))
    table = pd.DataFrame(changes)
    return table[list(MODES)].mul(table["expected"], axis=0).lt(0).mean().round(2)


def surrogate(ratios: Sequence[float], epsilon: float = EPSILON) -> pd.DataFrame:
    """The clipped loss and its slope in the ratio, for a good and a bad tree."""
    rows = {}
    for advantage in (1.0, -1.0):
        for ratio in ratios:
            value = torch.tensor([[[ratio]]], requires_grad=True)
            loss = gto_loss(
                value, torch.tensor([[[advantage]]]), torch.ones(1, 1, 1, dtype=torch.bool), epsilon
            )
            loss.backward()
            rows[advantage, ratio] = {"loss": loss.item(), "slope": float(cast("Tensor", value.grad))}
    frame = pd.DataFrame.from_dict(rows, orient="index").round(2)
    return frame.rename_axis(["A", "s"])


def low_rank(ranks: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Expected accepted tokens of a tabular draft of each rank: cross-entropy, then 100 steps of each arm."""
    columns = {}
    for rank in ranks:
        rng = np.random.default_rng(seed)
        world = random_world(rng, 8, 4, 3)
        first = _phase_one(world, rank, rng)
        values = {"cross-entropy": expected_length(world, first.log_q(world).numpy())}
        for arm in ARMS:
            loss = phase_two(world, first, arm, 0.5, np.random.default_rng((seed, 1)))
            tuned = train(world, first, 100, 0.01, loss)
            values[arm] = expected_length(world, tuned.log_q(world).numpy())
        values["target's own trees"] = expected_length(world, np.log(world.conditional + 1e-12))
        columns[f"rank {rank}"] = values
    return pd.DataFrame(columns).round(2)


def _phase_one(world: World, rank: int, rng: np.random.Generator) -> Draft:
    start = Draft.random(world, rank, rng)
    return train(world, start, 300, 0.05, lambda log_q: cross_entropy(world, log_q))


def draw(axes: Axes, size: int, seed: int, eta: float) -> None:
    """Rewards of random trees of one prefix against their expected length."""
    rng = np.random.default_rng(seed)
    target = random_target(rng, 3, 3, 0.5)
    trees = [random_tree(rng, target, size) for _ in range(60)]
    expected = [node_sum(target, chosen) for chosen in trees]
    ends = np.stack([leaves(target, chosen) for chosen in trees])
    lengths = np.stack([target.length] * len(trees))
    for mode, colour in zip(MODES, PALETTE, strict=False):
        axes.scatter(expected, rewards(lengths, ends, mode, eta), s=12, color=colour, label=mode)
    label(axes, f"{size} nodes, η = {eta:g}", x="expected accepted tokens", y="reward")
    axes.legend(fontsize=7)


def picture(size: int = 8, seed: int = 0, eta: float = 1.0) -> Image:
    """`draw` as an image."""
    figure, axes = panels(1, width=4.6)
    draw(axes[0], size, seed, eta)
    return Image(data=png(figure), alt="Rewards of random trees against their expected accepted length")


def grid(sizes: Sequence[int], eta: float = 1.0) -> Image:
    """`draw` for several sizes of trees."""
    figure, axes = panels(len(sizes), width=3.2, height=2.6)
    for axis, size in zip(axes, sizes, strict=True):
        draw(axis, size, 0, eta)
    return Image(data=png(figure), alt="Rewards against expected length for trees of several sizes")


def slider() -> ipywidgets.Widget:
    """Size of the trees, η and the target, which redraw `picture`."""
    size = ipywidgets.IntSlider(value=8, min=3, max=16, description="nodes")
    eta = ipywidgets.FloatSlider(value=1.0, min=0.25, max=8.0, step=0.25, description="η")
    seed = ipywidgets.IntSlider(value=0, min=0, max=9, description="target")
    shown = ipywidgets.interactive_output(
        lambda size, eta, seed: display(picture(size, seed, eta)), {"size": size, "eta": eta, "seed": seed}
    )
    return ipywidgets.VBox([ipywidgets.HBox([size, eta, seed]), shown])
