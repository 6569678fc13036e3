import itertools

import pytest
import torch
from scipy import stats
from transformers import Qwen3Config, Qwen3ForCausalLM

from common.models import decoding
from common.models.decoding import sample
from common.models.pocket import build_tokenizer
from common.models.recipe import ModelShape, build_model

WORDS = ("<pad>", "<bos>", "<eos>", "a", "b", "c")
PAD, EOS = 0, 2


@pytest.fixture(scope="module")
def model():
    """A random model with a spread of probabilities that depends on the context."""
    shape = ModelShape(hidden=16, layers=2, heads=2, ffn=32, context=32)
    model = build_model(shape, build_tokenizer(WORDS, "<pad>", "<bos>", "<eos>"), seed=0).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                weight.mul_(25.0 if "lm_head" not in name else 12.0)
    return model


@pytest.fixture(scope="module")
def prompts():
    ids = torch.tensor([[0, 0, 1, 3], [0, 0, 1, 3], [1, 4, 5, 3], [0, 1, 5, 4], [0, 0, 1, 3], [1, 3, 3, 3]])
    return ids, (ids != PAD).long()


def draw(model, ids, mask, length=8, temperature=1.0, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return sample(model, ids, mask, length, temperature, EOS, PAD, generator, **options)


def next_law(model, tokens, temperature=1.0):
    """Oracle: a full forward without cache or padding."""
    with torch.no_grad():
        return torch.softmax(model(input_ids=torch.tensor([tokens])).logits[0, -1].double() / temperature, -1)


@pytest.mark.parametrize("compact_below", [0.0, 0.5, 1.1])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_greedy_equals_generate(model, monkeypatch, compact_below, attention):
    monkeypatch.setattr(decoding, "COMPACT_BELOW", compact_below)
    model.set_attn_implementation(attention)
    grid = torch.tensor(list(itertools.product([3, 4, 5], repeat=3)))
    ids = torch.cat([torch.full((27, 1), 1), grid], dim=1)
    ids[::2] = torch.cat([torch.zeros(14, 1, dtype=torch.long), ids[::2, :-1]], dim=1)
    mask = (ids != PAD).long()
    expected = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )[:, 4:]
    result = draw(model, ids, mask, length=12, temperature=0)
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(result.ids, expected, rtol=0, atol=0)
    lengths = result.mask.sum(1)
    assert lengths.min() < lengths.max() == 12, "the test needs both finished and truncated rows"


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampled_sequences_follow_the_softmax(model, temperature):
    """Chi-square over all continuations of two tokens, against enumeration by full forwards."""
    prompt, draws = [1, 3], 20_000
    law = {}
    for first, p in enumerate(next_law(model, prompt, temperature).tolist()):
        if first == EOS:
            law[first, PAD] = p
            continue
        for second, q in enumerate(next_law(model, [*prompt, first], temperature).tolist()):
            law[first, second] = p * q
    ids = torch.tensor([[0, *prompt]]).expand(draws, 3)
    mask = (ids != PAD).long()
    result = draw(model, ids, mask, length=2, temperature=temperature)
    seen = dict.fromkeys(law, 0)
    for row in result.ids.tolist():
        seen[tuple(row)] += 1
    cells = [[key] for key, p in law.items() if p * draws >= 5]
    rare = [key for key, p in law.items() if p * draws < 5]
    cells += [rare] if rare else []
    observed = [sum(seen[key] for key in cell) for cell in cells]
    expected = [sum(law[key] for key in cell) * draws for cell in cells]
    assert len(cells) >= 8
    assert stats.chisquare(observed, expected).pvalue > 0.01


def test_entropies_are_those_of_the_law_that_was_sampled(model, prompts):
    ids, mask = prompts
    result = draw(model, ids, mask, temperature=0.7, entropies=True)
    for row in range(len(ids)):
        tokens = ids[row][mask[row].bool()].tolist()
        for step in range(int(result.mask[row].sum())):
            law = next_law(model, tokens, 0.7)
            entropy = float(torch.special.entr(law).sum())
            assert float(result.entropies[row, step]) == pytest.approx(entropy, abs=1e-4)
            tokens.append(int(result.ids[row, step]))
    assert (result.entropies[result.mask == 0] == 0).all()
    assert draw(model, ids, mask).entropies is None


