"""The study's configuration: the official code's values, sweeps that the card can ask for, equal arms."""

import pytest

from common.study.card import load_card
from common.study.configuration import configure
from common.study.errors import StudyError
from papers.fastgrpo.experiment import PROFILES, Config, jobs
from papers.fastgrpo.runs.training import mathematics_arguments, run_of

CARD = load_card("fastgrpo")


@pytest.mark.parametrize("profile", ["smoke", "desk"])
def test_every_sweep_of_the_card_has_jobs(profile):
    found = {job.sweep for job in jobs(configure(Config, PROFILES, profile), CARD.seeds.judged)}
    assert CARD.needs() == found


def test_judged_profiles_use_judged_seeds_only():
    found = jobs(configure(Config, PROFILES, "desk"), CARD.seeds.judged)
    assert {seed for job in found for seed in job.seeds} == set(CARD.seeds.judged)
    assert len({(job.sweep, *job.labels.values(), job.seeds) for job in found}) == len(found)


def test_loops_differ_in_how_completions_are_sampled():
    found = [job for job in jobs(configure(Config, PROFILES, "laptop"), (7,)) if job.sweep == "loops"]
    by_arm = {job.labels["arm"]: dict(job.config) for job in found}
    assert set(by_arm) == {"fast", "et", "vanilla"}
    apart = {"arm", "observe", "replay", "iterations", "evaluation_prompts"}
    for config in by_arm.values():
        assert {key: config[key] for key in config if key not in apart} == {
            key: by_arm["fast"][key] for key in config if key not in apart
        }
    assert by_arm["et"]["iterations"] == by_arm["fast"]["iterations"]


def test_a_loop_without_iterations_is_refused():
    with pytest.raises(StudyError, match="iterations, every and prompts"):
        Config().changed({"loop.iterations": 0})


def test_a_model_of_the_hub_has_the_three_loops_on_mathematics(tmp_path):
    found = jobs(Config(), (5,))
    assert [job.labels["arm"] for job in found] == ["fast", "et", "vanilla"]
    built = {}
    for job in found:
        run = run_of(job.config)
        built[job.labels["arm"]] = mathematics_arguments(job.config, 5, tmp_path)
        assert (run.task, run.batch, run.optimizer_steps, run.max_response) == ("math", 32, 1, 2048)
    fast = built["fast"]
    assert (fast.c_peak, fast.alpha, fast.top_p, fast.micro_batch_tokens) == (160, 0.75, 0.95, 3072)
    assert (fast.beta, fast.epsilon, fast.learning_rate) == (0.04, 0.1, 1e-6)
    assert {arm: args.speculation for arm, args in built.items()} == {
        "fast": "draft",
        "et": "plain",
        "vanilla": "plain",
    }
    assert not built["vanilla"].early_termination
