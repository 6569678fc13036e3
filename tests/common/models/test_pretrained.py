"""SmolLM2 and MiniLM as they come from their packages; skipped, by name, where these are not installed."""

import json

import pytest
import torch

from common.models import pretrained
from common.models.pocket import load_policy
from common.study.assets import missing, reason
from common.study.models import model_folder


def needs(name):
    return pytest.mark.skipif(name in missing(), reason=reason([name]))


@pytest.fixture(scope="module")
def folder():
    return pretrained.smollm2_folder()


@needs("smollm2")
@pytest.mark.slow
def test_the_converted_model_is_the_one_of_the_package(folder):
    """Layer by layer, to the rounding of bfloat16."""
    model, tokenizer = pretrained.load_smollm2()
    assert (model.config.num_hidden_layers, model.config.hidden_size, len(tokenizer)) == (30, 576, 49152)
    assert model.num_parameters() == 134515008
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.training
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    written = model.generate(ids, do_sample=False, max_new_tokens=12)
    assert "Paris" in tokenizer.decode(written[0, ids.shape[1] :])


@needs("smollm2")
def test_a_folder_is_what_every_loader_takes(folder):
    model, tokenizer = load_policy(str(folder))
    assert next(model.parameters()).dtype == torch.float32
    assert tokenizer.padding_side == "left"
    assert tokenizer.pad_token_id == 2
    assert pretrained.load_smollm2(torch.bfloat16)[0].dtype == torch.bfloat16


@pytest.fixture
def conversions(tmp_path, monkeypatch):
    """A conversion that writes one small file, in a store of its own; counts how often it ran."""
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(pretrained, "verified", lambda name: tmp_path / name)
    ran = []

    def convert(source, place):
        ran.append(source.name)
        place.mkdir()
        (place / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(pretrained, "_convert", convert)
    return ran


def test_a_model_is_converted_once(conversions):
    assert pretrained.smollm2_folder() == pretrained.smollm2_folder() == model_folder("smollm2")
    assert conversions == ["smollm2"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "model.safetensors").write_bytes(b"weight"),
        lambda place: (place / "model.safetensors").unlink(),
        lambda place: (place / "complete.json").unlink(),
        lambda place: (place / "complete.json").write_text(json.dumps({})[:1]),
        lambda place: (place / "more.json").write_text("{}"),
    ],
    ids=["cut", "gone", "no marker", "half a marker", "a file more"],
)
def test_a_damaged_folder_is_made_again(conversions, damage):
    place = pretrained.smollm2_folder()
    damage(place)
    assert (pretrained.smollm2_folder() / "model.safetensors").read_bytes() == b"weights"
    assert sorted(path.name for path in place.iterdir()) == ["complete.json", "model.safetensors"]
    assert len(conversions) == 2


@needs("minilm")
def test_paraphrases_are_near_and_other_sentences_are_far():
    texts = [
        "A man is eating food.",
        "Someone is having a meal.",
        "The stock market fell sharply today.",
        "Share prices dropped a lot this afternoon.",
        "How do I reset my password?",
        "I forgot my login and need a new one.",
    ]
    vectors = pretrained.embed(texts)
    assert vectors.shape == (6, 384)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6))
    cosines = vectors @ vectors.T
    for first in range(0, 6, 2):
        others = [index for index in range(6) if index not in (first, first + 1)]
        assert cosines[first, first + 1] > 0.3 + cosines[first, others].max()


@needs("minilm")
def test_an_embedding_does_not_depend_on_its_neighbours_and_repeats():
    texts = ["Rain.", "A much longer sentence about the weather in the mountains in late autumn."]
    together = pretrained.embed(texts)
    assert torch.equal(together, pretrained.embed(texts))
    torch.testing.assert_close(pretrained.embed(texts, batch=1), together, atol=1e-5, rtol=0)
