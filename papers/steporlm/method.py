"""StepORLM: a policy and a generative verifier that teach each other (arXiv:2509.22558).

A solver says whether a solution's answer is right, a verifier which of its steps are. Responses to one
problem become weighted pairs (Algorithm 1), the policy learns from these by weighted DPO (Eq. 1), and the
verifier from those of its own critiques that agree with the solver (§3.3.3). The equations come first, then
one round after the other, `CoEvolution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from common.preference.critique import Critique, Unparsed, parse
from common.preference.losses import dpo_margin, weighted_dpo_loss
from common.preference.pairs import Pair, Score, build_pairs
from common.preference.rounds import Round, Row, Stages, rounds

Reference = tuple[Float[Tensor, " B"], Float[Tensor, " B"]]
Weighting = Literal["process", "unit", "inverted"]
FilterOn = Literal["outcome", "status", "nothing"]


def weighted_dpo(
    chosen: Float[Tensor, " B"],
    rejected: Float[Tensor, " B"],
    weights: Float[Tensor, " B"],
    beta: float = 0.1,
    reference: Reference | None = None,
) -> Float[Tensor, ""]:
    """Eq. 1 as printed: -mean w log σ(β log π(o_w) - β log π(o_l)), no reference and no length in it.

    Args:
        chosen: Σ_t log π of the preferred solutions, nats.
        rejected: Of the others.
        weights: w of each pair.
        beta: β.
        reference: The same two sums under a reference policy: then it is DPO with weights, the other reading
            of the paper's name for it.
    """
    return weighted_dpo_loss(dpo_margin(chosen, rejected, *(reference or ())), weights, beta)


def weighted_dpo_gradient(
    margin: Float[Tensor, " B"], weights: Float[Tensor, " B"], beta: float = 0.1
) -> Float[Tensor, " B"]:
    """∂/∂m of the loss, -w β σ(-β m) / B: a weight is the learning rate of its pair."""
    return -weights * beta * torch.sigmoid(-beta * margin) / len(margin)


def is_hard(votes: Sequence[bool]) -> bool:
    """Whether a problem trains: not all of its answers are right (App. F.2)."""
    return not all(votes)


def reweighted(pair: Pair, is_decided: bool, weighting: Weighting) -> Pair:
    """A pair of Algorithm 1 with another weight: 1 (plain DPO), or the two rules' roles exchanged.

    Args:
        pair: With the weight of Algorithm 1.
        is_decided: Its outcomes differ (rule 1).
        weighting: "process" leaves it, "inverted" gives rule 1 a tenth and rule 2 one.
    """
    if weighting == "process":
        return pair
    weight = 0.1 if weighting == "inverted" and is_decided else 1.0
    return Pair(pair.chosen, pair.rejected, weight)


def agrees(critique: Critique | Unparsed, is_ok: bool) -> bool:
    """§3.3.3: all steps of a solution that the solver accepts are correct, or some step of another is not.

    On a wrong solution with the right answer it keeps exactly the critiques that overlook the error.
    """
    return isinstance(critique, Critique) and critique.accepts == is_ok


@dataclass(frozen=True)
class Rules:
    """What a round does with scored solutions.

    Attributes:
        by_process: Rule 2: the process decides where the outcomes are equal. Without, only Rule 1 remains.
        weighting: Of the pairs; see `reweighted`.
        most: Pairs of a problem, the heaviest first.
        evolves: The verifier learns too.
        filter_on: What a critique has to agree with: the answer ("outcome"), or, as App. F.1 words it, that
            the program has an optimum, right or wrong ("status"); "nothing" keeps every critique.
    """

    by_process: bool = True
    weighting: Weighting = "process"
    most: int = 4
    evolves: bool = True
    filter_on: FilterOn = "outcome"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("weighting", self.weighting, get_args(Weighting)),
            ("filter_on", self.filter_on, get_args(FilterOn)),
        ):
            if value not in known:
                raise ValueError(f"Rules.{name} is '{value}'; choose one of {', '.join(known)}")
        if self.most < 1:
            raise ValueError(f"Rules.most is {self.most}; a problem without pairs teaches nothing")


def read(row: Row) -> Critique | Unparsed:
    """What the verifier said of a solution."""
    if row["steps"] < 1:
        return Unparsed("a solution without a step")
    return parse(row["critique"], row["steps"])


def score(row: Row) -> Score:
    """Outcome and ρ; no ρ where the verifier gave no verdict."""
    critique = read(row)
    return Score(row["outcome"], critique.share if isinstance(critique, Critique) else None)


def policy_rows(scored: Sequence[Row], rules: Rules) -> Iterator[Row]:
    """Pairs of the solutions of each problem, with the rule that made them."""
    by_problem: dict[Any, list[Row]] = {}
    for row in scored:
        by_problem.setdefault(row["problem"], []).append(row)
    for problem, group in by_problem.items():
        scores = [score(row) for row in group]
        for pair in build_pairs(scores, rules.most, rules.by_process):
            is_decided = scores[pair.chosen].outcome != scores[pair.rejected].outcome
            chosen, rejected = (group[place]["response"] for place in (pair.chosen, pair.rejected))
            yield {
                "for": "policy",
                "problem": problem,
                "chosen": chosen,
                "rejected": rejected,
                "weight": reweighted(pair, is_decided, rules.weighting).weight,
                "rule": 1 if is_decided else 2,
            }


def critic_rows(scored: Sequence[Row], rules: Rules) -> Iterator[Row]:
    """The verifier's own critiques that it is trained on."""
    for row in scored if rules.evolves else ():
        is_ok = row["status"] == "optimal" if rules.filter_on == "status" else row["outcome"]
        critique = read(row)
        keeps_all = rules.filter_on == "nothing" and isinstance(critique, Critique)
        if keeps_all or agrees(critique, is_ok):
            yield {"for": "critic", **{name: row[name] for name in ("problem", "response", "critique")}}


