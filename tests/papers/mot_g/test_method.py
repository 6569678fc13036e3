"""Mixtures, their surrogates, the hook, and the trainer: with one token it is `GroupTrainer`, bit for bit."""

from typing import Any

import pytest
import torch

from common.models.recipe import ModelShape, build_model
from common.models.stepwise import Draw, decode
from common.rl import testing
from common.rl.config import GroupConfig
from common.rl.trainer import GroupTrainer
from papers.mot_g.method import (
    Mixing,
    MoTGConfig,
    MoTGTrainer,
    Thinking,
    mixture_log_prob,
    mixture_step,
)

END = 5  # "w2" of the testing vocabulary
DIRICHLET = {"selector": "top_k", "aggregator": "dirichlet"}
ONE_UPDATE = {"steps_per_generation": 1, "per_device_train_batch_size": 8, "max_steps": 6, "motg_end": "w2"}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def probabilities():
    return torch.randn(500, 12, generator=seeded()).mul(2).softmax(-1)


@pytest.fixture(scope="module")
def model():
    shape = ModelShape(hidden=16, layers=1, heads=2, ffn=32)
    return build_model(shape, testing.pocket_tokenizer(), seed=0)


def written(model: Any, hook: Any, steps: int = 6) -> Any:
    prompts = torch.tensor([[1, 6, 9]] * 16)
    return decode(model, prompts, torch.ones_like(prompts), steps, hook, 2, 0)


def test_one_different_token_is_the_plain_sampler_with_its_random_numbers(model):
    mixture = Thinking(Mixing(tokens=1), [END], 16, 32, seeded(3))
    plain = Draw(0.9, generator=seeded(3))
    assert torch.equal(written(model, mixture).ids, written(model, plain).ids)


def test_one_of_the_top_k_is_greedy_decoding(model):
    greedy = Thinking(Mixing(tokens=1, **DIRICHLET), [31], 16, 32, seeded(3))
    assert torch.equal(written(model, greedy).ids, written(model, Draw(0.0)).ids)


def test_a_step_is_made_of_its_candidates(probabilities):
    for options in ({}, DIRICHLET, {"aggregator": "uniform"}):
        mixture = mixture_step(probabilities, Mixing(tokens=3, **options), seeded())
        assert mixture.weights.sum(dim=-1) == pytest.approx(torch.ones(500), abs=1e-5)
        assert (mixture.candidates == mixture.token[:, None]).any(dim=1).all()
        assert all(len(set(row.tolist())) == 3 for row in mixture.candidates)
    with pytest.raises(ValueError, match="13 candidates"):
        mixture_step(probabilities, Mixing(tokens=13))


def test_draws_are_nested_in_k_and_have_the_right_inclusion():
    row = torch.tensor([0.5, 0.3, 0.15, 0.05])
    many = row.expand(40000, 4)
    two, three = (mixture_step(many, Mixing(tokens=k), seeded(1)).candidates for k in (2, 3))
    assert torch.equal(two, three[:, :2])
    included = torch.bincount(two.flatten(), minlength=4) / len(many)
    first = row / (1 - row)
    exact = row * (1 + first.sum() - first)
    assert included == pytest.approx(exact, abs=0.01)


def test_weights_are_probabilities_or_have_them_as_their_mean():
    row = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).expand(20000, 4)
    fixed = mixture_step(row, Mixing(tokens=2, selector="top_k"), seeded()).weights
    assert fixed[0] == pytest.approx(torch.tensor([0.625, 0.375]))
    drawn = mixture_step(row, Mixing(tokens=2, **DIRICHLET), seeded()).weights
    assert drawn.mean(dim=0) == pytest.approx(torch.tensor([0.625, 0.375]), abs=0.02)


def test_all_surrogates_are_the_log_probability_of_one_token(probabilities):
    logs, one = probabilities.log(), torch.arange(500)[:, None] % 12
    for surrogate in ("multi", "plackett_luce"):
        assert mixture_log_prob(logs, one, surrogate) == pytest.approx(logs.gather(-1, one)[:, 0], abs=1e-6)
    assert torch.equal(mixture_log_prob(logs, one, "single", one[:, 0]), logs.gather(-1, one)[:, 0])
    assert mixture_log_prob(logs, one.expand(500, 3), "multi") == pytest.approx(
        logs.gather(-1, one)[:, 0], abs=1e-5
    )
    with pytest.raises(ValueError, match="representative"):
        mixture_log_prob(logs, one, "single")


def test_ordered_draws_have_the_probability_of_successive_draws():
    logs = torch.tensor([0.5, 0.3, 0.2]).log()
    assert mixture_log_prob(logs, torch.tensor([0, 2]), "plackett_luce").exp() == pytest.approx(0.5 * 0.4)
    certain = torch.tensor([1.0, 1e-30, 1e-30], requires_grad=True)
    value = mixture_log_prob(certain.log(), torch.tensor([0, 1]), "plackett_luce")
    value.backward()
    assert value.detach().exp() == pytest.approx(0.5, abs=1e-5)
    assert certain.grad.isfinite().all()


def test_thoughts_end_with_the_visible_text_and_answers_are_plain(model):
    hook = Thinking(Mixing(), [END], 16, 32, seeded())
    decoded = written(model, hook, 8)
    for ids, thinking, mask in zip(decoded.ids, decoded.log["thinking"], decoded.mask, strict=True):
        length = int(mask.sum())
        text = ids[:length].tolist()
        expected = text.index(END) + 1 if END in text else length
        assert thinking[:length].tolist() == [1] * expected + [0] * (length - expected)


