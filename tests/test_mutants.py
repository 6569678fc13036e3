"""Every gate has a mutant: a bug put in on purpose turns the gate red, and without it the gate is green.

A gate is an existing test, run by a pytest of its own inside this process so that the patch reaches it; or
`verify`, run on results that somebody has touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import torch

from common.agents import lockstep
from common.agents.episodes import Trajectory
from common.models import decoding, stepwise
from common.preference import weighted
from common.rl import advantages, resume
from common.rl.trainer import GroupTrainer
from common.speculative import generate, packed, target, verify
from common.speculative.cache import RaggedKVCache
from common.study import keys, verdicts
from common.study.card import Claim
from common.study.paths import ROOT
from common.tasks import opchain
from common.tasks.molecules import designs
from common.tasks.molecules.assay import Assay
from papers.fcp.method import FCPConfig
from papers.qae import experiment
from papers.qae import method as qae
from papers.rl_zvp import method as rl_zvp
from papers.rlhf_exploration.runs import tabular
from tests.common.study.conftest import copy_reproduced

pytestmark = pytest.mark.slow

Patch = Callable[[pytest.MonkeyPatch], None]


def group_order(patch):
    """Rewards are read as if the first responses of all prompts came first."""
    patch.setattr(advantages, "split_groups", lambda rewards, size: rewards.reshape(size, -1).T)


def mask_at_eos(patch):
    """The end-of-sequence token is left out of the loss."""
    patch.setattr(decoding, "_until", lambda ids, eos: ((ids == eos).long().cumsum(dim=1) == 0).long())


def log_of_advantages(patch):
    """The log keeps TRL's own advantages, not those that train."""
    patch.setattr(GroupTrainer, "_log_advantages", lambda *_: None)


def seed_of_the_task(patch):
    """Every seed gets the prompts of seed 0."""
    items = opchain.items
    patch.setattr(opchain, "items", lambda config: items(replace(config, seed=0)))


def one_call_for_nothing(patch):
    """The first oracle call of a lead is not counted."""
    patch.setattr(Assay, "calls", property(lambda self: max(0, len(self._scored) - 1)))


def rings_as_written(patch):
    """Ring closures of a fragment keep the numbers that its scaffold uses."""
    patch.setattr(designs, "_renumbered", lambda found: found[0])


def evaluation_items(patch):
    """The policy is evaluated on prompts of the training split."""
    patch.setattr(opchain, "HELDOUT", replace(opchain.HELDOUT, split="train", seed=1000))


