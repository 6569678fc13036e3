"""The paper's draft, its loss and its online step, against loops over single positions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from common.models.recipe import ModelShape, build_model
from common.rl.testing import pocket_tokenizer
from common.speculative.drafts import FeatureDraft
from common.speculative.generate import Generation, SpeculativeGenerator, Stats
from common.speculative.scheduler import ConcurrencyAwareScheduler
from common.speculative.target import Target
from common.speculative.verify import SamplingParams
from papers.fastgrpo.learner import OnlineDraftLearner, TwoHeadEagleNetwork, draft_loss

SHAPE = ModelShape(hidden=32, layers=3, heads=4, kv_heads=2, head_dim=8, ffn=48, context=96, tied=True)


@pytest.fixture(scope="module")
def policy() -> PreTrainedModel:
    model = build_model(SHAPE, pocket_tokenizer(), seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model.double()


@pytest.fixture
def network(policy: PreTrainedModel) -> TwoHeadEagleNetwork:
    torch.manual_seed(0)
    return TwoHeadEagleNetwork(policy).double()


def by_hand(network: TwoHeadEagleNetwork, features: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
    """Next feature and logits at the last of the entries, written out for one row."""
    embedded = network._shared[0].weight[following]
    fused = network.down(F.silu(network.gate(embedded)) * network.up(features)) + features
    normed = network.input_norm(fused)[None]
    query, key, value = network.attention.project(normed, torch.arange(len(following))[None])
    key, value = key.repeat_interleave(2, dim=1), value.repeat_interleave(2, dim=1)
    scores = (query[0, :, -1:] * key[0]).sum(dim=-1) / query.shape[-1] ** 0.5
    mixed = (torch.softmax(scores, dim=-1)[..., None] * value[0]).sum(dim=1)
    trunk = network.trunk_norm(fused[-1] + network.attention.out(mixed.flatten()))
    state = network.state_norm(trunk + network.state_head(trunk))
    word = network.logit_norm(trunk + network.logit_head(trunk))
    return state, network._shared[1].weight @ word


def test_the_loss_is_that_of_every_position_alone(network: TwoHeadEagleNetwork) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 32, (2, 7), generator=generator)
    features = torch.randn(2, 7, 32, generator=generator, dtype=torch.float64)
    supervised = torch.zeros(2, 7, dtype=torch.bool)
    supervised[0, 3:6], supervised[1, 5:] = True, True
    found = draft_loss(network, tokens, features, supervised)
    for row, places in enumerate([(3, 4, 5), (5, 6)]):
        expected = []
        for place in places:  # feature and next-token distribution of `place`, from the entries before it
            state, logits = by_hand(network, features[row, :place], tokens[row, 1 : place + 1])
            gap = (state - features[row, place]).abs()
            smooth = torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).mean()
            p = torch.softmax(network._shared[1].weight @ features[row, place], dim=-1)
            expected.append(2.0 * smooth - 0.1 * (p * torch.log_softmax(logits, dim=-1)).sum())
        torch.testing.assert_close(found[row], torch.stack(expected).mean())


def test_the_targets_distribution_comes_from_its_features(
    network: TwoHeadEagleNetwork, policy: PreTrainedModel
) -> None:
    ids = torch.randint(0, 32, (1, 6))
    output = policy(ids, output_hidden_states=True)
    torch.testing.assert_close(network.head(output.hidden_states[-1]), output.logits)


def test_rows_without_supervision_teach_nothing(network: TwoHeadEagleNetwork) -> None:
    tokens = torch.randint(0, 32, (1, 5))
    features = torch.randn(1, 5, 32, dtype=torch.float64)
    assert draft_loss(network, tokens, features, torch.zeros(1, 5, dtype=torch.bool)).tolist() == [0.0]


def rollouts(
    policy: PreTrainedModel, network: TwoHeadEagleNetwork, count: int = 6
) -> tuple[Generation, list[list[int]]]:
    prompts = [[1, 5, 9], [1, 7]]
    engine = SpeculativeGenerator(
        Target(policy, (SHAPE.layers,)), FeatureDraft(network), ConcurrencyAwareScheduler(c_peak=160)
    )
    found = engine.generate(
        [torch.tensor(prompt) for prompt in prompts],
        SamplingParams(12, eos_ids=(2,)),
        samples=count // 2,
        generator=torch.Generator().manual_seed(3),
        return_features=True,
    )
    return found, [prompts[row // (count // 2)] for row in range(count)]


def test_a_step_is_one_adamw_step_on_the_mean_over_responses(
    policy: PreTrainedModel, network: TwoHeadEagleNetwork
) -> None:
    """Whatever the order and the passes: the gradient is that of the mean of the rows' losses."""
    found, prompts = rollouts(policy, network)
    losses = []
    for prompt, text, states in zip(prompts, found.tokens, found.features or [], strict=True):
        ids = torch.cat([torch.tensor(prompt), text])[:-1]
        response = torch.arange(len(ids)) >= len(prompt) - 1
        losses.append(draft_loss(network, ids[None], states[None], response[None])[0])
    mean = torch.stack(losses).mean()
    expected = torch.autograd.grad(mean, list(network.parameters()))
    reference = TwoHeadEagleNetwork(policy).double()
    reference.load_state_dict(network.state_dict())
    optimizer = torch.optim.AdamW(reference.parameters(), lr=1e-3)
    for parameter, gradient in zip(reference.parameters(), expected, strict=True):
        parameter.grad = gradient
    optimizer.step()
    before = OnlineDraftLearner(network, learning_rate=1e-3, tokens=60).step([found], prompts)
    assert before == pytest.approx(float(mean.detach()), rel=1e-9)
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


