"""Entry points on VerbalArith: a job trains several arms of one seed, which share its offline data.

Scalars are ``<arm>/<measure>``: accuracy, greedy, terms=2, terms=3, rigorous, concise, code, length, score,
both (correct and concise); an arm under a condition is ``<arm>@<condition>``. Curves over
rounds are ``<arm>/curve/<name>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.models.pocket import load_policy
from common.models.special_tokens import add_special_tokens
from common.study.jobs import Job, Record
from papers.fcp.arith import TERMS, items
from papers.fcp.arms import (
    Pair,
    base_responses,
    device,
    one_right_one_wrong,
    online,
    pools,
    score_token,
    supervised,
)
from papers.fcp.base import PREFIX, SCRATCH, cached_base
from papers.fcp.conditions import CLOSE, FEEDBACK_TOKENS, OPEN, conditioned
from papers.fcp.evaluation import Responses, evaluate
from papers.fcp.words import CONDITIONS, OPAQUE, ArithCritic

Policy = tuple[PreTrainedModel, PreTrainedTokenizerBase]
MIX = {(True, True): 0.03, (True, False): 0.45, (False, True): 0.45, (False, False): 0.07}
"""Part B2: shares of (correct, concise) in a corpus where the two exclude each other."""


class Bench:
    """One seed's world: base policy, offline data, held-out questions, and what was measured so far."""

    def __init__(self, job: Job, workspace: Path) -> None:
        (self.seed,) = job.seeds
        self.settings, self.workspace = job.config, workspace
        self.critic = ArithCritic(self.seed)
        self.heldout = items("heldout", int(self.settings["evaluation_prompts"] or 0), 0)
        self.rng = np.random.default_rng([self.seed, 1])
        self.scalars: dict[str, float] = {}
        self.series: dict[str, np.ndarray] = {}

    def policy(self) -> Policy:
        """The base policy, with the two feedback tokens."""
        model, tokenizer = load_policy(base_path(str(self.settings["model"]), self.seed))
        add_special_tokens(model, tokenizer, FEEDBACK_TOKENS, self.seed)
        return model.to(device()), tokenizer  # type: ignore[arg-type]  # Transformers' wrapper of `to` lacks self

    @cached_property
    def groups(self) -> list[list[Pair]]:
        """Critiqued responses of the base policy, by question."""
        return base_responses(*self.policy(), self.critic, self.settings, self.seed)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The offline data: one right and one wrong response of every mixed question."""
        return one_right_one_wrong(self.groups)

    @cached_property
    def praise(self) -> list[str]:
        """A c+ without words on length for every held-out question."""
        return pools(self.pairs)[1].draw(np.random.default_rng([self.seed, 2]), len(self.heldout))

    def fit(self, pairs: Sequence[Pair], critiques: Sequence[str] | None = None) -> Policy:
        """The base policy trained on responses, each under a critique if there are any."""
        policy = self.policy()
        prompts = [pair.item.question for pair in pairs]
        rows = {"prompt": prompts, "completion": [f" {pair.response}" for pair in pairs]}
        if critiques is not None:
            rows["critique"] = list(critiques)
        supervised(*policy, rows, self.settings, self.seed, self.workspace)
        return policy

    def measure(
        self, arm: str, policy: Policy, conditions: Sequence[str] | None = None, greedy: bool = False
    ) -> Responses:
        """Evaluate on the held-out questions, each under its condition or under none."""
        questions = [item.question for item in self.heldout]
        prompts = (
            questions
            if conditions is None
            else cast("list[str]", list(map(conditioned, questions, conditions)))
        )
        found = evaluate(
            *policy, self.heldout, prompts, 1.0, self.seed, int(self.settings["evaluation_samples"] or 0)
        )
        values = {name: found.rate(name) for name in ("rigorous", "concise", "code")}
        values |= {f"terms={terms}": found.rate("correct", terms) for terms in TERMS}
        values |= {"accuracy": found.rate("correct"), "score": found.mean_score}
        values |= {"length": float(found.lengths.mean()), "both": found.both("correct", "concise")}
        if greedy:
            values["greedy"] = evaluate(*policy, self.heldout, prompts, 0.0, 0).rate("correct")
        self.scalars |= {f"{arm}/{name}": value for name, value in values.items()}
        return found

    def under(self, condition: str) -> list[str]:
        """Every held-out question's condition: a full critique with the requested attributes."""
        rng = np.random.default_rng([self.seed, 3])
        if condition == "neutral":
            drawn = rng.integers(len(self.pairs), size=len(self.heldout))
            return [self.pairs[i].critique.summary for i in drawn]
        return [self.critic.summary(CONDITIONS[condition], rng, complete=True) for _ in self.heldout]

    def controllability(self, arm: str, policy: Policy) -> None:
        """Table 3: the arm under every condition."""
        for condition in (*CONDITIONS, "neutral"):
            self.measure(f"{arm}@{condition}", policy, self.under(condition))

    def explore(self, arm: str, kind: str, policy: Policy, **changes: Any) -> None:
        """Train online, then evaluate; bootstrapped policies under c+."""
        every_praise = changes.pop("every_praise", False)
        pool = pools(self.pairs)[0 if every_praise else 1]
        critic = ArithCritic(self.seed)
        curves = online(kind, *policy, critic, pool, self.settings, self.seed, self.workspace, **changes)
        self.series |= {f"{arm}/curve/{name}": values for name, values in curves.items()}
        self.measure(arm, policy, self.praise if kind == "fcp" else None, greedy=True)

    def record(self) -> Record:
        """Everything measured."""
        return Record(
            {name: np.array([value]) for name, value in self.scalars.items()},
            {name: values[None] for name, values in self.series.items()},
        )


