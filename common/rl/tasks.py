"""What a policy is trained and evaluated on, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import ClassVar, Protocol

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.rl.run import Run


class Task(Protocol):
    """Prompts, a verifier and an evaluation.

    Attributes:
        models: Policies that only this task has: what `Run.model` calls them to what `load_policy` takes for
            a seed.
        dataset: Training prompts, column ``prompt`` and whatever the verifier needs.
    """

    models: ClassVar[Mapping[str, Callable[[int], str]]]
    dataset: Dataset

    def __init__(self, run: Run, seed: int, tokenizer: PreTrainedTokenizerBase, /) -> None:
        """The task of a run; `tokenizer` is the policy's."""

    @property
    def reward(self) -> Callable[..., list[float]]:
        """0/1 per completion, as TRL calls it: ``completion_ids`` and the columns of the dataset by name."""

    def evaluate(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, samples: int, seed: int
    ) -> dict[str, float]:
        """``pass_at_1/<level>``, ``pass_at_<k>/<level>``, ``length``, token statistics; held-out prompts."""


def task_class(run: Run) -> type[Task]:
    """The class of a run's task.

    Raises:
        StudyError: `Run.task` is neither a known name nor written as ``module:Class``.
        ImportError: the module cannot be imported.
        AttributeError: it has no such class.
    """
    module, _, name = run.task_entry.partition(":")
    named: type[Task] = getattr(import_module(module), name)
    return named


def load_task(run: Run, seed: int, tokenizer: PreTrainedTokenizerBase) -> Task:
    """The task of a run; `tokenizer` is the policy's.

    Raises:
        StudyError: as `task_class`.
        DatasetUnavailableError: problems that cannot be loaded.
    """
    return task_class(run)(run, seed, tokenizer)
