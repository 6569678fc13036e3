import copy

import pytest
import torch
from datasets import Dataset
from transformers import Trainer

from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.packed import score_packed_trees
from common.speculative.scheduler import StaticScheduler
from common.speculative.texts import grow_trees, read_texts
from common.speculative.tree import TreePolicy
from common.speculative.unroll import eagle3_loss, path_log_likelihood, unroll_text
from common.speculative.verify import SamplingParams
from papers.gto.method import GTOConfig, GTOTrainer, collate
from papers.gto.tree_reward import draft_tree_reward, group_advantages, longest_accepted_path, sample_groups
from tests.papers.gto.conftest import new_draft
from tests.papers.readme import run_example, tiny_policy

POLICY = TreePolicy(3, 2, 6)


def config(folder, **changes) -> GTOConfig:
    arguments = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "gto_groups": 2,
        "gto_group_size": 4,
        "tree_depth": 3,
        "tree_top_k": 2,
        "tree_budget": 6,
        "unroll_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return GTOConfig(**arguments | changes)


@pytest.fixture
def rows(batch):
    return [{"ids": batch.ids[i], "supervised": batch.supervised[i]} for i in range(len(batch.ids))]


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def trained(tmp_path, target, rows, **changes):
    trainer = GTOTrainer(new_draft(target), target, config(tmp_path, **changes), rows)
    trainer.train()
    return trainer


def test_trees_are_those_that_decoding_would_grow(target, draft, batch):
    text = read_texts(target, batch.ids)
    root = int(batch.supervised[0].nonzero()[2])
    tree = grow_trees(
        draft, text.ids, text.features, torch.tensor([[root, root + 1]] * len(batch.ids)), POLICY
    )
    proposed = []

    class Spy(FeatureDraft):
        def propose(self, policy):
            proposed.append(super().propose(policy))
            return proposed[-1]

    engine = SpeculativeGenerator(target, Spy(draft), StaticScheduler(POLICY))
    engine.generate([batch.ids[0, : root + 1]], SamplingParams(1, temperature=0.0))
    assert torch.equal(proposed[0].tokens[0], tree.tokens[0])
    assert torch.equal(proposed[0].parent[0], tree.parent[0])
    torch.testing.assert_close(proposed[0].log_q[0], tree.log_q[0])


@pytest.mark.parametrize("accepted", ["greedy", "max_expected"])
def test_the_tree_loss_by_hand(tmp_path, target, batch, rows, accepted):
    args = config(tmp_path, gto_accepted_path=accepted)
    trainer = GTOTrainer(new_draft(target, 1), target, args, rows)
    trainer.reference = new_draft(target, 2)
    trainer.log = lambda *_: None
    text = read_texts(target, batch.ids)
    loss = trainer.tree_loss(trainer.model, text, batch.supervised)
    generator = torch.Generator().manual_seed(trainer.args.seed)
    groups = sample_groups(batch.supervised, 2, 4, generator)
    terms = []
    for row in range(len(batch.ids)):
        for places in groups.places[row]:
            rewards, ratios = [], []
            for place in places.tolist():
                root, alone = torch.tensor([[place]]), type(text)(*(part[row : row + 1] for part in text))
                scored = []
                for network in (trainer.model, trainer.reference):
                    tree = grow_trees(network, alone.ids, alone.features, root, POLICY)
                    scores = score_packed_trees(target, alone.ids, root, tree)
                    scored.append((tree, scores, draft_tree_reward(tree, scores.log_p)))
                rewards.append(scored[0][2] - scored[1][2])
                path = longest_accepted_path(scored[0][0], scored[0][1], 3, accepted)
                tokens, length = path.tokens[None], int(path.length)
                log_m, log_0 = (
                    path_log_likelihood(network, alone.features, alone.ids, root, tokens)[0, 0, :length].sum()
                    for network in (trainer.model, trainer.reference)
                )
                ratios.append(torch.exp((log_m - log_0) / max(length, 1)))
            group = torch.cat(rewards)
            advantages = (group - group.mean()) / (group.std(unbiased=False) + 1e-6)
            ratio = torch.stack(ratios)
            terms.append(-torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean())
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    assert float(loss.detach().abs()) > 0


def test_the_first_step_has_no_tree_loss(tmp_path, target, batch, rows):
    trainer = GTOTrainer(new_draft(target), target, config(tmp_path), rows)
    trainer.log = lambda *_: None
    loss = trainer.tree_loss(trainer.model, read_texts(target, batch.ids), batch.supervised)
    assert float(loss.detach()) == 0.0