class Learners(Protocol):
    """The policy and the verifier, each a folder, and the solver.

    A solution is a row with ``problem``, ``response``, ``steps`` (how many it has), ``outcome`` (whether its
    answer is right) and ``status`` ("optimal" where its program has an optimum). All are functions of their
    arguments: the round's number is where randomness comes from.
    """

    def sample(self, number: int, policy: Path) -> Sequence[Row]:
        """Solutions of every problem, solved."""

    def judge(self, number: int, critic: Path, solutions: Sequence[Row]) -> Sequence[str]:
        """A critique of each."""

    def train_policy(self, number: int, start: Path, pairs: Sequence[Row], folder: Path) -> None:
        """Weighted DPO from the policy in `start` into `folder`."""

    def train_critic(self, number: int, start: Path, critiques: Sequence[Row], folder: Path) -> None:
        """Supervised training of the verifier on its critiques."""


@dataclass(frozen=True)
class CoEvolution:
    """The loop of §3.3: what is learned in a round is in ``models/policy`` and ``models/critic``."""

    learners: Learners
    rules: Rules = Rules()

    def score(self, number: int, models: Path, solutions: Sequence[Row]) -> Sequence[Row]:
        """The solutions with their critiques."""
        critiques = self.learners.judge(number, models / "critic", solutions)
        return [row | {"critique": text} for row, text in zip(solutions, critiques, strict=True)]

    def pairs(self, _number: int, scored: Sequence[Row]) -> Sequence[Row]:
        """What both learn from."""
        return [*policy_rows(scored, self.rules), *critic_rows(scored, self.rules)]

    def train(self, number: int, models: Path, rows: Sequence[Row], folder: Path) -> None:
        """Policy first; one that has nothing to learn from stays as it is."""
        trainers = {"policy": self.learners.train_policy, "critic": self.learners.train_critic}
        for name, train in trainers.items():
            train(number, models / name, [row for row in rows if row["for"] == name], folder / name)

    def rounds(self, folder: Path, start: Path, count: int, settings: Mapping[str, Any]) -> Iterator[Round]:
        """Run `count` rounds from the models in `start`; see `common.preference.rounds`."""
        stages = Stages(
            lambda number, models: self.learners.sample(number, models / "policy"),
            self.score,
            self.pairs,
            self.train,
        )
        yield from rounds(folder, start, stages, count, {**settings, "rules": asdict(self.rules)})
