"""The decoding loop: greedy texts equal plain decoding's, samples have the target's distribution."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.drafts import Draft, FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.generate import Generation, SpeculativeGenerator
from common.speculative.networks import Eagle3Network, EagleNetwork
from common.speculative.scheduler import ConcurrencyAwareScheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.tree import DraftTree, TreePolicy
from common.speculative.verify import (
    SamplingParams,
    verify_greedy,
    verify_recursive_rejection,
    verify_token_matching,
)
from tests.common.speculative.conftest import LAYERS, VOCABULARY, make_model

EOS = 3
GREEDY = SamplingParams(30, temperature=0.0, eos_ids=(EOS,))
TREES = StaticScheduler(TreePolicy(depth=4, top_k=3, budget=10))
DRAFTS = ("eagle3", "eagle", "small", "self", "lookup")


def parts(kind: str, model: PreTrainedModel) -> tuple[Target, Draft]:
    """A target with the taps that the draft reads, and the draft; ``self`` is the target itself."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if kind == "eagle3":
            return Target(model, (1, 3, 4)), FeatureDraft(Eagle3Network(model).to(model.dtype))
        if kind == "eagle":
            return Target(model, (LAYERS,)), FeatureDraft(EagleNetwork(model).to(model.dtype))
    if kind == "small":
        return Target(model), SmallLMDraft(make_model(seed=5, num_hidden_layers=1).to(model.dtype))
    return Target(model), SmallLMDraft(model) if kind == "self" else PromptLookupDraft()


def same(one: Generation, other: Generation) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.tokens, other.tokens, strict=True))


def plain(model: PreTrainedModel, prompts: list[Tensor], params: SamplingParams = GREEDY) -> Generation:
    return SpeculativeGenerator(Target(model)).generate(prompts, params, samples=2)


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_plain_decoding_equals_generate(kind: str, prompts: list[Tensor]) -> None:
    model = make_model(kind)
    ours = plain(model, prompts)
    for index, prompt in enumerate(prompts):
        stock = model.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt)[None],
            max_new_tokens=30,
            do_sample=False,
            eos_token_id=EOS,
            pad_token_id=0,
        )[0, len(prompt) :]
        assert torch.equal(ours.tokens[2 * index], stock)
        assert torch.equal(ours.tokens[2 * index + 1], stock)


