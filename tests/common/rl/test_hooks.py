"""The four hooks: what each may change and that it changes nothing else; papers use nothing but them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import nn
from trl import GRPOConfig, GRPOTrainer

from common.rl.companions import Companion
from common.rl.losses import negative_log_likelihood
from common.rl.rollout import Rollout, loss_mask
from common.rl.testing import assert_bitwise, rollout_of
from common.rl.trainer import GroupTrainer
from tests.common.rl.test_drift import ROOT, overridden_by, trainers


class Forwarding(GroupTrainer):
    """Every hook, handing on what the parent says."""

    def rollout(self, prompts):
        return super().rollout(prompts)

    def complete(self, prompt_ids):
        return super().complete(prompt_ids)

    def advantages(self, rewards, rollout):
        return super().advantages(rewards, rollout)

    def loss_inputs(self, rollout):
        return {"index": torch.arange(len(rollout.mask)), **super().loss_inputs(rollout)}

    def update_advantages(self, entropies, batch):
        return batch["advantages"][:, None] * torch.ones_like(entropies)

    def extra_loss(self, log_probs, entropies, batch):
        return 0.0 * (log_probs * loss_mask(batch)).sum()


def test_hooks_that_say_what_is_there_already_equal_stock_trl_bit_for_bit(trained):
    stock, _ = trained(GRPOTrainer, GRPOConfig)
    ours, _ = trained(Forwarding)
    assert_bitwise(ours, stock)


# --- rollout


class Constant(GroupTrainer):
    """Writes the same two tokens after every prompt."""

    def complete(self, prompt_ids):
        self.prompts = prompt_ids
        return [[7, 2] for _ in prompt_ids]


def test_who_writes_a_turn(build):
    trainer = build(Constant, max_steps=1)
    trainer.train()
    (chunk, *_) = trainer._buffered_inputs
    assert chunk["completion_ids"].tolist() == [[7, 2]] * 4
    assert all(prompt[0] == 1 for prompt in trainer.prompts)


class Elsewhere(GroupTrainer):
    """Updates under another prompt than it sampled under."""

    def rollout(self, prompts):
        return super().rollout(prompts).under(*self.encode_prompts(["<bos> w9 w9"] * len(prompts)))


def test_an_update_sees_the_prompts_that_the_rollout_puts_in_place(build):
    trainer = build(Elsewhere, max_steps=1)
    trainer.train()
    for chunk in trainer._buffered_inputs:
        assert chunk["prompt_ids"].tolist() == [[1, 12, 12]] * 4
        assert chunk["prompt_mask"].all()


def test_turns_are_runs_of_the_policys_tokens_with_the_observation_that_answers_them():
    written = torch.tensor([[1, 1, 0, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0]])
    there = torch.tensor([[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0, 0]])
    batch = {"completion_mask": there, "tool_mask": written}
    rollout = Rollout(batch, torch.zeros(3), 1, slice(None), 0, NotImplementedError)
    assert rollout.turns.tolist() == [[0, 0, 0, 0, 1, 1, -1], [0] * 7, [0, *[-1] * 6]]
    assert rollout.observations.tolist() == [
        [False, False, True, True, False, True, False],
        [True, *[False] * 6],
        [False] * 7,
    ]
    assert torch.equal(rollout.mask, written * there)


def test_mixed_rows_are_those_of_this_process_whose_group_differs_by_more_than_rounding():
    sums = [0.1 + 0.25, 0.25 + 0.1, 0.05 + 0.3, 0.3 + 0.05]
    rewards = torch.tensor([*sums, 0.0, 1.0, 1.0, 1.0, float("nan"), 1.0, 1.0, 1.0])
    assert rollout_of(rewards, 4, local=slice(2, 10)).mixed.tolist() == [False] * 2 + [True] * 4 + [False] * 2


# --- what an update may look at


class Marked(GroupTrainer):
    """Marks each row by the sum of its ids."""

    def loss_inputs(self, rollout):
        return {"mark": rollout.completion_ids.sum(dim=1)}

    def extra_loss(self, log_probs, entropies, batch):
        assert batch["mark"].tolist() == batch["completion_ids"].sum(dim=1).tolist()
        self.rows = getattr(self, "rows", 0) + len(batch["mark"])


@pytest.mark.parametrize("fields", [{}, {"dynamic_sampling_rounds": 2}, {"exact_resume": True}])
def test_inputs_follow_their_rows_through_the_shuffle(build, fields):
    trainer = build(Marked, max_steps=4, **fields)
    trainer.train()
    assert trainer.rows == 16


class Doubled(GroupTrainer):
    """Doubles the advantages in each update."""

    def update_advantages(self, entropies, batch):
        assert not entropies.requires_grad
        return 2 * batch["advantages"]

    def extra_loss(self, log_probs, entropies, batch):
        self.used = [*getattr(self, "used", []), batch["advantages"].clone()]


def test_an_updates_advantages_hold_in_that_update_only(build):
    """With two iterations TRL shows every row twice; its own advantages are in the buffer both times."""
    trainer = build(Doubled, max_steps=8, num_iterations=2)
    trainer.train()
    first, second = trainer.used[:4], trainer.used[4:]
    for chunk, once, again in zip(trainer._buffered_inputs, first, second, strict=True):
        assert torch.equal(once, 2 * chunk["advantages"])
        assert torch.equal(once, again)


# --- extra loss


class EntropyBonus(GroupTrainer):
    """TRL's entropy bonus, as a term of one's own."""

    def extra_loss(self, log_probs, entropies, batch):
        mask = loss_mask(batch)
        return -0.05 * (entropies * mask).sum() / mask.sum()


def test_gradients_flow_through_log_probs_and_entropies(trained):
    """Plain gradient steps with the hook's term are those with TRL's own."""
    fields = {"loss_type": "bnpo", "optim": "sgd", "learning_rate": 0.5, "max_steps": 4}
    ours, _ = trained(EntropyBonus, **fields)
    trls, _ = trained(entropy_coef=0.05, **fields)
    plain, _ = trained(**fields)
    for name, value in trls.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(plain[name], value, atol=1e-5) for name, value in trls.items())


class Likelihood(GroupTrainer):
    """A plain likelihood of every completion."""

    def extra_loss(self, log_probs, entropies, batch):
        return negative_log_likelihood(log_probs, loss_mask(batch))


def test_passes_of_one_step_are_averaged_and_samples_are_not_scored(build, trained):
    fields = {"loss_variant": "none", "optim": "sgd", "learning_rate": 0.5, "max_steps": 2}
    short = {"max_completion_length": 1, **fields}  # equal lengths: a mean of means is the mean
    whole, _ = trained(Likelihood, per_device_train_batch_size=16, steps_per_generation=1, **short)
    parts, _ = trained(Likelihood, gradient_accumulation_steps=4, **short)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    trainer = build(Likelihood, **fields)
    trainer.train()
    assert "old_per_token_logps" not in trainer._buffered_inputs[0]


def test_without_a_policy_loss_there_has_to_be_another(build):
    with pytest.raises(ValueError, match="loss_variant='none' leaves nothing to minimise"):
        build(loss_variant="none").train()


@pytest.mark.parametrize(
    "fields", [{"beta": 0.1}, {"row_skipping": True}, {"num_iterations": 2}, {"loss_type": "grpo"}]
)
def test_what_belongs_to_the_policy_loss_is_refused_without_it(build, fields):
    (name,) = fields
    with pytest.raises(ValueError, match=f"has no policy loss: switch off {name}"):
        build(Likelihood, loss_variant="none", **fields)


# --- companions


class Critic:
    """A network of one weight that counts its steps."""

    def __init__(self):
        self.network, self.steps = nn.Linear(1, 1, bias=False), 0
        nn.init.zeros_(self.network.weight)

    def step(self):
        with torch.no_grad():
            self.network.weight += 1
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Accompanied(GroupTrainer):
    """Steps its critic once per rollout batch."""

    def __init__(self, *rest, **others):
        super().__init__(*rest, **others)
        self.critic = Critic()

    def rollout(self, prompts):
        self.critic.step()
        return super().rollout(prompts)

    def companions(self) -> dict[str, Companion]:
        return {"critic": self.critic}


def test_a_companion_is_saved_and_goes_on_with_the_policy(build, tmp_path):
    fields = {"exact_resume": True, "save_strategy": "steps", "save_steps": 4}
    build(Accompanied, max_steps=4, **fields).train()
    checkpoint = tmp_path / "out" / "checkpoint-4"
    assert {"critic.safetensors", "critic_state.pt"} <= {path.name for path in checkpoint.iterdir()}
    resumed = build(Accompanied, max_steps=8, **fields)
    resumed.train(resume_from_checkpoint=True)
    assert (resumed.critic.steps, resumed.critic.network.weight.item()) == (2, 2.0)
    (checkpoint / "critic_state.pt").unlink()
    with pytest.raises(ValueError, match=r"cannot be continued with a critic: .* critic_state\.pt"):
        build(Accompanied, max_steps=8, **fields).train(resume_from_checkpoint=str(checkpoint))


def test_without_companions_a_checkpoint_is_trls(build, tmp_path):
    names = []
    for kind, config in ((GRPOTrainer, GRPOConfig), (GroupTrainer, None)):
        folder = tmp_path / kind.__name__
        chosen = (kind, config) if config else (kind,)
        trainer = build(*chosen, max_steps=4, save_strategy="steps", save_steps=4, output_dir=folder)
        trainer.train()
        names.append({path.name for path in (folder / "checkpoint-4").iterdir()})
    assert names[0] == names[1]


# --- papers use the hooks


def test_no_trainer_outside_the_seam_overrides_a_private_of_trl():
    outside = [kind for kind in trainers() if not kind.__module__.startswith("common.rl.")]
    assert {"QAETrainer", "RLZVPTrainer", "FCPBootstrapTrainer", "FastGRPOTrainer"} <= {
        kind.__name__ for kind in outside
    }
    private = {
        kind.__name__: names
        for kind in outside
        if (names := {name for name in overridden_by(kind) if name.rpartition(".")[2].startswith("_")})
    }
    assert private == {}


def test_no_paper_reads_a_private_of_the_seam_or_of_trl(build):
    """An attribute ``_name`` of any object, if a trainer has one of that name."""
    trainer = build()
    private = {name for name in {*dir(trainer), *vars(trainer)} if name.startswith("_") and name[1] != "_"}
    assert {"_step", "_batch", "_metrics", "_tokenizer", "_compute_loss"} <= private
    read = {
        f"{path.relative_to(ROOT)}: {node.attr}"
        for path in (ROOT / "papers").rglob("*.py")
        for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in private
    }
    assert read == set()
