"""Prefix trees: the states of an autoregressive policy over fixed-length sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class PrefixTree:
    """All prefixes of sequences of `length` tokens over `vocabulary` tokens, numbered breadth first.

    Node 0 is the empty prefix and the child of node n by token y is V n + 1 + y. A sequence is coded by its
    digits in base V, first token most significant.

    Raises:
        ValueError: fewer than two tokens or an empty sequence.
    """

    vocabulary: int
    length: int

    def __post_init__(self) -> None:
        if self.vocabulary < 2 or self.length < 1:
            raise ValueError(
                f"a prefix tree needs vocabulary >= 2 and length >= 1; got {self.vocabulary}, {self.length}"
            )

    @property
    def nodes(self) -> int:
        """Number of prefixes that still lack a token: 1 + V + ... + V^(L-1)."""
        return self.first(self.length)

    @property
    def sequences(self) -> int:
        """Number of complete sequences, V^L."""
        return self.vocabulary**self.length

    def first(self, depth: int) -> int:
        """Number of the first node at `depth`."""
        return (self.vocabulary**depth - 1) // (self.vocabulary - 1)

    def level(self, depth: int) -> slice:
        """The nodes at `depth`, in the order of their prefixes."""
        return slice(self.first(depth), self.first(depth + 1))

    def path(
        self, sequences: Int[np.ndarray, " ..."]
    ) -> tuple[Int[np.ndarray, "... L"], Int[np.ndarray, "... L"]]:
        """The prefixes that sequences pass through and the tokens that they choose there."""
        place = self.vocabulary ** np.arange(self.length - 1, -1, -1)
        tokens = sequences[..., None] // place % self.vocabulary
        nodes = np.zeros_like(tokens)
        for depth in range(1, self.length):
            nodes[..., depth] = self.vocabulary * nodes[..., depth - 1] + 1 + tokens[..., depth - 1]
        return nodes, tokens

    def code(
        self, last_node: Int[np.ndarray, " ..."], last_token: Int[np.ndarray, " ..."]
    ) -> Int[np.ndarray, " ..."]:
        """The sequence that ends with `last_token` after the prefix `last_node` of depth L - 1."""
        return self.vocabulary * last_node + 1 + last_token - self.first(self.length)
