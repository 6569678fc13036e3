"""Jobs, exact checks and the report; records of trained models are made up in their shape."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from common.preference.selection import enumerated_first_accepted, expected_first_accepted
from common.study.card import load_card
from common.study.configuration import configure
from common.study.entries import PROFILES as CARD_PROFILES
from common.study.errors import StudyError
from common.study.jobs import Record
from common.study.study import tidy
from papers.steporlm import report
from papers.steporlm.experiment import (
    ARMS,
    COMPARED,
    PROFILES,
    Config,
    jobs,
    loop_jobs,
    quality_jobs,
    theory_jobs,
)
from papers.steporlm.runs.training import RULES

SEEDS = (0, 1, 2)
MODELS = (*report.SCORES.values(), "greedy", "accept_clean", "accept_lucky", "accept_wrong")
ROUNDS = ("rollouts_right", "rollouts_share", "rule_1", "rule_2", "kept", "differs")


def made_up(job):
    if job.sweep == "quality":
        return Record({name: drawn(job, "quality").random(1) for name in MODELS})
    arms = job.config["arms"].items()
    return Record(parts=[({"arm": arm}, of_arm(job, arm, changes)) for arm, changes in arms])


def drawn(job, arm):
    text = f"{job.labels} {arm}"
    return np.random.default_rng([job.seeds[0], *map(ord, text)])


def of_arm(job, arm, changes):
    rng, rounds = drawn(job, arm), job.config["rounds"]
    series = {name: rng.random((1, rounds + 1)) for name in MODELS}
    series |= {name: rng.random((1, rounds)) for name in ROUNDS}
    picks = [f"{policy}/{name}" for policy, name in product(report.POLICIES, report.PICKS)]
    steps = [f"{place}_{reader}" for place, reader in product(report.PLACES, report.READERS)]
    wanted = {"all": [*picks, *steps], "own": picks[: len(report.PICKS)]}.get(changes.get("picks"), [])
    return Record({name: rng.random(1) for name in wanted}, series)


SMALL = {"lucky_size": 6, "draws": 60, "real_models": 4}


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Exact sweeps, which are real."""
    folder = tmp_path_factory.mktemp("jobs")
    small = configure(Config, PROFILES, "gpu").changed(SMALL)
    return [(job, job.function()(job, folder)) for job in theory_jobs(small, SEEDS)]


def frame_of(exact, config):
    trained = [*loop_jobs(config, SEEDS), *quality_jobs(config, SEEDS)]
    found = [*exact, *((job, made_up(job)) for job in trained)]
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in found])


@pytest.fixture(scope="module")
def frame(exact):
    """Every sweep and arm."""
    return frame_of(exact, configure(Config, PROFILES, "gpu").changed({"seeds": 3, "quality_seeds": 3}))


@pytest.mark.parametrize("profile", ["laptop", "desk"])
def test_a_profile_measures_what_the_card_asks_of_it(exact, profile):
    frame, card = frame_of(exact, configure(Config, PROFILES, profile)), load_card("steporlm")

    def due(entries):
        return [
            name for name, own in entries.items() if CARD_PROFILES.index(own.profile) <= level and own.needs
        ]

    level = CARD_PROFILES.index(profile)
    for name in due(card.claims):
        claim = card.claims[name]
        line = report.CLAIMS[claim.of or name]
        assert len(line(frame, arm=claim.arm) if claim.arm else line(frame))
    assert all(len(report.PREMISES[name](frame)) for name in due(card.premises))
    assert all(len(report.TABLES[name](frame)) for name in due(card.tables))
    for name in due(card.figures):
        assert report.FIGURES[name].point(report.FIGURES[name].data(frame))


def test_ablations_are_jobs_of_their_own_and_dial_none_has_the_pair_that_its_control_compares():
    config = configure(Config, PROFILES, "gpu").changed({"seeds": 1})
    found = [job for job in jobs(config, SEEDS) if job.sweep == "loops"]
    arms = [(job.labels["dial"], list(job.config["arms"])) for job in found]
    rest = [name for name in ARMS if name not in COMPARED]
    assert arms == [("none", ["full", "outcome"]), ("usual", list(COMPARED)), ("usual", rest)]
    picks = [
        changes["picks"] for job in found for changes in job.config["arms"].values() if "picks" in changes
    ]
    assert picks == ["all"]
    without = [job for job in jobs(config.changed({"ablations": ""}), SEEDS) if job.sweep == "loops"]
    assert without == found[:2]


