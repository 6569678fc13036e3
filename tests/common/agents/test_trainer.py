"""Episodes train through `GroupTrainer`: those of one turn as its own rollouts do, bit for bit; those of
several turns by the policy's tokens alone.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from datasets import Dataset

from common.agents.episodes import Rules, World
from common.agents.trainer import AgentTrainer
from common.models.decoding import sample
from common.models.recipe import ModelShape, build_model
from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.rollout import Batch, derived_generator
from common.rl.trainer import GroupTrainer
from tests.common.agents.toys import TOKENS, Breaking, Fixed, OneTurn, Toy

RULES = Rules(ends=(2,), turns=4, turn_tokens=4, context=96, observation=16)
WORLDS = Dataset.from_dict({"prompt": [f"world {seed}" for seed in range(12)]})
SHAPE = ModelShape(hidden=16, layers=1, heads=2, ffn=32, context=128)


def seed_of(prompt: str) -> int:
    return int(prompt.split()[1])


def make(folder: Any, kind: type[GroupTrainer] = AgentTrainer, env: Any = Toy, **fields: Any) -> Any:
    """A trainer on worlds of toys; 8 passes are two rollout batches."""
    agents = {"worlds": lambda prompt: World(env, seed_of(prompt)), "codec": TOKENS, "rules": RULES}
    agents = {name: fields.pop(name, value) for name, value in agents.items()}
    tokenizer = testing.pocket_tokenizer()
    model = build_model(SHAPE, tokenizer, seed=0)
    settings = {**testing.NEUTRAL, "top_k": 0, "max_steps": 8, "output_dir": str(folder), **fields}
    return kind(
        model,
        args=GroupConfig(**settings),
        train_dataset=WORLDS,
        processing_class=tokenizer,
        **(agents if issubclass(kind, AgentTrainer) else {"reward_funcs": rewarded}),
    )


def rewarded(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 3 == 0) for ids in completion_ids]


class OwnRollouts(GroupTrainer):
    """The same prompts, completed by the lean decoder with the same random numbers."""

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        return [OneTurn().reset(seed=seed_of(prompt))[0] for prompt in prompts], None, {}

    def complete(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        policy = self.accelerator.unwrap_model(self.model)
        written = []
        for row, ids in enumerate(torch.tensor([prompt]) for prompt in prompt_ids):
            generator = derived_generator(0, self.passes_done, 0, row)
            written.append(sample(policy, ids, torch.ones_like(ids), 4, 1.0, 2, 0, generator).ids[0].tolist())
        return written


def test_worlds_of_one_turn_train_as_the_rollouts_of_the_group_trainer(tmp_path):
    runs = []
    for kind in (AgentTrainer, OwnRollouts):
        fields = (
            {"env": OneTurn, "codec": replace(TOKENS, head=lambda info: [])} if kind is AgentTrainer else {}
        )
        trainer = make(tmp_path / kind.__name__, kind, **fields)
        trainer.train()
        runs.append((testing.weights(trainer), testing.timeless_log(trainer)))
    testing.assert_bitwise(runs[0][0], runs[1][0])
    shared = [
        [
            {key: value for key, value in entry.items() if not key.startswith(("episodes/", "rewards/"))}
            for entry in log
        ]
        for _, log in runs
    ]
    assert shared[0] == shared[1]
    assert {entry["reward"] for entry in shared[0] if "reward" in entry} - {0.0, 1.0}


class Watching(AgentTrainer):
    """Keeps its rollouts, and the gradient of every token's log-probability with the row that it is of."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.rollouts: list[Any] = []
        self.gradients: list[tuple[torch.Tensor, torch.Tensor]] = []

    def rollout(self, prompts: Any) -> Any:
        self.rollouts.append(super().rollout(prompts))
        return self.rollouts[-1]

    def advantages(self, rewards: Any, rollout: Any) -> Any:
        return torch.linspace(-1, 1, len(rewards))

    def loss_inputs(self, rollout: Any) -> dict[str, torch.Tensor]:
        return {"row": torch.arange(len(rollout.mask)) + 100 * (len(self.rollouts) - 1)}

    def extra_loss(self, log_probs: Any, entropies: Any, batch: Batch) -> None:
        log_probs.register_hook(lambda gradient: self.gradients.append((batch["row"], gradient.clone())))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer = make(tmp_path_factory.mktemp("agents"), Watching)
    before = testing.weights(trainer)
    trainer.train()
    return trainer, before


