"""Rounds of sample → score → pairs → train, with every artefact on disk.

    <folder>/settings.json              what the rounds are of
    <folder>/round-000/samples.jsonl    responses to the round's problems
                       scores.jsonl     the same rows with what verifiers say of them
                       pairs.jsonl      what the policy is trained on
                       models/          the policy after the round, and whatever else learns with it

A stage is written whole or not at all. A run that was stopped anywhere goes on behind its last whole stage;
if the stages are functions of their arguments, its files are those of a run without a stop, bit for bit.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.jsonlines import read_json_lines

Row = dict[str, Any]


@dataclass(frozen=True)
class Stages:
    """What a method does in a round; each gets the round's number first, from which it draws its seeds.

    Attributes:
        sample: (number, models) → responses; `models` is the folder of the round before.
        score: (number, models, samples) → the samples with their scores.
        pairs: (number, scores) → rows to train on.
        train: (number, models, pairs, folder) trains what is in `models` and writes it to the empty `folder`.
    """

    sample: Callable[[int, Path], Sequence[Row]]
    score: Callable[[int, Path, Sequence[Row]], Sequence[Row]]
    pairs: Callable[[int, Sequence[Row]], Sequence[Row]]
    train: Callable[[int, Path, Sequence[Row], Path], None]


@dataclass(frozen=True)
class Round:
    """What a round left."""

    number: int
    samples: Sequence[Row]
    scores: Sequence[Row]
    pairs: Sequence[Row]
    models: Path


def rounds(
    folder: Path, start: Path, stages: Stages, count: int, settings: Mapping[str, Any]
) -> Iterator[Round]:
    """Run rounds, or read those that are there.

    Args:
        folder: Of the artefacts.
        start: Folder of the models before the first round.
        stages: The method.
        count: Number of rounds.
        settings: Everything that decides what the stages do, as JSON.

    Raises:
        ValueError: the folder holds rounds with other settings.
    """
    _claim(folder, settings)
    models = start
    for number in range(count):
        place = folder / f"round-{number:03}"
        place.mkdir(parents=True, exist_ok=True)
        samples = _kept(place / "samples.jsonl", lambda: stages.sample(number, models))  # noqa: B023 (called here)
        scores = _kept(place / "scores.jsonl", lambda: stages.score(number, models, samples))  # noqa: B023
        pairs = _kept(place / "pairs.jsonl", lambda: stages.pairs(number, scores))  # noqa: B023
        if not (place / "models").exists():
            _write_models(place, lambda new: stages.train(number, models, pairs, new))  # noqa: B023
        models = place / "models"
        yield Round(number, samples, scores, pairs, models)


def _claim(folder: Path, settings: Mapping[str, Any]) -> None:
    path, text = folder / "settings.json", json.dumps(settings, indent=1, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _write(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{folder} holds rounds with other settings; remove it, or choose another folder")


def _kept(path: Path, compute: Callable[[], Sequence[Row]]) -> Sequence[Row]:
    """The rows of a stage: read if it is whole, else computed and written.

    What comes back was read from the file in both cases: a stage sees the same with and without a stop.
    """
    if not path.exists():
        _write(path, "".join(json.dumps(row) + "\n" for row in compute()))
    return [json.loads(line) for line in read_json_lines(path) if line]


def _write(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def _write_models(place: Path, train: Callable[[Path], None]) -> None:
    new = place / "models.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    train(new)
    os.replace(new, place / "models")
