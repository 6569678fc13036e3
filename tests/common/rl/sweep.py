"""Holds a trainer to the table of options: each field acts as in stock TRL, or is refused at construction.

A neutral trainer is compared with stock TRL (`check_option`), one with a method on with itself
(`check_heeded`). Equal settings are trained once in a process.
"""

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

from common.rl.config import GroupConfig
from common.rl.testing import assert_bitwise, pocket_trainer, timeless_log, weights
from common.rl.trainer import GroupTrainer
from tests.common.rl.options import CASES, LOGGED, SHORT, SILENT, UNREACHED

Build = Callable[..., GRPOTrainer]
Settings = dict[str, Any]

ROWS = [(field, at) for field, cases in CASES.items() for at in range(len(cases))]
"""All cases as (field, number), to parametrise a test with."""
FUNCTIONS = ("model", "data", "tokenizer", "evaluated")
"""Settings that a case may give as a function that builds them."""


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


def case(field: str, at: int = 0) -> Settings:
    """A case's arguments of `pocket_trainer`; models and data are functions still."""
    return {**SHORT, **CASES[field][at]}


def case_without(field: str, at: int = 0) -> Settings:
    """The same with the field at its default."""
    return {name: value for name, value in case(field, at).items() if name != field}


def settings(field: str, at: int = 0) -> Settings:
    """Arguments of `pocket_trainer` for a case, models and data built afresh."""
    return built(case(field, at))


def built(given: Settings) -> Settings:
    """Settings with models and data built afresh."""
    fresh = {name: given[name]() for name in FUNCTIONS if callable(given.get(name))}
    return {**given, **fresh}


_OUTCOMES: dict[tuple[Build, str], Outcome] = {}


def outcome(build: Build, given: Settings) -> Outcome:
    """What a trainer leaves behind under settings, trained once in a process."""
    key = build, repr(sorted(given.items()))
    if key not in _OUTCOMES:
        _OUTCOMES[key] = _train(build, built(given))
    return _OUTCOMES[key]


def _train(build: Build, given: Settings) -> Outcome:
    """Build, train and look."""
    torch.set_num_threads(1)
    constructed = False
    with TemporaryDirectory() as folder:
        try:
            trainer = build(output_dir=folder, **given)
            constructed = True
            trainer.train()
        except Exception as error:  # an option that no machine like this can follow fails as in TRL
            return Outcome({}, [], set(), {}, f"{type(error).__name__}: {error}", constructed)
        log = [
            {name: value for name, value in entry.items() if not name.startswith("seconds/")}
            for entry in timeless_log(trainer)
        ]
        tables = {path.name: pd.read_parquet(path) for path in Path(folder).rglob("*.parquet")}
        names = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
        return Outcome(weights(trainer), log, names, tables)


def stock(field: str, at: int = 0) -> Outcome:
    """Stock TRL's outcome of a case."""
    return outcome(stock_trainer, case(field, at))


def stock_without(field: str, at: int = 0) -> Outcome:
    """The same with the field at its default."""
    return outcome(stock_trainer, case_without(field, at))


def stock_trainer(**given: Any) -> GRPOTrainer:
    """TRL's own trainer of the pocket policy."""
    return pocket_trainer(GRPOTrainer, GRPOConfig, **given)


def differs(left: Outcome, right: Outcome) -> bool:
    """Whether two outcomes can be told apart, by what both log."""
    return _fails(assert_same, left, right)


def moves(left: Outcome, right: Outcome) -> bool:
    """Whether two outcomes differ in the weights."""
    return _fails(assert_bitwise, left.weights, right.weights)


def _fails(compare: Callable[[Any, Any], None], left: Any, right: Any) -> bool:
    try:
        compare(left, right)
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
    ours = outcome(build, case(field, at))
    if field in refused:
        assert ours.error is not None, f"{field} was to be refused"
        assert ours.error.startswith("ValueError"), ours.error
        assert field in ours.error, ours.error
        assert not ours.built, f"{field} is refused only after the construction"
        return
    assert_same(ours, stock(field, at))


def check_heeded(build: Build, field: str, at: int = 0) -> str | None:
    """A trainer that is not neutral refuses the field at construction, or the field changes its run.

    Returns:
        The refusal, None without one.

    Raises:
        AssertionError: the field was ignored, or it ended the run with an error.
    """
    ours = outcome(build, case(field, at))
    if ours.error is not None:
        assert not ours.built, f"{field} fails in the run: {ours.error}"
        assert ours.error.startswith("ValueError") or ours.error == stock(field, at).error, ours.error
        return ours.error
    if field not in SILENT:
        tells = differs if field in LOGGED else moves
        assert tells(ours, outcome(build, case_without(field, at))), f"{field} is ignored"
    return None


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


def rows_named_by(*kinds: type) -> list[tuple[str, int]]:
    """The cases whose field a subclass of `GroupTrainer` names in its own modules, to parametrise with.

    In the others a subclass that is switched off cannot differ from `GroupTrainer`, which has a sweep of its
    own over all cases.
    """
    named = names_in(*(set(modules_of(*kinds)) - set(modules_of(GroupTrainer, GroupConfig))))
    return [(field, at) for field, at in ROWS if field in named]


def check_inherited(*kinds: type, others: Iterable[str] = ()) -> None:
    """No module of the trainer and its configuration names a field that the sweep does not exercise.

    Args:
        kinds: Classes of trainer and configuration.
        others: Names that stand for something else in those modules.

    Raises:
        AssertionError: naming the fields.
    """
    refused = {"vllm_importance_sampling_correction"}  # of a backend, without a policy loss
    untouched = {field.name for field in fields(GRPOConfig)} - CASES.keys() - refused - set(others)
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


def parametrised_by(rows: Iterable[tuple[str, int]]) -> pytest.MarkDecorator:
    """Decorator of a test with the arguments `field` and `at`, run for some cases."""
    rows = list(rows)
    ids = [f"{field}-{at}" if at else field for field, at in rows]
    return pytest.mark.parametrize(("field", "at"), rows, ids=ids)


parametrised = parametrised_by(ROWS)
"""The same for all cases."""