def test_observations_never_get_a_gradient(tmp_path):
    trainer = make(tmp_path, Watching, env=Fixed, rules=Rules(ends=(), turns=3, turn_tokens=2, context=96))
    trainer.train()
    own = torch.tensor([1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1]).bool()  # three turns of 2, observations of 3
    assert len(trainer.gradients) == 8
    for _, gradient in trainer.gradients:
        assert gradient.shape == (4, len(own))
        assert (gradient[:, ~own] == 0).all()
        assert (gradient[:, own] != 0).all()


def test_episodes_of_several_turns_train(trained):
    trainer, before = trained
    assert len(trainer.rollouts) == 2
    assert any(not torch.equal(value, before[name]) for name, value in testing.weights(trainer).items())
    assert all(math.isfinite(entry["loss"]) for entry in testing.timeless_log(trainer))


def test_a_rollout_knows_the_turns_and_rewards_of_its_episodes(trained):
    for rollout in trained[0].rollouts:
        assert [each.prompt for each in rollout.trajectories] == [
            ids[mask.bool()].tolist()
            for ids, mask in zip(rollout.prompt_ids, rollout.prompt_mask, strict=True)
        ]
        for row, each in enumerate(rollout.trajectories):
            length = len(each.completion)
            assert rollout.completion_ids[row, :length].tolist() == each.completion
            assert rollout.mask[row].tolist()[:length] == each.mask
            assert not rollout.mask[row, length:].any()
            assert rollout.turns[row].tolist()[:length] == each.turn_ids
            assert (rollout.turns[row, length:] == -1).all()
            rewards = rollout.turn_rewards[row]
            assert rewards[: len(each.turns)].tolist() == [turn.reward for turn in each.turns]
            assert rewards[len(each.turns) :].isnan().all()
            assert rollout.rewards[row] == each.reward


def test_tokens_are_drawn_with_the_probabilities_that_are_trained(trained):
    trainer = trained[0]
    fresh = make(trainer.args.output_dir, Watching)
    rollout = fresh.rollout([{"prompt": f"world {seed}"} for seed in range(4) for _ in range(4)])
    for row, each in enumerate(rollout.trajectories):
        own = rollout.mask[row].bool()
        drawn = torch.tensor([value for turn in each.turns for value in turn.log_probs])
        torch.testing.assert_close(rollout.old_log_probs[row][own], drawn, rtol=1e-4, atol=1e-5)
        nats = torch.tensor([value for turn in each.turns for value in turn.entropies])
        torch.testing.assert_close(rollout.entropies[row][own], nats, rtol=1e-4, atol=1e-5)


def test_outcomes_and_turns_are_logged(trained):
    first = testing.timeless_log(trained[0])[0]
    assert first["episodes/terminated"] + first["episodes/turns"] == 1
    turns = [len(each.turns) for each in trained[0].rollouts[0].trajectories]
    assert first["episodes/mean_turns"] == pytest.approx(sum(turns) / len(turns))


def broken() -> Any:
    raise LookupError("broken")


def test_a_broken_episode_has_no_advantage_and_leaves_its_group_alone(tmp_path):
    made = []

    def env() -> Toy:
        made.append(0)
        return Breaking(broken) if len(made) == 3 else broken() if len(made) == 6 else Fixed()

    trainer = make(tmp_path, env=env)
    rows = [{"prompt": f"world {seed}"} for seed in range(4) for _ in range(4)]
    batch = trainer._generate_and_score_completions(rows)
    rewards = torch.tensor([each.reward for each in trainer.trajectories], dtype=float)
    assert rewards.isnan().nonzero()[:, 0].tolist() == [2, 5]
    assert batch["advantages"][[2, 5]].tolist() == [0.0, 0.0]
    others = batch["advantages"].view(4, 4)[0, [0, 1, 3]]
    fair = rewards[[0, 1, 3]]
    torch.testing.assert_close(
        others, ((fair - fair.mean()) / (fair.std() + 1e-4)).float(), rtol=1e-5, atol=1e-6
    )
    assert batch["completion_mask"][5].sum() == 1
    assert batch["tool_mask"][5, 0] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 5),
        ("decoder", "lean"),
        ("mask_truncated_completions", True),
        ("dynamic_sampling_rounds", 1),
        ("rules", Rules(ends=(2,), memory=2)),
    ],
)
def test_what_episodes_do_not_know_is_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"leave .*{name}"):
        make(tmp_path, **{name: value})