@pytest.mark.parametrize("early_termination", [True, False])
@pytest.mark.parametrize("rule", [verify_greedy, verify_token_matching, verify_recursive_rejection])
@pytest.mark.parametrize("draft", DRAFTS)
def test_greedy_texts_are_those_of_plain_decoding(
    draft: str, rule: Callable, early_termination: bool, qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    engine = SpeculativeGenerator(*parts(draft, qwen), TREES, rule, early_termination)
    found = engine.generate(prompts, GREEDY, samples=2)
    assert same(plain(qwen, prompts), found)
    assert {len(text) for text in found.tokens} != {30}, "some rows must end before others"
    assert found.stats.tokens == sum(map(len, found.tokens))
    assert found.stats.acceptance_length >= 1


@pytest.mark.parametrize("draft", DRAFTS)
def test_greedy_texts_with_a_schedule_that_changes(
    draft: str, qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    """Eight rows get plain steps, fewer get trees that grow as rows end."""
    engine = SpeculativeGenerator(*parts(draft, qwen), ConcurrencyAwareScheduler(c_peak=15))
    found = engine.generate(prompts, GREEDY, samples=2)
    assert same(plain(qwen, prompts), found)
    assert found.stats.nodes[0] == 0
    assert max(found.stats.nodes) > 0


def test_llama_and_float32(prompts: list[Tensor]) -> None:
    """Float32 rounds differently in a batch: texts may part only where the two best logits are close."""
    for kind in ("llama", "qwen3"):
        model = make_model(kind).float()
        found = SpeculativeGenerator(*parts("eagle3", model), TREES).generate(prompts, GREEDY)
        reference = SpeculativeGenerator(Target(model)).generate(prompts, GREEDY)
        for prompt, ours, theirs in zip(prompts, found.tokens, reference.tokens, strict=True):
            length = min(len(ours), len(theirs))
            apart = (ours[:length] != theirs[:length]).nonzero()
            if not len(apart):
                assert len(ours) == len(theirs)
                continue
            text = torch.cat([prompt, theirs[: int(apart[0])]])
            best = model(text[None]).logits[0, -1].topk(2).values
            assert best[0] - best[1] <= 1e-4


def test_a_draft_that_is_always_right_fills_every_cycle(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    target, draft = parts("self", qwen)
    chain = StaticScheduler(TreePolicy(depth=5, top_k=1, budget=5))
    found = SpeculativeGenerator(target, draft, chain).generate(prompts, SamplingParams(30, temperature=0.0))
    assert found.stats.acceptance_length == 6
    assert found.stats.cycles == 5


class NowAndThen:
    """Two plain steps, then a tree, and again."""

    calls = 0

    def __call__(self, active: int) -> TreePolicy | None:
        self.calls += 1
        return None if self.calls % 3 else TREES.policy

    def policies(self, rows: int) -> list[TreePolicy]:
        return [TREES.policy]


def test_a_draft_catches_up_with_plain_steps_before_its_next_tree(
    qwen: PreTrainedModel, prompts: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is that of a draft which reads the whole text at once."""
    target, draft = parts("eagle3", qwen)
    seen: list[tuple[int, Tensor]] = []
    propose = FeatureDraft.propose

    def watched(self: FeatureDraft, policy: TreePolicy) -> DraftTree:
        seen.append((int(self.cache.lengths[0]), self._state[0].clone()))
        return propose(self, policy)

    monkeypatch.setattr(FeatureDraft, "propose", watched)
    found = SpeculativeGenerator(target, draft, NowAndThen()).generate(prompts[:1], GREEDY)
    text = torch.cat([prompts[0], found.tokens[0]])
    assert len(seen) > 3
    for length, state in seen:
        fresh, read = FeatureDraft(draft.network), read_texts(target, text[None, : length + 1])
        fresh.begin(text[:1], length)
        fresh.extend(read.features[:, :length], text[None, 1 : length + 1], torch.tensor([length]))
        torch.testing.assert_close(fresh._state[0], state)


@pytest.mark.parametrize("early_termination", [True, False])
@pytest.mark.parametrize("kind", DRAFTS)
def test_plain_steps_between_trees_leave_greedy_texts_as_they_are(
    kind: str, early_termination: bool, qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    target, draft = parts(kind, qwen)
    engine = SpeculativeGenerator(target, draft, NowAndThen(), early_termination=early_termination)
    found = engine.generate(prompts, GREEDY, samples=2)
    assert same(found, plain(qwen, prompts))
    assert set(found.stats.nodes) == {0, TREES.policy.nodes} or kind == "lookup"


@pytest.mark.parametrize("rule", [verify_token_matching, verify_recursive_rejection])
@pytest.mark.parametrize("params", [SamplingParams(3), SamplingParams(3, 0.6, 0.9, (2,))])
def test_samples_have_the_targets_distribution(rule: Callable, params: SamplingParams) -> None:
    """All texts of three tokens over a vocabulary of four, against their exact probabilities."""
    model, rows = make_model(vocab_size=4, seed=11), 12_000
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.4)
    prompt = torch.tensor([1, 0, 3])
    engine = SpeculativeGenerator(
        *parts("eagle3", model), StaticScheduler(TreePolicy(depth=2, top_k=2, budget=4)), rule
    )
    found = engine.generate([prompt], params, samples=rows, generator=torch.Generator().manual_seed(0))
    exact = text_probabilities(model, prompt, params)
    texts = [tuple(text.tolist()) for text in found.tokens]
    assert set(texts) <= set(exact)
    likely = [text for text, chance in exact.items() if chance * rows >= 5]
    rest = max(1e-9, 1 - sum(exact[text] for text in likely))
    counts = [texts.count(text) for text in likely]
    observed, expected = (
        [*counts, rows - sum(counts)],
        [*(exact[text] * rows for text in likely), rest * rows],
    )
    if expected[-1] < 5:
        observed, expected = observed[:-1], np.array(expected[:-1]) * sum(counts) / sum(expected[:-1])
    assert len(likely) > 5
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    assert found.stats.acceptance_length > 1.2


def text_probabilities(
    model: PreTrainedModel, prompt: Tensor, params: SamplingParams
) -> dict[tuple[int, ...], float]:
    """Exact probability of every completion, by the model's own full forwards."""
    from common.speculative.verify import probabilities

    found: dict[tuple[int, ...], float] = {}
    open_texts = {(): 1.0}
    while open_texts:
        texts = list(open_texts)
        ids = torch.tensor([[*prompt.tolist(), *text] for text in texts])
        with torch.no_grad():
            p = probabilities(model(ids).logits[:, -1], params)
        following = {}
        for text, row in zip(texts, p.tolist(), strict=True):
            for token, chance in enumerate(row):
                if chance > 0:
                    longer = (*text, token)
                    ended = token in params.eos_ids or len(longer) == params.max_new_tokens
                    (found if ended else following)[longer] = open_texts[text] * chance
        open_texts = following
    return found


class Oracle:
    """Proposes given continuations of the prompt, as chains; wrong where `wrong` says so."""

    def __init__(self, texts: list[Tensor], depth: int) -> None:
        self.texts, self.depth, self.at = texts, depth, [0] * len(texts)
        self.index = list(range(len(texts)))

    context = 128

    def check(self, target: Target) -> None: ...

    def begin(self, first: Tensor, capacity: int) -> None:
        self.started = False

    def extend(self, features: Tensor, tokens: Tensor, counts: Tensor) -> None:
        if self.started:
            for row, count in enumerate(counts.tolist()):
                self.at[row] += count
        self.started = True

    def propose(self, policy: TreePolicy) -> DraftTree:
        rows = [
            torch.nn.functional.pad(self.texts[i], (0, 99))[at : at + self.depth]
            for i, at in zip(self.index, self.at, strict=True)
        ]
        tokens = torch.stack(rows)
        return DraftTree.chain(tokens, torch.zeros(tokens.shape))

    def slots(self, policy: TreePolicy) -> int:
        return 0

    def select_rows(self, rows: Tensor) -> None:
        self.index = [self.index[row] for row in rows]
        self.at = [self.at[row] for row in rows]

    def repeat_rows(self, rows: Tensor) -> None:
        self.select_rows(rows)


def test_end_of_sequence_and_limit_inside_an_accepted_path(
    qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    """A draft that knows the whole text: all is accepted, and yet rows stop where plain decoding does."""
    endless = SamplingParams(30, temperature=0.0)
    known = SpeculativeGenerator(Target(qwen)).generate(prompts, endless).tokens
    eos = int(known[0][4])
    params = SamplingParams(12, temperature=0.0, eos_ids=(eos,))
    expected = SpeculativeGenerator(Target(qwen)).generate(prompts, params)
    policy = StaticScheduler(TreePolicy(depth=20, top_k=1, budget=20))
    found = SpeculativeGenerator(Target(qwen), Oracle(known, depth=20), policy).generate(prompts, params)
    assert same(expected, found)
    assert found.stats.cycles == 1, "all rows end in the first cycle"
    assert found.stats.kept[0].tolist() == [len(text) for text in expected.tokens]


def test_features_are_the_targets_hidden_states(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    for kind in ("eagle3", "eagle"):
        target, draft = parts(kind, qwen)
        found = SpeculativeGenerator(target, draft, TREES).generate(
            prompts, GREEDY, samples=2, return_features=True
        )
        assert found.features is not None
        for row, features in enumerate(found.features):
            text = torch.cat([prompts[row // 2], found.tokens[row]])
            states = qwen(text[None, :-1], output_hidden_states=True).hidden_states
            expected = torch.cat([states[tap][0] for tap in target.taps], dim=-1)
            torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_early_termination_computes_fewer_rows(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    forwards: dict[bool, int] = {}
    for early in (True, False):
        target = Target(qwen)
        engine = SpeculativeGenerator(target, early_termination=early)
        seen: list[int] = []
        read = target.read
        target.read = lambda tokens, *rest, read=read, seen=seen, **kw: (  # type: ignore[method-assign]
            seen.append(len(tokens)),
            read(tokens, *rest, **kw),
        )[1]
        found = engine.generate(prompts, GREEDY)
        forwards[early] = sum(seen[1:])
        assert found.stats.active == sorted(found.stats.active, reverse=True)
        assert (sum(seen[1:]) == sum(found.stats.active)) is early
    assert forwards[True] < forwards[False] == 4 * 30


def test_plain_steps_have_nothing_to_reject(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    """Eight rows that sample, first without any draft tokens."""
    engine = SpeculativeGenerator(
        *parts("eagle3", qwen), ConcurrencyAwareScheduler(c_peak=15), verify_recursive_rejection
    )
    found = engine.generate(
        prompts, SamplingParams(12, eos_ids=(EOS,)), samples=2, generator=torch.Generator().manual_seed(0)
    )
    assert found.stats.nodes[0] == 0
    assert found.stats.kept[0].tolist() == [1] * 8
    assert found.stats.tokens == sum(map(len, found.tokens))


def test_the_sample_counts_of_prompts_may_differ(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    counts = torch.tensor([1, 3, 0, 2])
    found = SpeculativeGenerator(*parts("eagle3", qwen), TREES).generate(prompts, GREEDY, samples=counts)
    every = SpeculativeGenerator(Target(qwen)).generate(prompts, GREEDY)
    expected = [every.tokens[i] for i in torch.arange(4).repeat_interleave(counts)]
    assert all(torch.equal(a, b) for a, b in zip(found.tokens, expected, strict=True))


def test_samples_of_a_prompt_are_drawn_apart(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    """No token is shared in a group, not even the first one."""
    found = SpeculativeGenerator(*parts("eagle3", make_model(vocab_size=VOCABULARY, seed=2)), TREES).generate(
        prompts[:1],
        SamplingParams(4, temperature=3.0),
        samples=64,
        generator=torch.Generator().manual_seed(0),
    )
    assert len({int(text[0]) for text in found.tokens}) > 3


def test_the_seed_fixes_the_samples(qwen: PreTrainedModel, prompts: list[Tensor]) -> None:
    engine = SpeculativeGenerator(*parts("eagle3", qwen), TREES)
    runs = [
        engine.generate(prompts, SamplingParams(20), generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
