"""The card, the jobs and the report: complete against each other, right on hand-made numbers."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import itertools

import numpy as np
import pandas as pd
import pytest

from common.study.card import load_card
from common.study.configuration import configure
from common.study.errors import StudyError
from common.study.jobs import Job, Record
from common.study.study import tidy
from common.study.verdicts import judge
from papers.fcp import report
from papers.fcp.experiment import PROFILES, Config, jobs, theory_jobs, training_jobs
from papers.fcp.report import CONDITIONS, METHODS, value
from papers.fcp.runs import theory

CARD = load_card("fcp")
MEASURES = (
    "accuracy", "greedy", "terms=2", "terms=3", "rigorous", "concise", "code", "length", "score", "both",
)  # fmt: skip
CURVES = {"accuracy": 12, "score": 12, "length": 12, "loss": 48}
MAIN = ("base", "fcp", "fcp without condition", "rft", "bootstrap", "self-distillation", "grpo")
EXTRA = ("rft+grpo", "every praise")
OFFLINE = ("cft", "positives only", "shuffled", "scalar")
ABLATED = ("default", "several updates", "seq-mean-token-sum", "praise per rollout")


def arms_of(job: Job) -> list[tuple[str, str]]:
    """(arm, condition) of what a job's entry point records."""
    own = lambda *arms: [(arm, "own") for arm in arms]  # noqa: E731
    under = lambda arm: [(arm, condition) for condition in CONDITIONS]  # noqa: E731
    return {
        "main": [*own(*MAIN), *under("fcp"), *own(*(EXTRA if job.config.get("controls") else ()))],
        "controls": [*own(*OFFLINE), *under("base"), *under("shuffled")],
        "composition": [
            *own("reference"),
            *itertools.product(("words", "ids", "tokens"), ("++", "+-", "-+")),
        ],
        "ablations": own("fcp", *ABLATED),
    }[job.sweep]


def fake(job: Job) -> Record:
    """A record in the shape of a training job."""
    rng = np.random.default_rng(job.seeds[0])
    parts = []
    for arm, condition in arms_of(job):
        scalars = {name: rng.random(1) for name in MEASURES}
        online = arm in (*MAIN[-3:], *EXTRA, *ABLATED)
        series = {f"curve/{name}": rng.random((1, steps)) for name, steps in CURVES.items()} if online else {}
        parts.append(({"arm": arm, "condition": condition}, Record(scalars, series)))
    return Record(parts=parts)


@pytest.fixture(scope="module")
def frame():
    """Theory is real and small, training is not."""
    seeds = (0, 1, 2)
    sizes = {"main_seeds": 3, "control_seeds": 2, "ablation_seeds": 2, "theory_draws": 20}
    config = Config().changed({**PROFILES["smoke"], **sizes})
    ran = [
        (job, getattr(theory, job.entry.partition(":")[2])(job, None)) for job in theory_jobs(config, seeds)
    ]
    ran += [(job, fake(job)) for job in training_jobs(config, seeds)]
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in ran])


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_sweep_of_the_card_has_jobs_where_it_can(profile):
    sweeps = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert sweeps == CARD.needs() - ({"ablations"} if profile != "gpu" else set())


def test_the_paper_profile_says_what_is_missing():
    with pytest.raises(StudyError, match="Big-Math"):
        jobs(configure(Config, PROFILES, "paper"), CARD.seeds.judged)


def test_more_controls_than_runs_is_refused():
    with pytest.raises(StudyError, match="control_seeds=3"):
        Config(main_seeds=2, control_seeds=3)


def test_seeds_take_turns_among_three_base_policies_and_controls_share_the_first_seeds():
    every = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    main = [job for job in every if job.sweep == "main"]
    assert len(main) == 10
    assert [job.config["controls"] for job in main] == [True] * 5 + [False] * 5
    assert {job.inputs[0].split("/")[3] for job in main} == {f"verbal-arith-{index}" for index in range(3)}
    assert {job.seeds for job in every if job.sweep == "controls"} == {job.seeds for job in main[:5]}