def main(job: Job, workspace: Path) -> Record:
    """Base, FCP, RFT, FCP+Bootstrap, GRPO; with ``controls`` RFT+GRPO, self-distillation, every praise."""
    bench = Bench(job, workspace)
    base = bench.policy()
    bench.measure("base", base, greedy=True)
    fcp = bench.fit(bench.pairs, [pair.critique.summary for pair in bench.pairs])
    bench.measure("fcp", fcp, bench.praise, greedy=True)
    bench.measure("fcp without condition", fcp)
    bench.controllability("fcp", fcp)
    rft = bench.fit([pair for pair in bench.pairs if pair.attributes.correct])
    bench.measure("rft", rft, greedy=True)
    bench.scalars["pairs"] = float(len(bench.pairs))
    weights = {name: value.clone() for name, value in fcp[0].state_dict().items()}
    bench.explore("bootstrap", "fcp", fcp)
    bench.explore("grpo", "grpo", base)
    if job.config["controls"]:
        bench.explore("rft+grpo", "grpo", rft)
        variants: dict[str, dict[str, Any]] = {
            "self-distillation": {"condition": "rollout"},
            "every praise": {"every_praise": True},
        }
        for arm, changes in variants.items():
            fcp[0].load_state_dict(weights)
            bench.explore(arm, "fcp", fcp, **changes)
    return bench.record()


def controls(job: Job, workspace: Path) -> Record:
    """CFT, positives only, shuffled critiques, scores as critiques; the base policy under the conditions."""
    bench = Bench(job, workspace)
    bench.controllability("base", bench.policy())
    bench.measure("cft", _critique_model(bench), greedy=True)
    summaries = [pair.critique.summary for pair in bench.pairs]
    right = [pair for pair in bench.pairs if pair.attributes.correct]
    positives = bench.fit(right, [pair.critique.summary for pair in right])
    bench.measure("positives only", positives, bench.praise, greedy=True)
    shuffled = bench.fit(bench.pairs, [summaries[i] for i in bench.rng.permutation(len(summaries))])
    bench.measure("shuffled", shuffled, bench.praise, greedy=True)
    bench.controllability("shuffled", shuffled)
    scalar = bench.fit(bench.pairs, [score_token(pair.critique) for pair in bench.pairs])
    best = [pair.critique for pair in bench.pairs if pair.critique.score >= 9]
    chosen = bench.rng.integers(len(best), size=len(bench.heldout))
    bench.measure("scalar", scalar, [score_token(best[i]) for i in chosen], greedy=True)
    return bench.record()


