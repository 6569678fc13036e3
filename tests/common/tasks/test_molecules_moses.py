"""Real molecules: the library, the splits and the leads; skipped by name where they are not installed."""

import sys
from dataclasses import replace
from itertools import islice

import pytest

from common.study import assets
from common.study.assets import ASSETS
from common.study.errors import StudyError
from common.tasks.molecules import moses
from common.tasks.molecules.designs import HYDROGEN, decompose
from common.tasks.molecules.environment import vocabulary
from common.tasks.molecules.goals import oracles, task
from common.tasks.molecules.moses import Harvest

NEEDED = ("moses", "moses_scaffolds")
LACKED = assets.missing(NEEDED)
real = pytest.mark.skipif(bool(LACKED), reason=assets.reason(LACKED))
SMALL = Harvest(sample=300)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REPRISE_STORE", str(tmp_path_factory.getbasetemp() / "moses" / "store"))


@real
def test_the_library_is_made_once_and_is_the_same_again(monkeypatch):
    library = moses.side_chains(SMALL)
    assert library[:2] == (HYDROGEN, "C")
    assert len(set(library)) == 40
    monkeypatch.setattr(moses, "molecules", None)  # from now on it is read
    assert moses.side_chains(SMALL) == library
    assert len(vocabulary(moses.space(SMALL))) < 256


@real
def test_most_molecules_are_made_of_the_library():
    shares = moses.coverage(moses.side_chains(SMALL), sample=200, seed=1)
    assert shares["covered"] > 0.6
    assert 0.25 < shares["covered, 2 or 3 slots"] < shares["covered"]


@real
def test_splits_share_no_molecule_and_scaffolds_are_new():
    train, test, far = (set(islice(moses.molecules(split, 0), 200)) for split in moses.FILES)
    assert not train & test
    assert {moses.split_of(smiles) for smiles in train} == {"train"}
    assert {moses.split_of(smiles) for smiles in test} == {"test"}
    scaffolds = {decompose(smiles).scaffold for smiles in islice(moses.molecules("scaffolds", 0), 50)}
    assert not scaffolds & {decompose(smiles).scaffold for smiles in train}
    assert not far & (train | test)


@real
def test_leads_keep_their_scaffold_and_can_be_improved():
    found = moses.leads("train", "logp", 3, harvest=SMALL)
    assert found == moses.leads("train", "logp", 3, harvest=SMALL)  # from the cache
    space, goal = moses.space(SMALL), task("logp")
    score = oracles(goal)["logp"]
    for lead in found.leads:
        better = space.smiles(lead, lead.witness)
        assert score(better) - score(lead.smiles) >= 1
        assert decompose(lead.smiles).scaffold == decompose(better).scaffold
    assert found.seen >= found.covered >= found.admitted >= 3


@real
def test_nothing_of_the_package_is_imported():
    moses.side_chains(SMALL)
    assert "moses" not in sys.modules


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(ASSETS, "moses", replace(ASSETS["moses"], module="not_there"))
    assets.verified.cache_clear()
    with pytest.raises(StudyError) as error:
        moses.side_chains(SMALL)
    assert error.value.message == "needs moses (molsets==0.3.1), which is not installed: make assets"
    assets.verified.cache_clear()
