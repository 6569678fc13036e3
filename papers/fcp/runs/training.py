"""Entry points on VerbalArith: a job trains several arms of one seed, which share its offline data.

A record's parts have the columns ``arm`` and ``condition``. Condition ``own`` is the arm's own way of being
asked: under praise where it was trained on critiques, else bare. Scalars, of samples at temperature 1:
accuracy, terms=2, terms=3, rigorous, concise, code, length, score, both (correct and concise); greedy is the
accuracy of greedy decoding. Curves over rounds are ``curve/<name>``.
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
from common.tasks.verbal_arith import NAME, TERMS, items
from common.tasks.verbal_arith.careless import TerseCritic
from common.tasks.verbal_arith.evaluation import evaluate
from common.tasks.verbal_arith.warm_start import SCRATCH, cached_base
from common.tasks.verbal_arith.words import CONDITIONS, OPAQUE
from papers.fcp.method import CLOSE, FEEDBACK_TOKENS, OPEN, conditioned
from papers.fcp.runs.offline import (
    Pair,
    base_responses,
    device,
    exclusive,
    one_right_one_wrong,
    pools,
    train_offline,
)
from papers.fcp.runs.online import train_online

Policy = tuple[PreTrainedModel, PreTrainedTokenizerBase]
OWN = "own"
Variants = Mapping[str, Mapping[str, Any]]
BOOTSTRAPS: Variants = {"bootstrap": {}, "self-distillation": {"condition": "rollout"}}
EVERY_PRAISE: Variants = {"every praise": {"every_praise": True}}
ABLATIONS: Variants = {
    "default": {"optimizer_steps": 1},
    "several updates": {},
    "seq-mean-token-sum": {"optimizer_steps": 1, "aggregation": "sequence_sum"},
    "praise per rollout": {"optimizer_steps": 1, "praise_per": "rollout"},
}
"""Rows of Table 5 and what they change; the default is fully online."""


class Bench:
    """One seed's world: base policy, offline data, held-out questions, and what was measured so far."""

    def __init__(self, job: Job, workspace: Path) -> None:
        (self.seed,) = job.seeds
        self.settings: Mapping[str, Any] = job.config
        self.workspace = workspace
        self.critic = TerseCritic(self.seed)
        self.heldout = items("heldout", self.settings["evaluation_prompts"], 0)
        self.rng = np.random.default_rng([self.seed, 1])
        self.parts: list[tuple[dict[str, str], Record]] = []

    def policy(self) -> Policy:
        """The base policy, with the two feedback tokens."""
        model, tokenizer = load_policy(base_path(self.settings["model"], self.seed))
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
    def summaries(self) -> list[str]:
        """The critiques of `pairs`."""
        return [pair.critique.summary for pair in self.pairs]

    @cached_property
    def right(self) -> list[Pair]:
        """The right responses among `pairs`."""
        return [pair for pair in self.pairs if pair.attributes.correct]

    @cached_property
    def praise(self) -> list[str]:
        """A c+ without words on length for every held-out question."""
        return pools(self.pairs)[1].draw(np.random.default_rng([self.seed, 2]), len(self.heldout))

    def fit(self, pairs: Sequence[Pair], critiques: Sequence[str] | None = None) -> Policy:
        """The base policy trained on responses, each under a critique if there are any."""
        rows = {
            "prompt": [pair.item.question for pair in pairs],
            "completion": [f" {pair.response}" for pair in pairs],
        }
        return self.fit_rows(rows if critiques is None else rows | {"critique": list(critiques)})

    def fit_rows(self, rows: Mapping[str, Sequence[str]]) -> Policy:
        """The base policy trained on columns prompt, completion and perhaps critique."""
        policy = self.policy()
        train_offline(*policy, rows, self.settings, self.seed, self.workspace)
        return policy

    def measure(
        self,
        arm: str,
        policy: Policy,
        critiques: Sequence[str] | None = None,
        condition: str = OWN,
    ) -> None:
        """Evaluate on the held-out questions, each under its critique or bare."""
        prompts = [item.question for item in self.heldout]
        if critiques is not None:
            prompts = cast("list[str]", list(map(conditioned, prompts, critiques)))
        samples = self.settings["evaluation_samples"]
        responses = evaluate(*policy, self.heldout, prompts, 1.0, self.seed, samples)
        values = {name: responses.rate(name) for name in ("rigorous", "concise", "code")}
        values |= {f"terms={terms}": responses.rate("correct", terms) for terms in TERMS}
        values |= {"accuracy": responses.rate("correct"), "score": responses.mean_score}
        values |= {"length": float(responses.lengths.mean()), "both": responses.both("correct", "concise")}
        values["greedy"] = evaluate(*policy, self.heldout, prompts, 0.0, 0).rate("correct")
        scalars = {name: np.array([value]) for name, value in values.items()}
        self.parts.append(({"arm": arm, "condition": condition}, Record(scalars)))

    def critiques(self, condition: str) -> list[str]:
        """A full critique with the attributes of a condition for every held-out question."""
        rng = np.random.default_rng([self.seed, 3])
        if condition == "neutral":
            return [self.summaries[i] for i in rng.integers(len(self.pairs), size=len(self.heldout))]
        return [self.critic.summary(CONDITIONS[condition], rng, complete=True) for _ in self.heldout]

    def controllability(self, arm: str, policy: Policy) -> None:
        """Table 3: the arm under every condition."""
        for condition in (*CONDITIONS, "neutral"):
            self.measure(arm, policy, self.critiques(condition), condition=condition)

    def explore(
        self, arm: str, kind: str, policy: Policy, every_praise: bool = False, **changes: Any
    ) -> None:
        """Train online, then evaluate; bootstrapped policies under c+."""
        pool = pools(self.pairs)[0 if every_praise else 1]
        curves = train_online(
            kind, *policy, self.critic, pool, self.settings, self.seed, self.workspace, **changes
        )
        series = {f"curve/{name}": values[None] for name, values in curves.items()}
        self.parts.append(({"arm": arm, "condition": OWN}, Record(series=series)))
        self.measure(arm, policy, self.praise if kind == "fcp" else None)

    def explore_each(self, policy: Policy, variants: Variants) -> None:
        """Bootstrap once per variant, each time from `policy` as it is now."""
        weights = {name: value.clone() for name, value in policy[0].state_dict().items()}
        for arm, changes in variants.items():
            policy[0].load_state_dict(weights)
            self.explore(arm, "fcp", policy, **changes)

    def record(self, **scalars: float) -> Record:
        """Everything measured, with `scalars` of no arm."""
        return Record({name: np.array([value]) for name, value in scalars.items()}, parts=self.parts)