def test_mask_ends_with_the_end_token_and_padding_follows(model, prompts):
    ids, mask = (tensor.repeat(30, 1) for tensor in prompts)
    result = draw(model, ids, mask)
    ended = 0
    for tokens, valid in zip(result.ids.tolist(), result.mask.tolist(), strict=True):
        length = sum(valid)
        assert valid == [1] * length + [0] * (len(valid) - length)
        assert EOS not in tokens[: length - 1]
        assert set(tokens[length:]) <= {PAD}
        assert tokens[length - 1] == EOS or length == 8
        ended += tokens[length - 1] == EOS
    assert 0 < ended < len(ids)


def test_the_generator_alone_decides(model, prompts):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (draw(model, *prompts, seed=seed).ids for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_a_repeated_prompt_is_read_once(model, prompts, monkeypatch):
    widths = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **inputs: widths.append(inputs["input_ids"].shape) or forward(**inputs)
    )
    ids, mask = (tensor.repeat_interleave(5, dim=0) for tensor in prompts)
    draw(model, ids, mask, length=3)
    assert widths[0] == (5, 4), "rows 0 and 1 are one prompt; row 4 repeats it later and is read again"
    assert widths[1][1] == 1


def test_all_rows_finished_stops_early(model, prompts):
    ids, mask = prompts
    always = float("inf")
    bias = torch.zeros(len(WORDS)).index_fill(0, torch.tensor([EOS]), always)
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    result = draw(model, ids, mask, temperature=0)
    handle.remove()
    assert result.ids.tolist() == [[EOS]] * len(ids)
    assert result.mask.tolist() == [[1]] * len(ids)


def test_completions_can_be_trained_on(model, prompts):
    ids, mask = prompts
    result = draw(model, ids, mask)
    loss = model(input_ids=torch.cat([ids, result.ids], 1)).logits.logsumexp(-1).mean()
    loss.backward()
    assert model.lm_head.weight.grad.abs().sum() > 0
    model.zero_grad()


@pytest.mark.parametrize(("length", "temperature"), [(0, 1.0), (3, -0.1)])
def test_bad_arguments(model, prompts, length, temperature):
    with pytest.raises(ValueError, match="max_new_tokens ≥ 1 and temperature ≥ 0"):
        draw(model, *prompts, length=length, temperature=temperature)


def test_right_padding_is_refused(model):
    ids = torch.tensor([[1, 3, 0]])
    with pytest.raises(ValueError, match="padded on the left"):
        draw(model, ids, (ids != PAD).long())


def test_sliding_attention_is_refused(prompts):
    config = Qwen3Config(
        vocab_size=6,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        intermediate_size=16,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=1,
    )
    with pytest.raises(ValueError, match="full attention in every layer"):
        draw(Qwen3ForCausalLM(config), *prompts)


@pytest.mark.parametrize("top_p", [0.3, 0.7, 0.95])
def test_a_nucleus_is_the_smallest_set_of_likeliest_tokens_that_reaches_top_p(model, top_p):
    """The first token's frequencies against the law cut by hand and normalised."""
    law = next_law(model, [1, 3])
    order = law.argsort(descending=True).tolist()
    size = next(n for n in range(1, len(order) + 1) if law[order[:n]].sum() >= top_p)
    expected = torch.zeros_like(law)
    expected[order[:size]] = law[order[:size]] / law[order[:size]].sum()
    ids = torch.tensor([[1, 3]]).repeat(4000, 1)
    found = draw(model, ids, torch.ones_like(ids), length=1, top_p=top_p).ids[:, 0]
    counts = torch.bincount(found, minlength=len(law))
    assert counts[expected == 0].sum() == 0
    inside = expected > 0
    if inside.sum() > 1:
        assert stats.chisquare(counts[inside].numpy(), 4000 * expected[inside].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("top_p", [0.0, 1.1])
def test_an_impossible_nucleus_is_refused(model, prompts, top_p):
    with pytest.raises(ValueError, match="0 < top_p"):
        draw(model, *prompts, top_p=top_p)
