"""What a verifier writes about a solution, as few tokens, and the same spelled out for a reader.

A critique names every step in turn, ``STEP 1 CORRECT STEP 2 INCORRECT parameters ... <eos>``. `spell_out`
gives the lines ``STEP 2: INCORRECT`` and ``EXPLANATION 2: ...`` in which generative verifiers write; whatever
is no critique stays none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.tasks.or_models import EOS
from common.tasks.or_models.language import split

EXPLANATIONS: Mapping[str, str] = {
    "reading": "the kind of problem or its sense is read wrong.",
    "parameters": "a number is not the one in the text.",
    "variables": "the domain or the number of the variables is wrong.",
    "unit": "the later steps do not count in the unit that is declared here.",
    "objective": "this is not what the problem asks for.",
    "constraints": "a constraint is missing, wrong or too many.",
    "program": "the program does not repeat the stated lines.",
}


def critique(reasons: Sequence[str | None]) -> str:
    """The critique that says of each step why it is wrong, None where it is right; tokens and `EOS`."""
    verdicts = (f"INCORRECT {reason}" if reason else "CORRECT" for reason in reasons)
    return " ".join([*(f"STEP {number} {verdict}" for number, verdict in enumerate(verdicts, start=1)), EOS])


def spell_out(tokens: Sequence[str]) -> str:
    """Lines of a critique, for any tokens; `EOS` and what stands before the first step are left out."""
    lines = []
    for number, *verdict in (
        part or ("",) for part in split(tuple(t for t in tokens if t != EOS), "STEP")[1:]
    ):
        match verdict:
            case ("INCORRECT", reason) if reason in EXPLANATIONS:
                lines += [f"STEP {number}: INCORRECT", f"EXPLANATION {number}: {EXPLANATIONS[reason]}"]
            case _:
                lines.append(f"STEP {number}: {' '.join(verdict)}")
    return "\n".join(lines)
