"""The ragged cache against lists of what each row should hold."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.speculative.cache import RaggedKVCache

LAYERS, HEADS, WIDTH = 2, 2, 3


def stage(cache: RaggedKVCache, count: int, first_value: int, offset: int = 0) -> torch.Tensor:
    """Write entries numbered from `first_value`; layers differ by a quarter, values are negative."""
    numbers = first_value + torch.arange(cache.rows * count).view(cache.rows, 1, count, 1).double()
    states = numbers.expand(-1, HEADS, -1, WIDTH)
    cache.stage(count, offset)
    for layer in range(LAYERS):
        cache.update(states + layer / 4, -states - layer / 4, layer)
    return numbers[:, 0, :, 0]


def held(cache: RaggedKVCache, layer: int) -> list[list[float]]:
    keys, values = cache.update(
        torch.empty(cache.rows, HEADS, 0, WIDTH).double(),
        torch.empty(cache.rows, HEADS, 0, WIDTH).double(),
        layer,
    )
    assert torch.equal(keys[:, :, : cache.start], -values[:, :, : cache.start])
    return [
        (keys[row, 1, :length, 2] - layer / 4).tolist() for row, length in enumerate(cache.lengths.tolist())
    ]


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False)
)
def test_rows_hold_what_was_committed(rows: int, widths: list[int], random) -> None:
    cache = RaggedKVCache(LAYERS, torch.zeros(rows, dtype=torch.long), capacity=40)
    expected: list[list[float]] = [[] for _ in range(rows)]
    for turn, width in enumerate(widths):
        numbers = stage(cache, width, 100 * turn + 1)
        paths = [sorted(random.sample(range(width), random.randint(0, width))) for _ in range(cache.rows)]
        longest = max(1, *map(len, paths))
        padded = torch.tensor([path + [0] * (longest - len(path)) for path in paths])
        cache.commit(padded, torch.tensor([len(path) for path in paths]))
        for row, path in enumerate(paths):
            expected[row] += [float(numbers[row, place]) for place in path]
        if random.random() < 0.5:
            chosen = [random.randrange(cache.rows) for _ in range(random.randint(1, cache.rows))]
            (cache.select_rows if random.random() < 0.5 else cache.repeat_rows)(torch.tensor(chosen))
            expected = [list(expected[row]) for row in chosen]
        cache.stage(0)
        for layer in range(LAYERS):
            assert held(cache, layer) == expected


def test_the_mask_hides_the_gap_and_what_is_not_visible() -> None:
    cache = RaggedKVCache(LAYERS, torch.tensor([1, 3]), capacity=9)
    cache.stage(2)
    visible = torch.tensor([[[True, False], [True, True]], [[True, False], [False, True]]])
    mask = cache.mask(visible, torch.float64)
    assert (mask == 0).tolist() == [
        [[[True, False, False, True, False], [True, False, False, True, True]]],
        [[[True, True, True, True, False], [True, True, True, False, True]]],
    ]
    assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.float64).min}


def test_a_copy_is_independent() -> None:
    cache = RaggedKVCache(LAYERS, torch.zeros(2, dtype=torch.long), capacity=9)
    stage(cache, 3, 1)
    cache.commit(torch.arange(3).expand(2, -1), torch.tensor([3, 2]))
    other = cache.copy_rows(torch.tensor([1, 1, 0]))
    other.truncate(torch.tensor([1, 9, 2]))
    assert other.lengths.tolist() == [1, 2, 2]
    stage(other, 2, 50)
    other.commit(torch.arange(2).expand(3, -1), torch.full((3,), 2))
    other.stage(0)
    assert held(other, 1) == [[4, 50, 51], [4, 5, 52, 53], [1, 2, 54, 55]]
    cache.stage(0)
    assert held(cache, 1) == [[1, 2, 3], [4, 5]]


def test_staging_behind_staged_entries() -> None:
    cache = RaggedKVCache(LAYERS, torch.zeros(1, dtype=torch.long), capacity=9)
    stage(cache, 2, 1)
    stage(cache, 2, 10, offset=2)
    cache.commit(torch.tensor([[0, 3]]), torch.tensor([2]))
    cache.stage(0)
    assert held(cache, 0) == [[1, 11]]


def test_errors_name_the_fix() -> None:
    cache = RaggedKVCache(LAYERS, torch.tensor([3]), capacity=4)
    with pytest.raises(ValueError, match="smaller tree or a larger cache"):
        cache.stage(2)
    cache.stage(1)
    with pytest.raises(ValueError, match="1 entries were staged, the layer wrote 2"):
        cache.update(torch.zeros(1, HEADS, 2, WIDTH), torch.zeros(1, HEADS, 2, WIDTH), 0)
    with pytest.raises(ValueError, match="2 of 1 rows"):
        cache.select_rows(torch.tensor([0, 0]))
