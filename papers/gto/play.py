"""What the method notebook shows and plays with: small trees, their rewards, the counterexample, a slider."""

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
from common.speculative.enumeration import (
    accepted_length,
    leaves,
    matching_outcomes,
    node_sum,
    random_target,
    random_tree,
)
from common.speculative.tabular import random_world
from common.study.card import load_card
from papers.gto.report import FIGURES
from papers.gto.runs import tabular, theory
from papers.gto.runs.theory import rewards
from papers.gto.tree_reward import Mode, gto_loss

MODES: tuple[Mode, ...] = ("lse", "max", "average")


def tree() -> Image:
    """The idea: what a draft's greedy path loses when only the best nodes of its tree are kept."""
    figure, reported = FIGURES["fig1"], load_card("gto").figures["fig1"].reported
    return Image(
        data=png(figure.draw(figure.data(pd.DataFrame()), reported)), alt="A draft tree of two levels"
    )


def counterexample() -> pd.DataFrame:
    """Three trees of one prefix: leaves, rewards, and the expected length by enumeration."""
    target, trees = theory.counterexample_trees()
    rows = {}
    for name, tree in trees.items():
        ends = leaves(target, tree)
        expected = accepted_length(matching_outcomes(target, tree))
        own: dict[str, float] = {mode: rewards(target.length[None], ends[None], mode)[0] for mode in MODES}
        rows[name] = {"nodes": tree.sum() - 1, "leaves": ends.sum(), **own, "expected length": expected}
    return pd.DataFrame.from_dict(rows, orient="index").astype({"nodes": int, "leaves": int}).round(3)


def wrong_way(pairs: int, seed: int = 0) -> pd.Series:
    """Share of random pairs of trees whose reward and expected length move in opposite directions."""
    shares = theory.wrong_way(np.random.default_rng(seed), pairs)
    return pd.Series({mode: shares[mode] for mode in MODES}).round(2)


def surrogate(ratios: Sequence[float], epsilon: float = tabular.EPSILON) -> pd.DataFrame:
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
        first = tabular.phase_one(world, rank, 300, 0.05, [rng])
        tuned = tabular.tuned(world, first, [seed], steps=100, rate=0.01, omega=0.5)
        arms = tuned.expected_length(world.repeated(len(tabular.ARMS)))
        columns[f"rank {rank}"] = {
            "cross-entropy": first.expected_length(world)[0],
            **dict(zip(tabular.ARMS, arms, strict=True)),
            "target's own trees": tabular.target_length(world).mean(),
        }
    return pd.DataFrame(columns).round(2)


def draw(axes: Axes, size: int, seed: int, eta: float) -> None:
    """Rewards of random trees of one prefix against their expected length."""
    rng = np.random.default_rng(seed)
    target = random_target(rng)
    trees = [random_tree(rng, target, size) for _ in range(60)]
    expected = [node_sum(target, tree) for tree in trees]
    ends = np.stack([leaves(target, tree) for tree in trees])
    lengths = np.stack([target.length] * len(trees))
    for mode, colour in zip(MODES, PALETTE, strict=False):
        axes.scatter(expected, rewards(lengths, ends, mode, eta), s=12, color=colour, label=mode)
    label(axes, f"{size} nodes, η = {eta:g}", x="expected accepted tokens", y="reward")
    axes.legend(fontsize=7)


def grid(sizes: Sequence[int], seed: int = 0, eta: float = 1.0) -> Image:
    """`draw` for several sizes of trees."""
    figure, axes = panels(len(sizes), width=3.2, height=2.6)
    for axis, size in zip(axes, sizes, strict=True):
        draw(axis, size, seed, eta)
    return Image(data=png(figure), alt="Rewards against expected length of random trees")


def slider() -> ipywidgets.Widget:
    """Size of the trees, η and the target, which redraw `grid`."""
    size = ipywidgets.IntSlider(value=8, min=3, max=16, description="nodes")
    eta = ipywidgets.FloatSlider(value=1.0, min=0.25, max=8.0, step=0.25, description="η")
    seed = ipywidgets.IntSlider(value=0, min=0, max=9, description="target")
    output = ipywidgets.interactive_output(
        lambda size, eta, seed: display(grid((size,), seed, eta)), {"size": size, "eta": eta, "seed": seed}
    )
    return ipywidgets.VBox([ipywidgets.HBox([size, eta, seed]), output])
