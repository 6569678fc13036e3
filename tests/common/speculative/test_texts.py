"""Whole texts and the trees inside them: what decoding would have grown, and drafts kept on disk."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from common.speculative.checkpoint import Checkpoint
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, Stats
from common.speculative.networks import DraftNetwork, Eagle3Network, EagleNetwork
from common.speculative.target import Target
from common.speculative.texts import Probe, grow_trees, read_texts, score_trees, target_trees
from common.speculative.tree import TreePolicy, expected_accept_length
from common.speculative.unroll import path_log_likelihood
from tests.common.speculative.conftest import VOCABULARY

POLICY = TreePolicy(depth=3, top_k=3, budget=8)


@pytest.fixture(params=[Eagle3Network, EagleNetwork])
def network(request: pytest.FixtureRequest, qwen: PreTrainedModel) -> DraftNetwork:
    torch.manual_seed(3)
    return request.param(qwen).double()


@pytest.fixture
def target(qwen: PreTrainedModel, network: DraftNetwork) -> Target:
    return Target(qwen, network.taps(qwen.config.num_hidden_layers))


def texts() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(1))


def test_taps_are_those_of_eagle_3_and_the_final_state() -> None:
    assert Eagle3Network.taps(8) == (2, 4, 5)
    assert Eagle3Network.taps(32) == (2, 16, 29)
    assert EagleNetwork.taps(8) == (8,)


def test_texts_are_read_as_the_model_reads_them(qwen: PreTrainedModel, target: Target) -> None:
    found = read_texts(target, texts())
    with torch.no_grad():
        torch.testing.assert_close(found.logits, qwen(texts()).logits)
    assert found.features.shape == (3, 9, target.feature_size)


def test_trees_inside_a_text_are_those_that_decoding_grows_there(
    target: Target, network: DraftNetwork
) -> None:
    ids, roots = texts(), torch.tensor([[1, 8], [4, 4], [7, 2]])
    features = read_texts(target, ids).features
    trees = grow_trees(network, ids, features, roots, POLICY)
    for index, root in enumerate(roots.flatten().tolist()):
        row = ids[index // 2 : index // 2 + 1]
        draft = FeatureDraft(network)
        draft.begin(row[:, 0], root + 1 + draft.slots(POLICY))
        draft.extend(features[index // 2, None, :root], row[:, 1 : root + 1], torch.tensor([root]))
        alone = draft.propose(POLICY)
        assert torch.equal(trees.tokens[index], alone.tokens[0])
        assert torch.equal(trees.parent[index], alone.parent[0])
        torch.testing.assert_close(trees.log_q[index], alone.log_q[0])


def test_acceptance_counts_the_targets_own_token(target: Target, network: DraftNetwork) -> None:
    ids, roots = texts(), torch.tensor([[1, 8], [4, 4], [7, 2]])
    found = score_trees(network, target, ids, read_texts(target, ids).features, roots, POLICY)
    torch.testing.assert_close(found.acceptance, 1 + expected_accept_length(found.tree, found.scores.log_p))
    assert (found.greedy_acceptance >= 1).all()
    assert torch.equal(found.acceptance[2], found.acceptance[3])


def test_path_likelihood_is_what_the_tree_was_grown_with(target: Target, network: DraftNetwork) -> None:
    ids, roots = texts(), torch.tensor([[1, 7], [4, 4], [7, 2]])
    features = read_texts(target, ids).features
    chain = grow_trees(network, ids, features, roots, TreePolicy(3, 1, 3))
    logs = path_log_likelihood(network, features, ids, roots, chain.tokens.unflatten(0, roots.shape))
    torch.testing.assert_close(logs.flatten(0, 1).float(), chain.log_q)


def test_gradient_of_the_path_likelihood_reaches_the_draft(target: Target, network: DraftNetwork) -> None:
    ids, roots = texts(), torch.tensor([[1], [4], [7]])
    features = read_texts(target, ids).features
    path_log_likelihood(network, features, ids, roots, torch.full((3, 1, 2), 7)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert not features.requires_grad


def test_the_targets_own_trees_are_those_of_a_small_language_model(target: Target) -> None:
    text, roots = texts()[0], torch.tensor([1, 5])
    trees = target_trees(target, text, roots, POLICY)
    logits = read_texts(target, text[None]).logits[0]
    assert torch.equal(trees.tokens[:, :3].sort().values, logits[roots].topk(3).indices.sort().values)


@dataclass(frozen=True)
class Recipe:
    seed: int = 0


def test_a_draft_is_trained_once_and_comes_back_with_its_log(
    network: DraftNetwork, qwen: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path / "store"))
    trained: list[int] = []

    def train() -> Checkpoint:
        trained.append(1)
        return Checkpoint(network, {"loss": [2.0, 1.0]})

    kind = type(network)
    for _ in range(2):
        found = Checkpoint.of(Recipe(), kind(qwen).double(), train)
        assert found.log == {"loss": [2.0, 1.0]}
        for name, weight in network.state_dict().items():
            assert torch.equal(found.network.state_dict()[name], weight), name
    assert trained == [1]
    assert not any("embed" in name for name in network.state_dict())


def test_a_probe_spreads_its_places_from_the_prompts_end_over_the_response():
    """Three places on responses of four tokens and of two, behind prompts of three."""
    features = [torch.zeros(6, 2), torch.zeros(4, 2)]
    generation = Generation([torch.arange(4), torch.arange(2)], Stats(), features)
    probe = Probe.of(generation, [[1, 2, 3], [1, 2, 3]], rows=2, each=3)
    assert probe.places.tolist() == [[2, 3, 5], [2, 2, 3]]
    assert probe.ids.tolist() == [[1, 2, 3, 0, 1, 2, 3], [1, 2, 3, 0, 1, 0, 0]]
