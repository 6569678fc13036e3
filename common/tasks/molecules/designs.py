"""Designs: a template with numbered slots, and one fragment for each slot.

A template is a SMILES in which ``{0}``, ``{1}``, … stand for fragments; a fragment is a SMILES whose first
atom is bonded to the slot's atom. Ring closures of a fragment carry numbers that no template uses: written
with the template's own numbers, a ring of the fragment would close on the scaffold and give another molecule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from rdkit import Chem, rdBase
from rdkit.Chem import QED
from rdkit.Chem.Scaffolds import MurckoScaffold

from common.tasks.molecules.chemistry import Refused, Unreadable, canonical, parse

HYDROGEN = "[H]"
_SLOT = re.compile(r"\{(\d)\}")
_RING = re.compile(r"\[[^]]*\]|\d")  # what stands in brackets is an atom, and keeps its digits
BINS = 12
WIDTHS = {"MW": 25.0, "ALOGP": 0.5, "HBA": 1, "HBD": 1, "PSA": 10.0, "ROTB": 1, "AROM": 1, "ALERTS": 1}
FLOORS = {"MW": 75.0, "ALOGP": -1.0}
"""Bins of the eight quantities of a scaffold that QED looks at; those outside fall into the outermost."""


def fill(template: str, fragments: Sequence[str]) -> str:
    """The SMILES of a template whose slots hold the fragments; not yet canonical, and perhaps no molecule."""
    return template.format(*(_RING.sub(_renumbered, fragment) for fragment in fragments))


def _renumbered(found: re.Match[str]) -> str:
    return f"%9{found[0]}" if found[0].isdigit() else found[0]


@dataclass(frozen=True)
class Decorated:
    """A molecule as its Murcko scaffold, a template, and the side chains in the template's slots."""

    template: str
    side_chains: tuple[str, ...]

    @property
    def scaffold(self) -> str:
        """Canonical SMILES of the scaffold alone."""
        return canonical(fill(self.template, [HYDROGEN] * len(self.side_chains)))


def decompose(smiles: str) -> Decorated | None:
    """Cut a molecule at the bonds between its Murcko scaffold and the rest.

    None where there is no ring, where a side chain hangs on a double bond, or on more than ten slots.

    Raises:
        Unreadable: no SMILES of one molecule.
        Refused: RDKit refuses the molecule.
    """
    molecule = parse(canonical(smiles))
    for atom in molecule.GetAtoms():
        atom.SetIntProp("place", atom.GetIdx())
    kept = {atom.GetIntProp("place") for atom in MurckoScaffold.GetScaffoldForMol(molecule).GetAtoms()}
    cuts = [
        bond
        for bond in molecule.GetBonds()
        if (bond.GetBeginAtomIdx() in kept) != (bond.GetEndAtomIdx() in kept)
    ]
    if not kept or len(cuts) > 10 or any(bond.GetBondType() != Chem.BondType.SINGLE for bond in cuts):
        return None
    if not cuts:
        return Decorated(Chem.MolToSmiles(molecule), ())
    labels = [(slot, slot) for slot in range(1, len(cuts) + 1)]
    pieces = Chem.FragmentOnBonds(molecule, [bond.GetIdx() for bond in cuts], dummyLabels=labels)
    return _assemble(Chem.GetMolFrags(pieces, asMols=True), kept)


