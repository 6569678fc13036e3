"""An assay of one lead: what becomes of a proposed molecule, and how many oracle calls it has cost.

A call is counted for a molecule that is readable, admissible and similar enough, and was not scored before
for this lead, whatever becomes of the call; the lead itself is free. With a journal, each call is on disk
before its result is used: whoever kills the process and runs it again finds every call that was paid for, and
a call whose line was cut off is made and counted once more, that is, once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.jsonlines import read_json_lines
from common.study.errors import StudyError
from common.tasks.molecules import chemistry
from common.tasks.molecules.chemistry import Refused, Unreadable
from common.tasks.molecules.goals import Oracle, OracleError, Task

BUDGET = 500  # oracle calls a lead
Outcome = Literal["ok", "same", "invalid", "refused", "dissimilar", "violation", "error", "exhausted"]
OUTCOMES: tuple[Outcome, ...] = (
    "ok", "same", "invalid", "refused", "dissimilar", "violation", "error", "exhausted",
)  # fmt: skip
Values = dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What became of a proposal.

    Attributes:
        outcome: ``ok``: it has values; ``invalid``: no SMILES; ``refused``: RDKit refuses the molecule;
            ``violation``: too heavy or too long a chain; ``dissimilar`` to the lead; ``error``: an oracle
            failed on it; ``exhausted``: it would cost a call and none is left.
        smiles: Canonical; empty where there is no molecule.
        values: Of the task's properties; empty unless ``ok``.
        similarity: To the lead; 0 where there is no molecule.
        charged: It has cost a call.
    """

    outcome: Outcome
    smiles: str = ""
    values: Values = field(default_factory=dict)
    similarity: float = 0.0
    charged: bool = False


class Assay:
    """Oracles of a task for one lead, behind a budget.

    Args:
        lead: SMILES of the lead.
        task: What is asked for.
        oracles: Functions of its properties (`common.tasks.molecules.goals.oracles`).
        budget: Most calls.
        journal: File that keeps the calls; one that exists is continued.

    Raises:
        StudyError: the lead is no molecule or has no values, or the journal is another lead's.
    """

    def __init__(
        self,
        lead: str,
        task: Task,
        oracles: Mapping[str, Oracle],
        budget: int = BUDGET,
        journal: Path | None = None,
    ) -> None:
        self.task, self.oracles, self.budget, self.journal = task, oracles, budget, journal
        try:
            self.lead = chemistry.canonical(lead)
            self.lead_values = self._score(self.lead)
        except (Unreadable, Refused, OracleError) as error:
            raise StudyError(f"'{lead}' cannot be a lead: {error}") from None
        self._scored: dict[str, Values | None] = {}
        if journal is not None:
            self._continue(journal)

    @property
    def calls(self) -> int:
        """Oracle calls so far."""
        return len(self._scored)

    @property
    def state(self) -> dict[str, Any]:
        """All that has been paid for, as JSON."""
        return {"lead": self.lead, "task": self.task.name, "scored": list(self._scored.items())}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of an assay of the same lead and task.

        Raises:
            StudyError: it is that of another one.
        """
        if (state["lead"], state["task"]) != (self.lead, self.task.name):
            raise StudyError(
                f"a state of {state['lead']} ({state['task']}) cannot continue {self.lead} ({self.task.name})"
            )
        self._scored = dict(state["scored"])

    def judge(self, proposal: str) -> Verdict:
        """What becomes of a SMILES; any text has an outcome."""
        try:
            smiles = chemistry.canonical(proposal)
        except Unreadable:
            return Verdict("invalid")
        except Refused:
            return Verdict("refused")
        similarity = chemistry.similarity(smiles, self.lead)
        if similarity < self.task.similarity:
            return Verdict("dissimilar", smiles, similarity=similarity)
        if (
            chemistry.heavy_atoms(smiles) > self.task.heaviest
            or chemistry.carbon_chain(smiles) > self.task.chain
        ):
            return Verdict("violation", smiles, similarity=similarity)
        if smiles == self.lead:
            return Verdict("ok", smiles, self.lead_values, similarity)
        charged = smiles not in self._scored
        if charged and self.calls >= self.budget:
            return Verdict("exhausted", smiles, similarity=similarity)
        if charged:
            self._charge(smiles)
        values = self._scored[smiles]
        if values is None:
            return Verdict("error", smiles, similarity=similarity, charged=charged)
        return Verdict("ok", smiles, values, similarity, charged)

    def _score(self, smiles: str) -> Values:
        return {name: oracle(smiles) for name, oracle in self.oracles.items()}

    def _charge(self, smiles: str) -> None:
        try:
            values = self._score(smiles)
        except OracleError:
            values = None
        if self.journal is not None:
            _append(self.journal, [smiles, values])
        self._scored[smiles] = values

    def _continue(self, journal: Path) -> None:
        """Read a journal, cut off a torn last line, and make sure that it begins with this lead."""
        header = [self.lead, self.task.name]
        if not journal.exists():
            return _append(journal, header)
        *lines, torn = read_json_lines(journal)
        if torn:
            os.truncate(journal, journal.stat().st_size - len(torn.encode()))
        if not lines:
            return _append(journal, header)
        entries = [json.loads(line) for line in lines]
        if entries[0] != header:
            raise StudyError(f"{journal} is the journal of {' for '.join(entries[0])}, not of {self.lead}")
        self._scored = dict(entries[1:])
        return None


class Bench:
    """The assays of many leads for one task, each with its own budget: all trajectories of a lead share one.

    Args:
        task: What is asked for.
        oracles: Functions of its properties.
        budget: Most calls for a lead.
        folder: Where journals are kept, one a lead; nowhere without.
    """

    def __init__(
        self, task: Task, oracles: Mapping[str, Oracle], budget: int = BUDGET, folder: Path | None = None
    ) -> None:
        self.task, self.oracles, self.budget, self.folder = task, oracles, budget, folder
        self._assays: dict[str, Assay] = {}

    def assay(self, lead: str) -> Assay:
        """The assay of a lead, begun at its first use."""
        if lead not in self._assays:
            name = hashlib.sha256(f"{self.task.name} {lead}".encode()).hexdigest()[:16]
            journal = None if self.folder is None else self.folder / f"{name}.jsonl"
            self._assays[lead] = Assay(lead, self.task, self.oracles, self.budget, journal)
        return self._assays[lead]

    @property
    def calls(self) -> int:
        """Oracle calls of all leads."""
        return sum(assay.calls for assay in self._assays.values())

    @property
    def state(self) -> dict[str, Any]:
        """The state of every assay by its lead, as JSON."""
        return {lead: assay.state for lead, assay in self._assays.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; assays that it does not name begin anew."""
        self._assays.clear()
        for lead, each in state.items():
            self.assay(lead).restore(each)


def _append(journal: Path, entry: object) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
