"""Measures on small numbers, and transcripts."""

import numpy as np
import pandas as pd
import pytest

from common.tasks.travel import VOCABULARY
from common.tasks.travel.drawing import made_up
from common.tasks.travel.transcript import transcript
from papers.deeptravel import play
from papers.deeptravel.report import (
    CLAIMS,
    FIGURES,
    against,
    closed_form,
    gain,
    held_out,
    kept_facts,
    start,
    undisturbed,
)


def frame(sweep, **arms):
    """Series and scalars by arm and name, one seed; a number is a scalar."""
    parts = []
    for arm, named in arms.items():
        for name, given in named.items():
            values = np.atleast_1d(np.asarray(given, dtype=float))
            steps = pd.array([pd.NA] if np.isscalar(given) else range(len(values)), dtype="Int32")
            parts.append(pd.DataFrame({"arm": arm, "name": name, "step": steps, "value": values}))
    return pd.concat(parts, ignore_index=True).assign(sweep=sweep, seed=0, regime="typical")


def trained(points=(0.0, 45.0, 80.0), **arms):
    named = {
        arm: {"curve/iteration": points, "curve/pass": curve, "final/pass": curve[-1]}
        for arm, curve in arms.items()
    }
    return frame("training", **named)


def test_the_judged_step_is_45_in_a_longer_run_and_the_last_in_a_shorter_one():
    long = trained(product=[0.3, 0.5, 0.8], trajectory=[0.3, 0.1, 0.0])
    assert held_out(long, "product")[0] == 0.5
    assert start(long)[0] == 0.3
    assert gain(long, "trajectory")[0] == pytest.approx(-0.2)
    assert CLAIMS["c3a"](long)[0] == pytest.approx(0.4)
    assert CLAIMS["c1"](long)[0] == pytest.approx(0.5)
    short = trained((0.0, 2.0), product=[0.3, 0.4], trajectory=[0.3, 0.2])
    assert CLAIMS["c3a"](short, arm="product")[0] == pytest.approx(0.2)


def test_hallucination_is_reduced_relative_to_the_cold_start():
    values = {"curve/iteration": [0.0, 45.0], "curve/hallucination": [0.5, 0.3], "final/hallucination": 0.2}
    assert kept_facts(frame("training", product=values), "product")[0] == pytest.approx(0.6)


def test_noise_in_training_and_in_evaluation_are_told_apart():
    own = frame("training", product={"final/pass": 0.8, "final/noisy/pass": 0.7}, flaky={"final/pass": 0.5})
    assert undisturbed(own, "flaky")[0] == pytest.approx(0.3)
    assert undisturbed(own, "noisy")[0] == pytest.approx(0.1)


def test_tabular_arms_are_compared_with_grpo_over_the_last_fifth():
    own = frame("replay", grpo={"hard": [0.0] * 8 + [0.2, 0.4]}, rarl={"hard": [1.0] * 8 + [0.4, 0.6]})
    assert against(own, "rarl")[0] == pytest.approx(0.2)


def test_the_closed_form_crosses():
    ends = closed_form(pd.DataFrame()).set_index(["arm", "step"])["mean"]
    assert ends["solved stream", 1.0] > ends["solved stream", 0.0]
    assert ends["middling stream", 1.0] < ends["middling stream", 0.0]


def test_a_transcript_marks_what_no_tool_has_told():
    text = (
        "<bos> ATL BOS L2 P3 NOC TR ATL BOS </call> O0 H2 H4 TR BOS ATL </call> R0 H8 H9 HT BOS </call> "
        "PO BOS </call> V0 H5 H8 V1 H2 H4 <ans> O0 H2 H4 T1 P2 V0 H5 V1 H4 R0 H8 H10 </ans> <pad>"
    )
    lines = transcript(text.split())
    assert lines[0] == "ATL BOS L2 P3 NOC"
    assert lines[1] == "TR ATL BOS: O0 H2 H4"
    assert lines[3] == "HT BOS: nothing"
    assert lines[-1] == "plan: O0 H2 H4, T1 P2!, V0 H5, V1 H4!, R0 H8 H10!"
    assert transcript(["<bos>", "ATL", "<ans>", "O0", "H1"])[-1] == "plan: O0 H1!, cut off"


def test_episodes_are_read_from_their_ids():
    text = "<bos> ATL BOS L1 P3 NOC HT BOS </call> T0 P2 <ans> T0 P2 T1 P2 </ans>"
    ids = [float(VOCABULARY.index(word)) for word in text.split()]
    series = {f"sample/{when}": ids for when in ("before", "after")}
    data = FIGURES["episodes"].data(frame("training", product=series, trajectory=series))
    assert list(dict.fromkeys(data["episode"])) == [
        "cold start",
        "after training, product",
        "after training, trajectory only",
    ]
    assert made_up(data).startswith("cold start: 1 made up")
    assert FIGURES["episodes"].draw(data, {}).axes


def test_the_notebooks_episode_passes_and_loses_what_it_did_not_ask():
    plan = play.itinerary()
    lines, verdict = play.episode(plan)
    assert verdict.to_dict() == {"R_traj": 1, "outbound": 1, "return": 1, "hotel": 1, "sights": 1, "r": 1}
    lines, verdict = play.episode(plan, asked=2)
    assert verdict["hotel"] == verdict["r"] == 0
    assert "!" in lines[-1]