def test_omega_zero_is_stock_training_with_the_token_loss_bit_for_bit(tmp_path, target, rows):
    class TokenTrainer(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            text = read_texts(target, inputs["ids"])
            unrolled = unroll_text(model, text.ids, text.features, text.logits, inputs["supervised"], 2)
            return eagle3_loss(unrolled)

    ours = trained(tmp_path / "ours", target, rows, gto_omega=0.0)
    args = config(tmp_path / "stock", gto_omega=0.0)
    stock = TokenTrainer(model=new_draft(target), args=args, train_dataset=rows, data_collator=collate)
    stock.train()
    for name, value in weights(stock).items():
        assert torch.equal(value, weights(ours)[name]), name


def test_runs_repeat_and_the_tree_loss_changes_them(tmp_path, target, rows):
    longest = {"gto_accepted_path": "max_expected"}  # a random draft has no greedily accepted path
    first, second = (trained(tmp_path / str(n), target, rows, **longest) for n in (1, 2))
    plain = trained(tmp_path / "plain", target, rows, gto_omega=0.0)
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    assert any(not torch.equal(value, weights(plain)[name]) for name, value in weights(first).items())


def test_the_reference_stays_what_the_draft_was(tmp_path, target, rows):
    start = copy.deepcopy(new_draft(target).state_dict())
    trainer = trained(tmp_path, target, rows)
    assert all(torch.equal(value, start[name]) for name, value in trainer.reference.state_dict().items())
    assert any(not torch.equal(value, start[name]) for name, value in weights(trainer).items())


def test_a_group_of_one_is_token_training(tmp_path, target, rows):
    single = trained(tmp_path / "single", target, rows, gto_group_size=1)
    plain = trained(tmp_path / "plain", target, rows, gto_omega=0.0)
    for name, value in weights(single).items():
        torch.testing.assert_close(value, weights(plain)[name])


def test_controls_keep_the_advantages_but_not_their_places(tmp_path, target, rows):
    advantages = group_advantages(torch.randn(2, 2, 4).double(), torch.ones(2, 2, 4, dtype=torch.bool))
    mask = torch.ones(2, 2, 4, dtype=torch.bool)
    flipped = GTOTrainer(new_draft(target), target, config(tmp_path, gto_control="flipped"), rows)
    assert torch.equal(flipped.controlled(advantages, mask), -advantages)
    shuffled = GTOTrainer(new_draft(target), target, config(tmp_path, gto_control="shuffled"), rows)
    moved = shuffled.controlled(advantages, mask)
    assert not torch.equal(moved, advantages)
    assert torch.equal(moved.sort(dim=-1).values, advantages.sort(dim=-1).values)


def test_shuffling_leaves_missing_places_behind(tmp_path, target, rows):
    trainer = GTOTrainer(new_draft(target), target, config(tmp_path, gto_control="shuffled"), rows)
    mask = torch.tensor([[[True, True, True, False]]])
    moved = trainer.controlled(torch.tensor([[[1.0, 2.0, 3.0, 0.0]]]), mask)
    assert sorted(moved[mask].tolist()) == [1.0, 2.0, 3.0]


def test_clear_errors(tmp_path, target, rows):
    with pytest.raises(ValueError, match="gto_control is 'random'"):
        GTOTrainer(new_draft(target), target, config(tmp_path, gto_control="random"), rows)
    other = type(target)(target.model, (0, 1))
    with pytest.raises(ValueError, match="features of width"):
        GTOTrainer(new_draft(target), other, config(tmp_path), rows)


LONGEST = {"gto_accepted_path": "max_expected"}  # a random draft has no greedily accepted path


def test_evaluation_gives_the_loss_and_leaves_training_as_it_is(tmp_path, target, rows):
    plain = trained(tmp_path / "plain", target, rows, **LONGEST)
    args = config(tmp_path / "ours", eval_strategy="steps", eval_steps=1, **LONGEST)
    ours = GTOTrainer(new_draft(target), target, args, rows, eval_dataset=rows[:2])
    ours.train()
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(ours)[name]), name
    losses = [entry["eval_loss"] for entry in ours.state.log_history if "eval_loss" in entry]
    assert len(losses) == 3
    ours.generator.manual_seed(ours.args.seed)
    with torch.no_grad():
        ours.model.eval()
        expected = ours.compute_loss(ours.model, collate(rows[:2]))
    assert losses[-1] == pytest.approx(float(expected))
    logged = sum("gto/reward" in entry for entry in ours.state.log_history)
    assert logged == sum("gto/reward" in entry for entry in plain.state.log_history) == 3


def test_a_stop_leaves_no_trace(tmp_path, target, rows):
    saved = {"save_strategy": "steps", "save_steps": 2, **LONGEST}
    trained(tmp_path / "part", target, rows, max_steps=2, lr_scheduler_type="constant", **saved)
    whole = trained(tmp_path / "whole", target, rows, max_steps=4, lr_scheduler_type="constant", **LONGEST)
    args = config(tmp_path / "part", max_steps=4, lr_scheduler_type="constant", **saved)
    resumed = GTOTrainer(new_draft(target), target, args, rows)
    resumed.train(resume_from_checkpoint=str(tmp_path / "part" / "checkpoint-2"))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_a_dataset_keeps_its_columns_by_default(tmp_path, target, rows):
    lists = [{name: value.tolist() for name, value in row.items()} for row in rows]
    data = Dataset.from_list([{**row, "note": 1} for row in lists]).with_format("torch")
    columns = trained(tmp_path / "data", target, data)
    plain = trained(tmp_path / "rows", target, rows)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(columns)[name]), name


@pytest.mark.parametrize(
    "field",
    [
        {"gradient_checkpointing": True},
        {"label_smoothing_factor": 0.1},
        {"neftune_noise_alpha": 1.0},
        {"remove_unused_columns": True},
        {"torch_compile": True},
        {"use_liger_kernel": True},
    ],
    ids=lambda field: next(iter(field)),
)
def test_arguments_that_a_draft_has_no_use_for(tmp_path, field):
    with pytest.raises(ValueError, match=f"has no use for {next(iter(field))}"):
        config(tmp_path, **field)


def test_the_example_of_the_readme_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conversations.txt").write_text("<bos> w1 w2 w3 w4 w5 w6 w7\n" * 2)
    trainer = run_example("gto", {"Qwen/Qwen3-1.7B": tiny_policy(tmp_path / "policy")})["trainer"]
    assert trainer.state.global_step == 3
    assert trainer.state.log_history[-1]["train_loss"] > 0