def _assemble(pieces: Sequence[Chem.Mol], kept: set[int]) -> Decorated:
    """Name the slots of the scaffold in the order of its text, and read each one's side chain."""
    chains, core = {}, None
    for piece in pieces:
        dummies = [atom for atom in piece.GetAtoms() if atom.GetAtomicNum() == 0]
        labels = {atom.GetIdx(): atom.GetIsotope() for atom in dummies}
        if any(atom.HasProp("place") and atom.GetIntProp("place") in kept for atom in piece.GetAtoms()):
            core, slots = piece, labels
        else:
            (root,) = labels
            chains[labels[root]] = _text(piece, root).removeprefix("*")
    assert core is not None
    ranks = Chem.CanonicalRankAtoms(_unlabelled(core))
    root = min((index for index in range(core.GetNumAtoms()) if index not in slots), key=ranks.__getitem__)
    text = _text(core, root)
    order = [index for index in core.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"] if index in slots]
    parts = text.split("*")
    template = "".join(f"{part}{{{slot}}}" for slot, part in enumerate(parts[:-1])) + parts[-1]
    return Decorated(template, tuple(chains[slots[index]] for index in order))


def _unlabelled(piece: Chem.Mol) -> Chem.Mol:
    for atom in piece.GetAtoms():
        if atom.GetAtomicNum() == 0:
            atom.SetIsotope(0)
    return piece


def _text(piece: Chem.Mol, root: int) -> str:
    return Chem.MolToSmiles(_unlabelled(piece), rootedAtAtom=root)


def bonded_atoms(template: str) -> tuple[str, ...]:
    """Symbol of the scaffold's atom at each slot, in lower case where it is aromatic."""
    with rdBase.BlockLogs():
        core = Chem.MolFromSmiles(_SLOT.sub(lambda slot: f"[*:{int(slot[1]) + 1}]", template))
    found = {}
    for atom in core.GetAtoms():
        if atom.GetAtomicNum() == 0:
            (neighbour,) = atom.GetNeighbors()
            symbol = neighbour.GetSymbol()
            found[atom.GetAtomMapNum()] = symbol.lower() if neighbour.GetIsAromatic() else symbol
    return tuple(found[slot] for slot in sorted(found))


@cache
def described(scaffold: str) -> tuple[str, ...]:
    """Tokens of a scaffold's eight quantities of QED: what a policy knows of one that it never saw."""
    quantities = QED.properties(parse(scaffold))._asdict()
    bins = {name: int((quantities[name] - FLOORS.get(name, 0)) // width) for name, width in WIDTHS.items()}
    return tuple(f"{name}:{min(max(number, 0), BINS - 1)}" for name, number in bins.items())


DESCRIPTIONS = tuple(f"{name}:{number}" for name in WIDTHS for number in range(BINS))


@dataclass(frozen=True)
class Lead:
    """A molecule to improve.

    Attributes:
        smiles: Canonical.
        design: Its tokens.
        template: Its scaffold with slots.
        witness: A design that was found to succeed; empty where none is asked for.
        witness_calls: Oracle calls after which it was found.
    """

    smiles: str
    design: tuple[str, ...]
    template: str
    witness: tuple[str, ...] = ()
    witness_calls: int = 0


@dataclass(frozen=True)
class Space:
    """What may be designed, in tokens.

    Attributes:
        side_chains: The library; any of them may fill any slot.
        scaffolds: Token → template, all with as many slots, chosen by a design's first token; where empty, a
            design keeps its lead's template.
    """

    side_chains: tuple[str, ...]
    scaffolds: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Tokens of designs."""
        return (*self.scaffolds, *self.side_chains)

    def choices(self, lead: Lead) -> tuple[tuple[str, ...], ...]:
        """Tokens that may stand at each place of a design for this lead."""
        slots = len(lead.design) - bool(self.scaffolds)
        return (*([tuple(self.scaffolds)] if self.scaffolds else []), *[self.side_chains] * slots)

    def smiles(self, lead: Lead, design: Sequence[str]) -> str:
        """The molecule of a design, not yet canonical.

        Raises:
            Unreadable: not as many tokens as this lead's designs have, or one out of place.
        """
        choices = self.choices(lead)
        if len(design) != len(choices) or any(t not in c for t, c in zip(design, choices, strict=True)):
            raise Unreadable(f"not a design for {lead.smiles}: {' '.join(design)[:80]!r}")
        if self.scaffolds:
            return fill(self.scaffolds[design[0]], design[1:])
        return fill(lead.template, design)

    def lead(self, smiles: str, slots: tuple[int, int] = (2, 3)) -> Lead | None:
        """A molecule as a lead of side chains only; None where one of them is not in the library.

        Args:
            smiles: The molecule.
            slots: Fewest and most side chains.
        """
        try:
            parts = decompose(smiles)
        except (Refused, Unreadable):
            return None
        if parts is None or not slots[0] <= len(parts.side_chains) <= slots[1]:
            return None
        if not set(parts.side_chains) <= set(self.side_chains):
            return None
        return Lead(canonical(smiles), parts.side_chains, parts.template)
