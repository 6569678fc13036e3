"""With its knobs neutral EPO trains as `AgentTrainer`; the indicator as the bonus alone; bit for bit."""

from typing import Any

import pytest
import torch
from datasets import Dataset

from common.agents.episodes import Rules, World
from common.agents.ppo import with_critic
from common.agents.trainer import AgentTrainer
from common.models.recipe import ModelShape, build_model
from common.rl import testing
from common.rl.config import GroupConfig
from papers.epo.trainer import EPOConfig, EPOTrainer
from tests.common.agents.toys import TOKENS, Toy

RULES = Rules(ends=(2,), turns=4, turn_tokens=4, context=96, observation=16)
WORLDS = Dataset.from_dict({"prompt": [f"world {seed}" for seed in range(12)]})
SHAPE = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128)


def run(folder: Any, kind: Any = EPOTrainer, config: Any = EPOConfig, **fields: Any) -> Any:
    """A trained trainer; 12 updates are three rollout batches."""
    tokenizer = testing.pocket_tokenizer()
    settings = {**testing.NEUTRAL, "top_k": 0, "max_steps": 12, "output_dir": str(folder), **fields}
    trainer = kind(
        build_model(SHAPE, tokenizer, seed=0),
        args=config(**settings),
        train_dataset=WORLDS,
        processing_class=tokenizer,
        worlds=lambda prompt: World(Toy, int(prompt.split()[1])),
        codec=TOKENS,
        rules=RULES,
    )
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights after training with some settings, once each."""
    known: dict[Any, Any] = {}

    def trained(**fields: Any) -> Any:
        key = tuple(sorted(fields.items()))
        if key not in known:
            known[key] = testing.weights(run(tmp_path_factory.mktemp("run"), **fields))
        return known[key]

    return trained


def test_without_a_coefficient_it_is_the_agent_trainer(weights, tmp_path):
    plain = testing.weights(run(tmp_path, AgentTrainer, GroupConfig))
    testing.assert_bitwise(weights(epo_coefficient=0.0), plain)
    with pytest.raises(AssertionError):
        testing.assert_bitwise(weights(epo_coefficient=0.1, epo_alpha=0.0), plain)


def test_the_official_penalty_is_the_bonus_alone(weights):
    base = weights(epo_coefficient=0.1, epo_alpha=0.0)
    narrow = {"epo_kappa_high": 0.5, "epo_alpha": 3.0}  # every token is above
    testing.assert_bitwise(weights(epo_coefficient=0.1, epo_penalty="indicator", **narrow), base)
    with pytest.raises(AssertionError):
        testing.assert_bitwise(weights(epo_coefficient=0.1, **narrow), base)


def test_the_history_is_that_of_earlier_rollouts(tmp_path):
    trainer = run(tmp_path, epo_coefficient=0.1)
    logged = [entry for entry in trainer.state.log_history if "epo/entropy" in entry]
    means = [mean for (mean,) in trainer.history.means]
    assert len(means) == 3
    assert [entry["epo/entropy"] for entry in logged] == pytest.approx(means, rel=1e-6)
    assert logged[2]["epo/reference"] == pytest.approx((means[0] + means[1]) / 2, rel=1e-6)
    assert logged[0]["epo/beta"] == 2.0


def test_a_resumed_run_keeps_the_history(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 4, "exact_resume": True, "epo_coefficient": 0.1}
    whole = run(tmp_path, **saving)
    state = torch.load(tmp_path / "checkpoint-8" / "entropy_history_state.pt", weights_only=True)
    assert state["means"] == whole.history.means[:2]


@pytest.mark.parametrize(
    "fields",
    [
        {
            "epo_reference": "per_turn",
            "epo_include_current": True,
            "epo_average": "tokens",
            "epo_from_turn": 2,
        },
        {"epo_decay": "turns", "epo_schedule": "code"},
        {"epo_decay": "training", "epo_schedule": "constant"},
    ],
)
def test_every_variant_trains(tmp_path, fields):
    trainer = run(tmp_path, epo_coefficient=0.1, max_steps=8, **fields)
    assert all(torch.isfinite(value).all() for value in testing.weights(trainer).values())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epo_alpha": -1.0}, "epo_alpha"),
        ({"row_skipping": True}, "row_skipping"),
        ({"epo_kappa_low": 3.0}, "corridor"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, fields, named):
    with pytest.raises(ValueError, match=named):
        EPOConfig(**{**testing.NEUTRAL, "output_dir": str(tmp_path), **fields})


def test_with_a_critic_in_front_it_is_still_the_agent_trainer_but_for_its_term(tmp_path):
    off = run(tmp_path, with_critic(EPOTrainer), epo_coefficient=0.0)
    testing.assert_bitwise(
        testing.weights(off), testing.weights(run(tmp_path, with_critic(AgentTrainer), GroupConfig))
    )
    on = run(tmp_path, with_critic(EPOTrainer), epo_coefficient=0.1)
    assert set(on.companions()) == {"critic", "entropy_history"}
    with pytest.raises(AssertionError):
        testing.assert_bitwise(testing.weights(on), testing.weights(off))
