"""Every kind of draft learns from a target's texts; GRIFFIN's steps follow a proposed token."""

import pytest
import torch
from transformers import PreTrainedModel

from common.speculative.pretraining import NETWORKS, Kind, aligned, new_network, token_loss
from common.speculative.target import Target
from common.speculative.texts import read_texts
from common.speculative.unroll import unroll_text
from tests.common.speculative.conftest import LAYERS, VOCABULARY


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))


def supervised(ids: torch.Tensor) -> torch.Tensor:
    places = torch.ones_like(ids, dtype=torch.bool)
    places[:, -1] = False
    return places


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_draft_learns(qwen: PreTrainedModel, ids: torch.Tensor, kind: Kind) -> None:
    network = new_network(NETWORKS[kind], qwen, 0).double()
    target = Target(qwen, network.taps(LAYERS))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    unmasked: Kind = (
        "eagle" if kind == "griffin" else kind
    )  # GRIFFIN's own loss counts more steps as it learns

    def loss(of: Kind) -> torch.Tensor:
        return token_loss(of, network, target, ids, supervised(ids), 2)

    start = loss(unmasked).item()
    for _ in range(8):
        optimizer.zero_grad()
        loss(kind).backward()
        optimizer.step()
    assert loss(unmasked).item() < start


def test_a_seed_decides_the_draft_and_nothing_else(qwen: PreTrainedModel) -> None:
    state = torch.get_rng_state()
    first, same, other = (new_network(NETWORKS["eagle3"], qwen, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_aligned_steps_follow_a_proposed_token(qwen: PreTrainedModel, ids: torch.Tensor) -> None:
    network = new_network(NETWORKS["griffin"], qwen, 0).double()
    text = read_texts(Target(qwen, network.taps(LAYERS)), ids)
    unrolled = unroll_text(network, ids, text.features, text.logits, supervised(ids), 3)
    mask = aligned(unrolled, ids)
    assert torch.equal(mask[:, :, 0], unrolled.mask[:, :, 0])
    for row, entry, step in unrolled.mask[:, :, 1:].nonzero().tolist():
        top = unrolled.unrolled.logits[row, entry, step].topk(3).indices.tolist()
        assert bool(mask[row, entry, step + 1]) is (int(ids[row, entry + 2 + step]) in top)
