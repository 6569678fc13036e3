"""What the task's models do: write solutions, judge them in words, judge them step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from common.models.decoding import sample
from common.models.recipe import Policy
from common.preference import selection
from common.preference.critique import STEP, Critique, parse
from common.tasks.or_models import (
    END,
    EOS,
    MAX_COMPLETION,
    PAD,
    STEPS,
    VOCABULARY,
    Item,
    OrModelsConfig,
    items,
)
from common.tasks.or_models.corruption import KINDS, Dial, corrupt
from common.tasks.or_models.critiques import EXPLANATIONS, spell_out
from common.tasks.or_models.formulation import formulations
from common.tasks.or_models.verification import Verdict, step_reasons, verify
from common.tasks.or_models.warm_start import INDEX, MAX_CRITIQUE, collate, verdicts

ROWS = 256  # decoded together, for memory
REASON_OF = {text: reason for reason, text in EXPLANATIONS.items()}


@dataclass(frozen=True)
class Solved:
    """A solution and all that the task knows about it.

    Attributes:
        item: The problem.
        text: The solution.
        verdict: Its outcome.
        reasons: Why each step is wrong, None where it is right.
    """

    item: Item
    text: str
    verdict: Verdict
    reasons: tuple[str | None, ...]

    @property
    def is_right(self) -> bool:
        """The outcome is."""
        return self.verdict.outcome == "right"

    @property
    def is_clean(self) -> bool:
        """Every step is right."""
        return not any(self.reasons)

    @property
    def is_lucky(self) -> bool:
        """The outcome is right and a step wrong."""
        return self.is_right and not self.is_clean


def solved(item: Item, text: str) -> Solved:
    """A solution with its outcome and its steps."""
    tokens = text.split()
    return Solved(item, text, verify(tokens, item), step_reasons(tokens, item))


def complete(policy: Policy, prompts: Sequence[str], most: int, temperature: float, seed: int) -> list[str]:
    """A continuation of each prompt up to `EOS`, at most so many tokens long; equal prompts best in a row."""
    generator, texts = torch.Generator().manual_seed(seed), []
    for start in range(0, len(prompts), ROWS):
        part = list(prompts[start : start + ROWS])
        encoded = policy.tokenizer(part, return_tensors="pt", padding=True, padding_side="left")
        written = sample(
            policy.model,
            encoded["input_ids"],
            encoded["attention_mask"],
            most,
            temperature,
            eos_id=INDEX[EOS],
            pad_id=INDEX[PAD],
            generator=generator,
        )
        for ids, mask in zip(written.ids.tolist(), written.mask.bool().tolist(), strict=True):
            kept = [token for token, own in zip(ids, mask, strict=True) if own]
            texts.append(" ".join(VOCABULARY[token] for token in kept))
    return texts


def solve_all(
    policy: Policy, items: Sequence[Item], samples: int, temperature: float, seed: int
) -> list[Solved]:
    """`samples` solutions of each problem, one problem after the other; temperature 0 is greedy."""
    asked = [item for item in items for _ in range(samples)]
    texts = complete(policy, [item.prompt for item in asked], MAX_COMPLETION, temperature, seed)
    return [solved(item, text) for item, text in zip(asked, texts, strict=True)]


def judge_all(critic: Policy, prompts: Sequence[str], texts: Sequence[str]) -> list[str]:
    """The likeliest critique of each solution by a verifier that reads all of it."""
    asked = [f"{prompt} {text}" for prompt, text in zip(prompts, texts, strict=True)]
    return complete(critic, asked, MAX_CRITIQUE, 0.0, seed=0)


@torch.no_grad()
def correct_steps(critic: Policy, prompts: Sequence[str], texts: Sequence[str]) -> Float[np.ndarray, "N 6"]:
    """Probability that each step is correct by a verifier that reads up to its end; NaN for a missing one."""
    chances = np.full((len(texts), STEPS), np.nan)
    for start in range(0, len(texts), ROWS):
        rows = [
            verdicts(prompt, f"{text} {PAD}", [True] * text.split().count(END))
            for prompt, text in zip(prompts[start : start + ROWS], texts[start : start + ROWS], strict=True)
        ]
        ids, _ = collate(rows)
        logits = critic.model(input_ids=ids, use_cache=False).logits
        said = logits[..., [INDEX["CORRECT"], INDEX["INCORRECT"]]].softmax(dim=-1)[..., 0]
        for row, (own, chance) in enumerate(zip(ids, said, strict=True)):
            ends = (own == INDEX[END]).nonzero()[:STEPS, 0]
            chances[start + row, : len(ends)] = chance[ends].numpy()
    return chances


def compact(text: str) -> str:
    """A critique as the verifier writes it, from its lines; an error without a reason stays without.

    What `parse` reads past, such as a line on a step without a number, is left out.

    Raises:
        ValueError: no critique.
    """
    found = parse(text, sum(STEP.fullmatch(line) is not None for line in text.splitlines()))
    if not isinstance(found, Critique):
        raise ValueError(found.reason)
    said = zip(found.steps, found.explanations, strict=True)
    verdicts = ["CORRECT" if correct else f"INCORRECT {REASON_OF.get(why, '')}" for correct, why in said]
    steps = (f"STEP {number} {verdict}".strip() for number, verdict in enumerate(verdicts, start=1))
    return " ".join([*steps, EOS])


def read_all(critic: Policy, solutions: Sequence[Solved]) -> list[Critique | None]:
    """Critiques of solutions, None for what is none."""
    texts = judge_all(critic, [one.item.prompt for one in solutions], [one.text for one in solutions])
    found = (parse(spell_out(text.split()), STEPS) for text in texts)
    return [one if isinstance(one, Critique) else None for one in found]


def accepts(critic: Policy, solutions: Sequence[Solved]) -> Bool[np.ndarray, " N"]:
    """Which solutions a verifier finds correct in every step."""
    return np.array([one is not None and one.accepts for one in read_all(critic, solutions)])


@dataclass(frozen=True)
class Trials:
    """Made held-out solutions, on which verifiers are measured."""

    solutions: Mapping[str, Sequence[Solved]]

    @classmethod
    def of(cls, dial: Dial, size: int, scenarios: tuple[int, ...], seed: int) -> Trials:
        """At most `size` clean, lucky and wrong ones, told in these scenarios."""
        found: dict[str, list[Solved]] = {"clean": [], "lucky": [], "wrong": []}
        config = OrModelsConfig(seed, 4 * size, "heldout", scenarios=scenarios)
        rng = np.random.default_rng((seed, size))
        for item in items(config):
            truths = formulations(item)
            found["clean"].append(solved(item, truths[rng.integers(len(truths))].text))
            drawn = corrupt(item, rng, KINDS[dial][item.family])
            if drawn:
                one = solved(item, drawn.formulation.text)
                found["lucky" if one.is_lucky else "wrong"].append(one)
        return cls({name: part[:size] for name, part in found.items()})

    def accepted(self, critic: Policy) -> dict[str, float]:
        """Share of each kind that a verifier accepts; NaN where there is none."""
        return {
            f"accept_{name}": float(accepts(critic, part).mean()) if part else np.nan
            for name, part in self.solutions.items()
        }


@dataclass(frozen=True)
class Sampled:
    """What a policy writes on held-out problems.

    Attributes:
        greedy: One solution of each problem.
        drawn: `samples` of each at temperature 1, one problem after the other.
        samples: Their number.
    """

    greedy: Sequence[Solved]
    drawn: Sequence[Solved]
    samples: int

    @classmethod
    def of(cls, policy: Policy, asked: Sequence[Item], samples: int) -> Sampled:
        """The policy's; equal policies write the same."""
        return cls(solve_all(policy, asked, 1, 0.0, 0), solve_all(policy, asked, samples, 1.0, 0), samples)

    @property
    def scores(self) -> dict[str, float]:
        """Of the drawn: `pass_at_1`, `process_pass` (all steps right too) and `lucky`, the share of right
        ones with a wrong step; `greedy`, accuracy of the greedy ones."""
        right = [one for one in self.drawn if one.is_right]
        return {
            "pass_at_1": len(right) / len(self.drawn),
            "process_pass": float(np.mean([one.is_right and one.is_clean for one in self.drawn])),
            "lucky": float(np.mean([one.is_lucky for one in right])) if right else np.nan,
            "greedy": float(np.mean([one.is_right for one in self.greedy])),
        }

    def picks(self, critics: Mapping[str, Policy], prefix: Policy | None = None) -> dict[str, float]:
        """Accuracy of one of the drawn solutions by every selector: "none", "majority" of the optima,
        "solver" (the first with an optimum), "oracle", the first that each of the `critics` accepts, and,
        with a verifier of prefixes, "discriminative" (whose worst step it finds best)."""
        right = self._table([one.is_right for one in self.drawn])
        optima = self._table([one.verdict.objective for one in self.drawn])
        answers = [[None if np.isnan(value) else round(value, 6) for value in row] for row in optima.tolist()]
        chosen = {
            "none": np.zeros(len(right), dtype=np.int64),
            "majority": selection.majority(answers),
            "solver": selection.first_accepted(~np.isnan(optima)),
            "oracle": selection.oracle(right),
        }
        for name, critic in critics.items():
            chosen[name] = selection.first_accepted(self._table(accepts(critic, self.drawn)))
        if prefix:
            texts = [one.item.prompt for one in self.drawn], [one.text for one in self.drawn]
            chances = correct_steps(prefix, *texts)
            lowest = np.where(np.isnan(chances).any(axis=1), -1.0, chances.min(axis=1))
            chosen["discriminative"] = selection.highest(self._table(lowest))
        return {name: selection.accuracy(right, choice) for name, choice in chosen.items()}

    def _table(self, values: Any) -> np.ndarray:
        """One row a problem."""
        return np.reshape(np.array(values), (-1, self.samples))


def by_step(whole: Policy, prefix: Policy, problems: OrModelsConfig) -> dict[str, float]:
    """Accuracy of both verifiers on the unit that `batch` declares and on its numbers, half of them wrong.

    Args:
        whole: Reads all of a solution.
        prefix: Reads up to the step.
        problems: Of family `batch`.
    """
    rng, scores = np.random.default_rng(problems.seed), {}
    for name, step, kinds in (("later", 2, ("wrong unit",)), ("local", 1, ("wrong coefficient",))):
        made = []
        for place, item in enumerate(items(problems)):
            drawn = corrupt(item, rng, kinds) if place % 2 else None
            text = drawn.formulation.text if drawn else formulations(item)[place // 2 % 2].text
            made.append(solved(item, text))
        truth = np.array([one.reasons[step] is None for one in made])
        said = zip(read_all(whole, made), truth.tolist(), strict=True)  # no critique is a wrong verdict
        right = [one is not None and one.steps[step] == is_correct for one, is_correct in said]
        chances = correct_steps(prefix, [one.item.prompt for one in made], [one.text for one in made])
        scores[f"{name}_whole"] = float(np.mean(right))
        scores[f"{name}_prefix"] = float(((chances[:, step] > 0.5) == truth).mean())
    return scores
