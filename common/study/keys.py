"""The key of a record: everything that can change its numbers, and nothing else."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from common.study.errors import StudyError
from common.study.jobs import Job
from common.study.paths import ROOT

PACKAGES = ("common", "papers")
OUTSIDE = ("common.study", "common.plotting")
LIBRARIES = ("math-verify", "numpy", "scipy", "torch", "transformers", "trl")


def job_key(job: Job) -> str:
    """Hash of entry point, configuration, seeds, input contents, environment and reachable source."""
    content = {
        "entry": job.entry,
        "config": dict(sorted(job.config.items())),
        "seeds": list(job.seeds),
        "inputs": {name: file_hash(ROOT / name) for name in sorted(job.inputs)},
        "environment": environment(),
        "source": source_hash(job.entry.partition(":")[0]),
        **({"modules": {name: source_hash(name) for name in job.modules}} if job.modules else {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        StudyError: the file does not exist.
    """
    if not path.is_file():
        raise StudyError(f"input file {path} is missing; for a pocket checkpoint run: make pocket-models")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _versions() -> dict[str, str]:
    # 2.13.0+cpu and 2.13.0+cu130 differ in their kernels, so the local part of a version stays in.
    return {name: metadata.version(name) for name in LIBRARIES}


def environment() -> dict[str, Any]:
    """Versions, device and instruction set: what makes two machines round differently."""
    return {
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "versions": _versions(),
        "machine": platform.machine(),
        "isa": instruction_set(),
        "device": os.environ.get("REPRISE_DEVICE", "cpu"),
        "threads": 1,
    }


@cache
def instruction_set() -> str:
    """Widest vector extension of this processor that numpy and PyTorch dispatch on."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0] if cpuinfo.is_file() else ""
    return next((isa for isa in ("avx512f", "avx2", "asimd") if isa in flags), platform.machine())


@cache
def source_hash(module: str) -> str:
    """Hash of the syntax trees of `module` and of every repository module it reaches.

    Comments, docstrings and formatting are not part of it; `common.study` and `common.plotting` are outside.
    """
    trees = {name: _syntax(_module_file(name)) for name in sorted(reachable(module))}
    return hashlib.sha256(json.dumps(trees, sort_keys=True).encode()).hexdigest()[:24]


def reachable(module: str) -> set[str]:
    """Repository modules that `module` imports, directly or not, itself included (also inside functions)."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.startswith(OUTSIDE) or not _exists(name):
            continue
        found.add(name)
        waiting.extend(_imports(name))
        waiting.append(name.rpartition(".")[0])
    return found


def _exists(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES and _module_file(module).is_file()


def _module_file(module: str) -> Path:
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(module: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(_module_file(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _syntax(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = body[1:]
    return ast.dump(tree)
