"""Where the engine meets its limits: the end of the context, half precision, logits that are no numbers."""

import math

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from common.models.decoding import sample
from common.speculative.drafts import Draft, FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import Eagle3Network
from common.speculative.packed import score_packed_trees
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreePolicy
from common.speculative.unroll import soft_cross_entropy
from common.speculative.verify import (
    SamplingParams,
    Verifier,
    probabilities,
    verify_greedy,
    verify_recursive_rejection,
    verify_token_matching,
)
from tests.common.speculative.conftest import make_model

TREES = StaticScheduler(TreePolicy(depth=5, top_k=2, budget=8))
RULES = [verify_greedy, verify_token_matching, verify_recursive_rejection]
NAN = float("nan")


def gpt2(positions: int, seed: int = 0) -> PreTrainedModel:
    """Learned positions, of which there are no more than so many."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=24, n_embd=32, n_layer=4, n_head=4, n_positions=positions)
        model = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model


def drafts(model: PreTrainedModel) -> list[Draft]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Eagle3Network(model).double()
    return [PromptLookupDraft(), SmallLMDraft(model), SmallLMDraft(gpt2(16, seed=1)), FeatureDraft(network)]


@pytest.mark.parametrize("kind", range(4), ids=["lookup", "self", "small", "eagle3"])
@pytest.mark.parametrize("rule", RULES)
def test_a_text_that_fills_learned_positions(kind: int, rule: Verifier) -> None:
    model, generator = gpt2(16), torch.Generator().manual_seed(3)
    prompts = [torch.randint(0, 24, (size,), generator=generator) for size in (6, 3)]
    params = SamplingParams(10, temperature=0.0)
    network_taps = Eagle3Network.taps(4) if kind == 3 else ()
    engine = SpeculativeGenerator(Target(model, network_taps), drafts(model)[kind], TREES, rule)
    drawn = engine.generate(prompts, params, samples=2).tokens
    for index, prompt in enumerate(prompts):
        stock = model.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            max_new_tokens=10,
            do_sample=False,
            eos_token_id=-1,
            pad_token_id=0,
        )[0, len(prompt) :]
        assert torch.equal(drawn[2 * index], stock)
        assert torch.equal(drawn[2 * index + 1], stock)


def test_a_text_that_the_draft_has_no_positions_for() -> None:
    engine = SpeculativeGenerator(Target(gpt2(32)), SmallLMDraft(gpt2(16)), TREES)
    prompt = torch.tensor([1, 2, 3, 4, 5, 6])
    with pytest.raises(
        ValueError, match="prompts of 6 and 11 new tokens are longer than the draft's context"
    ):
        engine.generate([prompt], SamplingParams(11))
    assert len(engine.generate([prompt], SamplingParams(10)).tokens[0]) == 10


def test_packed_trees_behind_learned_positions() -> None:
    tree = DraftTree.chain(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3))
    texts, target = torch.arange(16)[None], Target(gpt2(16))
    score_packed_trees(target, texts, torch.tensor([[12]]), tree)
    with pytest.raises(ValueError, match="position 16 of a target with a context of 16"):
        score_packed_trees(target, texts, torch.tensor([[13]]), tree)


@pytest.mark.parametrize("top_p", [1.0, 0.9999])
def test_half_precision_leaves_rare_tokens_rare(top_p: float) -> None:
    """Bfloat16 has eight bits: rounded there, a softmax would not add up, and .001 would be .00101."""
    logits = torch.tensor([[9.0, 2.0, 2.0, 1.5]]).bfloat16()
    law = probabilities(logits, SamplingParams(1, 0.9, top_p))
    exact = torch.softmax(logits.double() / 0.9, dim=-1)
    assert law.dtype == torch.float32
    torch.testing.assert_close(law.double(), exact, rtol=1e-6, atol=0)
    assert probabilities(logits.double(), SamplingParams(1)).dtype == torch.float64


@pytest.mark.parametrize("rule", [verify_token_matching, verify_recursive_rejection])
def test_half_precision_draws_rare_tokens_as_often_as_it_should(rule: Verifier) -> None:
    """A race of exponentials in bfloat16 drew a token of .001 three times as often."""
    rows, law = 400_000, torch.tensor([0.997, 0.001, 0.001, 0.001])
    logits = law.log().bfloat16().expand(rows, 2, -1)
    exact = torch.softmax(logits[0, 0].double(), dim=-1)
    tree = DraftTree.chain(torch.zeros(rows, 1, dtype=torch.long), torch.zeros(rows, 1))
    verdict = rule(logits, tree, SamplingParams(1), torch.Generator().manual_seed(0))
    first = torch.where(verdict.accepted > 0, 0, verdict.next_token)
    rare = int((first != 0).sum())
    mean = rows * float(exact[1:].sum())
    assert abs(rare - mean) < 5 * math.sqrt(mean)


def test_a_loss_in_half_precision_is_taken_in_float32() -> None:
    logits, target = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)).chunk(2, dim=1)
    loss = soft_cross_entropy(logits.bfloat16(), target.bfloat16())
    exact = soft_cross_entropy(logits.bfloat16().double(), target.bfloat16().double())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


def test_bfloat16_texts_are_those_of_the_model() -> None:
    """Every token is the argmax of a forward on the text before it, but for ties of bfloat16."""
    model = make_model("qwen3").bfloat16()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        draft = FeatureDraft(Eagle3Network(model).bfloat16())
    prompt = torch.tensor([3, 7, 1, 9])
    engine = SpeculativeGenerator(Target(model, (1, 3, 4)), draft, TREES)
    text = torch.cat([prompt, engine.generate([prompt], SamplingParams(16, temperature=0.0)).tokens[0]])
    logits = model(text[None]).logits[0, len(prompt) - 1 : -1].float()
    chosen = logits.gather(1, text[len(prompt) :, None])[:, 0]
    assert (logits.max(dim=1).values - chosen <= 0.05 * logits.std(dim=1)).all()


def test_a_draft_of_another_type_is_one_line(qwen: PreTrainedModel) -> None:
    with pytest.raises(
        ValueError, match=r"the draft is torch.float32 on cpu, the target torch.float64 on cpu"
    ):
        SpeculativeGenerator(Target(qwen, (1, 3, 4)), FeatureDraft(Eagle3Network(qwen).float()), TREES)


def test_a_small_model_may_draft_in_another_type(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    params = SamplingParams(12, temperature=0.0)
    plain = SpeculativeGenerator(Target(qwen)).generate(prompts, params)
    draft = SmallLMDraft(make_model(seed=5, num_hidden_layers=1).bfloat16())
    drawn = SpeculativeGenerator(Target(qwen), draft, TREES).generate(prompts, params)
    assert all(torch.equal(a, b) for a, b in zip(plain.tokens, drawn.tokens, strict=True))


@pytest.mark.parametrize("temperature", [NAN, -0.1, float("inf")])
def test_temperatures_that_are_none(temperature: float, qwen: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=r"temperature is .*; expected 0"):
        SamplingParams(3, temperature)
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(ValueError, match="temperature"):
        sample(qwen, ids, torch.ones_like(ids), 2, temperature, 2, 0)


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("rule", RULES)
def test_logits_that_are_no_numbers(rule: Verifier, value: float) -> None:
    """One NaN anywhere; with a temperature also a row without any finite mass."""
    tree = DraftTree.chain(torch.zeros(2, 1, dtype=torch.long), torch.zeros(2, 1))
    logits = torch.zeros(2, 2, 5)
    logits[1, 1] = value
    for temperature in (0.0, 0.7):
        if math.isinf(value) and (rule is verify_greedy or temperature == 0):
            continue  # an argmax of infinities is no worse than any
        with pytest.raises(ValueError, match="NaN logits, or none that is finite"):
            rule(logits, tree, SamplingParams(3, temperature), None)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_overflow_raise_before_a_token(temperature: float, prompts: list[Tensor]) -> None:
    """A model that has passed and breaks later, as in training."""
    model = make_model()
    engine = SpeculativeGenerator(Target(model), PromptLookupDraft(), TREES)
    ids = prompts[0][None]
    sample(model, ids, torch.ones_like(ids), 2, 1.0, 2, 0)
    with torch.no_grad():
        model.model.norm.weight[0] = NAN
    with pytest.raises(ValueError, match="NaN logits, or none that is finite"):
        engine.generate(prompts, SamplingParams(3, temperature))
    with pytest.raises(ValueError, match="NaN logits, or none that is finite"):
        sample(model, ids, torch.ones_like(ids), 2, temperature, 2, 0)
