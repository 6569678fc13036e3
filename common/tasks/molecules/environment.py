"""Lead optimisation as a dialogue in tokens: propose a molecule, read what became of it, propose the next.

An action is a design: the tokens of its fragments, separated by blanks, with a closing ``</mol>`` or without.
Similarity is always to the lead. The current molecule is the best so far: it is replaced by an admissible one
that is no worse, and stays after anything else, so that a failed turn needs no rolling back; all observations
show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Text

from common.study.errors import StudyError
from common.tasks.molecules.assay import OUTCOMES, Assay, Bench, Outcome, Verdict
from common.tasks.molecules.chemistry import Unreadable, canonical
from common.tasks.molecules.designs import (
    DESCRIPTIONS,
    HYDROGEN,
    Decorated,
    Lead,
    Space,
    bonded_atoms,
    described,
)
from common.tasks.molecules.goals import LEVELS, SCALES, TASKS, level

PAD, BOS, EOS, OPEN, CLOSE = "<pad>", "<bos>", "<eos>", "<mol>", "</mol>"
TURNS = 5
UNKNOWN = "b?"
SIGNS = ("down", "level", "up")
ATOMS = tuple(f"at:{symbol}" for symbol in ("C", "c", "N", "n", "O", "S", "other"))
PENALTIES: dict[Outcome, float] = {
    "same": -0.3,
    "invalid": -0.5,
    "refused": -0.5,
    "violation": -1.0,
    "error": -1.0,
    "exhausted": 0.0,
}
LONGEST_OBSERVATION, LONGEST_ACTION = 2000, 500
CHARACTERS = "".join(map(chr, range(32, 127)))


def vocabulary(space: Space) -> tuple[str, ...]:
    """Every token of prompts, observations and designs, whatever the task; ids depend on the space."""
    levels = (*(f"b{number}" for number in range(LEVELS)), UNKNOWN)
    turns = tuple(f"t{turn}" for turn in range(1, 10))
    words = ("lead", "now", "sim", *SIGNS, *OUTCOMES, *TASKS, *SCALES)
    special = (PAD, BOS, EOS, OPEN, CLOSE)
    return tuple(dict.fromkeys((*special, *words, *levels, *turns, *ATOMS, *DESCRIPTIONS, *space.tokens)))


class LeadOptimization(gymnasium.Env[str, str]):
    """One trajectory on one lead.

    `reset` takes as ``options`` the number of a ``lead`` (else it is drawn) and the design to ``start`` from,
    for instance an elite of earlier trajectories (else the lead's own). `info` has the outcome, the SMILES,
    its values and similarity, whether it was charged, success, and the calls of this lead so far.

    Args:
        space: What may be designed.
        bench: Task, oracles and budgets; environments that share it share the budget of each lead.
        leads: Leads to draw from.
        turns: Longest trajectory; the one that reaches it is truncated, as is one that the budget ends.
    """

    def __init__(self, space: Space, bench: Bench, leads: Sequence[Lead], turns: int = TURNS) -> None:
        if not leads or not 1 <= turns < 10:
            raise StudyError(f"an environment needs a lead and 1 to 9 turns, not {len(leads)} and {turns}")
        self.space, self.bench, self.leads, self.turns = space, bench, tuple(leads), turns
        self.observation_space = Text(LONGEST_OBSERVATION, charset=CHARACTERS)
        self.action_space = Text(LONGEST_ACTION, min_length=0, charset=CHARACTERS)
        self._values: dict[str, float] = {}
        self._begin(0, ())

    @property
    def lead(self) -> Lead:
        """The lead of this trajectory."""
        return self.leads[self._number]

    @property
    def assay(self) -> Assay:
        """Its assay."""
        return self.bench.assay(self.lead.smiles)

    @property
    def state(self) -> dict[str, Any]:
        """Where the trajectory stands, as JSON; the budgets are the bench's."""
        return {
            "lead": self._number,
            "turn": self._turn,
            "current": list(self._current),
            "values": self._values,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of an environment on the same leads."""
        self._number, self._turn = state["lead"], state["turn"]
        self._current, self._values = tuple(state["current"]), dict(state["values"])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin a trajectory.

        Raises:
            StudyError: the start is no admissible design of this lead with known values.
        """
        super().reset(seed=seed)
        options = options or {}
        number = options.get("lead")
        self._begin(int(self.np_random.integers(len(self.leads))) if number is None else number, ())
        start = tuple(options.get("start", self.lead.design))
        verdict = self._judge(start)
        if verdict.outcome != "ok":
            raise StudyError(f"a trajectory cannot start from {' '.join(start)}: {verdict.outcome}")
        self._begin(self._number, start)
        self._values = verdict.values
        return self._prompt(), self._info(verdict, success=False)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Propose a design; any text has an outcome, and an episode may go on after its end."""
        design = tuple(action.split())
        design = design[:-1] if design[-1:] == (CLOSE,) else design
        verdict = self._judge(design)
        reward, sign = self._reward(verdict), SIGNS.index("level")
        success = False
        if verdict.outcome == "ok":
            gain = self._merit(verdict.values) - self._merit(self._values)
            sign = 1 + int(np.sign(gain))
            success = self.bench.task.passed(verdict.values, self.assay.lead_values)
            if gain >= 0:
                self._current, self._values = design, verdict.values
        self._turn += 1
        ended = success and self.bench.task.ends
        cut = not ended and (self._turn >= self.turns or verdict.outcome == "exhausted")
        return self._answer(verdict, SIGNS[sign]), reward, ended, cut, self._info(verdict, success)

    def _begin(self, number: int, design: tuple[str, ...]) -> None:
        self._number, self._turn, self._current = number, 0, design
        self._values = {}

    def _judge(self, design: Sequence[str]) -> Verdict:
        """The assay's verdict on a design; ``same`` for the current molecule."""
        try:
            smiles = self.space.smiles(self.lead, design)
        except Unreadable:
            return Verdict("invalid")
        verdict = self.assay.judge(smiles)
        if self._current and verdict.smiles == canonical(self.space.smiles(self.lead, self._current)):
            return Verdict("same", verdict.smiles, self._values, verdict.similarity)
        return verdict

    def _reward(self, verdict: Verdict) -> float:
        task = self.bench.task
        if verdict.outcome == "ok":
            return task.reward(verdict.values, self._values, self.assay.lead_values)
        if verdict.outcome == "dissimilar":
            return -2 * (task.similarity - verdict.similarity)
        return PENALTIES[verdict.outcome]

    def _merit(self, values: Mapping[str, float]) -> float:
        return self.bench.task.merit(values, self.assay.lead_values)

    def _prompt(self) -> str:
        atoms = (f"at:{symbol}" for symbol in bonded_atoms(self.lead.template))
        known = [token if token in ATOMS else "at:other" for token in atoms]
        scaffold = Decorated(self.lead.template, tuple(HYDROGEN for _ in known)).scaffold
        head = [BOS, self.bench.task.name, *described(scaffold), *known, "lead", *self.lead.design]
        return " ".join([*head, *self._levels(self.assay.lead_values), *self._here()])

    def _answer(self, verdict: Verdict, sign: str) -> str:
        similar = f"b{min(int(verdict.similarity * LEVELS), LEVELS - 1)}" if verdict.smiles else UNKNOWN
        told = [verdict.outcome, *self._levels(verdict.values), sign, "sim", similar]
        return " ".join([*told, *self._here()])

    def _levels(self, values: Mapping[str, float]) -> list[str]:
        names = self.bench.task.oracles
        bins = [f"b{level(name, values[name])}" if name in values else UNKNOWN for name in names]
        return [token for pair in zip(names, bins, strict=True) for token in pair]

    def _here(self) -> list[str]:
        return ["now", *self._current, f"t{min(self._turn + 1, 9)}", OPEN]

    def _info(self, verdict: Verdict, success: bool) -> dict[str, Any]:
        return {
            "outcome": verdict.outcome,
            "smiles": verdict.smiles,
            "values": dict(verdict.values),
            "similarity": verdict.similarity,
            "charged": verdict.charged,
            "success": success,
            "calls": self.assay.calls,
        }
