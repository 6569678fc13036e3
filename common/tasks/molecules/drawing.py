"""Pictures of molecules: what changes between the steps of a path is the side chains, so they are marked."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Chem.Scaffolds import MurckoScaffold

from common.tasks.molecules.chemistry import canonical, parse

MARK = (1.0, 0.87, 0.55)  # behind the side chains; the text of atoms stays readable on it


def picture(smiles: str, width: int = 300, height: int = 220) -> UInt8[np.ndarray, "height width 4"]:
    """A molecule drawn on nothing, as an image for matplotlib; atoms outside its Murcko scaffold are marked.

    Raises:
        Unreadable: no SMILES of one molecule.
        Refused: RDKit refuses the molecule.
    """
    molecule = parse(canonical(smiles))
    for atom in molecule.GetAtoms():
        atom.SetIntProp("place", atom.GetIdx())
    scaffold = {atom.GetIntProp("place") for atom in MurckoScaffold.GetScaffoldForMol(molecule).GetAtoms()}
    marked = [index for index in range(molecule.GetNumAtoms()) if scaffold and index not in scaffold]
    canvas = rdMolDraw2D.MolDraw2DCairo(width, height)
    canvas.drawOptions().clearBackground = False  # type: ignore[assignment]  # as RDKit declares it
    rdMolDraw2D.PrepareAndDrawMolecule(
        canvas, molecule, highlightAtoms=marked, highlightAtomColors=dict.fromkeys(marked, MARK)
    )
    canvas.FinishDrawing()
    return np.asarray(Image.open(BytesIO(canvas.GetDrawingText())).convert("RGBA"))
