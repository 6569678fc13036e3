import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.models import pocket
from common.models.pocket import ModelUnavailableError, build_tokenizer
from common.models.recipe import ModelShape, build_model
from common.tasks.opchain import ANS, BOS, EOS, PAD, VOCABULARY

TINY = ModelShape(hidden=16, layers=1, heads=2, ffn=16)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(VOCABULARY, PAD, BOS, EOS)


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pocket") / "tiny"
    pocket.save_pocket(build_model(TINY, tokenizer, 0), tokenizer, folder, {"data_seed": 0})
    return folder


def test_ids_are_places_in_the_vocabulary_and_no_token_is_added(tokenizer):
    prompt = f"{BOS} 3 + 10 ="
    ids = tokenizer(prompt)["input_ids"]
    assert ids == [VOCABULARY.index(token) for token in prompt.split()]
    assert tokenizer.decode(ids) == prompt
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


def test_only_the_three_special_tokens_are_skipped(tokenizer):
    ids = tokenizer(f"{BOS} so {ANS} 4 {EOS} {PAD}")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == f"so {ANS} 4"


def test_padding_goes_left(tokenizer):
    batch = tokenizer([f"{BOS} 1 =", f"{BOS} 1 + 2 ="], padding=True, return_tensors="pt")
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1] * 5]
    assert batch["input_ids"][0, :2].tolist() == [0, 0]


def test_an_unknown_word_is_an_error(tokenizer):
    with pytest.raises(Exception, match="UNK"):
        tokenizer(f"{BOS} 11 =")


def test_bad_vocabularies():
    with pytest.raises(ValueError, match="twice"):
        build_tokenizer(["a", "a"], "a", "a", "a")
    with pytest.raises(ValueError, match="<eos>"):
        build_tokenizer(["a"], "a", "a", "<eos>")


def test_the_default_model_is_a_pocket_model(tokenizer):
    model = build_model(ModelShape(), tokenizer, 0)
    assert 50_000 < model.num_parameters() < pocket.MAX_PARAMETERS
    assert model.config.vocab_size == len(VOCABULARY)
    assert model.dtype == torch.float32


def test_the_seed_fixes_the_weights_and_the_global_generator_is_left_alone(tokenizer):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = (build_model(TINY, tokenizer, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden", 0),
        ("layers", 0),
        ("heads", 3),
        ("heads", 16),
        ("ffn", -1),
        ("kv_heads", 3),
        ("head_dim", 7),
    ],
)
def test_bad_shapes_name_the_field(tokenizer, field, value):
    with pytest.raises(ValueError, match=f"ModelShape.{field}"):
        build_model(replace(TINY, **{field: value}), tokenizer, 0)


def test_round_trip_by_our_loader_and_by_the_auto_classes(saved, tokenizer):
    original = build_model(TINY, tokenizer, 0).state_dict()
    for model, words in (
        pocket.load_pocket(saved),
        pocket.load_policy(str(saved)),
        (AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)),
    ):
        loaded = model.state_dict()
        assert all(torch.equal(loaded[name], original[name]) for name in original)
        assert words(f"{BOS} 1 + 2 =")["input_ids"] == tokenizer(f"{BOS} 1 + 2 =")["input_ids"]
        assert words.padding_side == "left"
        assert (words.pad_token, words.eos_token) == (PAD, EOS)
    assert json.loads((saved / "card.json").read_text()) == {"data_seed": 0}


def test_only_safetensors_are_written_and_read(saved, tmp_path):
    assert {path.suffix for path in saved.iterdir()} == {".safetensors", ".json"}
    (tmp_path / "config.json").write_text((saved / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnavailableError, match=r"cannot load MODEL=.*Fix:"):
        pocket.load_policy(str(tmp_path))


def test_a_large_model_is_not_saved_as_a_committed_checkpoint(tokenizer, tmp_path):
    model = build_model(ModelShape(hidden=128, ffn=256), tokenizer, 0)
    with pytest.raises(ValueError, match="at most 250000 parameters"):
        pocket.save_pocket(model, tokenizer, tmp_path / "large", {})
    assert not (tmp_path / "large").exists()


def test_an_unknown_pocket_model_names_the_known_ones(monkeypatch, saved):
    monkeypatch.setattr(pocket, "POCKET_FOLDER", saved.parent)
    assert pocket.pocket_path("tiny") == saved
    with pytest.raises(
        ModelUnavailableError, match=r"no pocket model 'opchain-9'; committed: tiny .*make pocket-models"
    ):
        pocket.load_pocket("opchain-9")


def test_without_a_network_the_error_names_the_fix(monkeypatch):
    def offline(*_, trust_remote_code, use_safetensors, **__):
        assert not trust_remote_code
        assert use_safetensors
        raise OSError("We couldn't connect to the hub.\nlong explanation")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", offline)
    with pytest.raises(
        ModelUnavailableError, match=r"MODEL=Qwen/Qwen3-8B: We couldn't .* `hf download Qwen/Qwen3-8B`"
    ) as error:
        pocket.load_policy("Qwen/Qwen3-8B")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_committed_checkpoints(seed):
    folder = pocket.pocket_path(f"opchain-{seed}")
    model, tokenizer = pocket.load_pocket(f"opchain-{seed}")
    card = json.loads((folder / "card.json").read_text())
    assert model.num_parameters() == card["parameters"] <= pocket.MAX_PARAMETERS
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1e6
    assert tuple(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))) == VOCABULARY
    assert card["data_seed"] == seed
    assert card["recipe"]["steps"] == 1500


def test_trl_trains_a_pocket_model_on_plain_string_prompts(saved, tmp_path):
    """Prompts and completions reach the reward as the tokenizer's own ids, and a step changes the weights."""
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    model, tokenizer = pocket.load_pocket(saved)
    seen = []

    def reward(prompts, completion_ids, **_):
        seen.extend(zip(prompts, completion_ids, strict=True))
        return [float(sum(ids)) for ids in completion_ids]

    arguments = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=5,
        learning_rate=1e-2,
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=0,
    )
    prompts = datasets.Dataset.from_dict({"prompt": [f"{BOS} 3 + 4 =", f"{BOS} 3 + 4 * 2 ="]})
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trl.GRPOTrainer(
        model=model, reward_funcs=reward, args=arguments, train_dataset=prompts, processing_class=tokenizer
    ).train()
    assert {prompt for prompt, _ in seen} == set(prompts["prompt"])
    assert all(0 < len(ids) <= 5 for _, ids in seen)
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
