"""The trainers of a practitioner: `SFTTrainer` for the proposal, with weights for the policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from common.preference.weighted import WEIGHT, WeightedSFTConfig, WeightedSFTTrainer
from common.rl.citation import Named
from papers.variational_reasoning.method import Estimator, Ratio, answer_scores, log_ratios, trace_weights

TEMPLATE = "{prompt}\n\nA correct answer, given as a hint:\n{hint}\n\n"
TAGS = ("sft", "variational-reasoning")


class PosteriorTrainer(Named, SFTTrainer, name="variational posterior", tags=TAGS):
    """`SFTTrainer` on traces whose prompts show a correct answer.

    The only change is the prompt: a row with a column ``hint`` is trained under `template`, which holds
    ``{prompt}`` and ``{hint}``. Without that column it is `SFTTrainer`, bit for bit.
    """

    def __init__(
        self,
        model: PreTrainedModel | str,
        args: SFTConfig | None = None,
        *,
        train_dataset: Dataset | None = None,
        template: str = TEMPLATE,
        **others: Any,
    ) -> None:
        if train_dataset is not None and "hint" in train_dataset.column_names:
            train_dataset = train_dataset.map(
                lambda prompt, hint: {"prompt": template.format(prompt=prompt, hint=hint)},
                input_columns=["prompt", "hint"],
                remove_columns=["hint"],
            )
        super().__init__(model, args=args, train_dataset=train_dataset, **others)


@dataclass
class VariationalConfig(WeightedSFTConfig):
    """Of `VariationalReasoningTrainer`.

    Attributes:
        estimator: Of π(Y_q|q, z): ``acc``, ``gml`` or ``lik``; ``none`` leaves the weights at one.
        ratio: Of π(z|q) to q(z|q, y'): its geometric mean per token, raw, or none.
    """

    estimator: str = field(default="acc", metadata={"help": "acc, gml, lik, or none for weights of one."})
    ratio: str = field(default="geo", metadata={"help": "geo, raw or none."})

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = {"estimator": ("acc", "gml", "lik", "none"), "ratio": ("geo", "raw", "none")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r}; choose one of {', '.join(allowed)}")


class VariationalReasoningTrainer(Named, WeightedSFTTrainer, name="variational reasoning", tags=TAGS):
    """`WeightedSFTTrainer` whose weights are ρ̃ of the traces (Eq. 8).

    Rows hold traces of the proposal: ``prompt`` (no hint in it), ``completion``, ``question`` (any id),
    ``log_policy`` and ``log_proposal`` of the trace, its ``length``, and what the estimator reads:
    ``accuracy`` for ``acc``, ``log_answer`` and ``answer_length`` for the others. Weights sum to one within a
    question and are scaled to a mean of one; rows without weight are dropped. ``estimator="none"`` is
    `SFTTrainer` bit for bit.
    """

    args: VariationalConfig

    def __init__(
        self,
        model: PreTrainedModel,
        args: VariationalConfig | None = None,
        *,
        train_dataset: Dataset,
        **others: Any,
    ) -> None:
        args = args or VariationalConfig()
        rows = weighted_rows(train_dataset, args.estimator, args.ratio)
        super().__init__(model, args=args, train_dataset=rows, **others)


def weighted_rows(rows: Dataset, estimator: str, ratio: str) -> Dataset:
    """The rows that have weight, with a column ``weight``.

    Raises:
        ValueError: no row has any.
    """
    if estimator == "none":
        return rows.add_column(WEIGHT, [1.0] * len(rows))
    weights = _weights(rows, cast(Estimator, estimator), cast(Ratio, ratio))
    kept = weights.nonzero()[:, 0]
    if not len(kept):
        raise ValueError("no trace has any weight: none led to a correct answer")
    scaled = weights[kept] / weights[kept].mean()
    return rows.select(kept.tolist()).add_column(WEIGHT, scaled.tolist())


def _weights(rows: Dataset, estimator: Estimator, ratio: Ratio) -> torch.Tensor:
    """ρ̃ of each row."""
    read = ("accuracy",) if estimator == "acc" else ("log_answer", "answer_length")
    names = ("log_policy", "log_proposal", "length", *read)
    columns = {name: torch.tensor(rows[name], dtype=torch.float64) for name in names}
    right = columns["accuracy"][:, None] if estimator == "acc" else None
    scores = answer_scores(estimator, right, columns.get("log_answer"), columns.get("answer_length"))
    ratios = log_ratios(columns["log_policy"], columns["log_proposal"], columns["length"], ratio)
    weights, questions = torch.zeros_like(ratios), list(rows["question"])
    for question in dict.fromkeys(questions):
        own = [place for place, name in enumerate(questions) if name == question]
        weights[own] = trace_weights(ratios[None, own], scores[None, own])[0]
    return weights
