"""The template space: sixteen scaffolds with three slots each and forty side chains, a world made by hand.

A million designs; a proposal may change scaffold and side chains alike. All of them are molecules.
"""

from __future__ import annotations

import numpy as np

from common.tasks.molecules.chemistry import canonical
from common.tasks.molecules.designs import Lead, Space

TEMPLATES = (
    "c1c({0})cc({1})c({2})c1",
    "c1c({0})nc({1})c({2})c1",
    "c1c({0})nc({1})nc1({2})",
    "C1CN({0})CCN1C(=O)c1cc({1})cc({2})c1",
    "c1({0})cc2c(cc1)n({1})c({2})n2",
    "c1({0})nc({1})sc1({2})",
    "c1({0})cn({1})nc1({2})",
    "O=C(N{0})c1cc({1})cc({2})c1",
    "c1c({0})cc2c(c1)C(=O)N({1})CC2({2})",
    "C1CC({0})CCN1c1nc({1})cc({2})n1",
    "c1({0})oc({1})nc1({2})",
    "O=S(=O)(N{0})c1cc({1})cc({2})c1",
    "C1C({0})CN({1})C1C(=O)N{2}",
    "c1({0})cc({1})c2ncc({2})cc2c1",
    "O=C1N({0})C(=O)C({1})({2})N1",
    "c1({0})nnc({1})n1{2}",
)
SIDE_CHAINS = (
    "[H]", "C", "CC", "C(C)C", "OC", "F", "Cl", "Br", "C#N", "C(F)(F)F", "OC(F)F", "N(C)C", "NC(C)=O",
    "C(=O)N", "C(=O)O", "O", "N1CCOCC1", "N1CCCCC1", "N1CCN(C)CC1", "C1CC1", "C1CCCCC1", "C1CCNCC1",
    "c1ccccc1", "c1ccc(F)cc1", "c1ccncc1", "c1cccs1", "c1ccc2ccccc2c1", "Cc1ccccc1", "CCc1ccccc1", "CCCCCC",
    "CCCCCCCC", "[N+](=O)[O-]", "OCCO", "CCO", "CCN(CC)CC", "S(C)(=O)=O", "NS(C)(=O)=O", "OCc1ccccc1",
    "C(=O)OCC", "C(=O)Nc1ccccc1",
)  # fmt: skip
SPACE = Space(SIDE_CHAINS, {f"s{number}": text for number, text in enumerate(TEMPLATES)})
HELD_OUT = ("s3", "s7", "s11", "s15")
"""Scaffolds of no lead in training."""


def draw(rng: np.random.Generator, scaffolds: tuple[str, ...] = tuple(SPACE.scaffolds)) -> Lead:
    """A uniform design as a lead."""
    scaffold = scaffolds[rng.integers(len(scaffolds))]
    chains = [SIDE_CHAINS[index] for index in rng.integers(len(SIDE_CHAINS), size=3)]
    template = SPACE.scaffolds[scaffold]
    lead = Lead("", (scaffold, *chains), template)
    return Lead(canonical(SPACE.smiles(lead, lead.design)), lead.design, template)
