"""SGD and Adam on tables of which a batch visits few columns."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


class SGD:
    """Plain gradient descent on a table ``[V, C]``, in place."""

    def __init__(self, table: Float[np.ndarray, "V C"], learning_rate: float) -> None:
        self.table = table
        self.learning_rate = learning_rate

    def begin(self, columns: Int[np.ndarray, " R"]) -> None:
        """Open the columns that the next steps have gradients for; `values` holds them from here on."""
        self._columns = columns
        self.values = self.table[:, columns]

    def step(self, gradient: Float[np.ndarray, "V R"]) -> None:
        """One step on the open columns."""
        self.values -= self.learning_rate * gradient

    def end(self) -> None:
        """Write the open columns back to the table."""
        self.table[:, self._columns] = self.values


class Adam:
    """Adam on a table ``[V, C]``, in place, equal to the dense optimizer up to rounding.

    Between `begin` and `end` only the open columns have gradients. The others have zero gradients in these
    steps but still drift on their momentum; `end` applies that drift at once. Columns never opened have no
    momentum.
    """

    BLOCK = 2048  # columns whose moments are handled together: they stay in the cache

    def __init__(
        self,
        table: Float[np.ndarray, "V C"],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.table = table
        self.learning_rate = learning_rate
        self.betas = betas
        self.epsilon = epsilon
        self._first = np.zeros_like(table)
        self._second = np.zeros_like(table)
        self._opened = np.zeros(table.shape[1], dtype=bool)
        self._steps = 0
        self._steps_at_begin = 0

    def begin(self, columns: Int[np.ndarray, " R"]) -> None:
        """Open the columns that the next steps have gradients for; `values` holds them from here on."""
        self._columns = columns
        self._steps_at_begin = self._steps
        self.values = self.table[:, columns]
        self._m, self._v = self._first[:, columns], self._second[:, columns]

    def step(self, gradient: Float[np.ndarray, "V R"]) -> None:
        """One step on the open columns."""
        beta1, beta2 = self.betas
        self._steps += 1
        self._m *= beta1
        self._m += (1.0 - beta1) * gradient
        self._v *= beta2
        self._v += (1.0 - beta2) * gradient**2
        scale, floor = self._scale(self._steps)
        denominator = np.sqrt(self._v)
        denominator += floor
        np.divide(self._m, denominator, out=denominator)
        denominator *= scale
        self.values -= denominator

    def end(self) -> None:
        """Write the open columns back and let the other columns drift by the steps since `begin`."""
        stale = self._opened.copy()
        stale[self._columns] = False
        columns = np.flatnonzero(stale)
        for low in range(0, len(columns), self.BLOCK):
            self._drift(columns[low : low + self.BLOCK])
        self._opened[self._columns] = True
        self.table[:, self._columns] = self.values
        self._first[:, self._columns], self._second[:, self._columns] = self._m, self._v

    def _scale(self, step: int) -> tuple[float, float]:
        """Factors s, e of the bias-corrected update lr m̂/(sqrt(v̂) + ε) = s m/(sqrt(v) + e)."""
        beta1, beta2 = self.betas
        root = (1.0 - beta2**step) ** 0.5
        return self.learning_rate * root / (1.0 - beta1**step), self.epsilon * root

    def _drift(self, columns: Int[np.ndarray, " B"]) -> None:
        beta1, beta2 = self.betas
        steps = self._steps - self._steps_at_begin
        m, v = self._first[:, columns], self._second[:, columns]
        root = np.sqrt(v)
        factor = np.zeros_like(root)
        term = np.empty_like(root)
        for elapsed in range(1, steps + 1):
            scale, floor = self._scale(self._steps_at_begin + elapsed)
            decay = beta2 ** (elapsed / 2)
            np.add(root, floor / decay, out=term)
            np.divide(scale * beta1**elapsed / decay, term, out=term)
            factor += term
        factor *= m
        self.table[:, columns] -= factor
        self._first[:, columns] = m * beta1**steps
        self._second[:, columns] = v * beta2**steps
