"""The hooked decoder against the lean sampler, `generate`, and full forwards with hooks of torch."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from common.models import decoding
from common.models.hidden_states import not_finite
from common.models.stepwise import Decoded, Draw, Hook, State, Step, decode
from tests.common.models.architectures import build

PAD, LENGTH, LAYERS = 0, 8, 2
ENDS = (2, 7, 11, 13, 19, 23)
RAGGED = [[5, 6], [5, 6], [9], [4, 30, 17, 21], [8, 8, 35], [5, 6]]
NAMES = ("llama", "qwen3", "gpt2", "gpt_neox", "opt")


@pytest.fixture(scope="module", params=NAMES)
def any_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """A tiny float64 decoder of each family."""
    return build(request.param)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    """One of them."""
    return build("qwen3")


def padded(prompts: list[list[int]], right: bool = False) -> tuple[Tensor, Tensor]:
    """Ids and mask."""
    width = max(map(len, prompts))
    gaps = [[PAD] * (width - len(prompt)) for prompt in prompts]
    pairs = list(zip(prompts, gaps, strict=True))
    ids = [prompt + gap if right else gap + prompt for prompt, gap in pairs]
    mask = [[1] * len(p) + [0] * len(g) if right else [0] * len(g) + [1] * len(p) for p, g in pairs]
    return torch.tensor(ids), torch.tensor(mask)


def run(model, prompts=RAGGED, hook=None, right=False, **options) -> Decoded:
    """Greedy unless a hook is given."""
    return decode(model, *padded(prompts, right), LENGTH, hook or Draw(0.0), ENDS, PAD, **options)


def texts(prompts: list[list[int]], found: Decoded) -> list[Tensor]:
    """Prompt and completion of each row, without padding."""
    pairs = zip(prompts, found.ids, found.mask.bool(), strict=True)
    return [torch.tensor([[*prompt, *ids[mask].tolist()]]) for prompt, ids, mask in pairs]


def logging(hook: Hook) -> Hook:
    """The hook, with the logits in the log."""

    def logged(logits: Tensor, state: State) -> Step:
        state.log["logits"] = logits
        return hook(logits, state)

    return logged


def by_row(seeds: list[int]) -> Hook:
    """Sampling in which each row has a generator of its own."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def hook(logits: Tensor, state: State) -> Step:
        rates = [torch.empty_like(logits[0]).exponential_(generator=generators[row]) for row in state.rows]
        return Step((logits.softmax(-1) / torch.stack(rates)).argmax(-1))

    return hook


def halves(logits: Tensor, state: State) -> Step:
    """A mixture of the two likeliest tokens by their probabilities; the likelier one stands in the text."""
    top = logits.softmax(-1).topk(2)
    weights = top.values / top.values.sum(-1, keepdim=True)
    state.log["weights"], state.log["support"] = weights, top.indices
    return Step(top.indices[:, 0], (weights[..., None] * state.embed(top.indices)).sum(1))


def stack_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    decoder = model.get_decoder()
    return decoder.h if hasattr(decoder, "h") else decoder.layers


@pytest.mark.parametrize("compact_below", [0.0, 0.5, 1.1])
@pytest.mark.parametrize("taps", [(), (0, 1, 2)])
@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (1.0, 1.0), (0.7, 0.8)])
def test_off_or_recording_it_is_the_lean_sampler_bit_for_bit(
    model, monkeypatch, compact_below, taps, temperature, top_p
):
    """Ids and all logits, from the same generator."""
    seen: list[Tensor] = []
    pick = decoding._pick
    monkeypatch.setattr(decoding, "COMPACT_BELOW", compact_below)
    monkeypatch.setattr(decoding, "_pick", lambda logits, *rest: seen.append(logits) or pick(logits, *rest))
    prompts = padded(RAGGED * 3)
    generator = torch.Generator().manual_seed(1)
    plain = decoding.sample(model, *prompts, LENGTH, temperature, ENDS, PAD, generator, top_p=top_p)
    before = list(seen)
    hook = Draw(temperature, top_p, generator.manual_seed(1))
    found = decode(model, *prompts, LENGTH, hook, ENDS, PAD, taps=taps)
    assert torch.equal(found.ids, plain.ids)
    assert torch.equal(found.mask, plain.mask)
    assert len(seen) == 2 * len(before)
    assert all(map(torch.equal, before, seen[len(before) :]))
    assert set(found.hidden) == set(taps)
    assert 1 <= found.mask.sum(1).min() < found.mask.sum(1).max()


