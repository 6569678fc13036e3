"""A draft vocabulary smaller than the target's: what is proposed changes, what is written does not."""

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.lookup_first import LookupFirstDraft
from common.speculative.reduced import (
    ReducedDraft,
    ReducedEagle3Network,
    frequent_tokens,
    unroll_reduced,
)
from common.speculative.scheduler import StaticScheduler
from common.speculative.target import Target
from common.speculative.texts import grow_trees, read_texts
from common.speculative.tree import TreePolicy
from common.speculative.unroll import eagle3_loss
from common.speculative.verify import (
    SamplingParams,
    verify_greedy,
    verify_recursive_rejection,
    verify_token_matching,
)
from tests.common.speculative.conftest import VOCABULARY, make_model
from tests.common.speculative.test_generate import GREEDY, TREES, plain, same, text_probabilities

TAPS = (1, 3, 4)
KEPT = torch.tensor([1, 4, 5, 9, 13, 20, 22])


def network(model: PreTrainedModel, kept: Tensor = KEPT) -> ReducedEagle3Network:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return ReducedEagle3Network(model, kept).to(model.dtype)


def test_the_most_frequent_tokens_in_order_of_their_ids() -> None:
    assert frequent_tokens(torch.tensor([7, 2, 7, 5, 5, 0]), 9, 3).tolist() == [0, 5, 7]
    assert len(frequent_tokens(torch.tensor([7]), 9, 4)) == 4


@pytest.mark.parametrize("rule", [verify_greedy, verify_token_matching, verify_recursive_rejection])
def test_greedy_texts_are_those_of_plain_decoding(
    rule: Callable, qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    engine = SpeculativeGenerator(Target(qwen, TAPS), ReducedDraft(network(qwen)), TREES, rule)
    found = engine.generate(prompts, GREEDY, samples=2)
    assert same(plain(qwen, prompts), found)
    assert found.stats.acceptance_length > 1


@pytest.mark.parametrize("rule", [verify_token_matching, verify_recursive_rejection])
def test_samples_have_the_targets_distribution(rule: Callable) -> None:
    """All texts of three tokens over a vocabulary of four, of which the draft knows two."""
    model, rows, params = make_model(vocab_size=4, seed=11), 8000, SamplingParams(3)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.4)
    prompt, draft = torch.tensor([1, 0, 3]), ReducedDraft(network(model, torch.tensor([0, 3])))
    trees = StaticScheduler(TreePolicy(depth=2, top_k=2, budget=4))
    engine = SpeculativeGenerator(Target(model, TAPS), draft, trees, rule)
    found = engine.generate([prompt], params, samples=rows, generator=torch.Generator().manual_seed(0))
    exact = text_probabilities(model, prompt, params)
    texts = [tuple(text.tolist()) for text in found.tokens]
    likely = [text for text, chance in exact.items() if chance * rows >= 5]
    counts = [*map(texts.count, likely), rows - sum(texts.count(text) for text in likely)]
    expected = [exact[text] * rows for text in likely]
    assert set(texts) <= set(exact)
    assert len(likely) > 5
    assert stats.chisquare(counts, [*expected, max(rows - sum(expected), 1e-9)]).pvalue > 1e-3


def test_trees_are_those_of_a_law_with_zero_outside_the_kept_tokens(
    qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    draft, target, ids = network(qwen), Target(qwen, TAPS), prompts[2][None]
    features = read_texts(target, ids).features
    roots, policy = torch.tensor([[8]]), TreePolicy(depth=3, top_k=3, budget=8)
    whole = grow_trees(draft, ids, features, roots, policy)
    reduced = ReducedDraft(draft)
    reduced.begin(ids[:, 0], 64)
    reduced.extend(features[:, :-1], ids[:, 1:], torch.tensor([8]))
    tree = reduced.propose(policy)
    for name, part in vars(tree).items():
        assert torch.allclose(part.double(), vars(whole)[name].double()), name
    assert set(tree.tokens[0].tolist()) <= set(KEPT.tolist())
    law = draft.logits(FeatureDraft(draft).network.fuse(features)).softmax(dim=-1)
    outside = torch.ones(VOCABULARY, dtype=torch.bool).index_fill_(0, KEPT, False)
    assert float(law[..., outside].sum()) == 0
    assert torch.allclose(law.sum(dim=-1), torch.ones(()).double())


def test_the_loss_matches_the_targets_law_among_the_kept_tokens(qwen: PreTrainedModel) -> None:
    """One step is a cross-entropy by hand; places that are not supervised do not count."""
    draft, target = network(qwen), Target(qwen, TAPS)
    ids = torch.randint(0, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(3))
    text = read_texts(target, ids)
    supervised = torch.rand(ids.shape, generator=torch.Generator().manual_seed(4)) < 0.5
    unrolled = unroll_reduced(draft, ids, text.features, text.logits[..., KEPT], supervised, 1)
    every = draft.logits(unrolled.unrolled.states[:, :, 0])[..., KEPT].log_softmax(dim=-1)
    wanted = text.logits[:, 1:, KEPT].softmax(dim=-1)
    by_hand = -(wanted * every).sum(dim=-1)[supervised[:, 1:]].mean()
    assert torch.allclose(eagle3_loss(unrolled), by_hand)


def test_copying_where_the_text_repeats_leaves_greedy_texts_as_they_are(
    qwen: PreTrainedModel, prompts: list[Tensor]
) -> None:
    """Rows whose prompts repeat are copied for, and both drafts serve one text."""
    draft = LookupFirstDraft(ReducedDraft(network(qwen)), longest=2, chain=5)
    engine = SpeculativeGenerator(Target(qwen, TAPS), draft, TREES)
    for rows in ([torch.cat([prompt, prompt]) for prompt in prompts], prompts):
        found = engine.generate(rows, GREEDY, samples=2)
        assert same(plain(qwen, rows), found)
    single = engine.generate(prompts[:1], SamplingParams(60, temperature=0.0))
    assert set(single.stats.nodes) == {5, 10}