def halved_baseline(patch):
    """The mean baseline trains half as long."""
    make = experiment._training

    def half(config, sweep, base, baseline, seed, **labels):
        shorter = config.changed({"run.iterations": max(1, config.run.iterations // 2)})
        return make(shorter if baseline == "mean" else config, sweep, base, baseline, seed, **labels)

    patch.setattr(experiment, "_training", half)


def no_control(patch):
    """An effect counts although its control shows it too."""
    patch.setattr(verdicts._Judgement, "_against_controls", lambda _, verdict, __: verdict)


def least_control(patch):
    """A control of several columns is judged by its weakest one."""
    weigh = verdicts.weigh
    as_claim = {"role": "claim"}
    patch.setattr(verdicts, "weigh", lambda claim, sample: weigh(claim.model_copy(update=as_claim), sample))


def no_premise(patch):
    """A run that never showed the illness judges the cure."""
    patch.setattr(verdicts, "failures", lambda *_: "")


def absence_of_evidence(patch):
    """What was not found is said not to be there."""
    weigh = verdicts.weigh
    patch.setattr(verdicts, "weigh", lambda *arguments: replace(weigh(*arguments), p_small=0.0))


def numbers_as_they_come(patch):
    """Equal numbers from every seed decide, although nothing says that the seed did anything."""
    patch.setattr(verdicts, "unusable", lambda _: "")


def seeds_as_they_come(patch):
    """A seed that an arm lost is dropped without a word."""
    patch.setattr(verdicts._Judgement, "_gap", lambda *_: "")
    patch.setattr(verdicts._Judgement, "_lost", lambda *_: "")


def unadjusted_power(patch):
    """The seeds that an inconclusive claim needs are counted as if it stood alone."""
    needed = verdicts.needed_seeds
    patch.setattr(verdicts, "needed_seeds", lambda sample, effect, _: needed(sample, effect, 0.05))


def ours_in_the_family(patch):
    """Our own questions make the paper's claims harder to reproduce."""
    patch.setattr(Claim, "empirical", True)


def no_holm(patch):
    """p values of many claims are taken as they come."""
    patch.setattr(verdicts, "holm", dict)


def key_without_source(patch):
    """Records survive a change of the code that made them."""
    patch.setattr(keys.Sources, "hash", lambda *_: "")


def key_without_inputs(patch):
    """Records survive a change of the checkpoint they start from."""
    patch.setattr(keys, "file_hash", lambda _: "")


def forgotten_buffer(patch):
    """A resumed training draws a new rollout batch in the middle of one."""
    patch.setattr(resume, "load_state", lambda *_: None)


def upper_quantile(patch):
    """A success rate of exactly 1 - K counts as easy."""
    patch.setattr(qae, "TOLERANCE", -1e-3)


def equal_up_to_rounding(patch):
    """Rewards that are nearly equal count as a group without variance."""
    exact = rl_zvp.group_range

    def coarse(rewards, size):
        return exact((rewards * 1e3).round() / 1e3, size)

    patch.setattr(rl_zvp, "group_range", coarse)


def trained_under_praise(patch):
    """Rollouts are trained under the praise that they were sampled under."""
    check = FCPConfig.__post_init__

    def post_init(config):
        check(config)
        config.condition = "rollout"

    patch.setattr(FCPConfig, "__post_init__", post_init)


def repeated_labels(patch):
    """The winner of a comparison is always the first response."""
    patch.setattr(tabular, "first_wins", lambda margin, uniforms: uniforms >= 0)


def eager_acceptance(patch):
    """The first child is accepted whatever the target thinks of it."""
    patch.setattr(verify, "coin", lambda chance, generator=None: chance >= 0)


def committed_in_draft_order(patch):
    """The cache keeps the first staged entries instead of those on the accepted path.

    The engine's own check at construction, which would refuse the model, is off, so that the texts decide.
    """
    patch.setattr(target, "require_own_logits", lambda *_: None)
    commit = RaggedKVCache.commit

    def first_ones(cache, path, counts):
        commit(cache, torch.arange(path.shape[1]).expand_as(path), counts)

    patch.setattr(RaggedKVCache, "commit", first_ones)


def trees_that_see_each_other(patch):
    """In packed scoring a node sees every node before it, of its own tree and of others."""
    visible = packed._visible

    def causal(*arguments):
        seen = visible(*arguments)
        places = torch.arange(seen.shape[-1])
        return seen | (places[:, None] >= places)

    patch.setattr(packed, "_visible", causal)


def features_of_staged_order(patch):
    """The draft reads the features of the first staged tokens, not of the accepted ones."""
    patch.setattr(generate, "_along", lambda features, path: features[:, : path.shape[1]])


def mixtures_unread(patch):
    """The model reads the token that stands in the text, not the mixture that the hook chose."""
    patch.setattr(stepwise._Run, "_checked", lambda _, chosen: stepwise.Step(chosen.ids))


def recorded_by_held_row(patch):
    """States are written to the row where they stand once ended rows have left, not to their own."""
    keep = stepwise._Records.keep

    def by_place(records, state, numbers):
        keep(records, replace(state, rows=torch.arange(len(state.rows))), numbers)

    patch.setattr(stepwise._Records, "keep", by_place)


def equal_weights(patch):
    """Every pair counts the same."""
    loss = weighted.weighted_dpo_loss
    patch.setattr(
        weighted,
        "weighted_dpo_loss",
        lambda margin, weights, beta: loss(margin, torch.ones_like(weights), beta),
    )


def observations_in_the_loss(patch):
    """What an environment has written counts as the policy's."""
    patch.setattr(Trajectory, "mask", property(lambda episode: [1] * len(episode.completion)))


def numbers_of_the_batch(patch):
    """Episodes draw from one generator, in the order in which they stand in the batch."""
    draw = lockstep.race

    def shared(logits, generators, greedy=False):
        return draw(logits, [generators[0]] * len(generators), greedy)

    patch.setattr(lockstep, "race", shared)


GATES: dict[Patch, tuple[str, str]] = {
    equal_weights: (
        "common/preference/test_weighted.py",
        "test_the_loss_is_the_equation_on_the_policys_log_probabilities[False]",
    ),
    eager_acceptance: (
        "common/speculative/test_generate.py",
        "test_samples_have_the_targets_distribution[params0-verify_recursive_rejection]",
    ),
    committed_in_draft_order: (
        "common/speculative/test_generate.py",
        "test_greedy_texts_are_those_of_plain_decoding[small-verify_greedy-True]",
    ),
    features_of_staged_order: (
        "common/speculative/test_generate.py",
        "test_features_are_the_targets_hidden_states",
    ),
    trees_that_see_each_other: (
        "common/speculative/test_packed.py",
        "test_scores_are_those_of_every_path_alone",
    ),
    mixtures_unread: (
        "common/models/test_stepwise.py",
        "test_mixtures_are_read_as_a_full_forward_reads_them[qwen3]",
    ),
    recorded_by_held_row: (
        "common/models/test_stepwise.py",
        "test_a_hook_sees_what_was_written_and_what_it_logs_stops_with_the_row[1.1]",
    ),
    observations_in_the_loss: (
        "common/agents/test_trainer.py",
        "test_observations_never_get_a_gradient",
    ),
    numbers_of_the_batch: (
        "common/agents/test_lockstep.py",
        "test_lock_step_equals_one_by_one_token_for_token[1.0-None]",
    ),
    equal_up_to_rounding: (
        "papers/rl_zvp/test_method.py",
        "test_equality_decides_and_not_a_small_standard_deviation",
    ),
    trained_under_praise: (
        "papers/fcp/test_trainers.py",
        "test_the_loss_sees_the_fresh_critique_and_never_the_praise",
    ),
    repeated_labels: ("papers/rlhf_exploration/test_tabular.py", "test_the_loop_is_the_algorithm"),
    group_order: (
        "common/rl/test_trainer.py",
        "test_unscored_completions_and_weighted_functions_equal_stock_trl",
    ),
    mask_at_eos: (
        "common/models/test_decoding.py",
        "test_mask_ends_with_the_end_token_and_padding_follows",
    ),
    log_of_advantages: (
        "common/rl/test_trainer.py",
        "test_logged_advantages_and_shares_are_those_used",
    ),
    forgotten_buffer: ("common/rl/test_resume.py", "test_a_stop_leaves_no_trace[step6]"),
    seed_of_the_task: ("common/tasks/test_opchain.py", "test_seeds_share_no_stream"),
    evaluation_items: (
        "papers/qae/test_fairness.py",
        "test_no_seed_trains_on_a_prompt_that_it_is_evaluated_on",
    ),
    halved_baseline: (
        "papers/qae/test_fairness.py",
        "test_arms_of_a_base_have_equal_budgets_and_seeds",
    ),
    upper_quantile: ("papers/qae/test_method.py", "test_two_regimes_of_equation_four"),
    no_control: (
        "common/study/test_verdicts.py",
        "test_an_effect_that_does_not_exceed_its_controls_is_not_specific",
    ),
    least_control: (
        "common/study/test_verdicts.py",
        "test_a_claim_over_columns_is_as_good_as_its_worst_and_a_control_as_its_best",
    ),
    no_premise: (
        "common/study/test_verdicts.py",
        "test_a_failed_or_missing_premise_leaves_nothing_to_tell_whatever_the_effect",
    ),
    absence_of_evidence: (
        "common/study/test_verdicts.py",
        "test_the_95_percent_interval_decides_and_the_90_percent_one_excludes_an_effect",
    ),
    numbers_as_they_come: (
        "common/study/test_verdicts.py",
        "test_a_sample_that_decides_nothing_leaves_its_own_claim_inconclusive_and_no_other"
        "[test0-values6-no variance over 3 seeds]",
    ),
    seeds_as_they_come: ("common/study/test_verdicts.py", "test_no_seed_is_dropped_silently"),
    unadjusted_power: (
        "common/study/test_verdicts.py",
        "test_an_inconclusive_verdict_names_more_seeds_than_it_had_at_its_adjusted_level",
    ),
    no_holm: (
        "common/study/test_verdicts.py",
        "test_holm_runs_over_the_papers_other_empirical_claims_only",
    ),
    ours_in_the_family: (
        "common/study/test_verdicts.py",
        "test_holm_runs_over_the_papers_other_empirical_claims_only",
    ),
    key_without_source: (
        "common/study/test_store_and_keys.py",
        "test_the_source_hash_follows_meaning_and_ignores_comments_and_the_engine",
    ),
    key_without_inputs: (
        "common/study/test_store_and_keys.py",
        "test_the_key_depends_on_everything_that_can_change_numbers",
    ),
    one_call_for_nothing: (
        "common/tasks/test_molecules.py",
        "test_a_call_is_counted_for_each_new_admissible_molecule_and_never_above_the_budget",
    ),
    rings_as_written: (
        "common/tasks/test_molecules.py",
        "test_rings_of_a_fragment_do_not_close_on_the_scaffold",
    ),
}
"""Mutant to its gate: a file below ``tests`` and a test in it."""


class Failures:
    """A pytest plugin that keeps the kinds of exceptions by which tests failed."""

    def __init__(self) -> None:
        self.kinds: list[type] = []

    def pytest_exception_interact(self, call):
        self.kinds.append(call.excinfo.type)


def run(*gates: tuple[str, str]) -> tuple[int, set[type]]:
    """Exit status of some gates and how their tests failed."""
    failures = Failures()
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    with redirect_stdout(StringIO()):
        code = pytest.main(
            [*options, *(f"{ROOT / 'tests' / file}::{test}" for file, test in gates)], plugins=[failures]
        )
    return code, set(failures.kinds)


@pytest.fixture(scope="module")
def green():
    """All gates let the code pass as it is."""
    assert run(*GATES.values()) == (pytest.ExitCode.OK, set())


@pytest.mark.usefixtures("green")
@pytest.mark.parametrize("mutant", GATES, ids=lambda mutant: mutant.__name__)
def test_a_mutant_turns_its_gate_red(mutant, monkeypatch):
    mutant(monkeypatch)
    assert run(GATES[mutant]) == (pytest.ExitCode.TESTS_FAILED, {AssertionError})


@pytest.fixture(scope="module")
def verified(tmp_path_factory):
    """A toy paper with committed results that `verify` accepts."""
    repository = copy_reproduced(tmp_path_factory.mktemp("verified") / "repository", tmp_path_factory)
    assert repository("verify", "toy").returncode == 0
    return repository


def stale_figure(folder: Path) -> None:
    """The data twin is that of an older run."""
    twin = folder / "figures" / "fig1.csv"
    older = pd.read_csv(twin)
    older[["mean", "low", "high"]] += 0.01
    older.to_csv(twin, index=False)


def stale_picture(folder: Path) -> None:
    """The picture alone is one of an older run."""
    picture = folder / "figures" / "fig1.svg"
    picture.write_text(picture.read_text().replace("</svg>", "<!-- older --></svg>"))


def typed_verdict(folder: Path) -> None:
    """Somebody finds the control's outcome unfortunate."""
    content = json.loads((folder / "claims.json").read_text())
    assert content["claims"]["placebo"]["verdict"] != "reproduced"
    content["claims"]["placebo"]["verdict"] = "reproduced"
    (folder / "claims.json").write_text(json.dumps(content))


def typed_number(folder: Path) -> None:
    """A cell of a table is typed by hand."""
    table = folder / "tables" / "table1.md"
    table.write_text(table.read_text().replace(" n=6", " n=60"))


TOUCHED = {
    stale_figure: "figures/fig1.csv: column 'mean' differs",
    stale_picture: "figures/fig1.svg: differs",
    typed_verdict: "claim placebo: stored verdict is 'reproduced'",
    typed_number: "tables/table1.md: text differs",
}


@pytest.mark.parametrize("mutant", TOUCHED, ids=lambda mutant: mutant.__name__)
def test_results_that_somebody_touched_are_not_verified(verified, mutant):
    folder = verified.results("laptop")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    mutant(folder)
    assert any(path.read_bytes() != content for path, content in before.items())
    done = verified("verify", "toy")
    for path, content in before.items():
        path.write_bytes(content)
    assert done.returncode == 1
    assert TOUCHED[mutant] in done.stdout
