"""Draft networks: one computation whether they decode with a cache, unroll in parallel, or start anywhere."""

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.drafts import FeatureDraft, PromptLookupDraft, SmallLMDraft
from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork, Rotary
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreePolicy
from common.speculative.unroll import (
    TextUnroll,
    Unrolled,
    eagle3_loss,
    eagle_loss,
    soft_cross_entropy,
    unroll,
    unroll_text,
)
from tests.common.speculative.conftest import LAYERS, VOCABULARY

ROWS, LENGTH = 2, 11
TREE = TreePolicy(depth=4, top_k=3, budget=30)


@pytest.fixture(params=["eagle3", "eagle"])
def network(request: pytest.FixtureRequest, qwen: PreTrainedModel) -> DraftNetwork:
    torch.manual_seed(3)
    made = Eagle3Network(qwen) if request.param == "eagle3" else EagleNetwork(qwen)
    return made.double()


@pytest.fixture
def texts() -> Tensor:
    return torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(5))


def features_of(network: DraftNetwork, rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(rows, LENGTH, network.feature_size, generator=generator, dtype=torch.float64)


def begun(network: DraftNetwork, features: Tensor, tokens: Tensor, counts: list[int]) -> FeatureDraft:
    draft = FeatureDraft(network)
    draft.begin(tokens[:, 0], capacity=60)
    draft.extend(features[:, : tokens.shape[1] - 1], tokens[:, 1:], torch.tensor(counts))
    return draft


def naive_logits(network: DraftNetwork, features: Tensor, tokens: Tensor, path: list[int]) -> Tensor:
    """Logits after `path` below the text: all entries recomputed one by one, with an explicit softmax."""
    hidden = list(network.fuse(features[None, : len(tokens) - 1])[0])
    following = [*tokens[1:].tolist(), *path]
    for entry in range(len(tokens) - 2, len(following)):
        rows = torch.stack(hidden)[None]
        ids, places = torch.tensor([following[: len(hidden)]]), torch.arange(len(hidden))[None]
        query, key, value, residual = network.project(rows, ids, places)
        group = query.shape[1] // key.shape[1]
        scores = (query[:, :, entry, None] * key.repeat_interleave(group, 1)).sum(-1)
        weights = torch.softmax(scores / query.shape[-1] ** 0.5, dim=-1)
        attended = (weights[..., None] * value.repeat_interleave(group, 1)).sum(2, keepdim=True)
        state = network.finish(residual[:, entry : entry + 1], attended)
        hidden.append(network.feedback(state)[0, 0])
    return network.logits(state)[0, 0]


def nodes(tree: DraftTree, row: int) -> dict[tuple[int, ...], float]:
    found: dict[tuple[int, ...], float] = {}
    paths: list[tuple[int, ...]] = []
    for token, parent, log_q in zip(
        tree.tokens[row].tolist(), tree.parent[row].tolist(), tree.log_q[row].tolist(), strict=True
    ):
        paths.append((*(paths[parent] if parent >= 0 else ()), token))
        found[paths[-1]] = log_q
    return found


def test_a_tree_has_the_networks_probabilities(network: DraftNetwork, texts: Tensor) -> None:
    """Rows of different lengths; every node's probability recomputed from scratch along its own path."""
    features, counts = features_of(network), [10, 6]
    with torch.no_grad():
        tree = begun(network, features, texts, counts).propose(TREE)
        assert int(tree.depth.max()) == 4
        for row, count in enumerate(counts):
            for path, log_q in nodes(tree, row).items():
                logits = naive_logits(network, features[row], texts[row, : count + 1], list(path[:-1]))
                expected = torch.log_softmax(logits.float(), dim=-1)[path[-1]]
                assert log_q == pytest.approx(float(expected), abs=1e-5)


def test_entries_in_pieces_equal_entries_at_once(network: DraftNetwork, texts: Tensor) -> None:
    """What a tree leaves in the cache is forgotten, and ragged updates end where one update ends."""
    features = features_of(network)
    with torch.no_grad():
        whole = begun(network, features, texts, [9, 7]).propose(TREE)
        draft = begun(network, features, texts[:, :5], [4, 4])
        draft.propose(TREE)
        rows = torch.arange(4, 9).expand(2, -1)
        draft.extend(features[:, 4:9], texts[:, 1:].gather(1, rows), torch.tensor([2, 1]))
        draft.propose(TREE)
        places = torch.stack([torch.arange(6, 9), torch.arange(5, 8)])
        wide = places[..., None].expand(-1, -1, features.shape[-1])
        draft.extend(features.gather(1, wide), texts[:, 1:].gather(1, places), torch.tensor([3, 2]))
        pieces = draft.propose(TREE)
    for row in range(ROWS):
        one, other = nodes(whole, row), nodes(pieces, row)
        assert one.keys() == other.keys()
        assert max(abs(one[path] - other[path]) for path in one) < 1e-5


def test_a_draft_can_start_behind_any_entry(network: DraftNetwork, texts: Tensor) -> None:
    features = features_of(network)
    with torch.no_grad():
        draft = begun(network, features, texts, [10, 10])
        rows, entries = torch.tensor([0, 1, 1]), torch.tensor([3, 8, 0])
        trees = draft.at(rows, entries).propose(TREE)
        for index, (row, entry) in enumerate(zip(rows.tolist(), entries.tolist(), strict=True)):
            alone = begun(network, features[row : row + 1], texts[row : row + 1, : entry + 2], [entry + 1])
            one, other = nodes(alone.propose(TREE), 0), nodes(trees, index)
            assert one.keys() == other.keys()
            assert max(abs(one[path] - other[path]) for path in one) < 1e-5


def test_unroll_follows_the_path_as_decoding_does(network: DraftNetwork, texts: Tensor) -> None:
    features = features_of(network)
    starts = torch.tensor([[9, 2], [5, 0]])
    paths = torch.randint(0, VOCABULARY, (ROWS, 2, 4), generator=torch.Generator().manual_seed(8))
    found = unroll(network, features[:, :-1], texts[:, 1:], starts, paths)
    for row in range(ROWS):
        for which in range(2):
            start = int(starts[row, which])
            for step in range(4):
                path = paths[row, which, :step].tolist()
                expected = naive_logits(network, features[row], texts[row, : start + 2], path)
                torch.testing.assert_close(found.logits[row, which, step], expected)


def test_text_unroll_pairs_every_step_with_its_target(network: DraftNetwork, texts: Tensor) -> None:
    """Step j of entry s reads tokens up to s + 1 + j and is compared with the target at place s + 1 + j."""
    features = features_of(network)
    logits = torch.arange(LENGTH).expand(ROWS, -1)[..., None].expand(-1, -1, VOCABULARY).double()
    supervised = torch.arange(LENGTH).expand(ROWS, -1) >= 4
    text = unroll_text(network, texts, features, logits, supervised, steps=3)
    for entry in range(LENGTH - 1):
        for step in range(3):
            place = entry + 1 + step
            assert bool(text.mask[1, entry, step]) is (4 <= place < LENGTH)
            if place < LENGTH:
                assert text.logits[1, entry, step, 0] == place
                assert torch.equal(text.features[1, entry, step], features[1, place])
                path = texts[1, entry + 2 : entry + 2 + step].tolist()
                expected = naive_logits(network, features[1], texts[1, : entry + 2], path)
                torch.testing.assert_close(text.unrolled.logits[1, entry, step], expected)


def test_losses_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    states, features = random(1, 3, 2, 4), random(1, 3, 2, 4)
    ours, theirs = random(1, 3, 2, 5), random(1, 3, 2, 5)
    mask = torch.tensor([[[True, True], [True, False], [False, False]]])
    text = TextUnroll(Unrolled(states, ours), theirs, features, mask)

    def entropy(entry: int, step: int) -> float:
        p = torch.softmax(theirs[0, entry, step], -1)
        return -float((p * torch.log_softmax(ours[0, entry, step], -1)).sum())

    expected = (entropy(0, 0) + entropy(1, 0)) / 2 + 0.8 * entropy(0, 1)
    assert float(eagle3_loss(text)) == pytest.approx(expected, abs=1e-12)

    def distance(entry: int, step: int) -> float:
        gap = (states - features)[0, entry, step].abs()
        return float(torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean())

    first = (distance(0, 0) + distance(1, 0)) / 2 + 0.1 * (entropy(0, 0) + entropy(1, 0)) / 2
    second = distance(0, 1) + 0.1 * entropy(0, 1)
    assert float(eagle_loss(text)) == pytest.approx((first + second) / 2, abs=1e-12)
    target = random(7)
    entropy_of_target = torch.distributions.Categorical(logits=target).entropy()
    assert float(soft_cross_entropy(target, target)) == pytest.approx(float(entropy_of_target), abs=1e-12)


def test_gradients_reach_the_network_and_not_the_target(
    network: DraftNetwork, texts: Tensor, qwen: PreTrainedModel
) -> None:
    features, supervised = features_of(network), torch.ones(ROWS, LENGTH, dtype=torch.bool)
    logits = torch.zeros(ROWS, LENGTH, VOCABULARY, dtype=torch.float64)
    text = unroll_text(network, texts, features, logits, supervised, steps=3)
    (eagle3_loss if isinstance(network, Eagle3Network) else eagle_loss)(text).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in qwen.parameters())
    shared = {id(parameter) for parameter in qwen.parameters()}
    assert not shared & {id(parameter) for parameter in network.parameters()}


