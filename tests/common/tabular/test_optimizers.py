"""Column-sparse SGD and Adam against torch's dense optimizers."""

import numpy as np
import pytest
import torch

from common.tabular.optimizers import SGD, Adam


@pytest.mark.parametrize("inner_steps", [1, 5])
@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_equal_to_the_dense_optimizer(kind: str, inner_steps: int) -> None:
    generator = np.random.default_rng(0)
    table = generator.standard_normal((3, 40))
    dense = torch.tensor(table, requires_grad=True)
    reference = (torch.optim.Adam if kind == "adam" else torch.optim.SGD)([dense], lr=0.05)
    mine = (Adam if kind == "adam" else SGD)(table, 0.05)
    for _ in range(12):
        columns = np.flatnonzero(generator.random(40) < 0.2)
        mine.begin(columns)
        for _ in range(inner_steps):
            scale = 10.0 ** generator.uniform(
                -12, 0, size=(3, 1)
            )  # down to gradients that epsilon matters for
            gradient = scale * generator.standard_normal((3, len(columns)))
            dense.grad = torch.zeros_like(dense)
            dense.grad[:, columns] = torch.from_numpy(gradient)
            reference.step()
            mine.step(gradient)
        mine.end()
        np.testing.assert_allclose(table, dense.detach().numpy(), rtol=0, atol=1e-12)


def test_drift_does_not_depend_on_the_block() -> None:
    tables = []
    for block in (Adam.BLOCK, 1):
        generator = np.random.default_rng(2)
        table = np.zeros((2, 9))
        optimizer = Adam(table, 0.1)
        optimizer.BLOCK = block
        for columns in (np.arange(9), np.array([4]), np.array([], dtype=int)):
            optimizer.begin(columns)
            optimizer.step(generator.standard_normal((2, len(columns))))
            optimizer.end()
        tables.append(table)
    np.testing.assert_array_equal(*tables)
