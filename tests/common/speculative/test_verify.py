"""Losslessness by enumeration: an outcome of a cycle has the probability that the target gives its tokens."""

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
import torch
from scipy import stats
from torch import Tensor

from common.speculative import verify
from common.speculative.tree import DraftTree, expected_accept_length
from common.speculative.verify import (
    SamplingParams,
    draw,
    probabilities,
    verify_greedy,
    verify_recursive_rejection,
    verify_token_matching,
)

SAMPLERS = [verify_token_matching, verify_recursive_rejection]
PARAMS = [SamplingParams(9), SamplingParams(9, 0.7), SamplingParams(9, 1.3, 0.8)]
# (parent, token): siblings in draft order
TREES = {
    "one": [(-1, 2)],
    "fan": [(-1, 0), (-1, 3), (-1, 1), (-1, 2)],
    "chain": [(-1, 1), (0, 1), (1, 0)],
    "mixed": [(-1, 3), (-1, 0), (0, 2), (0, 1), (3, 3)],
}


class Script:
    """Replaces chance by a script: one run of the verifier per leaf of the tree of its random choices."""

    def __init__(self) -> None:
        self.decided: list[int] = []

    def runs(self) -> Iterator[None]:
        """Depth-first over all choices; `chance` is the probability of the run so far."""
        while True:
            self.at, self.chance, self.widths = 0, 1.0, []
            yield
            while self.widths and self.decided[len(self.widths) - 1] + 1 == self.widths[-1]:
                self.widths.pop()
            if not self.widths:
                return
            self.decided = self.decided[: len(self.widths)]
            self.decided[-1] += 1

    def choose(self, weights: list[float]) -> int:
        if self.at == len(self.decided):
            self.decided.append(0)
        choice = self.decided[self.at]
        self.at += 1
        self.widths.append(len(weights))
        self.chance *= weights[choice] / (sum(weights) or 1.0)  # an empty residual: this run is impossible
        return choice

    def coin(self, chance: Tensor, generator: object = None) -> Tensor:
        return torch.tensor([self.choose([1 - float(chance[0]), float(chance[0])]) == 1])

    def draw(self, weights: Tensor, generator: object = None) -> Tensor:
        rows = weights.reshape(-1, weights.shape[-1])
        picked = [self.choose(row.tolist()) for row in rows]
        return torch.tensor(picked).reshape(weights.shape[:-1])


def tree_of(name: str) -> DraftTree:
    parent, tokens = zip(*TREES[name], strict=True)
    return DraftTree.of(torch.tensor([tokens]), torch.tensor([parent]), torch.zeros(1, len(tokens)), depth=4)


def table(name: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(1, len(TREES[name]) + 1, 4, generator=generator, dtype=torch.float64)


def outcomes(
    rule: Callable, name: str, params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[tuple[int, ...], float], float]:
    """Probability of each emitted sequence (accepted path, then the target's own token), and mean length."""
    script, tree, logits = Script(), tree_of(name), table(name)
    monkeypatch.setattr(verify, "coin", script.coin)
    monkeypatch.setattr(verify, "draw", script.draw)
    found: dict[tuple[int, ...], float] = defaultdict(float)
    mean = 0.0
    staged = [None, *tree.tokens[0].tolist()]
    for _ in script.runs():
        verdict = rule(logits, tree, params, None)
        if script.chance == 0:
            continue
        length = int(verdict.accepted[0])
        path = verdict.path[0, : length + 1].tolist()
        assert path[0] == 0
        found[(*(staged[node] for node in path[1:]), int(verdict.next_token[0]))] += script.chance
        mean += script.chance * length
    return found, mean


@pytest.mark.parametrize("params", PARAMS, ids=["plain", "cold", "hot nucleus"])
@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("rule", SAMPLERS)
def test_every_outcome_has_the_targets_probability(
    rule: Callable, name: str, params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, mean = outcomes(rule, name, params, monkeypatch)
    tree, p = tree_of(name), probabilities(table(name)[0], params)
    children = {(parent, token): node for node, (parent, token) in enumerate(TREES[name])}
    assert sum(found.values()) == pytest.approx(1, abs=1e-12)
    for tokens, chance in found.items():
        expected, here = 1.0, -1
        for place, token in enumerate(tokens):
            expected *= float(p[here + 1, token])
            here = children.get((here, token), -2)
            last = place + 1 == len(tokens)
            assert (here == -2) == last, "a cycle ends with the first token outside the tree"
        assert chance == pytest.approx(expected, abs=1e-12)
    log_p = torch.stack([p[parent + 1, token].log() for parent, token in TREES[name]])[None]
    assert mean == pytest.approx(expected_accept_length(tree, log_p).item(), abs=1e-9)


@pytest.mark.parametrize("rule", [verify_greedy, *SAMPLERS])
@pytest.mark.parametrize("name", TREES)
def test_greedy_follows_the_argmax(rule: Callable, name: str) -> None:
    tree, logits = tree_of(name), table(name, seed=3)
    verdict = rule(logits, tree, SamplingParams(9, temperature=0.0), None)
    children = {(parent, token): node for node, (parent, token) in enumerate(TREES[name])}
    here, path = -1, [0]
    while (best := (here, int(logits[0, here + 1].argmax()))) in children:
        here = children[best]
        path.append(here + 1)
    assert verdict.path[0, : len(path)].tolist() == path
    assert verdict.accepted.tolist() == [len(path) - 1]
    assert verdict.next_token.tolist() == [best[1]]


@pytest.mark.parametrize("rule", SAMPLERS)
def test_rows_are_verified_side_by_side(rule: Callable) -> None:
    """Certain targets leave no chance: the verdict of a row must not depend on the rows beside it."""
    certain = torch.full((4, 4, 4), -torch.inf, dtype=torch.float64)
    choices = [[1, 1, 0, 2], [1, 3, 0, 2], [0, 1, 0, 2], [1, 1, 2, 2]]
    for row, tokens in enumerate(choices):
        certain[row, torch.arange(4), torch.tensor(tokens)] = 0.0
    tree = tree_of("chain")
    trees = tree.select_rows(torch.zeros(4, dtype=torch.long))
    verdict = rule(certain, trees, SamplingParams(9), torch.Generator().manual_seed(0))
    assert verdict.accepted.tolist() == [3, 1, 0, 2]
    assert verdict.next_token.tolist() == [2, 3, 0, 2]


def test_draw_has_the_given_distribution() -> None:
    weights = torch.tensor([0.5, 0.3, 0.0, 0.2])
    drawn = draw(weights.expand(40_000, -1), torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=4)
    assert counts[2] == 0
    expected = 40_000 * weights[[0, 1, 3]]
    assert stats.chisquare(counts[[0, 1, 3]], expected).pvalue > 1e-3


def test_coin_has_the_given_chance() -> None:
    thrown = verify.coin(torch.full((40_000,), 0.3), torch.Generator().manual_seed(0))
    assert stats.binomtest(int(thrown.sum()), 40_000, 0.3).pvalue > 1e-3


def test_the_nucleus_keeps_the_token_that_reaches_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    p = probabilities(logits, SamplingParams(1, top_p=0.7))
    assert p.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-6)


@pytest.mark.parametrize(
    ("field", "value"), [("max_new_tokens", 0), ("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1)]
)
def test_sampling_parameters_name_the_wrong_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SamplingParams(**{"max_new_tokens": 1, **{field: value}})


def test_greedy_has_no_distribution() -> None:
    with pytest.raises(ValueError, match="temperature 0"):
        probabilities(torch.zeros(2), SamplingParams(1, temperature=0.0))
