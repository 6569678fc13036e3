"""Real models: those in GMPL that come with Debian's ``glpk-utils``, solved by GLPK and by HiGHS.

They are read where the package puts them and never copied: they are under the GPL-3. GLPK exports each as an
LP file (its MPS export loses maximisation), which HiGHS reads.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from common.tasks.or_models.solver import GAP, TOLERANCE, solve_file

EXAMPLES = Path("/usr/share/doc/glpk-utils/examples")
SECONDS = 5
_COMMENT = re.compile(r"/\*(?P<block>.*?)\*/|(?P<lines>(?:[ \t]*#[^\n]*\n?)+)", re.DOTALL)

Agreement = Literal["agree", "differ", "constant", "not optimal", "time-out", "not read"]


class Comparison(NamedTuple):
    """One model under two solvers.

    Attributes:
        name: File without ending.
        agreement: Whether the optima agree to a relative 1e-6, or why they are not compared.
        glpk, highs: The optima, NaN without one.
    """

    name: str
    agreement: Agreement
    glpk: float = math.nan
    highs: float = math.nan


def unavailable(folder: Path = EXAMPLES) -> str:
    """Why the models cannot be had and what brings them; empty if they can."""
    if shutil.which("glpsol") is None or not folder.is_dir():
        return "the GMPL models need Debian's package glpk-utils: apt-get install glpk-utils"
    return ""


def models(folder: Path = EXAMPLES) -> tuple[Path, ...]:
    """The model files, by name."""
    return tuple(sorted(folder.rglob("*.mod"), key=lambda path: path.stem))


def description(path: Path) -> str:
    """The English of a model: its comments before the first statement, without frames."""
    text, words = path.read_text(encoding="utf-8", errors="replace"), []
    while found := _COMMENT.match(text := text.lstrip()):
        words.append(found["block"] or found["lines"])
        text = text[found.end() :]
    return " ".join(word for word in re.sub(r"[#*]", " ", " ".join(words)).split() if set(word) - set("-=_"))


def compare(path: Path, seconds: int = SECONDS) -> Comparison:
    """Optima of a model by both solvers, each within a time limit."""
    with tempfile.TemporaryDirectory() as folder:
        exported, report = Path(folder, "model.lp"), Path(folder, "report")
        files = ["--wlp", str(exported), "--write", str(report)]
        command = ["glpsol", "--model", str(path), "--tmlim", str(seconds), *files]
        try:
            # A model may print without end before the solver's own limit begins.
            subprocess.run(command, cwd=folder, capture_output=True, timeout=3 * seconds, check=False)
        except subprocess.TimeoutExpired:
            return Comparison(path.stem, "time-out")
        if not exported.is_file() or not report.is_file():
            return Comparison(path.stem, "not read")
        objective = _objective(exported.read_text())
        if objective.is_constant:
            return Comparison(path.stem, "constant")
        glpk = reported_optimum(report.read_text())
        if math.isnan(glpk):
            return Comparison(path.stem, "not optimal")
        highs = solve_file(exported, seconds)
    if highs.status != "optimal":
        return Comparison(path.stem, "time-out" if highs.status == "time-out" else "differ", glpk)
    optimum = highs.objective + objective.constant
    agree = math.isclose(optimum, glpk, rel_tol=TOLERANCE, abs_tol=GAP)
    return Comparison(path.stem, "agree" if agree else "differ", glpk, optimum)


def reported_optimum(report: str) -> float:
    """Value in a solution file of ``glpsol --write``; NaN if its status is not optimal."""
    found = re.search(r"^s (?:bas \d+ \d+ f f|mip \d+ \d+ o|ipt \d+ \d+ o) (\S+)$", report, re.MULTILINE)
    return float(found[1]) if found else math.nan


class _Objective(NamedTuple):
    """Of an LP file: whether it has no variable, and the constant that solvers do not see."""

    is_constant: bool
    constant: float


def _objective(exported: str) -> _Objective:
    """GLPK writes a constant term as a comment, and an objective without variables as ``0 x``."""
    section = re.search(r"^(?:Minimize|Maximize)\n(.*?)^Subject To", exported, re.DOTALL | re.MULTILINE)
    text = section[1] if section else ""
    constant = re.search(r"\\\* constant term = (\S+) \*\\", text)
    terms = re.sub(r"\\\*.*?\*\\", "", text).partition(":")[2]
    variables = re.sub(r"(?<![\w.])0 \S+", "", terms)
    return _Objective(not variables.strip(), float(constant[1]) if constant else 0.0)
