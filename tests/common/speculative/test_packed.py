"""Packed scoring against the model run on each path alone; schedules and profiles."""

import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.speculative.drafts import FeatureDraft
from common.speculative.generate import SpeculativeGenerator
from common.speculative.networks import Eagle3Network
from common.speculative.packed import score_packed_trees
from common.speculative.profile import knee, latency_table, measure_c_peak
from common.speculative.scheduler import ConcurrencyAwareScheduler, StaticScheduler
from common.speculative.target import Target
from common.speculative.tree import DraftTree, TreePolicy, expected_accept_length
from common.speculative.verify import SamplingParams
from tests.common.speculative.conftest import VOCABULARY


@pytest.fixture
def scene(qwen: PreTrainedModel) -> tuple[Target, Tensor, Tensor, DraftTree]:
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(0, VOCABULARY, (2, 9), generator=generator)
    roots = torch.tensor([[8, 3, 3], [0, 5, 7]])
    torch.manual_seed(0)
    tree = DraftTree.of(
        torch.randint(0, VOCABULARY, (6, 5), generator=generator),
        torch.tensor([[-1, -1, 0, 2, 1], [-1, 0, 1, 2, 3], [-1, -1, -1, 0, 0]]).repeat(2, 1),
        torch.zeros(6, 5),
        depth=5,
    )
    return Target(qwen), texts, roots, tree


def test_scores_are_those_of_every_path_alone(
    scene: tuple[Target, Tensor, Tensor, DraftTree],
) -> None:
    target, texts, roots, trees = scene
    scores = score_packed_trees(target, texts, roots, trees)
    for index in range(6):
        row, root = index // 3, int(roots.flatten()[index])
        paths: list[list[int]] = []
        for node, parent in enumerate(trees.parent[index].tolist()):
            above = paths[parent] if parent >= 0 else []
            ids = torch.tensor([[*texts[row, : root + 1].tolist(), *above]])
            with torch.no_grad():
                logits = target.model(ids).logits[0, -1]
            token = int(trees.tokens[index, node])
            expected = torch.log_softmax(logits.float(), dim=-1)[token]
            assert float(scores.log_p[index, node]) == pytest.approx(float(expected), abs=1e-5)
            assert bool(scores.greedy[index, node]) is (int(logits.argmax()) == token)
            paths.append([*above, token])


def test_the_exact_expectation_is_what_sampling_accepts(qwen: PreTrainedModel) -> None:
    """Packed scores give the mean accepted length of the first cycle, here over 4,000 samples of it."""
    target = Target(qwen, (1, 3, 4))
    torch.manual_seed(1)
    draft = FeatureDraft(Eagle3Network(qwen).double())
    policy, prompt = TreePolicy(depth=3, top_k=4, budget=12), torch.tensor([4, 9, 1, 7, 7])
    hot = SamplingParams(5, temperature=1.0)
    found = SpeculativeGenerator(target, draft, StaticScheduler(policy)).generate(
        [prompt], hot, samples=4000, generator=torch.Generator().manual_seed(2)
    )
    with torch.no_grad():
        states = qwen(prompt[None], output_hidden_states=True).hidden_states
        features = torch.cat([states[tap] for tap in target.taps], dim=-1)
        draft.begin(prompt[:1], 40)
        draft.extend(features[:, :-1], prompt[None, 1:], torch.tensor([4]))
        tree = draft.propose(policy)
    scores = score_packed_trees(target, prompt[None], torch.tensor([[4]]), tree)
    expected = float(expected_accept_length(tree, scores.log_p.double())[0])
    accepted = (found.stats.kept[0] - 1).double()
    assert expected > 0.05
    assert abs(accepted.mean() - expected) < 4 * accepted.std() / 4000**0.5
    greedy = SpeculativeGenerator(target, draft, StaticScheduler(policy)).generate(
        [prompt], SamplingParams(5, temperature=0.0)
    )
    assert int(scores.greedy_length(tree)[0]) == int(greedy.stats.kept[0][0]) - 1


def test_packed_scoring_wants_a_tree_per_root(scene: tuple[Target, Tensor, Tensor, DraftTree]) -> None:
    target, texts, roots, trees = scene
    with pytest.raises(ValueError, match="6 trees for 2 texts with 2 roots each"):
        score_packed_trees(target, texts, roots[:, :2], trees)


@pytest.mark.parametrize(
    ("active", "tokens", "top_k", "depth"),
    [
        (1, 160, 8, 5),
        (2, 80, 8, 5),
        (4, 40, 8, 5),
        (8, 20, 8, 4),
        (16, 10, 8, 3),
        (32, 5, 4, 2),
        (53, 3, 2, 2),
        (80, 2, 1, 1),
    ],
)
def test_the_schedule_of_the_paper(active: int, tokens: int, top_k: int, depth: int) -> None:
    """N, K, L at capacity 160 (arXiv:2509.21792, rule of Sec. 4 with the code's constants)."""
    assert ConcurrencyAwareScheduler(c_peak=160)(active) == TreePolicy(depth, top_k, tokens - 1)
    floored = ConcurrencyAwareScheduler(c_peak=160, l_min=3)(active)
    assert floored == TreePolicy(max(depth, 3), top_k, tokens - 1)


def test_plain_steps_where_a_row_has_no_room() -> None:
    schedule = ConcurrencyAwareScheduler(c_peak=16, n_max=6)
    assert schedule(9) is None
    assert schedule(8) == TreePolicy(1, 1, 1)
    assert schedule(1) == TreePolicy(3, 5, 5), "n_max bounds the tokens of a row"
    assert set(schedule.policies(9)) == {schedule(active) for active in range(1, 9)}
    with pytest.raises(ValueError, match="c_peak"):
        ConcurrencyAwareScheduler(c_peak=0)


def test_the_knee_is_the_smallest_batch_near_the_best() -> None:
    curve = pd.DataFrame({"rows": [1, 8, 16, 24], "throughput": [10.0, 94.9, 95.0, 100.0]})
    assert knee(curve) == 16
    assert knee(curve, share=0.9) == 8


def test_profiles_have_a_row_per_cell(qwen: PreTrainedModel) -> None:
    target = Target(qwen)
    table = latency_table(target, [1, 2], [1, 4], context=8, repeats=2)
    assert list(zip(table["rows"], table["tokens"], strict=True)) == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert (table["seconds"] > 0).all()
    peak, curve = measure_c_peak(target, [1, 4], context=8, repeats=3, warmups=1)
    assert peak in (1, 4)
    assert curve["throughput"].tolist() == pytest.approx((curve["rows"] / curve["seconds"]).tolist())
