"""Real molecules: leads, side chains and held-out scaffolds from MOSES, which the package ``molsets`` has.

Only its lists of SMILES are read, where they lie; nothing of the package is imported and none of its pickles
is opened. The library of side chains and the leads are found once and kept as JSON beside the records.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import rdkit
from filelock import FileLock

from common.study.assets import ASSETS, verified
from common.study.errors import StudyError
from common.study.keys import product_name
from common.study.paths import store_root
from common.tasks.molecules.chemistry import Refused, Unreadable, canonical
from common.tasks.molecules.designs import HYDROGEN, Decorated, Lead, Space, decompose
from common.tasks.molecules.goals import oracles, task
from common.tasks.molecules.search import PROOF, Survey, survey

Split = Literal["train", "test", "scaffolds"]
FILES: dict[Split, str] = {"train": "moses", "test": "moses", "scaffolds": "moses_scaffolds"}
"""Asset of each split; MOSES keeps the scaffolds of its last file out of all others."""
TEST_SHARE = 5  # one molecule in five of the training file is a test lead or none
SLOTS = (2, 3)


def molecules(split: Split, seed: int) -> Iterator[str]:
    """All SMILES of a split as published, in the order of a seed.

    Raises:
        StudyError: the package is not installed, or its file is not a list of SMILES.
    """
    path = verified(FILES[split])
    with gzip.open(path, "rt", encoding="ascii") as file:
        header, *lines = (line.rstrip("\n") for line in file)
    if header.split(",")[0] != "SMILES":
        raise StudyError(f"{path} begins with '{header[:40]}'; expected a column SMILES")
    for index in np.random.default_rng(seed).permutation(len(lines)):
        smiles = lines[index].split(",")[0]
        if split == "scaffolds" or split_of(smiles) == split:
            yield smiles


def split_of(smiles: str) -> Split:
    """Whether a molecule of the training file trains or tests: a fixed function of its text."""
    return "test" if zlib.crc32(smiles.encode()) % TEST_SHARE == 0 else "train"


@dataclass(frozen=True)
class Harvest:
    """The library of side chains.

    Attributes:
        seed: Of the sample.
        sample: Molecules of the training split that are cut up.
        size: Side chains, hydrogen included.
    """

    seed: int = 0
    sample: int = 10_000
    size: int = 40


def side_chains(harvest: Harvest | None = None) -> tuple[str, ...]:
    """Hydrogen and the side chains that most molecules of the sample carry, most frequent first.

    Raises:
        StudyError: the package is not installed.
    """
    harvest = harvest or Harvest()

    def make() -> list[str]:
        counts: Counter[str] = Counter()
        for smiles in islice(molecules("train", harvest.seed), harvest.sample):
            parts = _decomposed(smiles)
            counts.update(set(parts.side_chains) if parts else ())
        ranked = sorted(counts, key=lambda chain: (-counts[chain], chain))
        return [HYDROGEN, *ranked[: harvest.size - 1]]

    return tuple(_kept("side-chains", asdict(harvest), "train", make))


def space(harvest: Harvest | None = None) -> Space:
    """Exchanges of a lead's side chains; its scaffold stays."""
    return Space(side_chains(harvest))


def coverage(library: tuple[str, ...], sample: int, seed: int, split: Split = "train") -> dict[str, float]:
    """Share of molecules with all side chains in the library; of those with two or three."""
    parts = [_decomposed(smiles) for smiles in islice(molecules(split, seed), sample)]
    covered = [len(each.side_chains) for each in parts if each and set(each.side_chains) <= set(library)]
    slots = sum(SLOTS[0] <= number <= SLOTS[1] for number in covered)
    return {"covered": len(covered) / len(parts), "covered, 2 or 3 slots": slots / len(parts)}


def leads(
    split: Split,
    name: str,
    count: int,
    seed: int = 0,
    budget: int = PROOF,
    fewest: int = 0,
    harvest: Harvest | None = None,
) -> Survey:
    """Leads of a task that one of our oracles scores, with witnesses that took `fewest` to `budget` calls.

    Raises:
        StudyError: no such task, a property that needs a user's function, or the package is not installed.
    """
    goal = task(name)
    scored = oracles(goal)
    designs = space(harvest)

    def make() -> dict[str, Any]:
        candidates = (designs.lead(smiles, SLOTS) for smiles in molecules(split, seed))
        return asdict(survey(designs, candidates, goal, scored, count, budget, fewest))

    recipe = {"task": asdict(goal), "count": count, "seed": seed, "split": split}
    recipe |= {"budget": budget, "fewest": fewest}
    found = _kept("leads", recipe | {"side_chains": designs.side_chains}, split, make)
    return Survey(**found | {"leads": tuple(_lead(each) for each in found["leads"])})


def _lead(fields: dict[str, Any]) -> Lead:
    tuples = {name: tuple(fields[name]) for name in ("design", "witness")}
    return Lead(**fields | tuples)


def _decomposed(smiles: str) -> Decorated | None:
    try:
        return decompose(canonical(smiles))
    except (Refused, Unreadable):
        return None


def _kept(name: str, recipe: dict[str, Any], split: Split, make: Callable[[], Any]) -> Any:
    """What was made once from these molecules, with this RDKit and this source, by one process at a time."""
    asset = FILES[split]
    verified(asset)
    origin = {"recipe": recipe, "molecules": ASSETS[asset].sha256, "rdkit": rdkit.__version__}
    place = store_root().parent / "molecules" / f"{name}-{product_name(origin, __name__)}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_suffix(".lock")):
        if not place.exists():
            part = place.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(make()), encoding="utf-8")
            part.replace(place)
    return json.loads(place.read_text(encoding="utf-8"))