def main(job: Job, workspace: Path) -> Record:
    """Base, FCP, RFT, GRPO, FCP+Bootstrap, self-distillation; with ``controls`` RFT+GRPO and every praise."""
    bench = Bench(job, workspace)
    base = bench.policy()
    bench.measure("base", base)
    fcp = bench.fit(bench.pairs, bench.summaries)
    bench.measure("fcp", fcp, bench.praise)
    bench.measure("fcp without condition", fcp)
    bench.controllability("fcp", fcp)
    rft = bench.fit(bench.right)
    bench.measure("rft", rft)
    bench.explore("grpo", "grpo", base)
    if job.config["controls"]:
        bench.explore("rft+grpo", "grpo", rft)
    bench.explore_each(fcp, {**BOOTSTRAPS, **(EVERY_PRAISE if job.config["controls"] else {})})
    return bench.record(pairs=len(bench.pairs))


def controls(job: Job, workspace: Path) -> Record:
    """CFT, positives only, shuffled critiques, scores as critiques; the base policy under the conditions."""
    bench = Bench(job, workspace)
    bench.controllability("base", bench.policy())
    dynamics = {  # CFT models the critic: (question, response) -> critique
        "prompt": [f"{pair.item.question} {pair.response}{OPEN}" for pair in bench.pairs],
        "completion": [f" {summary}{CLOSE}" for summary in bench.summaries],
    }
    bench.measure("cft", bench.fit_rows(dynamics))
    positives = bench.fit(bench.right, [pair.critique.summary for pair in bench.right])
    bench.measure("positives only", positives, bench.praise)
    order = bench.rng.permutation(len(bench.pairs))
    shuffled = bench.fit(bench.pairs, [bench.summaries[i] for i in order])
    bench.measure("shuffled", shuffled, bench.praise)
    bench.controllability("shuffled", shuffled)
    tokens = [OPAQUE[int(pair.critique.score)] for pair in bench.pairs]  # without a meaning of their own
    scalar = bench.fit(bench.pairs, tokens)
    best = [token for token, pair in zip(tokens, bench.pairs, strict=True) if pair.critique.score >= 9]
    chances = bench.rng.integers(len(best), size=len(bench.heldout))
    bench.measure("scalar", scalar, [best[i] for i in chances])
    return bench.record()


def composition(job: Job, workspace: Path) -> Record:
    """Part B2: correct and concise exclude each other in the corpus; praise of both is asked for.

    Arms ``reference`` (the corpus without conditions), ``words``, ``ids`` (a token per combination) and
    ``tokens`` (a token per attribute and polarity), the conditioned ones without any (+, +) response; their
    conditions are ``++``, ``+-`` and ``-+``.
    """
    bench = Bench(job, workspace)
    corpus = exclusive([pair for group in bench.groups for pair in group], bench.rng)
    bench.measure("reference", bench.fit(corpus))
    mixed = [pair for pair in corpus if not (pair.attributes.correct and pair.attributes.concise)]
    for arm in ("words", "ids", "tokens"):
        texts = [_critique(arm, bench, pair.attributes.correct, pair.attributes.concise) for pair in mixed]
        policy = bench.fit(mixed, texts)
        for correct, concise in ((True, True), (True, False), (False, True)):
            critiques = [_critique(arm, bench, correct, concise) for _ in bench.heldout]
            condition = f"{'-+'[correct]}{'-+'[concise]}"
            bench.measure(arm, policy, critiques, condition=condition)
    return bench.record(corpus=len(corpus))


def _critique(arm: str, bench: Bench, correct: bool, concise: bool) -> str:
    """A critique of the two attributes in the arm's vocabulary."""
    if arm == "ids":
        return OPAQUE[2 * correct + concise]
    if arm == "tokens":
        return f"{OPAQUE[4 + correct]} {OPAQUE[6 + concise]}"
    return bench.critic.summary({"correct": correct, "concise": concise}, bench.rng, complete=True)


def ablations(job: Job, workspace: Path) -> Record:
    """Table 5: one online run per row of `ABLATIONS`, all from the same offline policy."""
    bench = Bench(job, workspace)
    fcp = bench.fit(bench.pairs, bench.summaries)
    bench.measure("fcp", fcp, bench.praise)
    bench.explore_each(fcp, ABLATIONS)
    return bench.record()


def base_path(model: str, seed: int) -> str:
    """A committed checkpoint (``pocket``), or a larger base policy trained on first use (``scratch``)."""
    if model == "scratch":
        return str(cached_base(SCRATCH, seed % 3, device()))
    return f"{NAME}-{seed % 3}"
