"""Holds a trainer to the table of options: each field acts as in stock TRL, or is refused at construction."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from common.rl.testing import assert_bitwise, pocket_trainer, timeless_log, weights
from tests.common.rl.options import CASES, SHORT, UNREACHED

Build = Callable[..., GRPOTrainer]

ROWS = [(field, at) for field, cases in CASES.items() for at in range(len(cases))]
"""All cases as (field, number), to parametrise a test with."""
IDS = [f"{field}-{at}" if at else field for field, at in ROWS]


@dataclass(frozen=True)
class Outcome:
    """What a short run left behind, or the error that it ended with.

    Attributes:
        weights: Policy after the run.
        log: Log entries without times.
        files: Names of the files in the output folder.
        completions: Tables of completions, by file name.
        error: Type and message; the others are empty then.
        built: False if the error came from the constructor of configuration or trainer.
    """

    weights: dict[str, Tensor]
    log: list[dict[str, Any]]
    files: set[str]
    completions: dict[str, pd.DataFrame]
    error: str | None = None
    built: bool = True


def settings(field: str, at: int = 0) -> dict[str, Any]:
    """Arguments of `pocket_trainer` for a case, models and data built afresh."""
    case = {**SHORT, **CASES[field][at]}
    fresh = {name: case[name]() for name in ("model", "data", "tokenizer") if callable(case.get(name))}
    return {**case, **fresh}


def outcome(build: Build, **given: Any) -> Outcome:
    """Build, train and look."""
    torch.set_num_threads(1)
    built = False
    with TemporaryDirectory() as folder:
        try:
            trainer = build(output_dir=folder, **given)
            built = True
            trainer.train()
        except Exception as error:  # an option that no machine like this can follow fails as in TRL
            return Outcome({}, [], set(), {}, f"{type(error).__name__}: {error}", built)
        tables = {path.name: pd.read_parquet(path) for path in Path(folder).rglob("*.parquet")}
        names = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
        return Outcome(weights(trainer), timeless_log(trainer), names, tables)


_STOCK: dict[tuple[str, int], Outcome] = {}


def stock(field: str, at: int = 0) -> Outcome:
    """Stock TRL's outcome of a case, run once in a process."""
    if (field, at) not in _STOCK:
        _STOCK[field, at] = outcome(stock_trainer, **settings(field, at))
    return _STOCK[field, at]


def stock_without(field: str, at: int = 0) -> Outcome:
    """The same with the field at its default."""
    return outcome(stock_trainer, **without(field, at))


def stock_trainer(**given: Any) -> GRPOTrainer:
    """TRL's own trainer of the pocket policy."""
    return pocket_trainer(GRPOTrainer, GRPOConfig, **given)


def differs(left: Outcome, right: Outcome) -> bool:
    """Whether two outcomes can be told apart, by what both log."""
    try:
        assert_same(left, right)
    except AssertionError:
        return True
    return False


def assert_same(ours: Outcome, theirs: Outcome) -> None:
    """Same weights, log, files and tables; the log may have further names.

    Raises:
        AssertionError: saying what differs.
    """
    assert ours.error == theirs.error
    assert_bitwise(ours.weights, theirs.weights)
    assert len(ours.log) == len(theirs.log)
    for our, their in zip(ours.log, theirs.log, strict=True):
        assert {name: our.get(name, "absent") for name in their} == their
    assert ours.files == theirs.files
    for name, table in theirs.completions.items():
        pd.testing.assert_frame_equal(ours.completions[name], table)


def check_option(build: Build, field: str, at: int, refused: Iterable[str]) -> None:
    """A trainer that is neutral otherwise follows TRL in this case, or refuses the field by name.

    Raises:
        AssertionError: it does neither, or refuses another field than the `refused`.
    """
    ours = outcome(build, **settings(field, at))
    if field in refused:
        assert ours.error is not None, f"{field} was to be refused"
        assert ours.error.startswith("ValueError"), ours.error
        assert field in ours.error, ours.error
        assert not ours.built, f"{field} is refused only after the construction"
        return
    assert_same(ours, stock(field, at))


def check_not_ignored(build: Build, field: str, at: int = 0) -> None:
    """A trainer that is not neutral refuses the field at construction, or the field changes its run.

    Raises:
        AssertionError: it does neither.
    """
    ours = outcome(build, **settings(field, at))
    if ours.error is not None:
        assert not ours.built, f"{field} fails in the run: {ours.error}"
        assert ours.error.startswith("ValueError"), ours.error
        return
    assert differs(ours, outcome(build, **without(field, at))), f"{field} is ignored"


def without(field: str, at: int = 0) -> dict[str, Any]:
    """`settings` with the field at its default."""
    return {name: value for name, value in settings(field, at).items() if name != field}


def names_in(*modules: str) -> set[str]:
    """All identifiers, keywords and texts in the modules' code, docstrings included."""
    names: set[str] = set()
    for module in modules:
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
            for key in ("id", "attr", "arg", "name"):
                names.add(str(getattr(node, key, "")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.add(node.value)
    return names


def modules_of(*kinds: type) -> list[str]:
    """The modules of ours that the classes and their bases are written in."""
    modules = {base.__module__ for kind in kinds for base in kind.__mro__}
    return sorted(name for name in modules if name.partition(".")[0] in ("common", "papers"))


def check_inherited(*kinds: type, others: Iterable[str] = ()) -> None:
    """No module of the trainer and its configuration names a field that the sweep does not exercise.

    Args:
        kinds: Classes of trainer and configuration.
        others: Names that stand for something else in those modules.

    Raises:
        AssertionError: naming the fields.
    """
    untouched = {field.name for field in fields(GRPOConfig)} - CASES.keys() - set(others)
    assert not untouched & names_in(*modules_of(*kinds))


def check_table() -> None:
    """Each field of TRL's own is exercised or unreached, and nothing else is in the table.

    Raises:
        AssertionError: naming the fields.
    """
    ours = {field.name for field in fields(GRPOConfig)}
    inherited = {field.name for field in fields(TrainingArguments)}
    assert not CASES.keys() & UNREACHED.keys()
    assert CASES.keys() | UNREACHED.keys() <= ours
    assert ours - inherited <= CASES.keys() | UNREACHED.keys()


parametrised = pytest.mark.parametrize(("field", "at"), ROWS, ids=IDS)
"""Decorator of a test with the arguments `field` and `at`."""
