"""Jobs at a size that tests can afford: exact checks, budgets, resumed oracle counts, arms, measures."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import pytest
import rdkit

from common.models.recipe import ModelShape, build_model
from common.study.configuration import configure
from common.study.errors import StudyError
from common.tasks.molecules.warm_start import Setting, tokenizer
from papers.polo.experiment import PROFILES, Config, jobs, theory_jobs
from papers.polo.method import Elites
from papers.polo.report import lead_over
from papers.polo.runs import search
from papers.polo.runs.search import Progress, measured, optimise
from papers.polo.runs.training import ARMS, Assays, arguments

CONFIG = configure(Config, PROFILES, "smoke")
SETTING = Setting("templates", "logp", train_leads=2, test_leads=2, hardness=0, rdkit=rdkit.__version__)


@pytest.mark.parametrize("job", list(theory_jobs(CONFIG, (0,))), ids=lambda job: job.labels["analysis"])
def test_exact_checks_have_no_error(job, tmp_path):
    series = job.function()(job, tmp_path).series
    for name in {"distinct", "ties", "uncapped", "outside", "sign", "closed_form"} & set(series):
        assert np.abs(series[name]).max() < 1e-10
    if "capped" in series and job.labels["analysis"] == "invariance":
        assert 0 < series["capped"].mean() < 1


def test_every_arm_is_a_configuration_and_versions_are_in_the_jobs(tmp_path):
    desk = configure(Config, PROFILES, "desk")
    assert set(desk.arms.split(",")) <= set(ARMS)
    listed = jobs(desk.changed({"seeds": 1}), (0,))
    trained = {job.labels["arm"]: job for job in listed if job.sweep == "training"}
    assert len(trained) == 8
    assert all(job.config["rdkit"] == rdkit.__version__ for job in trained.values())
    assert arguments(trained["ppo"].config, 0, tmp_path).pgpo_weight == 0
    assert arguments(trained["shuffle"].config, 0, tmp_path).pgpo_shuffled
    many = arguments(trained["single"].config, 0, tmp_path)
    assert (
        many.per_device_train_batch_size
        == 5 * arguments(trained["ppo"].config, 0, tmp_path).per_device_train_batch_size
    )
    with pytest.raises(StudyError, match="arm"):
        arguments({**trained["ppo"].config, "arm": "grpo"}, 0, tmp_path)


def test_no_lead_costs_more_than_its_budget():
    words = tokenizer(SETTING.space)
    model = build_model(ModelShape(16, 1, 2, 32, context=192), words, seed=0)
    leads, bench = SETTING.leads("test"), SETTING.bench(4)
    progress = optimise(model, words, SETTING, leads, bench, 2, Elites(), 0)
    for each, lead in zip(progress, leads, strict=True):
        assert len(each.curve) == bench.assay(lead.smiles).calls <= 4


def test_a_search_is_measured_like_a_policy():
    lead = SETTING.leads("test")[0]
    found = search._searched("random", SETTING, lead, 6, 0)
    assert len(found.curve) <= 6
    assert search._proved(SETTING, lead)


def test_success_is_read_at_every_budget():
    values = measured([Progress(curve=[0.1, 0.2, 0.2, 0.4, 0.4, 0.5], solved=6), Progress()], 10)
    assert values["success"] == 0.5
    assert values["success_at/5"] == 0.0
    assert values["gain_at/5"] == pytest.approx(0.2)
    assert values["gain"] == pytest.approx(0.25)


def test_a_resumed_training_pays_for_no_call_twice():
    bench, leads = SETTING.bench(), SETTING.leads("train")
    assay = bench.assay(leads[0].smiles)
    assay.judge(SETTING.space.smiles(leads[0], leads[0].witness))
    again = Assays(SETTING.bench())
    again.load_state_dict(Assays(bench).state_dict())
    assert again.bench.calls == bench.calls == 1
    verdict = again.bench.assay(leads[0].smiles).judge(SETTING.space.smiles(leads[0], leads[0].witness))
    assert not verdict.charged


def test_the_primary_measure_is_a_ratio_of_gains():
    rows = [("ppo", 1, 0.2), ("pgpo", 1, 0.25), ("ppo", 2, 0.1), ("pgpo", 2, 0.1)]
    frame = pd.DataFrame(rows, columns=["arm", "seed", "value"])
    frame = frame.assign(sweep="training", name="final/gain", step=pd.NA)
    assert lead_over(frame, "pgpo", "ppo").tolist() == pytest.approx([0.25, 0.0])