def test_an_unknown_arm_and_a_real_model_say_what_to_do():
    config = configure(Config, PROFILES, "smoke")
    with pytest.raises(StudyError, match="no arms 'fll'"):
        jobs(config.changed({"arms": "fll"}), SEEDS)
    with pytest.raises(StudyError, match="CoEvolution"):
        jobs(config.changed({"loop.model": "Qwen/Qwen3-8B"}), SEEDS)


def test_arms_change_what_the_loop_reads():
    config = next(iter(loop_jobs(configure(Config, PROFILES, "gpu"), SEEDS))).config
    optional = {*RULES, "verdicts", "start"}
    assert {name for changes in ARMS.values() for name in changes} <= {*config, *optional}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_sum_over_outcomes_is_a_simulation(count):
    rng = np.random.default_rng(0)
    right = rng.random((200_000, count)) < 0.6
    accepted = rng.random(right.shape) < np.where(right, 0.9, 0.3)
    chosen = np.where(accepted.any(axis=1), accepted.argmax(axis=1), count - 1)
    simulated = right[np.arange(len(right)), chosen].mean()
    assert enumerated_first_accepted(0.6, 0.9, 0.3, count) == pytest.approx(simulated, abs=5e-3)


def test_the_sheets_values_of_best_of_four():
    assert enumerated_first_accepted(0.6, 0.9, 0.3, 4) == pytest.approx(0.810, abs=5e-4)
    assert expected_first_accepted(0.3, 0.7, 0.1, 4) == pytest.approx(0.582, abs=5e-4)


@pytest.mark.parametrize("name", ["c9", "c10", "c11", "real_models"])
def test_exact_claims_hold(frame, name):
    tolerance = load_card("steporlm").claims[name].test.exact
    assert np.abs(report.CLAIMS[name](frame)).max() <= tolerance


def test_the_audits_find_what_the_numbers_say(frame):
    assert np.abs(report.CLAIMS["c12_averages"](frame)).max() <= 0.051
    errors = report.CLAIMS["c12_possible"](frame)
    assert 15 <= (errors > 0.0501).sum() <= 40


def test_every_line_reads_every_arm_of_its_controls(frame):
    card = load_card("steporlm")
    for name, claim in card.claims.items():
        if claim.test is None:
            continue
        line = report.CLAIMS[claim.of or name]
        found = line(frame, arm=claim.arm) if claim.arm else line(frame)
        assert np.isfinite(np.asarray(found, dtype=float)).all(), name
        if claim.test.kind != "exact":
            assert list(found.index) == list(SEEDS), name
    for name, premise in report.PREMISES.items():
        assert list(premise(frame).index) == list(SEEDS), name


def test_luck_is_compared_seed_by_seed_within_a_dial(frame):
    def lucky(arm, dial):
        part = frame[(frame["name"] == "lucky") & (frame["arm"] == arm) & (frame["dial"] == dial)]
        return part[part["step"] == part["step"].max()].set_index("seed")["value"].sort_index()

    for arm, dial, other in (
        ("full", "usual", "full"),
        ("none", "none", "full"),
        ("shuffled", "usual", "shuffled"),
    ):
        wanted = lucky("outcome", dial) - lucky(other, dial)
        np.testing.assert_allclose(report.luck_left(frame, arm), wanted)


@pytest.mark.parametrize("name", report.TABLES)
def test_tables_are_long_and_hold_the_rows_that_stand_beside_the_papers(frame, name):
    block = report.TABLES[name](frame)
    assert not block.duplicated(["row", "column"]).any()
    card = load_card("steporlm").tables[name]
    assert set(card.pairs(list(block["row"])).values()) <= set(block["row"])


@pytest.mark.parametrize("name", report.FIGURES)
def test_figures_draw_every_panel(frame, name):
    figure = report.FIGURES[name]
    data = figure.data(frame)
    axes = figure.draw(data, {}).axes
    texts = " ".join(f"{axis.get_title()} {axis.get_ylabel()}" for axis in axes).replace("\n", " ")
    assert all(panel in texts for panel in data["panel"].unique())
    assert figure.point(data)
    assert isinstance(data, pd.DataFrame)