def test_rotary_depends_on_distance_only() -> None:
    rotary = Rotary(8, 10_000.0, context=16)
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    dots = [
        float((rotary(query, torch.tensor([[i + 3]])) * rotary(key, torch.tensor([[i]]))).sum())
        for i in (0, 9)
    ]
    assert dots[0] == pytest.approx(dots[1], abs=1e-6)


def test_a_small_model_drafts_its_own_tree(qwen: PreTrainedModel, texts: Tensor) -> None:
    draft = SmallLMDraft(qwen)
    with torch.no_grad():
        draft.begin(texts[:, 0], capacity=40)
        draft.extend(torch.empty(0), texts[:, 1:], torch.tensor([10, 6]))
        tree = draft.propose(TREE)
        for row, count in enumerate([10, 6]):
            for path, log_q in nodes(tree, row).items():
                ids = torch.tensor([[*texts[row, : count + 1].tolist(), *path[:-1]]])
                expected = torch.log_softmax(qwen(ids).logits[0, -1].float(), dim=-1)[path[-1]]
                assert log_q == pytest.approx(float(expected), abs=1e-5)


def test_prompt_lookup_copies_what_followed() -> None:
    draft = PromptLookupDraft(longest=2)
    tokens = torch.tensor(
        [[1, 2, 9, 1, 2, 8, 7, 1, 2], [4, 5, 6, 4, 3, 5, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
    )
    draft.begin(tokens[:, 0], capacity=20)
    draft.extend(torch.empty(0), tokens[:, 1:], torch.tensor([8, 5, 8]))
    proposed = draft.propose(TreePolicy(depth=3, top_k=1, budget=3)).tokens.tolist()
    assert proposed[0] == [8, 7, 1], "the latest of the two matches of (1, 2)"
    assert proposed[1] == [6, 4, 3], "no match of (3, 5), one of (5)"
    assert proposed[2] == [9, 9, 9], "no match: the last token again"
    draft.extend(torch.empty(0), torch.tensor([[8], [5], [1]]), torch.tensor([1, 1, 1]))
    draft.select_rows(torch.tensor([2, 0]))
    assert draft.propose(TreePolicy(3, 1, 3)).tokens.tolist() == [[2, 3, 4], [7, 1, 2]]


def test_taps_are_the_models_hidden_states(qwen: PreTrainedModel, texts: Tensor) -> None:
    target = Target(qwen, (0, 3, LAYERS))
    visible = torch.ones(ROWS, LENGTH, LENGTH, dtype=torch.bool).tril()
    cache = target.new_cache(torch.zeros(ROWS, dtype=torch.long), LENGTH)
    cache.stage(LENGTH)
    places = torch.arange(LENGTH).expand(ROWS, -1)
    with torch.no_grad():
        read = target.read(texts, places, cache.mask(visible, torch.float64), cache)
        stock = qwen(texts, output_hidden_states=True)
    torch.testing.assert_close(read.logits, stock.logits)
    expected = torch.cat([stock.hidden_states[tap] for tap in (0, 3, LAYERS)], dim=-1)
    torch.testing.assert_close(read.features, expected)