@pytest.mark.parametrize("right", [False, True])
def test_greedy_texts_are_those_of_generate_on_either_padding(any_model, right):
    ids, mask = padded(RAGGED)
    expected = any_model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=LENGTH,
        eos_token_id=list(ENDS),
        pad_token_id=PAD,
    )[:, ids.shape[1] :]
    assert torch.equal(run(any_model, right=right).ids, expected)


@settings(max_examples=15, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(24, 39), min_size=1, max_size=5), min_size=1, max_size=5),
    right=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_row_is_the_same_in_any_company(model, prompts, right, seed):
    seeds = [seed + row for row in range(len(prompts))]
    found = run(model, prompts, by_row(seeds), right, taps=(1,))
    for row, prompt in enumerate(prompts):
        alone = run(model, [prompt], by_row([seeds[row]]), taps=(1,))
        length = alone.ids.shape[1]
        assert torch.equal(found.ids[row, :length], alone.ids[0])
        assert int(found.mask[row].sum()) == length
        torch.testing.assert_close(found.hidden[1][row, :length], alone.hidden[1][0], rtol=0, atol=1e-9)


def test_taps_are_the_hidden_states_of_a_full_forward(any_model):
    found = run(any_model, taps=(0, 1, 2))
    for row, text in enumerate(texts(RAGGED, found)):
        states = any_model(input_ids=text, output_hidden_states=True).hidden_states
        length = int(found.mask[row].sum())
        for layer, hidden in found.hidden.items():
            expected = states[layer][0, len(RAGGED[row]) - 1 : -1]
            torch.testing.assert_close(hidden[row, :length], expected, rtol=0, atol=1e-6)
            assert not hidden[row, length:].any()


@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_an_override_is_a_full_forward_with_all_chosen_positions_edited(any_model, layer):
    """Each row is shifted by another multiple, equal neighbours too; the oracle sees no cache."""
    shift = torch.linspace(-1, 1, any_model.config.hidden_size, dtype=torch.float64)

    def edit(hidden: Tensor, state: State) -> Tensor:
        return hidden + shift * state.rows[:, None]

    found = run(any_model, hook=logging(Draw(0.0)), taps=(layer,), overrides={layer: edit})
    for row, (prompt, text) in enumerate(zip(RAGGED, texts(RAGGED, found), strict=True)):
        states, logits = edited_forward(any_model, text, layer, len(prompt) - 1, shift * row)
        length = int(found.mask[row].sum())
        torch.testing.assert_close(found.log["logits"][row, :length], logits, rtol=0, atol=1e-6)
        torch.testing.assert_close(found.hidden[layer][row, :length], states, rtol=0, atol=1e-6)
    assert not torch.equal(*found.log["logits"][:2, 0]), "equal prompts are edited apart"


