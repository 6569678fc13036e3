import pytest
import torch

from common.speculative.texts import grow_trees, read_texts
from common.speculative.tree import TreePolicy
from common.tasks.tridomain import DOMAINS
from common.tasks.tridomain.evaluation import Prefixes, heldout_prefixes
from papers.gto.runs.evaluation import acceptance, ceiling
from tests.papers.gto.conftest import new_draft

POLICY = TreePolicy(3, 2, 6)


@pytest.fixture(scope="module")
def prefixes() -> list[Prefixes]:
    return heldout_prefixes(2, 3)


def test_acceptance_against_reading_every_path_alone(target, draft, prefixes):
    measured = acceptance(draft, target, prefixes, POLICY)
    totals: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    greedy: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    for ids, roots, domains in prefixes:
        text = read_texts(target, ids)
        tree = grow_trees(draft, text.ids, text.features, roots, POLICY)
        for index in range(roots.numel()):
            row, place = divmod(index, 3)
            text, domain = ids[row, : int(roots[row, place]) + 1], domains[index]
            expected, longest = 1.0, 0
            for node in range(tree.tokens.shape[1]):
                path = tree.tokens[index][tree.ancestor[index, node + 1, 1:]]
                logits = read_texts(target, torch.cat([text, path])[None]).logits[0, len(text) - 1 : -1]
                chances = torch.softmax(logits, dim=-1).gather(1, path[:, None])
                expected += float(chances.prod())
                if torch.equal(logits.argmax(dim=-1), path):
                    longest = max(longest, len(path))
            totals[domain].append(expected)
            greedy[domain].append(1 + longest)
    for domain in DOMAINS:
        assert measured[f"tau1/{domain}"] == pytest.approx(
            sum(totals[domain]) / len(totals[domain]), rel=1e-5
        )
        assert measured[f"tau0/{domain}"] == pytest.approx(sum(greedy[domain]) / len(greedy[domain]))
    assert measured["tau1/all"] == pytest.approx(sum(measured[f"tau1/{domain}"] for domain in DOMAINS) / 3)


def test_no_draft_beats_the_target_as_its_own_draft(target, prefixes):
    wide = TreePolicy(2, 8, 8)  # as many children as nodes: the best eight nodes are always candidates
    highest = ceiling(target, prefixes, wide)
    for seed in range(3):
        measured = acceptance(new_draft(target, seed), target, prefixes, wide)
        assert all(measured[f"tau1/{domain}"] <= highest[f"tau1/{domain}"] for domain in DOMAINS)
    assert highest["agrees/all"] == 1.0
    chain = ceiling(target, prefixes, TreePolicy(3, 1, 3))
    assert chain["tau0/all"] == 4.0  # it accepts its own greedy path


def test_a_chain_policy_prunes_nothing_and_its_tau_is_the_chains(target, draft, prefixes):
    chain = TreePolicy(3, 1, 3)
    measured = acceptance(draft, target, prefixes, chain, paths=True)
    alone = acceptance(draft, target, prefixes, chain)
    assert measured["pruned/all"] == 0.0
    assert measured["agrees/all"] == 1.0
    assert measured["chain1/all"] == pytest.approx(alone["tau1/all"])
    narrow = acceptance(draft, target, prefixes, TreePolicy(3, 2, 2), paths=True)
    assert narrow["pruned/all"] == 1.0  # two nodes hold no path of three