def test_two_visible_tokens_may_spell_the_end(model):
    hook = Thinking(Mixing(tokens=1), [7, 7], 16, 32, seeded())
    decoded = written(model, hook, 8)
    for ids, thinking in zip(decoded.ids.tolist(), decoded.log["thinking"].tolist(), strict=True):
        spelled = [at for at in range(2, 8) if ids[at - 2 : at] == [7, 7]]
        assert all(not flag for at in spelled for flag in thinking[at:])


def test_the_model_reads_the_mixture_and_controls_read_what_they_say(model):
    found = {}
    for read in ("mixture", "random_partners", "noise", "token"):
        decoded = written(model, Thinking(Mixing(read=read), [END], 16, 32, seeded()), 2)
        found[read] = decoded
        own = decoded.log["candidates"] == decoded.ids[..., None]
        assert torch.equal(decoded.log["partners"][own], decoded.log["candidates"][own])
    same = {name: torch.equal(one.log["partners"], one.log["candidates"]) for name, one in found.items()}
    assert same == {"mixture": True, "random_partners": False, "noise": True, "token": True}
    entropies = {name: one.log["entropy"][:, 1] for name, one in found.items()}
    assert all(not torch.equal(entropies["mixture"], entropies[name]) for name in ("noise", "token"))


def run(folder: Any, kind: Any = MoTGTrainer, config: Any = MoTGConfig, **fields: Any) -> Any:
    trainer = testing.pocket_trainer(kind, config, folder, **{**ONE_UPDATE, "motg_kl": 0.0, **fields})
    trainer.train()
    return trainer


def test_with_one_token_it_is_the_group_trainer(tmp_path):
    neutral = run(tmp_path / "a", motg_tokens=1, decoder="lean", max_steps=8)
    plain = testing.pocket_trainer(
        GroupTrainer,
        GroupConfig,
        tmp_path / "b",
        **{name: value for name, value in ONE_UPDATE.items() if not name.startswith("motg")},
        **{"decoder": "lean"},
    )
    plain.args.max_steps = 8
    plain.train()
    testing.assert_bitwise(testing.weights(neutral), testing.weights(plain))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"motg_surrogate": "plackett_luce", "motg_kl": 0.1},
        {"motg_selector": "top_k", "motg_aggregator": "dirichlet"},
        {"motg_read": "random_partners"},
        {"motg_selector": "top_k", "motg_read": "token", "motg_surrogate": "single"},
        {"motg_embedding_gradient": True, "motg_tokens": 4},
    ],
)
def test_every_variant_trains_and_repeats(tmp_path, fields):
    first, second = (run(tmp_path / name, **fields, max_steps=3) for name in "ab")
    start = testing.pocket_trainer(MoTGTrainer, MoTGConfig, tmp_path / "c", **ONE_UPDATE)
    testing.assert_bitwise(testing.weights(first), testing.weights(second))
    with pytest.raises(AssertionError):
        testing.assert_bitwise(testing.weights(first), testing.weights(start))


def test_thoughts_of_whole_tokens_are_scored_as_text(tmp_path):
    """Weights of 1 on the visible token: inputs and surrogates are those of the text."""
    trainer = testing.pocket_trainer(MoTGTrainer, MoTGConfig, tmp_path, **ONE_UPDATE, temperature=0.8)
    prompts, written = torch.tensor([[0, 1, 4], [1, 5, 6]]), torch.tensor([[7, END, 9, 2], [8, 9, 2, 0]])
    batch = {
        "prompt_ids": prompts,
        "prompt_mask": (prompts != 0).long(),
        "completion_ids": written,
        "completion_mask": (written != 0).long(),
        "motg_candidates": written[..., None],
        "motg_partners": torch.stack([written, written * 0], dim=-1),
        "motg_weights": torch.tensor([1.0, 0.0]).expand(2, 4, 2),
        "motg_thinking": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]),
    }
    own = trainer.surrogates(trainer.model, trainer.mixed_inputs(batch), batch)
    mask = batch["completion_mask"].bool()
    assert torch.allclose(own[mask], trainer.score_samples(batch)[0][mask], atol=1e-5)


def test_the_reference_is_the_first_policy_and_costs_nothing_there(tmp_path):
    trainer = run(tmp_path, motg_kl=0.1, learning_rate=0.1)
    logged = [entry["kl"] for entry in trainer.state.log_history if "kl" in entry]
    assert logged[0] == 0.0
    assert logged[-1] > 0.0


def test_a_resumed_run_repeats_the_whole(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3, "exact_resume": True, "max_steps": 6}
    whole = run(tmp_path, **saving)
    again = testing.pocket_trainer(MoTGTrainer, MoTGConfig, tmp_path, **ONE_UPDATE | saving, motg_kl=0.0)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    testing.assert_bitwise(testing.weights(whole), testing.weights(again))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"motg_tokens": 0}, "at least one token"),
        ({"motg_selector": "nucleus"}, "unknown selector"),
        ({"motg_surrogate": "all"}, "motg_surrogate"),
        ({"motg_kl": -1.0}, "motg_kl"),
        ({"motg_selector": "top_k", "motg_surrogate": "plackett_luce"}, "plackett_luce"),
        ({"motg_read": "noise"}, "noise"),
        ({"beta": 0.1}, "beta"),
        ({"dynamic_sampling_rounds": 1}, "dynamic"),
    ],
)
def test_a_wrong_setting_is_refused(tmp_path, fields, named):
    with pytest.raises(ValueError, match=named):
        MoTGConfig(**{**testing.NEUTRAL, "output_dir": str(tmp_path), **fields})


def test_several_updates_on_a_rollout_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one optimizer step"):
        testing.pocket_trainer(MoTGTrainer, MoTGConfig, tmp_path, motg_end="w2")