def edited_forward(
    model: PreTrainedModel, text: Tensor, layer: int, first: int, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """States of a layer and logits at the positions from `first` to the last but one, all shifted."""
    seen: list[Tensor] = []

    def change(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        hidden[:, first:] += shift
        seen.append(hidden[0, first:-1])
        return hidden

    if layer < LAYERS:
        name = "hidden_states"
        handle = stack_of(model)[layer].register_forward_pre_hook(
            lambda _, args, named: (
                ((change(args[0]), *args[1:]), named)
                if args
                else (args, {**named, name: change(named[name])})
            ),
            with_kwargs=True,
        )
    else:
        handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (change(args[0]),))
    with torch.no_grad():
        logits = model(input_ids=text, use_cache=False).logits
    handle.remove()
    return seen[0], logits[0, first:-1]


@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_an_override_that_changes_nothing_leaves_every_bit(model, layer):
    prompts = RAGGED[1:]  # no equal neighbours, which are read once without overrides
    plain = run(model, prompts, logging(Draw(0.0)))
    found = run(model, prompts, logging(Draw(0.0)), overrides={layer: lambda hidden, state: hidden})
    assert torch.equal(found.ids, plain.ids)
    assert torch.equal(found.log["logits"], plain.log["logits"])


def test_mixtures_are_read_as_a_full_forward_reads_them(any_model):
    found = run(any_model, hook=logging(halves))
    assert (found.log["weights"][found.mask.bool()].max(-1).values < 1 - 1e-3).any()
    embed = any_model.get_input_embeddings()
    for row, prompt in enumerate(RAGGED):
        length = int(found.mask[row].sum())
        weights, support = (found.log[name][row, : length - 1] for name in ("weights", "support"))
        fed = (weights[..., None] * embed(support)).sum(1)
        inputs = torch.cat([embed(torch.tensor(prompt)), fed])[None]
        with torch.no_grad():
            logits = any_model(inputs_embeds=inputs, use_cache=False).logits[0, len(prompt) - 1 :]
        torch.testing.assert_close(found.log["logits"][row, :length], logits, rtol=0, atol=1e-6)


def test_embeddings_of_the_tokens_are_plain_decoding(model):
    def explicit(logits: Tensor, state: State) -> Step:
        ids = logits.argmax(-1)
        return Step(ids, state.embed(ids))

    assert torch.equal(run(model, hook=explicit).ids, run(model).ids)


@pytest.mark.parametrize("compact_below", [0.0, 1.1])
def test_a_hook_sees_what_was_written_and_what_it_logs_stops_with_the_row(model, monkeypatch, compact_below):
    monkeypatch.setattr(decoding, "COMPACT_BELOW", compact_below)
    before: dict[int, list[list[int]]] = {}

    def hook(logits: Tensor, state: State) -> Step:
        for row, ids in zip(state.rows.tolist(), state.ids.tolist(), strict=True):
            before.setdefault(row, []).append(ids)
        state.log["alarm"] = state.hidden[1].norm(dim=-1) > 0
        if state.step == 2:
            state.log["late"] = 1 + state.rows
        return Draw(1.0, generator=generator)(logits, state)

    generator = torch.Generator().manual_seed(3)
    found = run(model, RAGGED, hook, taps=(1,))
    lengths = found.mask.sum(1).tolist()
    assert min(lengths) < max(lengths)
    for row, length in enumerate(lengths):
        ids = found.ids[row].tolist()
        assert before[row][:length] == [ids[:step] for step in range(length)]
        assert length == LENGTH or ids[length - 1] in ENDS
        assert not set(ids[: length - 1]) & set(ENDS)
        assert set(ids[length:]) <= {PAD}
    assert torch.equal(found.log["alarm"], found.mask.bool())
    late = (1 + torch.arange(len(RAGGED))) * found.mask[:, 2]
    assert torch.equal(found.log["late"][:, 2], late)
    assert found.log["late"].count_nonzero() == late.count_nonzero()


def test_no_gradient_remains_and_an_override_may_climb_one(model):
    def climb(hidden: Tensor, state: State) -> Tensor:
        with torch.enable_grad():
            hidden.requires_grad_()
            (slope,) = torch.autograd.grad(hidden.square().sum(), hidden)
            return hidden + 0.1 * slope

    found = run(model, hook=halves, taps=(1,), overrides={1: climb})
    fixed = run(model, hook=halves, taps=(1,), overrides={1: lambda hidden, state: 1.2 * hidden})
    torch.testing.assert_close(found.hidden[1], fixed.hidden[1], rtol=0, atol=1e-9)
    assert not any(part.requires_grad for part in (*found.hidden.values(), *found.log.values()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_of_torch_are_gone_whatever_happens(model):
    def broken(hidden: Tensor, state: State) -> Tensor:
        raise RuntimeError("foreign")

    with pytest.raises(RuntimeError, match="foreign"):
        run(model, taps=(0, 2), overrides={1: broken})
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in model.modules())


def test_a_hook_that_asks_the_model_itself_is_not_recorded(model):
    def asking(logits: Tensor, state: State) -> Step:
        kept = dict(state.hidden)
        model(torch.tensor([[7, 7, 7]]))
        assert state.hidden == kept
        return Draw(0.0)(logits, state)

    asked, plain = run(model, hook=asking, taps=(1,)), run(model, taps=(1,))
    assert torch.equal(asked.hidden[1], plain.hidden[1])


def test_what_is_finite_and_what_is_not():
    rows = torch.arange(3)
    state = State(4, rows, rows >= 0, torch.nn.Identity(), rows[:, None])
    huge = torch.full((3, 2), torch.finfo(torch.float32).max)
    assert not huge.sum().isfinite()
    assert not_finite(huge, state) == not_finite(torch.full((3, 2), 6e4).half(), state) == ""
    for wrong in (math.nan, math.inf, -math.inf):
        huge[1, 0] = wrong
        assert not_finite(huge, state) == "at step 4 in rows [1]"
    huge[0, 0], huge[1, 0] = math.inf, -math.inf
    assert not_finite(huge, state) == "at step 4 in rows [0, 1]"


def test_states_are_recorded_in_half_precision(model):
    half, full = run(model, taps=(1,), tap_dtype=torch.float16), run(model, taps=(1,))
    assert half.hidden[1].dtype == torch.float16
    assert torch.equal(half.hidden[1], full.hidden[1].half())


def shaped(ids: Callable[[Tensor], Tensor], embeddings: Callable[[Tensor], Tensor] | None = None) -> Hook:
    return lambda logits, state: Step(
        ids(logits.argmax(-1)), embeddings and embeddings(state.embed(logits.argmax(-1)))
    )


def noting(note: Callable[[State], Tensor]) -> Hook:
    def hook(logits: Tensor, state: State) -> Step:
        state.log["note"] = note(state)
        return Step(logits.argmax(-1))

    return hook


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"taps": (3,)},
            r"no layer 3: taps and overrides go from 0, .* to 2, the state behind the final norm",
        ),
        ({"overrides": {-1: lambda hidden, state: hidden}}, "no layer -1"),
        (
            {"hook": shaped(lambda ids: ids[:, None])},
            r"ids of shape \(6, 1\).* an integer for each row.*\(6,\)",
        ),
        ({"hook": shaped(lambda ids: ids.double())}, "ids of shape .*float64.* an integer for each row"),
        (
            {"hook": shaped(lambda ids: ids, lambda e: e[:, None])},
            r"embeddings of shape \(6, 1, 32\).*\(6, 32\)",
        ),
        (
            {"hook": shaped(lambda ids: ids, lambda e: e / 0)},
            r"embeddings that are not finite, at step 0 in rows",
        ),
        (
            {"hook": noting(lambda state: torch.ones(1))},
            r"'note' has shape \(1,\).*each in state.rows, \(6,\)",
        ),
        (
            {"hook": noting(lambda state: state.rows * (1.0 if state.step else 1))},
            r"'note' .*float32, at step 1; .* one type, torch.int64",
        ),
        (
            {"overrides": {1: lambda hidden, state: hidden[:1]}},
            r"layer 1 returned .*\(1, 32\).* all rows, \(6, 32\)",
        ),
        (
            {"overrides": {1: lambda hidden, state: hidden / (state.rows != 4)[:, None]}},
            r"override of layer 1 returned numbers that are not finite, at step 0 in rows \[4\]",
        ),
        (
            {"taps": (1,), "overrides": {1: lambda h, _: h + 1e9}, "tap_dtype": torch.float16},
            r"layer 1 is too large for torch.float16, at step 0 .*tap_dtype=torch.bfloat16",
        ),
        ({"prompts": [[5], []]}, "no empty prompt; got 8 and 0 tokens"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_fix(model, options, message):
    with pytest.raises(ValueError, match=message):
        run(model, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"taps": (1, 2)},
            r"hidden state of layer 2 is not finite, at step 0 in rows \[0, .*weights and dtype",
        ),
        ({"overrides": {2: lambda hidden, state: hidden}}, "hidden state of layer 2 is not finite"),
        ({}, "NaN logits at step 0; .* tap its layers"),
    ],
)
def test_nan_is_traced_to_the_first_layer_that_shows_it(options, message):
    model = build("qwen3")
    run(model)
    with torch.no_grad():
        stack_of(model)[1].mlp.down_proj.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=message):
        run(model, **options)


@pytest.mark.parametrize("arguments", [(-1.0,), (float("inf"),), (1.0, 0.0), (1.0, 1.1)])
def test_an_impossible_draw_is_refused(arguments):
    with pytest.raises(ValueError, match="temperature ≥ 0 and 0 < top_p ≤ 1"):
        Draw(*arguments)


def test_sliding_attention_is_refused():
    with pytest.raises(ValueError, match="full attention in every layer"):
        run(build("qwen2, windows"))