def _critique_model(bench: Bench) -> Policy:
    """Forward dynamics: (question, response) -> critique."""
    policy = bench.policy()
    rows = {
        "prompt": [f"{pair.item.question} {pair.response}{OPEN}" for pair in bench.pairs],
        "completion": [f" {pair.critique.summary}{CLOSE}" for pair in bench.pairs],
    }
    supervised(*policy, rows, bench.settings, bench.seed, bench.workspace)
    return policy


def composition(job: Job, workspace: Path) -> Record:
    """Part B2: correct and concise exclude each other in the corpus; praise of both is asked for.

    Arms ``reference`` (the corpus without conditions), ``words``, ``ids`` (a token per combination) and
    ``tokens`` (a token per attribute and polarity), the conditioned ones without any (+, +) response.
    """
    bench = Bench(job, workspace)
    corpus = exclusive([pair for group in bench.groups for pair in group], bench.rng)
    bench.scalars["corpus"] = float(len(corpus))
    bench.measure("reference", bench.fit(corpus))
    seen = [pair for pair in corpus if not (pair.attributes.correct and pair.attributes.concise)]
    for arm in ("words", "ids", "tokens"):
        texts = [_pair_text(arm, bench, pair.attributes.correct, pair.attributes.concise) for pair in seen]
        policy = bench.fit(seen, texts)
        for correct, concise in ((True, True), (True, False), (False, True)):
            asked = [_pair_text(arm, bench, correct, concise) for _ in bench.heldout]
            bench.measure(f"{arm}@{'+' if correct else '-'}{'+' if concise else '-'}", policy, asked)
    return bench.record()


def exclusive(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Pair]:
    """The largest sample of `pairs` in which (correct, concise) has the shares of `MIX`."""
    cells: dict[tuple[bool, bool], list[Pair]] = {cell: [] for cell in MIX}
    for pair in pairs:
        cells[pair.attributes.correct, pair.attributes.concise].append(pair)
    size = min(len(cells[cell]) / share for cell, share in MIX.items())
    chosen = [
        cells[cell][index]
        for cell, share in MIX.items()
        for index in rng.permutation(len(cells[cell]))[: int(share * size)]
    ]
    return [chosen[index] for index in rng.permutation(len(chosen))]


def _pair_text(arm: str, bench: Bench, correct: bool, concise: bool) -> str:
    """A critique of the two attributes in the arm's vocabulary."""
    if arm == "ids":
        return OPAQUE[2 * correct + concise]
    if arm == "tokens":
        return f"{OPAQUE[4 + correct]} {OPAQUE[6 + concise]}"
    return bench.critic.summary({"correct": correct, "concise": concise}, bench.rng, complete=True)


ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "default": {"optimizer_steps": 1},
    "several updates": {},
    "seq-mean-token-sum": {"optimizer_steps": 1, "aggregation": "sequence_sum"},
    "praise per rollout": {"optimizer_steps": 1, "praise_per": "rollout"},
}
"""Rows of Table 5 and what they change; the default is fully online."""


def ablations(job: Job, workspace: Path) -> Record:
    """Table 5: one online run per row of `ABLATIONS`, all from the same offline policy."""
    bench = Bench(job, workspace)
    fcp = bench.fit(bench.pairs, [pair.critique.summary for pair in bench.pairs])
    bench.measure("fcp", fcp, bench.praise)
    weights = {name: value.clone() for name, value in fcp[0].state_dict().items()}
    for arm, changes in ABLATIONS.items():
        fcp[0].load_state_dict(weights)
        bench.explore(arm, "fcp", fcp, **changes)
    return bench.record()


def base_path(model: str, seed: int) -> str:
    """A committed checkpoint (``pocket``), or a larger base policy trained on first use (``scratch``)."""
    if model == "scratch":
        return str(cached_base(SCRATCH, seed % 3, device()))
    return f"{PREFIX}-{seed % 3}"
