"""Lead optimisation on molecules: RDKit oracles behind an exact budget, a multi-turn environment, searches.

Two worlds of one shape. *Decorations* of real leads (`moses`, or a file of one's own: `smiles_file`) keep the
lead's Murcko scaffold and exchange its side chains for those of a library; the *template space* (`templates`)
chooses a scaffold and three side chains freely, and is the control. In both an answer is a few tokens, each a
SMILES fragment, and a design becomes a molecule by writing fragments into a template (`designs`). `chemistry`
computes properties, `goals` says what counts as success, `assay` counts oracle calls, `environment` plays the
turns, `search` proves that a lead can be improved within the budget and gives the baselines, `drawing` draws.
"""
