"""Starting policies whose prompts resemble each other: what is right for one is often right for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.tabular.policy import Policy, Targets
from common.tabular.start import Start, World, streams

COMMON, PRIVATE = 0.6, 0.4  # weights of the score that all prompts share and of a prompt's own


def draw_start(world: World, seeds: Sequence[int]) -> Start:
    """Normal logits; a prompt's correct set holds the sequences of highest score.

    A sequence's score is 0.6 times a standard normal number common to all prompts of the seed plus 0.4 times
    the prompt's own, and round(rate V^L) of them are correct. The rates of `world` take turns over the
    prompts; a rate of 0 makes an unsolvable prompt.
    """
    tree = world.tree
    shared = np.empty((world.vocabulary, len(seeds), tree.nodes))
    private = np.empty((world.vocabulary, len(seeds), world.prompts, tree.nodes))
    correct = np.zeros((len(seeds), world.prompts, tree.sequences), dtype=bool)
    sizes = [round(rate * tree.sequences) for rate in np.resize(world.rates, world.prompts)]
    for row, seed in enumerate(seeds):
        generator = streams(seed)[0]
        shared[:, row] = world.sigma_shared * generator.standard_normal((world.vocabulary, tree.nodes))
        common = generator.standard_normal(tree.sequences)
        for prompt, size in enumerate(sizes):
            table = generator.standard_normal((world.vocabulary, tree.nodes))
            private[:, row, prompt] = world.sigma_private * table
            scores = COMMON * common + PRIVATE * generator.standard_normal(tree.sequences)
            correct[row, prompt, np.argsort(-scores, kind="stable")[:size]] = True
    return Start(Policy(tree, shared, private), Targets.index(tree, correct))
