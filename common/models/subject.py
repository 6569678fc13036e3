"""A frozen model that writes greedily in a language, its rollouts with hidden states, what they run into.

State t is the one that token t is chosen from (`common.models.stepwise`); the text before it is unsafe if the
first unsafe token stands before t.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.models.hidden_states import Override
from common.models.recipe import Policy
from common.models.stepwise import Decoded, Draw, decode

FILE = "rollouts.safetensors"
Texts = list[list[str]]


class Language(Protocol):
    """Prompts, and what a response to them runs into."""

    def prompts(self, count: int, rng: np.random.Generator) -> list[Any]:
        """Different prompts, with a `text`."""

    def onset(self, texts: Texts) -> Int[np.ndarray, " N"]:
        """Place of the first unsafe token; -1 without."""

    def legal(self, given: list[Any], texts: Texts, /) -> Float[np.ndarray, " N"]:
        """Share of each response's tokens that are possible; 1 where no grammar tells."""

    def hazard(self, given: list[Any], texts: Texts, /) -> Float[np.ndarray, "N T"]:
        """Risk, under greedy writing of the language, of the text before each token; NaN if unknown."""


@dataclass(frozen=True)
class Subject:
    """A frozen language model in its language.

    Attributes:
        policy: Model and tokenizer.
        language: What it is asked and what is unsafe.
        steps: Longest response.
        layers: Whose states are recorded; values read the first.
        batch: Rows that are decoded together.
    """

    policy: Policy
    language: Language
    steps: int
    layers: tuple[int, ...]
    batch: int = 500

    @property
    def model(self) -> Any:
        """The model."""
        return self.policy.model

    @property
    def depth(self) -> int:
        """Of the state behind the final norm, the last layer."""
        return int(self.model.config.num_hidden_layers)

    def encode(self, given: list[Any]) -> tuple[Int[Tensor, "N P"], Int[Tensor, "N P"]]:
        """Prompts as ids, padded on the left, and their mask."""
        rows = self.policy.tokenizer([prompt.text for prompt in given], padding=True, return_tensors="pt")
        return rows["input_ids"], rows["attention_mask"]

    def write(
        self,
        given: list[Any],
        overrides: dict[int, Override] | None = None,
        taps: tuple[int, ...] = (),
        dtype: torch.dtype | None = None,
    ) -> Decoded:
        """Greedy responses."""
        words, (ids, mask) = self.policy.tokenizer, self.encode(given)
        ends = words.eos_token_id, words.pad_token_id
        return decode(self.model, ids, mask, self.steps, Draw(0.0), *ends, taps, overrides, dtype)

    def texts(self, ids: Int[Tensor, "N T"], mask: Int[Tensor, "N T"]) -> Texts:
        """Responses as lists of tokens, which join to the text."""
        spelt = {token: str(self.policy.tokenizer.decode([token])) for token in ids.unique().tolist()}
        return [[spelt[t] for t in row[own].tolist()] for row, own in zip(ids, mask.bool(), strict=True)]

    def legal(
        self, given: list[Any], ids: Int[Tensor, "N T"], mask: Int[Tensor, "N T"]
    ) -> Float[Tensor, " N"]:
        """Share of each response's tokens that the language allows."""
        return torch.from_numpy(self.language.legal(given, self.texts(ids, mask)))

    def unsafe(self, ids: Int[Tensor, "N T"], mask: Int[Tensor, "N T"]) -> Int[Tensor, " N"]:
        """Place of each response's first unsafe token; -1 without."""
        return torch.from_numpy(self.language.onset(self.texts(ids, mask)))

    def exact(self, rollouts: Rollouts) -> Float[Tensor, "N T"]:
        """1 - 2 · risk under greedy writing of the language itself; NaN where nobody knows."""
        risk = self.language.hazard(rollouts.given, self.texts(rollouts.ids, rollouts.mask))
        known = torch.ones(rollouts.ids.shape)
        known[:, : risk.shape[1]] = 1 - 2 * torch.from_numpy(risk).float()
        return known


class Rollouts(NamedTuple):
    """Responses of N prompts.

    Attributes:
        given: The prompts.
        ids, mask: Responses, padded on the right.
        hidden: State of each token by layer.
        onset: Place of the first unsafe token; -1 without.
    """

    given: list[Any]
    ids: Int[Tensor, "N T"]
    mask: Int[Tensor, "N T"]
    hidden: dict[int, Float[Tensor, "N T D"]]
    onset: Int[Tensor, " N"]

    @property
    def unsafe(self) -> Bool[Tensor, " N"]:
        """Whether a response becomes unsafe."""
        return self.onset >= 0

    @property
    def first_unsafe(self) -> Int[Tensor, " N"]:
        """The first state before which unsafe text stands; far away for a safe response."""
        return (self.onset + 1).where(self.unsafe, 10**6)

    @property
    def margin(self) -> Float[Tensor, "N T"]:
        """ℓ: 1 while the text before a state is safe, -1 from then on. The rule itself is the classifier."""
        places = torch.arange(self.ids.shape[1])
        return torch.where(places < self.first_unsafe[:, None], 1.0, -1.0)

    def norm(self, layer: int) -> float:
        """Median norm of a state."""
        return float(self.hidden[layer][self.mask.bool()].float().norm(dim=-1).median())

    def part(self, rows: slice | Int[Tensor, " n"]) -> Rollouts:
        """Some of the rows, in the order that is asked for."""
        hidden = {layer: states[rows] for layer, states in self.hidden.items()}
        given = [self.given[row] for row in torch.arange(len(self.given))[rows].tolist()]
        return Rollouts(given, self.ids[rows], self.mask[rows], hidden, self.onset[rows])

    def split(self, *sizes: int) -> list[Rollouts]:
        """Parts of these sizes, one after the other: apart by prompt."""
        ends = np.cumsum([0, *sizes]).tolist()
        return [self.part(slice(*pair)) for pair in pairwise(ends)]

    def save_pretrained(self, folder: Path) -> None:
        """Write all but the prompts, as `common.models.recipe.cached` asks for."""
        folder.mkdir(parents=True)
        hidden = {f"hidden/{layer}": states.contiguous() for layer, states in self.hidden.items()}
        save_file({"ids": self.ids, "mask": self.mask, "onset": self.onset} | hidden, folder / FILE)

    @classmethod
    def load(cls, folder: Path, given: list[Any]) -> Rollouts:
        """Read what was written; the prompts are those of that time."""
        kept = load_file(folder / FILE)
        layers = [name for name in kept if name.startswith("hidden/")]
        hidden = {int(name.removeprefix("hidden/")): kept[name] for name in layers}
        return cls(given, kept["ids"], kept["mask"], hidden, kept["onset"])


def record(subject: Subject, given: list[Any], dtype: torch.dtype | None = None) -> Rollouts:
    """Roll out every prompt.

    Raises:
        ValueError: a layer that the model lacks, or a state that is not finite.
    """
    ids, mask = (torch.zeros(len(given), subject.steps, dtype=torch.long) for _ in range(2))
    hidden: dict[int, Tensor] = {}
    for start in range(0, len(given), subject.batch):
        some = slice(start, start + subject.batch)
        found = subject.write(given[some], taps=subject.layers, dtype=dtype)
        width = found.ids.shape[1]
        ids[some, :width], mask[some, :width] = found.ids, found.mask
        for layer, states in found.hidden.items():
            empty = states.new_zeros(len(given), subject.steps, states.shape[2])
            hidden.setdefault(layer, empty)[some, :width] = states
    return Rollouts(given, ids, mask, hidden, subject.unsafe(ids, mask))
