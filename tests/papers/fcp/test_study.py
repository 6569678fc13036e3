"""The card, the jobs and the report: complete against each other, right on hand-made numbers."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

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
MAIN = ("base", "fcp", "fcp without condition", "rft", "bootstrap", "grpo")
EXTRA = ("rft+grpo", "self-distillation", "every praise")
OFFLINE = ("cft", "positives only", "shuffled", "scalar")
ABLATED = ("default", "several updates", "seq-mean-token-sum", "praise per rollout")


def arms_of(job: Job) -> list[str]:
    """Arms that a job's entry point records."""
    under = lambda arm: [f"{arm}@{condition}" for condition in CONDITIONS]  # noqa: E731
    signs = [f"{kind}@{sign}" for kind in ("words", "ids", "tokens") for sign in ("++", "+-", "-+")]
    return {
        "main": [*MAIN, *under("fcp"), *(EXTRA if job.config.get("controls") else ())],
        "controls": [*OFFLINE, *under("base"), *under("shuffled")],
        "composition": ["reference", *signs],
        "ablations": ["fcp", *ABLATED],
    }[job.sweep]


def fake(job: Job) -> Record:
    """A record in the shape of a training job."""
    rng = np.random.default_rng(job.seeds[0])
    scalars = {f"{arm}/{name}": rng.random(1) for arm in arms_of(job) for name in MEASURES}
    online = [arm for arm in (*MAIN[-2:], *EXTRA, *ABLATED) if f"{arm}/score" in scalars]
    series = {
        f"{arm}/curve/{name}": rng.random((1, 12))
        for arm in online
        for name in ("accuracy", "score", "length")
    }
    return Record(scalars, series | {f"{arm}/curve/loss": rng.random((1, 48)) for arm in online})


@pytest.fixture(scope="module")
def frame():
    """Theory is real and small, training is not."""
    seeds = (0, 1, 2)
    sizes = {"main_seeds": 3, "control_seeds": 2, "ablation_seeds": 2, "theory_draws": 20}
    config = Config(**{**PROFILES["smoke"], **sizes})
    ran = [
        (job, getattr(theory, job.entry.partition(":")[2])(job, None)) for job in theory_jobs(config, seeds)
    ]
    ran += [(job, fake(job)) for job in training_jobs(config, seeds)]
    return tidy([record.frame(job.seeds).assign(sweep=job.sweep, **job.labels) for job, record in ran])


@pytest.mark.parametrize("profile", ["smoke", "laptop", "gpu"])
def test_every_sweep_of_the_card_has_jobs_where_it_can(profile):
    found = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert found == CARD.needs() - ({"ablations"} if profile != "gpu" else set())


def test_the_paper_profile_says_what_is_missing():
    with pytest.raises(StudyError, match="Big-Math"):
        jobs(configure(Config, PROFILES, "paper"), CARD.seeds.judged)


def test_more_controls_than_runs_is_refused():
    with pytest.raises(StudyError, match="control_seeds=3"):
        Config(main_seeds=2, control_seeds=3)


def test_seeds_take_turns_among_three_base_policies_and_controls_share_the_first_seeds():
    found = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    main = [job for job in found if job.sweep == "main"]
    assert len(main) == 10
    assert [job.config["controls"] for job in main] == [True] * 5 + [False] * 5
    assert {job.inputs[0].split("/")[3] for job in main} == {f"verbal-arith-{index}" for index in range(3)}
    assert {job.seeds for job in found if job.sweep == "controls"} == {job.seeds for job in main[:5]}


def test_keys_of_offline_jobs_do_not_depend_on_the_online_stage():
    found = jobs(configure(Config, PROFILES, "laptop"), CARD.seeds.judged)
    offline = next(job for job in found if job.sweep == "composition")
    assert not any(name.startswith("online") or name == "rounds" for name in offline.config)


def test_the_audits_agree_with_the_paper():
    audits = {name: report.CLAIMS[name](pd.DataFrame()) for name in CARD.claims if name.startswith("audit")}
    verdicts = judge(CARD.claims, audits)
    assert {verdict.verdict for verdict in verdicts.values()} == {"reproduced"}
    assert len(verdicts) == 3


def test_paired_differences_use_the_seeds_that_both_arms_have(frame):
    assert len(report.CLAIMS["c5"](frame)) == 3
    assert list(report.CLAIMS["c5_gain"](frame, arm="self-distillation").index) == [0, 1]
    assert list(report.CLAIMS["c11"](frame).index) == [0, 1]


def test_claims_on_hand_made_numbers(frame):
    def with_value(arm, number, measure="accuracy"):
        changed = frame.copy()
        changed.loc[changed["name"] == f"{arm}/{measure}", "value"] = number
        return changed

    assert (report.CLAIMS["c5"](with_value("grpo", 0.0)) == value(frame, "bootstrap")).all()
    code = with_value("fcp@has code", 0.9, "code")
    code.loc[code["name"] == "fcp@fully positive/code", "value"] = 0.3
    assert np.allclose(report.CLAIMS["c6_code"](code), 0.3)
    block = report.TABLES["table1"](with_value("fcp", 0.25)).set_index(["row", "column"])["mean"]
    assert block["FCP", "all"] == pytest.approx(25)
    assert list(pd.unique(report.TABLES["table1"](frame)["row"])) == list(METHODS)


def test_quarters_and_noise_by_hand():
    steps = np.arange(8.0)[None]
    noisy = np.array([[0, 1, 0, 1, 0, 3, 0, 3, 0.0]])
    record = Record(series={"bootstrap/curve/length": steps, "bootstrap/curve/loss": noisy})
    small = tidy([record.frame((0,)).assign(sweep="main")])
    assert report.CLAIMS["c9"](small, arm="bootstrap").item() == pytest.approx((6 + 7) / 2 - (0 + 1) / 2)
    assert report.CLAIMS["c9_loss"](small, arm="bootstrap").item() == pytest.approx(
        np.std([3, -3, 3, -3], ddof=1) - np.std([1, -1, 1, -1], ddof=1)
    )
