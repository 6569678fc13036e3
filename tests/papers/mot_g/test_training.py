"""What is measured of thoughts, and that an arm differs from another in what it says."""

import math

import pytest
import torch

from common.models.stepwise import Decoded
from papers.mot_g.experiment import PROFILES, Config, jobs
from papers.mot_g.runs.training import ARMS, matrix_entropy, measure, training_arguments


def test_matrix_entropy_counts_directions():
    same, apart = torch.ones(1, 3, 4), torch.eye(4)[None, :3]
    whole, part = torch.tensor([[True] * 3]), torch.tensor([[True, True, False]])
    assert float(matrix_entropy(same, whole)) == pytest.approx(0.0, abs=1e-6)
    assert float(matrix_entropy(apart, whole)) == pytest.approx(math.log(3))
    assert float(matrix_entropy(apart, part)) == pytest.approx(math.log(2))


def test_thoughts_are_measured_where_rows_think():
    decoded = Decoded(
        ids=torch.zeros(2, 2, dtype=torch.long),
        mask=torch.tensor([[1, 1], [1, 0]]),
        hidden={1: torch.eye(2)[None].repeat(2, 1, 1)},
        log={
            "thinking": torch.tensor([[1, 0], [1, 1]]),
            "weights": torch.tensor([[[0.5, 0.5], [1.0, 0.0]], [[1.0, 0.0], [0.5, 0.5]]]),
            "entropy": torch.tensor([[1.0, 9.0], [3.0, 9.0]]),
        },
    )
    found = measure(decoded, 1)
    assert found["entropy"] == 2.0
    assert found["diversity"] == found["first_diversity"] == 0.25
    assert found["thoughts"] == 1.0
    assert found["matrix_entropy"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("profile", ["laptop", "desk"])
def test_arms_of_a_seed_share_everything_but_the_method(tmp_path, profile):
    config = Config().changed(PROFILES[profile])
    listed = [job for job in jobs(config, range(3)) if job.entry.endswith("training:train")]
    own = [job for job in listed if job.sweep == "reach" and job.seeds == (0,)]
    free = {"arm", "temperature", "learning_rate"}
    assert len({str({k: v for k, v in job.config.items() if k not in free}) for job in own}) == 1
    assert {job.config["arm"] for job in listed} <= set(ARMS)
    for job in own:
        args = training_arguments(job.config, 0, tmp_path)
        assert args.mixes == (job.config["arm"] not in ("vanilla", "hot"))
        assert (args.beta or args.motg_kl) == 0.02