def test_only_used_rows_count_if_so_asked(policy: PreTrainedModel, network: TwoHeadEagleNetwork) -> None:
    found, prompts = rollouts(policy, network)
    used = torch.tensor([True, False, False, True, False, False])
    part = Generation([found.tokens[0], found.tokens[3]], Stats(), [found.features[0], found.features[3]])
    learner = OnlineDraftLearner(network, learning_rate=0.0)
    assert learner.step([found], prompts, used) == pytest.approx(
        learner.step([part], [prompts[0], prompts[3]])
    )
    before = [parameter.clone() for parameter in network.parameters()]
    nothing = OnlineDraftLearner(network, learning_rate=1.0).step([found], prompts, torch.zeros(6) > 0)
    assert nothing == 0
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_learning_lengthens_acceptance(policy: PreTrainedModel, network: TwoHeadEagleNetwork) -> None:
    learner = OnlineDraftLearner(network, learning_rate=3e-3)
    lengths, losses = [], []
    for _ in range(60):
        found, prompts = rollouts(policy, network, count=16)
        lengths.append(found.stats.acceptance_length)
        losses.append(learner.step([found], prompts))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert sum(lengths[-5:]) > sum(lengths[:5])


def test_features_are_needed(policy: PreTrainedModel, network: TwoHeadEagleNetwork) -> None:
    found, prompts = rollouts(policy, network)
    with pytest.raises(ValueError, match="return_features=True"):
        OnlineDraftLearner(network).step([Generation(found.tokens, found.stats, None)], prompts)


SHEET = {  # rows: tokens, top-k, depth without and with the code's floor of 3 (capacity 160)
    1: (160, 8, 5, 5),
    2: (80, 8, 5, 5),
    4: (40, 8, 5, 5),
    8: (20, 8, 4, 4),
    16: (10, 8, 3, 3),
    32: (5, 4, 2, 3),
    53: (3, 2, 2, 3),
    80: (2, 1, 1, 3),
}


@pytest.mark.parametrize("rows", SHEET)
def test_the_schedule_of_the_paper_and_of_its_code(rows):
    tokens, top_k, paper, code = SHEET[rows]
    for floor, depth in ((1, paper), (3, code)):
        policy = ConcurrencyAwareScheduler(160, l_min=floor)(rows)
        assert (policy.budget + 1, policy.top_k, policy.depth) == (tokens, top_k, depth)
    assert tokens * rows <= 160


def test_a_pass_never_exceeds_the_knee_and_turns_plain_beyond_it():
    schedule = ConcurrencyAwareScheduler(160)
    for rows in range(1, 200):
        policy = schedule(rows)
        assert (policy is None) == (160 // rows < 2)
        if policy is not None:
            assert rows * (policy.nodes + 1) <= 160
