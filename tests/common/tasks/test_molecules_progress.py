"""What a lead's calls have come to: curves, successes, paths, and searches measured in the same way."""

import pytest
import rdkit

from common.tasks.molecules.goals import task
from common.tasks.molecules.progress import LONGEST_PATH, Progress, longest_path, measured, proved, searched
from common.tasks.molecules.warm_start import Setting

SETTING = Setting(
    "templates", "logp", train_leads=2, test_leads=2, hardness=0, budget=150, rdkit=rdkit.__version__
)
LEAD = {"logp": 1.0}


def told(outcome="ok", logp=1.0, calls=1, charged=True, success=False, smiles="C"):
    values = {"logp": logp} if outcome == "ok" else {}
    return {
        "outcome": outcome,
        "values": values,
        "calls": calls,
        "charged": charged,
        "success": success,
        "smiles": smiles,
        "similarity": 0.5,
    }


def test_every_outcome_is_a_proposal_and_only_charged_ones_are_on_the_curve():
    progress, goal = Progress(), task("logp")
    merits = [
        progress.take(told(logp=1.5, smiles="CC"), goal, LEAD),
        *(
            progress.take(told(outcome, charged=False), goal, LEAD)
            for outcome in ("invalid", "refused", "dissimilar", "violation", "exhausted", "same")
        ),
        progress.take(told("error", calls=2), goal, LEAD),
        progress.take(told(logp=0.5, calls=3), goal, LEAD),
        progress.take(told(logp=2.5, calls=4, success=True, smiles="CCC"), goal, LEAD),
        progress.take(told(logp=9.0, calls=4, charged=False, smiles="CCCC"), goal, LEAD),  # known, free
    ]
    assert merits == [0.5, *[None] * 7, -0.5, 1.5, 8.0]
    assert progress.curve == [0.5, 0.5, 0.5, 8.0]
    assert (progress.proposals, progress.valid, progress.solved) == (11, 5, 4)
    assert progress.path == [(1, "CC"), (4, "CCC"), (4, "CCCC")]


def test_success_is_read_at_every_budget():
    values = measured([Progress(curve=[0.1, 0.2, 0.2, 0.4, 0.4, 0.5], solved=6), Progress()], 10)
    assert values["success"] == 0.5
    assert values["success_at/5"] == 0.0
    assert values["gain_at/5"] == pytest.approx(0.2)
    assert values["gain"] == pytest.approx(0.25)


def test_a_path_begins_at_the_lead_and_is_that_of_the_lead_improved_most_often():
    leads = SETTING.leads("test")
    often = [(calls, "C" * calls) for calls in range(1, 9)]
    found = longest_path([Progress(path=often[:1]), Progress(path=often)], leads)
    assert found[0] == (0, leads[1].smiles)
    assert found[1:] == often[-LONGEST_PATH + 1 :]
    assert longest_path([Progress(), Progress()], leads) == [(0, leads[0].smiles)]


def test_a_search_is_measured_like_a_policy():
    lead = SETTING.leads("test")[0]
    bench = SETTING.bench(6)
    found = searched("random", SETTING.space, lead, bench, 0)
    assert len(found.curve) == bench.calls <= 6
    assert proved(SETTING.space, lead, SETTING.bench(1).assay(lead.smiles))
