"""Molecules and their properties, by RDKit: parsing with a reason, canonical text, oracles, similarity.

Every property is computed on the molecule that the canonical SMILES gives, so that it does not depend on how
the molecule was written, to the last bit. RDKit's log is silent inside these functions and nowhere else.
SA reads the fragment scores that come with RDKit; no other pickle is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from rdkit import Chem, DataStructs, rdBase
from rdkit.Chem import QED, rdFingerprintGenerator, rdMolDescriptors
from rdkit.Contrib.SA_Score import sascorer

LONGEST_TEXT = 500  # characters: a proposal is a text of unknown origin, and parsing costs time
MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
ANY_ATOM = Chem.MolFromSmarts("[#0]")
REMEMBERED = 200_000  # molecules whose properties a process keeps


class Unreadable(ValueError):
    """The text is no SMILES of one molecule."""


class Refused(ValueError):
    """The text is a SMILES, of a molecule that RDKit refuses."""


def parse(smiles: str) -> Chem.Mol:
    """The molecule of a SMILES, without stereochemistry (MOSES has none).

    Raises:
        Unreadable: syntax, blanks, nothing, several molecules, or more than `LONGEST_TEXT` characters.
        Refused: a valence or an aromatic system that does not exist, or an atom that stands for any.
    """
    if not smiles.isascii() or not smiles.isprintable() or " " in smiles or len(smiles) > LONGEST_TEXT:
        raise Unreadable(f"not a SMILES: {smiles[:40]!r}")
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
        if molecule is None or not molecule.GetNumAtoms() or "." in smiles:
            raise Unreadable(f"not a SMILES of one molecule: {smiles[:40]!r}")
        try:
            Chem.SanitizeMol(molecule)
            molecule = Chem.RemoveHs(molecule)
        except (Chem.MolSanitizeException, ValueError) as error:
            raise Refused(f"RDKit refuses {smiles[:40]}: {error}") from None
    if molecule.HasSubstructMatch(ANY_ATOM):
        raise Refused(f"RDKit knows no properties of {smiles[:40]}, which has an atom that stands for any")
    Chem.RemoveStereochemistry(molecule)
    return molecule


@lru_cache(4096)
def _parsed(smiles: str) -> Chem.Mol:
    return parse(smiles)


@lru_cache(REMEMBERED)
def canonical(smiles: str) -> str:
    """RDKit's canonical SMILES, a fixed point of itself.

    Raises:
        Unreadable: no SMILES of one molecule.
        Refused: RDKit refuses the molecule, or has no fixed point: it promises none.
    """
    texts = [smiles]
    while (written := Chem.MolToSmiles(_parsed(texts[-1]))) != texts[-1]:
        if len(texts) > 4:
            raise Refused(f"RDKit has no canonical SMILES of {smiles[:40]}")
        texts.append(written)
    return written


def _molecule(smiles: str) -> Chem.Mol:
    """The molecule in its canonical order of atoms; not to be changed, since it is remembered."""
    return _parsed(canonical(smiles))


@lru_cache(REMEMBERED)
def qed(smiles: str) -> float:
    """Quantitative estimate of drug-likeness, 0 to 1 (Bickerton et al. 2012)."""
    return float(QED.qed(_molecule(smiles)))


@lru_cache(REMEMBERED)
def synthetic_accessibility(smiles: str) -> float:
    """SA score, 1 (easy) to 10 (Ertl and Schuffenhauer 2009)."""
    return float(sascorer.calculateScore(_molecule(smiles)))


@lru_cache(REMEMBERED)
def log_p(smiles: str) -> float:
    """Octanol-water partition coefficient, by Crippen's atom contributions."""
    return float(rdMolDescriptors.CalcCrippenDescriptors(_molecule(smiles))[0])


def penalised_log_p(smiles: str) -> float:
    """logP - SA - max(0, atoms of the largest ring - 6), not standardised."""
    rings = [len(ring) for ring in _molecule(smiles).GetRingInfo().AtomRings()]
    return log_p(smiles) - synthetic_accessibility(smiles) - max(0, max(rings, default=0) - 6)


ORACLES: dict[str, Callable[[str], float]] = {
    "qed": qed,
    "sa": synthetic_accessibility,
    "logp": log_p,
    "plogp": penalised_log_p,
}


@lru_cache(REMEMBERED)
def fingerprint(smiles: str) -> DataStructs.ExplicitBitVect:
    """Morgan fingerprint of radius 2 in 2048 bits."""
    return MORGAN.GetFingerprint(_molecule(smiles))


def similarity(smiles: str, other: str) -> float:
    """Tanimoto similarity of two molecules' fingerprints, 0 to 1."""
    return float(DataStructs.TanimotoSimilarity(fingerprint(smiles), fingerprint(other)))


def heavy_atoms(smiles: str) -> int:
    """Atoms that are not hydrogen."""
    return int(_molecule(smiles).GetNumHeavyAtoms())


def carbon_chain(smiles: str) -> int:
    """Carbons on the longest path of carbons outside rings; these form a forest, so two walks find it."""
    carbons = {atom.GetIdx(): atom for atom in _molecule(smiles).GetAtoms() if _is_chain(atom)}
    longest, rest = 0, set(carbons)
    while rest:
        reached = _walk(carbons, rest.pop())
        rest -= reached.keys()
        longest = max(longest, *_walk(carbons, max(reached, key=reached.__getitem__)).values())
    return longest


def _is_chain(atom: Chem.Atom) -> bool:
    return atom.GetSymbol() == "C" and not atom.IsInRing()


def _walk(carbons: dict[int, Chem.Atom], start: int) -> dict[int, int]:
    """Carbons on the way from `start` to each that can be reached, both ends counted."""
    reached, front = {start: 1}, [start]
    while front:
        place = front.pop()
        for atom in carbons[place].GetNeighbors():
            if atom.GetIdx() in carbons and atom.GetIdx() not in reached:
                reached[atom.GetIdx()] = reached[place] + 1
                front.append(atom.GetIdx())
    return reached