def test_keys_of_offline_jobs_do_not_depend_on_the_online_stage():
    every = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    offline = next(job for job in every if job.sweep == "composition")
    assert not any(name.startswith("online") or name == "rounds" for name in offline.config)


def test_the_audits_agree_with_the_paper():
    audits = {name: report.CLAIMS[name](pd.DataFrame()) for name in CARD.claims if name.startswith("audit")}
    verdicts = judge(CARD, audits)
    assert {verdict.verdict for verdict in verdicts.values()} == {"reproduced"}
    assert len(verdicts) == 2


def test_paired_differences_use_the_seeds_that_both_arms_have(frame):
    assert len(report.CLAIMS["c5"](frame)) == 3
    assert len(report.CLAIMS["c5_gain"](frame, arm="self-distillation")) == 3
    assert list(report.CLAIMS["c11"](frame).index) == [0, 1]


def test_claims_on_hand_made_numbers(frame):
    def with_value(frame, arm, number, measure="accuracy", condition="own"):
        changed = frame.copy()
        own = (changed["arm"] == arm) & (changed["condition"] == condition) & (changed["name"] == measure)
        changed.loc[own, "value"] = number
        return changed

    without = with_value(frame, "grpo", 0.0, "greedy")
    assert (report.CLAIMS["c5"](without) == value(frame, "bootstrap", "greedy")).all()
    code = with_value(frame, "fcp", 0.9, "code", "has code")
    code = with_value(code, "fcp", 0.3, "code", "fully positive")
    assert np.allclose(report.CLAIMS["c6_code"](code), 0.3)
    block = report.TABLES["table1"](with_value(frame, "fcp", 0.25)).set_index(["row", "column"])["mean"]
    assert block["FCP", "all"] == pytest.approx(25)
    assert list(pd.unique(report.TABLES["table1"](frame)["row"])) == list(METHODS)


def test_premises_look_at_the_base_and_at_the_arms_that_they_name(frame):
    measured = {name: premise(frame) for name, premise in report.PREMISES.items()}
    assert (measured["headroom"] == value(frame, "base", "greedy")).all()
    assert (measured["mixed_samples"] == value(frame, "base")).all()
    arms = ("grpo", "bootstrap", "self-distillation")
    late = lambda name: [report.by_round(frame, arm, name).iloc[-3:].mean() for arm in arms]  # noqa: E731
    grpo, bootstrap, _ = late("accuracy")
    pd.testing.assert_series_equal(measured["equal_accuracy"], grpo - bootstrap)
    _, bootstrap, distilled = late("score")
    pd.testing.assert_series_equal(measured["critique_teaches"], bootstrap - distilled)


def test_a_word_moves_its_own_attribute_by_the_smaller_of_both_differences():
    shares = {"+-": {"accuracy": 0.6, "concise": 0.1}, "-+": {"accuracy": 0.2, "concise": 0.9}}
    parts = [
        ({"arm": "words", "condition": sign}, Record({name: np.array([x]) for name, x in own.items()}))
        for sign, own in shares.items()
    ]
    small = tidy([Record(parts=parts).frame((0,)).assign(sweep="composition")])
    assert report.PREMISES["words_learned"](small).item() == pytest.approx(0.4)


def test_printed_shares_stay_between_nothing_and_all(frame):
    shares = report.TABLES["table1"](frame).query("column != 'length'")
    assert shares["low"].min() >= 0
    assert shares["high"].max() <= 100


def test_quarters_and_noise_by_hand():
    steps = np.arange(8.0)[None]
    noisy = np.array([[0, 1, 0, 1, 0, 3, 0, 3, 0.0]])
    record = Record(series={"curve/length": steps, "curve/loss": noisy})
    small = tidy([record.frame((0,)).assign(sweep="main", arm="bootstrap", condition="own")])
    assert report.CLAIMS["c9"](small, arm="bootstrap").item() == pytest.approx((6 + 7) / 2 - (0 + 1) / 2)
    assert report.CLAIMS["c9_loss"](small, arm="bootstrap").item() == pytest.approx(
        np.std([3, -3, 3, -3], ddof=1) - np.std([1, -1, 1, -1], ddof=1)
    )
