"""What makes the comparison fair: held-out evaluation, equal budgets, equal seeds in every pair of arms."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure
from common.tasks.opchain.training import OpChain
from papers.qae.experiment import BASES, PROFILES, Config, jobs
from papers.qae.runs.training import run_of

SEEDS = load_card("qae").seeds
SWEEPS, LONG = {"clip_higher": "main"}, [("rates", "clip_higher"), ("long", "clip_higher")]
DIFFERS = {"baseline", "k", "quantile_k", "advantage_mask", "matched_grad_norm"}
WATCHED = {"curve_samples"}  # measures on the way; `test_training` shows that training does not notice
"""What two arms may differ in; `k` and `quantile_k` only describe the gate when the baseline is the mean."""


def training(profile, sweep):
    config = configure(Config, PROFILES, profile)
    return [job for job in jobs(config, SEEDS.judged) if job.sweep == sweep]


def test_no_seed_trains_on_a_prompt_that_it_is_evaluated_on():
    run = run_of(training("laptop", "main")[0].config)
    for seed in (*SEEDS.judged[:10], *SEEDS.development[:3]):
        task = OpChain(run, seed)
        heldout = {item.prompt for item in task.heldout}
        assert len(task.dataset) == run.training_prompts
        assert len(heldout) == run.evaluation_prompts
        assert not heldout & set(task.dataset["prompt"])


def test_seeds_train_on_other_prompts_and_are_evaluated_on_the_same():
    run = run_of(training("smoke", "main")[0].config)
    first, second = (OpChain(run, seed) for seed in SEEDS.judged[:2])
    assert first.heldout == second.heldout
    assert first.dataset["prompt"] != second.dataset["prompt"]


@pytest.mark.parametrize("profile", ["smoke", "desk", "gpu"])
def test_long_runs_take_seeds_that_no_other_run_has_seen(profile):
    seen, fresh = (
        {seed for sweep in sweeps for job in training(profile, sweep) for seed in job.seeds}
        for sweeps in (("rates", "main", "bases"), ("long",))
    )
    assert fresh
    assert not fresh & seen


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("sweep", "base"), [(SWEEPS.get(base, "bases"), base) for base in BASES] + LONG)
def test_arms_of_a_base_have_equal_budgets_and_seeds(profile, sweep, base):
    if (profile, sweep) in {("laptop", "rates"), ("laptop", "long"), ("paper", "rates")}:
        assert not training(profile, sweep)
        return
    arms = {}
    for job in training(profile, sweep):
        if job.config["base"] == base:
            arms.setdefault(job.config["baseline"], []).append(job)
    assert {"mean", "quantile"} <= set(arms)
    plans = {
        name: [
            (
                job.seeds,
                job.entry,
                job.inputs,
                {k: v for k, v in job.config.items() if k not in DIFFERS | WATCHED},
            )
            for job in arm
        ]
        for name, arm in arms.items()
    }
    assert plans["quantile"] == plans["mean"]
    gate = plans.get("random_gate", [])  # a control may have fewer seeds
    shared = {seeds for seeds, *_ in gate}
    assert gate == [run for run in plans["mean"] if run[0] in shared]
    runs = {(seeds, config["learning_rate"]) for seeds, *_, config in plans["mean"]}
    assert len(runs) == len(plans["mean"])


@pytest.mark.parametrize("sweep", ["tabular_hard", "tabular_broad", "tabular_small_steps"])
def test_tabular_arms_have_equal_budgets_and_seeds(sweep):
    tabular = [job for job in jobs(configure(Config, PROFILES, "laptop"), SEEDS.judged) if job.sweep == sweep]
    swept = {"epsilon_high", "optimizer", "inner_steps"}
    plans = {}
    for job in tabular:
        part = plans.setdefault(tuple(job.labels.items()), [])
        part.append((job.seeds, {k: v for k, v in job.config.items() if k not in DIFFERS | swept}))
    assert len(plans) >= 3
    reference = {}
    for labels, plan in plans.items():
        assert plan == reference.setdefault(dict(labels)["optimizer"], plan)
