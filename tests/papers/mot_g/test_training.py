"""An arm differs from another in what it says."""

import pytest

from common.tasks.graph_color import ASSETS, MAX_RESPONSE
from papers.mot_g.experiment import PROFILES, Config, jobs
from papers.mot_g.runs.training import ARMS, training_arguments


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


def test_colourings_and_stories_run_at_desk_alone_and_name_what_they_need():
    for profile, wanted in {"laptop": set(), "desk": {"color", "soft"}}.items():
        listed = jobs(Config().changed(PROFILES[profile]), range(30))
        assert {job.sweep for job in listed if job.assets} == wanted
    color = [job for job in listed if job.sweep == "color"]
    assert (len(color), {job.assets for job in color}) == (30, {ASSETS})
    assert {job.config["max_response"] for job in color} == {MAX_RESPONSE}
