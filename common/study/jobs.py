"""Jobs and records: the unit of work of a study and what it leaves behind."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike

Scalar = str | int | float | bool | None
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """One entry point on one configuration and one or more seeds.

    Attributes:
        sweep: The group of jobs that tables, figures and claims ask for by name (`needs` in the card).
        labels: Columns that tell the compared variants apart in the frame, e.g. ``{"arm": "qae"}``.
        entry: ``"package.module:function"``; the function maps ``(job, workspace)`` to a `Record`.
        config: Flat, JSON-serialisable arguments of the entry point.
        seeds: Seeds run together; the record holds one row per seed, in this order.
        inputs: Repository-relative files whose content enters the key (checkpoints, data).
        modules: Modules that the entry point loads by name, so that their source enters the key too.
        assets: Real models or data that it reads (names of `common.study.assets.ASSETS`), whose checksums
            enter the key. Where one is not installed, the job does not run, and what needs it is untested.
    """

    sweep: str
    labels: Mapping[str, Scalar]
    entry: str
    config: Mapping[str, Any]
    seeds: tuple[int, ...]
    inputs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()

    def function(self) -> Callable[[Job, Path], Record]:
        """Import the entry point."""
        module, _, name = self.entry.partition(":")
        return getattr(importlib.import_module(module), name)

    def read(self, kind: type[T], **others: Any) -> T:
        """A dataclass from those of its fields that the config holds, and others."""
        names = {item.name for item in fields(kind)} & self.config.keys()  # type: ignore[arg-type]
        return kind(**{name: self.config[name] for name in names}, **others)

    def describe(self) -> str:
        """Short human name, e.g. ``table2 base=GSPO arm=qae seeds=3``."""
        labels = " ".join(f"{key}={value}" for key, value in self.labels.items())
        seeds = f"seed={self.seeds[0]}" if len(self.seeds) == 1 else f"seeds={len(self.seeds)}"
        return " ".join(part for part in (self.sweep, labels, seeds) if part)


def portions(seeds: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """The seeds of jobs that run `size` of them together, fewer in the last."""
    for start in range(0, len(seeds), size):
        yield tuple(seeds[start : start + size])


@dataclass(frozen=True)
class Record:
    """What a job measured.

    Attributes:
        scalars: Name to one value per seed, shape ``[S]``.
        series: Name to one curve per seed, shape ``[S, T]``; T may differ between names.
        parts: What a job measured that compares several arms itself: further columns of the frame, such as
            ``{"arm": "qae"}``, with the values that they tell apart. The names of the columns are not those
            of the job's labels.
    """

    scalars: Mapping[str, Float[np.ndarray, " S"]] = field(default_factory=dict)
    series: Mapping[str, Float[np.ndarray, "S T"]] = field(default_factory=dict)
    parts: Sequence[tuple[Mapping[str, Scalar], Record]] = ()

    @classmethod
    def of_one_seed(cls, scalars: Mapping[str, float], series: Mapping[str, ArrayLike]) -> Self:
        """The record of a job with one seed: numbers, and curves of shape ``[T]``."""
        return cls(
            {name: np.array([value], dtype=np.float64) for name, value in scalars.items()},
            {name: np.asarray(values, dtype=np.float64)[None] for name, values in series.items()},
        )

    def frame(self, seeds: Sequence[int]) -> pd.DataFrame:
        """Tidy form with columns ``seed, name, step, value`` and those of `parts`; `step` is NA for scalars.

        Raises:
            ValueError: an array does not hold one row per seed.
        """
        parts = []
        for name, values in {**self.scalars, **self.series}.items():
            array = np.asarray(values, dtype=np.float64)
            expected_ndim = 2 if name in self.series else 1
            if array.ndim != expected_ndim or array.shape[0] != len(seeds):
                raise ValueError(
                    f"record value '{name}' has shape {array.shape}; expected {expected_ndim} dimension(s), "
                    f"the first of length {len(seeds)} (one row per seed)"
                )
            steps = array.shape[1] if array.ndim == 2 else 1
            parts.append(
                pd.DataFrame(
                    {
                        "seed": np.repeat(np.asarray(seeds, dtype=np.int64), steps),
                        "name": name,
                        "step": pd.array(
                            np.tile(np.arange(steps), len(seeds))
                            if array.ndim == 2
                            else [pd.NA] * len(seeds),
                            dtype="Int32",
                        ),
                        "value": array.reshape(-1),
                    }
                )
            )
        parts += [record.frame(seeds).assign(**labels) for labels, record in self.parts]
        if not parts:
            raise ValueError("a record needs at least one scalar or series")
        return pd.concat(parts, ignore_index=True)
