"""A preallocated key-value cache whose rows have different lengths.

A forward *stages* its new entries in the same slots of every row, behind the longest one, so that writing
them is one slice per layer; a mask hides the gap. What is kept is *committed*: moved, for all layers at once,
behind each row's own entries. The slot of an entry says nothing about its position, which the caller passes
to the model.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class _RaggedLayer(CacheLayerMixin):
    """One layer's view of the shared buffers."""

    def __init__(self, owner: RaggedKVCache, index: int) -> None:
        super().__init__()
        self._owner, self._index = owner, index

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self._owner.allocate(key_states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        self.lazy_initialization(key_states, value_states)
        return self._owner.write(self._index, key_states, value_states)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._owner.end, 0

    def get_seq_length(self) -> int:
        return self._owner.start

    def get_max_length(self) -> int:
        return self._owner.capacity


class RaggedKVCache(Cache):
    """Keys and values of B rows in buffers of `capacity` slots.

    Attributes:
        lengths: Committed entries of each row, shape (B,).
        capacity: Slots of a row; committed and staged entries together must fit.
        start: First staged slot, the largest committed length.
        end: First slot behind the staged ones.
    """

    def __init__(self, layers: int, lengths: Int[Tensor, " B"], capacity: int) -> None:
        super().__init__(layers=[_RaggedLayer(self, index) for index in range(layers)])
        self.capacity = capacity
        self._buffers: Tensor | None = None
        self._staged = lengths[:, None][:, :0]  # places of the staged entries
        self._set_lengths(lengths)

    def _set_lengths(self, lengths: Int[Tensor, " B"]) -> None:
        self.lengths = lengths
        shortest, self.start = (int(bound) for bound in lengths.aminmax()) if len(lengths) else (0, 0)
        self._even = shortest == self.start
        self.end = self.start

    @property
    def rows(self) -> int:
        """B."""
        return len(self.lengths)

    def allocate(self, states: Float[Tensor, "B H Q D"]) -> None:
        """Make the buffers, of the shape and type of a layer's key states."""
        if self._buffers is None:
            rows, heads, _, width = states.shape
            self._buffers = states.new_zeros(2 * len(self.layers), rows, heads, self.capacity, width)

    def stage(self, count: int, offset: int = 0) -> None:
        """Let the next forward write `count` entries behind `offset` staged ones.

        Raises:
            ValueError: they do not fit.
        """
        self._first = self.start + offset
        self.end = self._first + count
        if self.end > self.capacity:
            raise ValueError(
                f"{count} entries behind {self._first} do not fit a cache of {self.capacity} slots a row; "
                "use a smaller tree or a larger cache"
            )

    def places(self, positions: Int[Tensor, "B Q"]) -> Int[Tensor, "B S"]:
        """Place in the text of what each slot up to `end` holds; `positions` are those of the entries staged
        last.
        """
        behind = self._first > self.start
        self._staged = torch.cat([self._staged, positions], dim=1) if behind else positions
        committed = torch.arange(self.start, device=positions.device).expand(len(positions), -1)
        return torch.cat([committed, self._staged], dim=1)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write a layer's staged entries; returns all keys and values up to them, shapes (B, H, end, D)."""
        assert self._buffers is not None
        if keys.shape[2] != self.end - self._first:
            raise ValueError(f"{self.end - self._first} entries were staged, the layer wrote {keys.shape[2]}")
        seen = []
        for index, states in ((2 * layer, keys), (2 * layer + 1, values)):
            buffer = self._buffers[index]
            buffer[:, :, self._first : self.end] = states
            seen.append(buffer[:, :, : self.end])
        return seen[0], seen[1]

    def mask(self, visible: Bool[Tensor, "B Q E"], dtype: torch.dtype) -> Float[Tensor, "B 1 Q S"]:
        """Additive attention mask: every committed entry, and the `visible` ones of the E staged."""
        hidden = torch.finfo(dtype).min
        staged = torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, hidden)
        mask = torch.nn.functional.pad(staged, (self.start, 0))
        if not self._even:
            gap = torch.arange(self.start, device=visible.device) >= self.lengths[:, None]
            mask[..., : self.start].masked_fill_(gap[:, None], hidden)
        return mask[:, None]

    def commit(self, path: Int[Tensor, "B A"], counts: Int[Tensor, " B"]) -> None:
        """Keep the staged entries ``path[b, :counts[b]]`` of row b, in this order, and forget the others."""
        steps = torch.arange(path.shape[1], device=path.device)
        in_place = self._even and bool((path == steps).all())
        if self._buffers is not None and not in_place:
            rows = torch.arange(self.rows, device=path.device)[:, None]
            target = self.lengths[:, None] + steps
            self._buffers[:, rows, :, target] = self._buffers[:, rows, :, self.start + path]
        self._set_lengths(self.lengths + counts)

    def truncate(self, lengths: Int[Tensor, " B"]) -> None:
        """Forget the entries of each row beyond the first `lengths`."""
        self._set_lengths(torch.minimum(lengths, self.lengths))

    def select_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Keep the chosen rows, in this order; only those that change their place are copied.

        Raises:
            ValueError: more rows than the cache has; see `repeat_rows`.
        """
        if len(rows) > self.rows:
            raise ValueError(f"cannot select {len(rows)} of {self.rows} rows")
        if self._buffers is not None:
            moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
            if len(moved):
                self._buffers[:, moved] = self._buffers[:, rows[moved]]
            self._buffers = self._buffers[:, : len(rows)]
        self._set_lengths(self.lengths[rows])

    def repeat_rows(self, rows: Int[Tensor, " n"]) -> None:
        """Give every index in `rows` a row of its own, copied from the old row of that index."""
        if self._buffers is not None:
            self._buffers = self._buffers[:, rows]
        self._set_lengths(self.lengths[rows])

    def copy_rows(self, rows: Int[Tensor, " n"]) -> RaggedKVCache:
        """Another cache with a row for every index in `rows`."""
        other = RaggedKVCache(len(self.layers), self.lengths, self.capacity)
        other._buffers = self._buffers
        other.repeat_rows(rows)
        return other
