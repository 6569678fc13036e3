"""Starting policies and correct sets, drawn seed by seed from a seed's own random streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.tabular.policy import Policy, Targets
from common.tabular.tree import PrefixTree


@dataclass(frozen=True)
class World:
    """What starting policies and correct sets are drawn from.

    Attributes:
        vocabulary: Tokens V.
        length: Tokens of a sequence, L.
        prompts: Prompts of a seed, P; all of them form every batch.
        sigma_shared: Standard deviation of the shared logits.
        sigma_private: Standard deviation of a prompt's own logits.
        rates: Shares of correct sequences; each prompt draws one of them with equal chance.
    """

    vocabulary: int
    length: int
    prompts: int
    sigma_shared: float
    sigma_private: float
    rates: tuple[float, ...]

    @property
    def tree(self) -> PrefixTree:
        """The prefixes of this world's sequences."""
        return PrefixTree(self.vocabulary, self.length)


@dataclass(frozen=True)
class Start:
    """A policy to train and the sequences that it is rewarded for, for S seeds."""

    policy: Policy
    targets: Targets


def streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Independent generators of one seed: for its start, its sampling, and its advantage rule's noise.

    They are separate so that arms which train differently still share the start and every uniform number
    behind a sample (common random numbers).
    """
    start, sampling, noise = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    return start, sampling, noise


def draw_start(world: World, seeds: Sequence[int]) -> Start:
    """Normal logits, and for each prompt a uniformly random correct set of round(rate V^L), at least one."""
    tree = world.tree
    shared = np.empty((world.vocabulary, len(seeds), tree.nodes))
    private = np.empty((world.vocabulary, len(seeds), world.prompts, tree.nodes))
    correct = np.zeros((len(seeds), world.prompts, tree.sequences), dtype=bool)
    for row, seed in enumerate(seeds):
        generator = streams(seed)[0]
        shared[:, row] = world.sigma_shared * generator.standard_normal((world.vocabulary, tree.nodes))
        private[:, row] = world.sigma_private * generator.standard_normal(private[:, row].shape)
        for prompt, rate in enumerate(generator.choice(world.rates, world.prompts)):
            size = max(1, round(rate * tree.sequences))
            correct[row, prompt, generator.permutation(tree.sequences)[:size]] = True
    return Start(Policy(tree, shared, private), Targets.index(tree, correct))
