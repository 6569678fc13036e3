import pytest
import torch

from common.speculative.texts import grow_trees, read_texts
from common.speculative.tree import DraftTree, TreePolicy
from common.tasks.tridomain import DOMAINS
from papers.gto.runs.evaluation import (
    Prefixes,
    concordance,
    heldout,
    kept_of_chain,
    measure,
    oracle_acceptance,
)
from papers.gto.tree_reward import MODES
from tests.papers.gto.conftest import new_draft

POLICY = TreePolicy(3, 2, 6)


@pytest.fixture(scope="module")
def prefixes() -> Prefixes:
    return heldout(2, 3)


def test_heldout_prefixes_are_supervised_places_of_every_domain(prefixes):
    assert [name for names in prefixes.domains for name in names] == [d for d in DOMAINS for _ in range(2)]
    for batch, roots in zip(prefixes.batches, prefixes.roots, strict=True):
        assert roots.shape == (len(batch.ids), 3)
        assert batch.supervised.gather(1, roots).all()


def test_acceptance_against_reading_every_path_alone(target, draft, prefixes):
    measured = measure(draft, target, prefixes, POLICY)
    totals: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    greedy: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    for batch, roots, domains in zip(*prefixes, strict=True):
        text = read_texts(target, batch.ids)
        tree = grow_trees(draft, text.ids, text.features, roots, POLICY)
        for index in range(roots.numel()):
            row, place = divmod(index, 3)
            text, domain = batch.ids[row, : int(roots[row, place]) + 1], domains[row]
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
    ceiling = oracle_acceptance(target, prefixes, wide)
    for seed in range(3):
        measured = measure(new_draft(target, seed), target, prefixes, wide)
        assert all(measured[f"tau1/{domain}"] <= ceiling[f"tau1/{domain}"] for domain in DOMAINS)
    assert ceiling["agrees/all"] == 1.0
    chain = oracle_acceptance(target, prefixes, TreePolicy(3, 1, 3))
    assert chain["tau0/all"] == 4.0  # it accepts its own greedy path


def test_kept_of_chain_by_hand():
    tree = DraftTree.of(torch.tensor([[5, 6, 7, 5]]), torch.tensor([[-1, -1, 0, 1]]), torch.zeros(1, 4), 2)
    for chain, kept in {(5, 7): 2, (6, 5): 2, (6, 7): 1, (7, 5): 0, (5, 6): 1}.items():
        assert kept_of_chain(tree, torch.tensor([chain])).tolist() == [kept]


def test_a_chain_policy_prunes_nothing_and_its_tau_is_the_chains(target, draft, prefixes):
    chain = TreePolicy(3, 1, 3)
    measured = measure(draft, target, prefixes, chain, paths=True)
    alone = measure(draft, target, prefixes, chain)
    assert measured["pruned/all"] == 0.0
    assert measured["agrees/all"] == 1.0
    assert measured["chain1/all"] == pytest.approx(alone["tau1/all"])
    narrow = measure(draft, target, prefixes, TreePolicy(3, 2, 2), paths=True)
    assert narrow["pruned/all"] == 1.0  # two nodes hold no path of three


def test_the_node_sum_always_agrees_with_the_expectation(target, prefixes):
    measured = measure(new_draft(target, 1), target, prefixes, POLICY, before=new_draft(target, 0))
    assert measured["kendall/node_sum"] == 1.0
    assert measured["discordant/node_sum"] == 0.0
    same = measure(new_draft(target, 0), target, prefixes, POLICY, before=new_draft(target, 0))
    assert same["differ"] == 0.0


def test_concordance_by_hand():
    changes = {mode: [torch.tensor([1.0, -1.0, 2.0, -1.0, 5.0])] for mode in MODES}
    changes["expected"] = [torch.tensor([1.0, 1.0, 1.0, -1.0, 0.0])]
    measured = concordance(changes)
    assert measured["differ"] == pytest.approx(0.8)
    assert measured["discordant/lse"] == pytest.approx(0.25)
    assert measured["kendall/lse"] == pytest.approx(0.5)
